import Configuration
import Console
import Logging
import OpenSSLKit
import Telemetry
import TokenStore

/// The store's keys: what each seals, and sealing everything again.
extension Control {
    /// Rows that one step seals again: a commit waits for no more than that.
    private static let rekeyPage = 64

    func keys(_ done: @escaping (ConsoleOutcome) -> Void) {
        readKeys { result in
            switch result {
            case .success(let reply): done(.keys(reply))
            case .failure(let error): done(.failed(ConsoleFailure(.storeUnavailable, detail: error.message)))
            }
        }
    }

    private func readKeys(_ done: @escaping (Result<KeysReply, StoreError>) -> Void) {
        withStore(.read) { store throws(StoreError) in
            try store.keyUse()
        } then: { [unowned self] result in
            done(
                result.map { keys in
                    KeysReply(
                        keys: keys.map {
                            KeysReply.Key(
                                id: "\($0.id)", active: $0.isActive, configured: $0.isOnRing, rows: $0.rows)
                        }, rekey: rekeyState.view)
                })
        }
    }

    func rekey(retire text: String?, _ done: @escaping (ConsoleOutcome) -> Void) {
        var retiring: KeyID?
        if let text {
            guard let id = KeyID(operatorText: text) else {
                done(.failed(ConsoleFailure(.unknownKey, detail: "A key's id has 16 hex digits.")))
                return
            }
            retiring = id
        }
        guard !rekeyState.isRunning else {
            done(.failed(ConsoleFailure(.rekeyRunning)))
            return
        }
        readKeys { [unowned self] result in
            switch result {
            case .failure(let error):
                done(.failed(ConsoleFailure(.storeUnavailable, detail: error.message)))
            case .success(let reply):
                guard !rekeyState.isRunning else {
                    done(.failed(ConsoleFailure(.rekeyRunning)))
                    return
                }
                if let refusal = refusal(toRetire: retiring, reply) {
                    done(.failed(refusal))
                    return
                }
                rekeyState = RekeyState(isRunning: true, hasRun: true)
                logger.notice("the store is being sealed again")
                stepRekey(retiring)
                var started = reply
                started.rekey = rekeyState.view
                done(.rekeyStarted(started))
            }
        }
    }

    /// What can be told before any work: a key that nobody knows, and the one that is in front.
    private func refusal(toRetire id: KeyID?, _ reply: KeysReply) -> ConsoleFailure? {
        guard let id else { return nil }
        guard let key = reply.keys.first(where: { $0.id == "\(id)" }) else { return ConsoleFailure(.unknownKey) }
        guard key.active else { return nil }
        return ConsoleFailure(
            .keyInUse, detail: "New values are sealed under \(id): put another key in front first, and reload.")
    }

    /// The keys that a reload brings; nil where they are those in use. Files are compared by what is in them.
    func newRing(of new: Snapshot) -> Result<KeyRing?, StoreError> {
        guard let sources = new.store?.keys else { return .success(nil) }
        do throws(StoreError) {
            let ring = try KeyRing(sources, environment: environment)
            return .success(ring.signingKeys == signingKeys ? nil : ring)
        } catch {
            return .failure(error)
        }
    }

    /// The store uses these keys from now on, and the console signs under the first; or nothing changes.
    func takeKeys(_ ring: KeyRing, _ done: @escaping (StoreError?) -> Void) {
        withStore(.commit) { store throws(StoreError) -> StoreError? in
            do throws(StoreError) {
                try store.useKeys(ring)
                return nil
            } catch {
                // The store works: it is the keys that are wrong.
                guard error.kind == .key || error.kind == .unknownKey else { throw error }
                return error
            }
        } then: { [unowned self] result in
            switch result {
            case .failure(let error), .success(let error?): done(error)
            case .success(nil):
                signingKeys = ring.signingKeys
                logger.notice(
                    "the store uses the keys of the new configuration", metadata: ["key": "\(ring.active.id)"])
                done(nil)
                // What could not be opened may be open now.
                storeCameBack()
            }
        }
    }

    /// One page; the next comes behind the calls that were queued meanwhile.
    private func stepRekey(_ retiring: KeyID?) {
        withStore(.commit) { store throws(StoreError) in
            try store.rekeySome(limit: Self.rekeyPage)
        } then: { [unowned self] result in
            switch result {
            case .failure(let error): rekeyEnded(error.message)
            case .success(let page) where page.seen == 0:
                if let retiring { retire(retiring) } else { rekeyEnded(nil) }
            case .success(let page):
                let before = rekeyState.resealed
                rekeyState.resealed += page.resealed
                counters.rekeyed(values: page.resealed)
                rekeyState.idlePages = page.resealed == 0 ? rekeyState.idlePages + 1 : 0
                if before / 10_000 != rekeyState.resealed / 10_000 {
                    logger.info("sealing the store again", metadata: ["resealed": "\(rekeyState.resealed)"])
                }
                guard rekeyState.idlePages < 20, !isDraining else {
                    rekeyEnded(
                        isDraining
                            ? "the gateway stops"
                            : "other replicas go on writing under an older key: reload them first")
                    return
                }
                stepRekey(retiring)
            }
        }
    }

    private func retire(_ id: KeyID) {
        withStore(.commit) { store throws(StoreError) in
            try store.retire(id)
        } then: { [unowned self] result in
            switch result {
            case .success(true):
                logger.notice("a key of the store was retired", metadata: ["key": "\(id)"])
                rekeyEnded(nil)
            case .success(false): rekeyEnded("the store does not know the key \(id)")
            case .failure(let error): rekeyEnded(error.message)
            }
        }
    }

    private func rekeyEnded(_ failure: String?) {
        rekeyState.isRunning = false
        rekeyState.failure = failure
        counters.rekeyEnded(succeeded: failure == nil)
        let resealed: Logger.Metadata = ["resealed": "\(rekeyState.resealed)"]
        if let failure {
            logger.error("the store was not sealed again to the end", metadata: resealed.adding("reason", failure))
        } else {
            logger.notice("the store is sealed under the active key", metadata: resealed)
        }
    }
}

extension KeyRing {
    /// Reads the keys of the configuration; the first one is the active one.
    init(_ sources: [Snapshot.SecretSource], environment: ConfigurationEnvironment) throws(StoreError) {
        let loader = SecretLoader(environment: environment)
        var keys: [StoreKey] = []
        for source in sources {
            switch loader.loadKey(source) {
            case .success(let secret): keys.append(try StoreKey(content: secret.bytes, source: "\(source)"))
            case .failure(let error): throw StoreError(.key, "\(error)")
            }
        }
        guard let active = keys.first else { throw StoreError(.key, "the store has no key") }
        self.init(active: active, older: Array(keys.dropFirst()))
    }

    /// What the console signs and checks with: every replica that has the keys has these.
    var signingKeys: [[UInt8]] {
        ([active] + older).map { $0.derived(for: "token-gateway console signatures 1") }
    }
}
