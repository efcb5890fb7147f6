import Configuration
import Logging
import OAuth
import OpenSSLKit
import Reactor

/// Client secrets, keys and certificates that we show to providers: read again when their files change.
extension Control {
    private static let lookMilliseconds: UInt64 = 2_000
    /// A file that has changed must look the same for so long before it is read: who writes in place takes a moment.
    private static let restMilliseconds: UInt64 = 500

    /// A file that is not there has a place, too: it may come.
    static func secretStamps(of snapshot: Snapshot) -> [String: FileStamp?] {
        var stamps: [String: FileStamp?] = [:]
        for path in snapshot.providers.flatMap({ ProviderMaterial.files(of: $0) }) {
            stamps.updateValue(FileStamp.of(path: path), forKey: path)
        }
        return stamps
    }

    /// Looks at the files until there are none; at most one look is ahead.
    func watchSecrets(changed: [String: FileStamp?]? = nil) {
        secretTimer = nil
        guard !secretStamps.isEmpty else { return }
        let wait = changed == nil ? Self.lookMilliseconds : Self.restMilliseconds
        secretTimer = loop.schedule(after: wait) { [unowned self] in
            let current = Control.secretStamps(of: snapshot)
            guard current != secretStamps else { return watchSecrets() }
            // Halves of a secret look like a secret.
            guard current == changed else { return watchSecrets(changed: current) }
            rereadSecrets(current)
            watchSecrets()
        }
    }

    /// Each provider by itself: what is wrong with one's files does not hold up the others. A file that cannot be used
    /// leaves what its provider had in use, and is told.
    private func rereadSecrets(_ current: [String: FileStamp?]) {
        let old = secretStamps
        secretStamps = current
        var all = providers.mapValues { ($0.machine.settings, $0.tls) }
        var isNews = false
        for provider in snapshot.providers
        where ProviderMaterial.files(of: provider).contains(where: { current[$0] != old[$0] }) {
            var problems: [String] = []
            let read = Control.prepare(provider, environment: environment, &problems)
            guard problems.isEmpty else {
                for sentence in problems {
                    logger.error(
                        "a secret cannot be read; the old one stays in use", metadata: ["reason": "\(sentence)"])
                }
                continue
            }
            all[provider.name] = read
            isNews = true
            logger.notice("client secrets were read again", metadata: ["provider": "\(provider.name)"])
        }
        guard isNews, let tls else { return }
        takeProvidersAgain(
            Prepared(snapshot: snapshot, providers: all, console: nil, tls: tls, secretStamps: current))
    }
}
