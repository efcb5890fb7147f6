import HTTP
import OpenSSLKit
import Proxy
import Reactor
import Telemetry

extension Worker {
    func receive(_ message: WorkerMessage) {
        switch message {
        case .credential(let grant, let state):
            credentialChanged(grant, state)
        case .credentialAnswer(let waiter, let result):
            credentialAnswered(waiter, result)
        case .configuration(let configuration):
            reconfigure(configuration)
        case .resolved(let lookup, let result):
            if let runtime = lookups.removeValue(forKey: lookup) { addressesFound(runtime, result) }
        case .certificates(let name, let settings):
            certificatesChanged(name, settings)
        case .collectCounters(let reply):
            reply(counters.snapshot())
        case .inspect(let look):
            look(self)
        case .drain(let milliseconds):
            startDraining(within: milliseconds)
        }
    }

    /// Takes a configuration over. What fails leaves the old one as it is.
    func adopt(_ new: WorkerConfiguration) throws {
        var kept: [String: UpstreamRuntime] = [:]
        for runtime in runtimes { kept[runtime.settings.name] = runtime }
        var next: [UpstreamRuntime] = []
        next.reserveCapacity(new.upstreams.count)
        for settings in new.upstreams {
            if let runtime = kept[settings.name], runtime.settings == settings {
                next.append(runtime)
                kept[settings.name] = nil
            } else {
                next.append(try UpstreamRuntime(settings: settings))
            }
        }
        for runtime in kept.values {
            runtime.isRetired = true
            for slot in runtime.pool.takeIdle() + runtime.streams.drainAll() {
                if case .upstream(let connection) = slots[slot] { closeUpstream(connection) }
            }
        }
        runtimes = next
        configuration = new
        counters.extend(to: new.names)
        credentials = new.grants.map { credentialsByName[$0] ?? .unknown }
    }

    private func reconfigure(_ new: WorkerConfiguration) {
        // The snapshot was checked before it was sent; a CA file that has vanished since keeps the old configuration.
        do {
            try adopt(new)
        } catch {
            log.begin(
                level: .error, unixMilliseconds: WallClock.milliseconds(),
                message: "the new configuration was not taken over by a worker")
            log.field("reason", "\(error)")
            log.end()
        }
    }

    private func credentialChanged(_ grant: String, _ state: CredentialState) {
        let old = credentialsByName.updateValue(state, forKey: grant)
        if let old, old.isRefused { refusedGrants -= 1 }
        if state.isRefused { refusedGrants += 1 }
        if let index = configuration.grantIndexes[grant] { credentials[index] = state }
    }

    private func credentialAnswered(_ waiter: CredentialWaiter, _ result: Result<Credential, CredentialUnavailable>) {
        guard let id = waiters.removeValue(forKey: waiter.serial) else { return }
        counters.credentialWaitersChanged(by: -1)
        let exchange = exchanges[id]
        exchange.waiterSerial = 0
        exchange.credentialWait += MonotonicClock.nanoseconds() - exchange.credentialAskedAt
        stopWait(exchange, caller: .credential)
        switch result {
        case .success where !isSameGrant(exchange.route?.grantName ?? "", exchange.configuration):
            perform(exchange, exchange.machine.credentialUnavailable(.unchanged))
        case .success(let credential):
            exchange.credential = credential
            perform(exchange, exchange.machine.credentialReady(generation: credential.generation))
        case .failure(let unavailable):
            perform(exchange, exchange.machine.credentialUnavailable(unavailable.refusal))
        }
    }

    /// Callers that connect from now on are shown the new certificates.
    private func certificatesChanged(_ name: String, _ settings: TLSServerSettings) {
        for slot in listenerSlots {
            guard case .listener(let listener) = slots[slot], listener.settings.name == name else { continue }
            do {
                listener.context = try TLSServerContext(settings)
            } catch {
                log.begin(
                    level: .error, unixMilliseconds: WallClock.milliseconds(),
                    message: "new certificates were not taken over by a worker")
                log.field("listener", name)
                log.field("reason", error.reason)
                log.end()
            }
        }
    }

    // MARK: Draining

    private func startDraining(within milliseconds: UInt64) {
        guard !isDraining else {
            drainDeadline = min(drainDeadline, now + milliseconds)
            return
        }
        isDraining = true
        drainDeadline = now + milliseconds
        listenerSlots.removeAll()
        for slot in slots.indices {
            switch slots[slot] {
            case .listener(let listener):
                poller.remove(listener.descriptor)
                listener.descriptor.close()
                freeSlot(slot)
            case .caller(let connection):
                switch connection.mode {
                case .reading:
                    if connection.wire.inbound.isEmpty { closeAfterFlush(connection, linger: false) }
                case .multiplexed: drainSession(connection)
                case .handshaking, .exchange, .closing, .lingering, .closed: break
                }
            case .mailbox:
                arm(slot: slot, at: drainDeadline)
            case .upstream(let connection):
                if connection.state == .idle || connection.state == .multiplexed && connection.streamCount == 0 {
                    closeUpstream(connection)
                }
            case .exchange, .free:
                break
            }
        }
    }

    /// At the worker's end, when no exchange is left.
    func closeUpstreams() {
        for slot in slots.indices {
            if case .upstream(let connection) = slots[slot] { closeUpstream(connection) }
        }
    }

    func checkDrained() {
        guard callerCount > 0 else {
            isStopped = true
            return
        }
        guard now >= drainDeadline else { return }
        for slot in slots.indices {
            if case .caller(let connection) = slots[slot] { callerGone(connection) }
        }
        isStopped = true
    }

    // MARK: Log

    func flushLog() {
        flush(&accessLog, to: services.log)
        flush(&log, to: services.messages)
    }

    private func flush(_ lines: inout LineWriter, to sink: LogSink) {
        guard !lines.bytes.isEmpty else { return }
        let dropped = sink.write(lines.bytes)
        if dropped > 0 { counters.logLinesDropped(dropped) }
        lines.removeAll()
    }
}
