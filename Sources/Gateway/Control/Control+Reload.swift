import Configuration
import Console
import Logging
import OpenSSLKit
import Reactor
import Telemetry
import TokenStore

/// A new configuration while the gateway runs: all of it, or nothing.
extension Control {
    /// Reads the file again. A file with a mistake changes nothing and says so. The store is asked first whether it takes
    /// the keys; what asks for a reload meanwhile gets one after this.
    func reload() {
        guard !isReloading else {
            mustReloadAgain = true
            return
        }
        isReloading = true
        ServiceManager.notify("RELOADING=1")
        guard let prepared = preparedReload() else { return reloadDone() }
        switch newRing(of: prepared.snapshot) {
        case .failure(let error):
            logger.error("configuration", metadata: ["reason": "store: \(error)"])
            reloadEnded(nil, "the store's keys cannot be used; the old configuration stays in force")
            reloadDone()
        case .success(nil):
            takeOver(prepared)
            reloadDone()
        case .success(let ring?):
            takeKeys(ring) { [unowned self] error in
                if let error {
                    logger.error("configuration", metadata: ["reason": "store: \(error)"])
                    reloadEnded(nil, "the store does not take the new keys; the old configuration stays in force")
                } else {
                    takeOver(prepared)
                }
                reloadDone()
            }
        }
    }

    private func reloadDone() {
        isReloading = false
        if mustReloadAgain {
            mustReloadAgain = false
            reload()
        } else {
            ServiceManager.notify("READY=1")
        }
    }

    /// The file's configuration with all that it names, or nil, told.
    private func preparedReload() -> Prepared? {
        let outcome = GatewayConfiguration.load(path: configurationPath, environment: environment)
        for diagnostic in outcome.diagnostics { logger.warning("configuration", metadata: ["at": "\(diagnostic)"]) }
        guard let new = outcome.snapshot else {
            reloadEnded(nil, "the configuration has mistakes; the old one stays in force")
            return nil
        }
        switch Control.prepare(new, environment: environment, version: version) {
        case .failure(let problems):
            for sentence in problems.sentences { logger.error("configuration", metadata: ["reason": "\(sentence)"]) }
            reloadEnded(nil, "the configuration cannot be used; the old one stays in force")
            return nil
        case .success(let prepared):
            let obstacles = restartNeeded(from: snapshot, to: new)
            guard obstacles.isEmpty else {
                reloadEnded(nil, "these changes need a restart: " + obstacles.joined(separator: ", "))
                return nil
            }
            return prepared
        }
    }

    private func takeOver(_ prepared: Prepared) {
        let new = prepared.snapshot
        let configuration = WorkerConfiguration(new, extending: names, clientIdentities: prepared.tls.clientIdentities)
        names = configuration.names
        // A route that goes elsewhere from now on must not take the token of the grant's old provider along.
        for grant in snapshot.grants where new.grant(named: grant.name).map({ $0.source != grant.source }) ?? true {
            withdraw(grant.name)
        }
        // Workers first: a grant's news name it by what the workers know then.
        broadcast(.configuration(configuration))
        take(prepared)
        reloadEnded(WallClock.seconds(), "the configuration was reloaded")
    }

    private func reloadEnded(_ time: Int64?, _ message: String) {
        lastReloadSuccessful = time != nil
        counters.reloadEnded(succeeded: time != nil)
        if let time {
            lastReloadAt = time
            logger.notice("\(message)")
        } else {
            logger.error("\(message)")
        }
    }
}
