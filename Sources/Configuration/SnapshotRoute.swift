extension Snapshot {
    /// `[upstream.NAME]`: the API that we connect to. Limits on connections hold for each worker.
    package struct Upstream: Sendable, Hashable {
        package enum ProtocolChoice: Sendable, Hashable {
            /// What ALPN agrees on; HTTP/1 with an http:// url.
            case automatic
            case http1
            /// Only HTTP/2: by ALPN, or with an http:// url by prior knowledge (RFC 9113 section 3.3).
            case http2
        }
        package internal(set) var name = ""
        /// Its path, if not "/", goes before the path of each request.
        ///
        /// Where `urlTemplate` is set, only scheme and port are of use here.
        package internal(set) var url = URL()
        /// The URL where values of the request's grant stand in the host or the path.
        package internal(set) var urlTemplate: URLTemplate?
        /// The hosts that they may choose; never empty where a name stands in the host.
        package internal(set) var allowedHosts: [String] = []
        /// Hosts that only a pattern allows may be on loopback and private addresses.
        package internal(set) var allowPrivate = false
        /// The `Host` field to send instead of the URL's authority.
        package internal(set) var host: String?
        package internal(set) var caFile: String?
        /// Both or none: what we present where the upstream asks for a certificate.
        package internal(set) var clientCertificateFile: String?
        package internal(set) var clientKeyFile: String?
        package internal(set) var protocolChoice = ProtocolChoice.automatic
        package internal(set) var allowPlaintext = false
        package internal(set) var maxConnections = 0
        package internal(set) var maxIdleConnections = 0
        /// Exchanges at once on one HTTP/2 connection; the upstream's own limit can be lower.
        package internal(set) var maxStreams = 0
        /// An HTTP/2 connection that has been silent for so long is asked by a PING; nil: never.
        package internal(set) var http2PingInterval: Duration?
        /// How long its answer may take before the connection is given up.
        package internal(set) var http2PingTimeout = Duration.zero
        /// A connection older than this takes no further request; nil: no limit.
        package internal(set) var maxConnectionAge: Duration?
        package internal(set) var connectTimeout = Duration.zero
        package internal(set) var tlsTimeout = Duration.zero
        /// From the end of our request to the first byte of the response head.
        package internal(set) var firstByteTimeout = Duration.zero
        /// The longest pause inside a response.
        package internal(set) var responseIdleTimeout = Duration.zero
        /// How long the upstream may take none of the request that waits for it.
        package internal(set) var writeIdleTimeout = Duration.zero
        /// How long a pooled connection may be idle.
        package internal(set) var idleTimeout = Duration.zero
    }

    /// Which paths a route covers.
    package enum PathPattern: Sendable, Hashable, CustomStringConvertible {
        case exact(String)
        /// Everything that begins with it; it ends in "/" ("/crm/*" is `.prefix("/crm/")`).
        case prefix(String)

        package var description: String {
            switch self {
            case .exact(let path): path
            case .prefix(let path): path + "*"
            }
        }
    }

    /// What is said upstream about the caller.
    package enum Forwarded: String, Sendable, Hashable, CaseIterable {
        case off
        case xForwarded = "x-forwarded"
        case rfc7239
    }

    /// `[route.NAME]`: the rule that picks upstream, grant and treatment for a request.
    ///
    /// No two routes have the same path, host and a method in common. The most specific one is to win: a host over
    /// none, an exact path over a prefix, a longer prefix over a shorter, methods over none.
    package struct Route: Sendable, Hashable {
        package internal(set) var name = ""
        package internal(set) var path = PathPattern.exact("")
        /// Lower case, without port; nil: every host.
        package internal(set) var host: String?
        /// Empty: every method.
        package internal(set) var methods: [String] = []
        /// Taken off the front of the path; a leading part of the pattern that ends at a "/" or at its end.
        package internal(set) var stripPrefix: String?
        package internal(set) var upstream = ""
        /// A grant of the file. nil: see `grantSelection`.
        package internal(set) var grant: String?
        /// A template, one of whose grants `grantFrom` picks for each request.
        package internal(set) var grantTemplate: String?
        package internal(set) var grantFrom: GrantKeySource?
        /// Whether the field that names the grant is kept from the upstream.
        package internal(set) var removeGrantHeader = true
        /// Whether the segment that names the grant is taken out of the path.
        package internal(set) var stripGrantSegment = false
        package internal(set) var forwardAuthorization = false
        package internal(set) var forwardCookies = false
        package internal(set) var forwarded = Forwarded.off
        package internal(set) var via = true
        /// The statuses that mean "the token was not accepted". Empty: never retried.
        package internal(set) var retryStatuses: [Int] = []
        /// How much of a body is kept so that it can be sent again; 0: none.
        package internal(set) var retryBodyLimit = 0
        /// nil: no limit.
        package internal(set) var requestBodyLimit: Int?
        package internal(set) var responseBodyLimit: Int?
        /// Who may use the route; empty: whoever reaches the listener. A caller on a Unix socket has no address and is
        /// always allowed.
        package internal(set) var allowFrom: [Network] = []
        package internal(set) var allowWebSocket = false
        /// The whole exchange, both attempts included; nil: no limit. An upgraded connection is not counted.
        package internal(set) var timeout: Duration?
    }

    /// Which grant a request gets.
    package enum GrantSelection: Sendable, Hashable {
        /// Requests are forwarded without a credential.
        case none
        /// A grant of the file.
        case fixed(String)
        /// A grant of this template.
        case template(String, GrantKeySource)
    }

    /// What names the grant of a template: `TEMPLATE:` and this is its id.
    package enum GrantKeySource: Sendable, Hashable {
        /// A field of the request, in lower case.
        case header(String)
        /// A segment of the request's path, counted from 1, before `strip_prefix`.
        case path(Int)
        /// The common name of the caller's certificate, or the name of the user at a Unix socket's other end.
        case caller
        /// Always this one.
        case name(String)
    }
}

extension Snapshot.Route {
    /// What `grant`, or `grant_template` with `grant_from`, come to.
    package var grantSelection: Snapshot.GrantSelection {
        if let grant { return .fixed(grant) }
        if let grantTemplate, let grantFrom { return .template(grantTemplate, grantFrom) }
        return .none
    }
}

extension Snapshot {
    /// Whether `text` may stand behind the ":" of a grant's id: 1 to 128 of `[A-Za-z0-9._@-]`.
    package static func isGrantKey(_ text: String) -> Bool {
        (1...128).contains(text.utf8.count)
            && text.utf8.allSatisfy { $0.isLetter || $0.isDigit || "._@-".utf8.contains($0) }
    }
}
