import Configuration
import OpenSSLKit
import Reactor

/// What is made of some files, and made anew when one of them changes. Files that cannot be used, for example because
/// only half of them has been replaced yet, leave the value as it is.
struct WatchedFiles<Value: Sendable & Equatable> {
    enum News: Equatable {
        case changed
        /// Told once for each reason.
        case refused(String)
        /// They can be used again, and hold what is in use.
        case mended
    }

    private let paths: [String]
    private var stamps: [FileStamp?]
    private var problem: String?
    var value: Value

    init(
        paths: [String], read: () -> Result<Value, CertificateError>
    ) throws(CertificateError) {
        self.paths = paths
        // Before reading: what changes meanwhile is seen at the next look.
        stamps = paths.map { FileStamp.of(path: $0) }
        value = try read().get()
    }

    /// Looks whether a file has changed, and reads all then.
    mutating func refresh(_ read: () -> Result<Value, CertificateError>) -> News? {
        let current = paths.map { FileStamp.of(path: $0) }
        guard current != stamps else { return nil }
        stamps = current
        switch read() {
        case .success(let new):
            defer { problem = nil }
            guard new != value else { return problem == nil ? nil : .mended }
            value = new
            return .changed
        case .failure(let error):
            guard problem != error.description else { return nil }
            problem = error.description
            return .refused(error.description)
        }
    }
}

/// All certificates and keys that a snapshot names, read and checked.
struct TLSMaterial {
    /// By the listener's name; those without TLS have none.
    private(set) var listeners: [String: WatchedFiles<TLSServerSettings>] = [:]
    /// What we present, by the upstream's name.
    private(set) var upstreams: [String: WatchedFiles<TLSIdentity>] = [:]
    /// The same for all listeners.
    private(set) var ticketKeys: TLSTicketKeys

    var isEmpty: Bool { listeners.isEmpty && upstreams.isEmpty }
    var clientIdentities: [String: TLSIdentity] { upstreams.mapValues(\.value) }

    /// - Parameter problems: gets one sentence for each pair of files that cannot be used.
    init(
        _ snapshot: Snapshot, environment: ConfigurationEnvironment, ticketKeys: TLSTicketKeys = TLSTicketKeys(),
        _ problems: inout [String]
    ) {
        self.ticketKeys = ticketKeys
        let reader = TLSReader(loader: CertificateLoader(environment: environment), ticketKeys: ticketKeys)
        for listener in snapshot.listeners {
            guard let tls = listener.tls else { continue }
            do throws(CertificateError) {
                listeners[listener.name] = try WatchedFiles(paths: tls.files) { reader.settings(tls, of: listener) }
            } catch {
                problems.append("listener.\(listener.name): \(error)")
            }
        }
        for upstream in snapshot.upstreams {
            guard let files = upstream.clientFiles else { continue }
            do throws(CertificateError) {
                upstreams[upstream.name] = try WatchedFiles(paths: [files.certificate, files.key]) {
                    reader.identity(files)
                }
            } catch {
                problems.append("upstream.\(upstream.name): \(error)")
            }
        }
    }

    /// Something that has changed, or that cannot be used.
    struct News {
        enum Place {
            case listener(String)
            case upstream(String)
        }
        var place: Place
        var isRefused: String?
        /// What is in use now; empty where nothing has changed.
        var identities: [TLSIdentity] = []
    }

    /// Reads what has changed.
    mutating func refresh(_ snapshot: Snapshot, environment: ConfigurationEnvironment) -> [News] {
        let reader = TLSReader(loader: CertificateLoader(environment: environment), ticketKeys: ticketKeys)
        var list: [News] = []
        for listener in snapshot.listeners {
            guard let tls = listener.tls else { continue }
            let news = listeners[listener.name]?.refresh { reader.settings(tls, of: listener) }
            add(news, .listener(listener.name), listeners[listener.name]?.value.identities ?? [], to: &list)
        }
        for upstream in snapshot.upstreams {
            guard let files = upstream.clientFiles else { continue }
            let news = upstreams[upstream.name]?.refresh { reader.identity(files) }
            add(news, .upstream(upstream.name), upstreams[upstream.name].map { [$0.value] } ?? [], to: &list)
        }
        return list
    }

    private func add<Value>(
        _ news: WatchedFiles<Value>.News?, _ place: News.Place, _ identities: [TLSIdentity], to list: inout [News]
    ) {
        switch news {
        case nil: break
        case .changed: list.append(News(place: place, identities: identities))
        case .mended: list.append(News(place: place))
        case .refused(let reason): list.append(News(place: place, isRefused: reason))
        }
    }

    /// Gives all listeners these keys.
    mutating func use(_ keys: TLSTicketKeys) {
        ticketKeys = keys
        for name in listeners.keys { listeners[name]?.value.ticketKeys = keys }
    }
}

/// Makes settings of files.
private struct TLSReader {
    let loader: CertificateLoader
    let ticketKeys: TLSTicketKeys

    func settings(
        _ tls: Snapshot.ListenerTLS, of listener: Snapshot.Listener
    ) -> Result<TLSServerSettings, CertificateError> {
        do throws(CertificateError) {
            var identities: [TLSIdentity] = []
            for pair in tls.certificates {
                let read = loader.identity(certificateFile: pair.certificateFile, keyFile: pair.keyFile)
                identities.append(try read.get())
            }
            var authorities: String?
            if let file = tls.clientCAFile { authorities = try loader.authorities(file: file).get() }
            return .success(
                TLSServerSettings(
                    tls, of: listener, identities: identities, clientCA: authorities, ticketKeys: ticketKeys))
        } catch {
            return .failure(error)
        }
    }

    func identity(_ files: (certificate: String, key: String)) -> Result<TLSIdentity, CertificateError> {
        loader.identity(certificateFile: files.certificate, keyFile: files.key)
    }
}

extension Snapshot.Upstream {
    /// What we present to it; nil where that has no use.
    fileprivate var clientFiles: (certificate: String, key: String)? {
        guard !url.isPlaintext, let clientCertificateFile, let clientKeyFile else { return nil }
        return (clientCertificateFile, clientKeyFile)
    }
}
