import Configuration
import Logging
import OpenSSLKit
import Telemetry

/// Certificates and keys: taken over at a reload, read again when their files change.
extension Control {
    private static let lookMilliseconds: UInt64 = 2_000
    private static let ticketKeyMilliseconds: UInt64 = 86_400_000

    /// Takes what a snapshot names into force. The workers know the first; of later ones they are told what differs.
    func takeCertificates(_ new: TLSMaterial) {
        let old = tls
        tls = new
        if let old {
            // Tickets outlive a reload.
            tls?.use(old.ticketKeys)
            for (name, listener) in tls?.listeners ?? [:] where listener.value != old.listeners[name]?.value {
                tellCertificates(of: name)
            }
        } else {
            for (name, listener) in new.listeners { log(listener.value.identities, "a listener's certificate", name) }
        }
        if certificateTimer == nil { watchCertificates() }
        if ticketTimer == nil { watchTicketKeys() }
    }

    private func watchCertificates() {
        certificateTimer = nil
        guard tls?.isEmpty == false else { return }
        rereadCertificates()
        certificateTimer = loop.schedule(after: Self.lookMilliseconds) { [unowned self] in watchCertificates() }
    }

    /// Looks at the files and tells the workers what has changed. What cannot be used changes nothing.
    func rereadCertificates() {
        let news = tls?.refresh(snapshot, environment: environment) ?? []
        var upstreamsChanged = false
        for item in news {
            if let reason = item.isRefused {
                logger.error(
                    "new certificate files cannot be used; the old ones stay in use",
                    metadata: item.metadata.adding("reason", reason))
                continue
            }
            guard !item.identities.isEmpty else {
                logger.notice("the certificate files can be used again", metadata: item.metadata)
                continue
            }
            switch item.place {
            case .listener(let name): tellCertificates(of: name)
            case .upstream(let name):
                log(item.identities, "an upstream's client certificate was read again", name, isListener: false)
                upstreamsChanged = true
            }
        }
        guard upstreamsChanged, let identities = tls?.clientIdentities else { return }
        broadcast(.configuration(WorkerConfiguration(snapshot, extending: names, clientIdentities: identities)))
    }

    private func tellCertificates(of name: String) {
        guard let settings = tls?.listeners[name]?.value else { return }
        log(settings.identities, "a listener's certificate was read again", name)
        broadcast(.certificates(listener: name, settings: settings))
    }

    /// A new key each day, so that one that is found out opens little of what was recorded.
    private func watchTicketKeys() {
        guard tls?.listeners.isEmpty == false else { return }
        ticketTimer = loop.schedule(after: Self.ticketKeyMilliseconds) { [unowned self] in
            ticketTimer = nil
            rotateTicketKeys()
            watchTicketKeys()
        }
    }

    func rotateTicketKeys() {
        guard let keys = tls?.ticketKeys.rotated() else { return }
        tls?.use(keys)
        for (name, listener) in tls?.listeners ?? [:] {
            broadcast(.certificates(listener: name, settings: listener.value))
        }
    }

    private func log(_ identities: [TLSIdentity], _ message: String, _ name: String, isListener: Bool = true) {
        for identity in identities {
            logger.notice(
                "\(message)",
                metadata: [
                    isListener ? "listener" : "upstream": "\(name)", "subject": "\(identity.subject)",
                    "names": "\(identity.names.joined(separator: " "))", "expires": "\(identity.notAfter)",
                ])
        }
    }

    /// One line each on the metrics page.
    var certificateMetrics: [CertificateMetrics] {
        (tls?.listeners ?? [:]).flatMap { name, listener in
            listener.value.identities.map {
                CertificateMetrics(listener: name, name: $0.names.first ?? $0.subject, expiry: $0.validity.notAfter)
            }
        }
    }
}

extension TLSMaterial.News {
    fileprivate var metadata: Logger.Metadata {
        switch place {
        case .listener(let name): ["listener": "\(name)"]
        case .upstream(let name): ["upstream": "\(name)"]
        }
    }
}
