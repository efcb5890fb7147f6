/// A listener as the file has it: certificates and keys are two lists until it is known that they fit.
struct ListenerDraft: Sendable {
    var listener: Snapshot.Listener
    var tls = Snapshot.ListenerTLS()
    var certificateFiles: [Placed<String>] = []
    var keyFiles: [Placed<String>] = []

    init(name: String) { listener = Snapshot.Listener(name: name) }
}

let listenerDirectives = Directives<ListenerDraft>(
    place: .listener,
    list: [
        Directive(
            "address", .address, \.listener.address, isRequired: true,
            "Where callers connect: an IP address and port, `*:PORT` for every address, or `unix:/PATH`."),
        Directive("unix_mode", .mode, \.listener.unixMode, default: "0660", "The mode of the Unix socket's file."),
        Directive(
            "protocols", .list(of: .callerProtocol, mayBeEmpty: false), default: .words(["http2", "http1"]),
            "What callers may speak: on TLS ALPN chooses, otherwise a connection's first bytes."
        ) {
            $0.listener.allowsHTTP1 = $1.contains("http1")
            $0.listener.allowsHTTP2 = $1.contains("http2")
        },
        Directive(
            "certificate_file", .oneOrMore(of: .placed(.path)), \.certificateFiles,
            "Callers speak TLS: our certificate and its chain (PEM), re-read when it changes; of several, SNI chooses."),
        Directive(
            "key_file", .oneOrMore(of: .placed(.secretPath)), \.keyFiles,
            "The private key of certificate_file (PEM, not encrypted); as many as certificates, in their order."),
        Directive("tls_min_version", .tlsVersion, \.tls.minimumVersion, default: "1.2", "The oldest TLS version."),
        Directive(
            "client_ca_file", .path, \.tls.clientCAFile,
            "Authorities (PEM) of callers' certificates (mutual TLS); re-read when it changes."),
        Directive(
            "client_certificate", .choice, \.tls.clientCertificate, default: "required",
            "`required`: no connection without a certificate of client_ca_file; `optional`: without one, but not with another."
        ),
    ])

extension ValueType where Value == String {
    static var callerProtocol: Self { choice([("http2", "http2"), ("http1", "http1")]) }
}

extension ValueType where Value == Snapshot.ListenerTLS.Version {
    static var tlsVersion: Self { choice([("1.2", .tls12), ("1.3", .tls13)]) }
}

/// A value with its place in the file, for checks that come after reading.
struct Placed<Value: Sendable & Hashable>: Sendable, Hashable {
    let value: Value
    let position: Position
}

extension ValueType {
    static func placed<Inner>(_ type: ValueType<Inner>) -> Self where Value == Placed<Inner> {
        Self(type.name, expected: type.expected, legal: type.legal) { node in
            switch type.read(node) {
            case .value(let value): .value(Placed(value: value, position: node.position))
            case .wrong: .wrong
            case .mistakes(let list): .mistakes(list)
            }
        }
    }
}
