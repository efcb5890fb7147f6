import HTTP
import OpenSSLKit
import Proxy
import Reactor
import Telemetry

/// Which grant an exchange's credential comes from, and how it is had.
extension Worker {
    // MARK: Picking

    /// Finds the grant that the request names; why it must be refused, if it names none.
    func pickGrant(_ exchange: Exchange, _ route: WorkerConfiguration.Route) -> GatewayError? {
        switch route.rule.grantSelection {
        case .none:
            return nil
        case .fixed(let index):
            exchange.grant = grants.fixed[index]
            return nil
        case .template(let index, let source):
            let template = configuration.templates[index]
            grantScratch.removeAll()
            grantScratch.append(template.prefix)
            let name = source == .caller ? exchange.caller.flatMap { callerName($0) } : nil
            if let reason = GrantKey.append(source, of: exchange.request, callerName: name, to: &grantScratch) {
                exchange.errorReason = reason
                return .grantNotNamed
            }
            exchange.grant = grants.take(grantScratch.readable, of: template)
            return nil
        }
    }

    /// What the caller has proved to be: its certificate's subject, or its user at the other end of a Unix socket.
    private func callerName(_ caller: CallerConnection) -> [UInt8]? {
        if caller.knowsName { return caller.name }
        caller.knowsName = true
        if let engine = caller.wire.engine, let name = engine.clientCertificateCommonName {
            caller.name = Array(name.utf8)
        } else if let peer = Socket.unixPeer(of: caller.wire.descriptor) {
            caller.name = userName(peer.uid)
        }
        return caller.name
    }

    /// Asked once for each user: what the system does for an answer may take time.
    private func userName(_ user: UInt32) -> [UInt8]? {
        if let known = userNames[user] { return known }
        let name = UserName.find(user).map { Array($0.utf8) }
        if userNames.count >= 1000 { userNames.removeAll() }
        userNames[user] = .some(name)
        return name
    }

    // MARK: Credential

    /// The next action when the answer is known here; nil while control is asked.
    func getCredential(_ exchange: Exchange, rejected: UInt64?) -> ExchangeMachine.Action? {
        guard let grant = exchange.grant else { return nil }
        switch credentialState(grant) {
        case .ready(let credential):
            if now < credential.expiry, credential.generation != rejected {
                exchange.credential = credential
                return exchange.machine.credentialReady(generation: credential.generation)
            }
        case .refused(let refusal):
            return exchange.machine.credentialUnavailable(refusal)
        case .unknown:
            if now < grant.missingUntil { return exchange.machine.credentialUnavailable(.unknownGrant) }
        }
        let serial = nextSerial
        nextSerial += 1
        waiters[serial] = exchange.id
        exchange.waiterSerial = serial
        exchange.credentialAskedAt = nowNanoseconds
        counters.credentialWaitersChanged(by: 1)
        setWait(exchange, caller: .credential, after: configuration.timeouts.credential)
        services.needCredential(grant.id, rejected, CredentialWaiter(worker: self.index, serial: serial))
        return nil
    }

    /// The one place where a grant becomes a credential. A configuration that came since the exchange began may mean
    /// other tokens by the grant's id: those are not for this exchange's upstream.
    private func credentialState(_ grant: KnownGrant) -> CredentialState {
        grant.isSuperseded ? .refused(.unchanged) : grant.state
    }

    /// The grant was revoked, or has ended, while the exchange waited for its connection.
    func withdrawal(_ exchange: Exchange) -> CredentialRefusal? {
        guard let grant = exchange.grant, exchange.credential != nil,
            case .refused(let refusal) = credentialState(grant), refusal != .unchanged
        else { return nil }
        return refusal
    }

    /// The credential outlived its time while the exchange waited for its connection. The one that control has told since
    /// takes its place, unless it leads elsewhere.
    func expiry(_ exchange: Exchange) -> CredentialRefusal? {
        guard let grant = exchange.grant, let old = exchange.credential, now >= old.expiry else { return nil }
        guard case .ready(let newer) = credentialState(grant), now < newer.expiry, newer.captured == old.captured else {
            return .unavailable(retryAfter: 1)
        }
        exchange.credential = newer
        exchange.machine.credentialReplaced(generation: newer.generation)
        return nil
    }

    func stopWaitingForCredential(_ exchange: Exchange) {
        guard exchange.waiterSerial != 0 else { return }
        waiters[exchange.waiterSerial] = nil
        counters.credentialWaitersChanged(by: -1)
        if let grant = exchange.grant {
            services.waiterLeft(grant.id, CredentialWaiter(worker: index, serial: exchange.waiterSerial))
        }
        exchange.waiterSerial = 0
    }
}
