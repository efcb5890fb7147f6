import HTTP
import OpenSSLKit
import Proxy
import Telemetry

/// What the workers need of a snapshot, made once and shared; an exchange keeps the one that it began under.
final class WorkerConfiguration: Sendable {
    let table: RouteTable
    let routes: [Route]
    let upstreams: [UpstreamSettings]
    /// Grant names by the index that routes use.
    let grants: [String]
    /// Templates by the index that routes use.
    let templates: [GrantTemplate]
    /// Where the tokens of each grant come from, by name: under one name another configuration may mean other tokens.
    let grantSources: [String: String]
    let timeouts: CallerTimeouts
    let limits: CallerLimits
    let names: MetricNames

    init(
        table: RouteTable, upstreams: [UpstreamSettings], grants: [String], grantSources: [String: String] = [:],
        templates: [GrantTemplate] = [], timeouts: CallerTimeouts, limits: CallerLimits, names: MetricNames
    ) {
        self.table = table
        self.upstreams = upstreams
        self.grants = grants
        self.templates = templates
        self.grantSources = grantSources
        self.timeouts = timeouts
        self.limits = limits
        self.names = names
        let metricIndexes = Dictionary(zip(names.routes, names.routes.indices).dropFirst()) { first, _ in first }
        routes = table.rules.map { rule in
            Route(
                rule: rule, metricIndex: metricIndexes[rule.name] ?? MetricNames.unrouted,
                upstreamName: upstreams[rule.upstream].name)
        }
    }

    /// What a worker needs to know of a template for grants.
    struct GrantTemplate: Sendable, Equatable {
        let name: String
        /// Whether the tokens of its grants are those of a grant that was known before; see `grantSources`.
        let source: String
        /// What the ids of its grants begin with: `name:`.
        let prefix: [UInt8]

        init(name: String, source: String) {
            self.name = name
            self.source = source
            prefix = Array(name.utf8) + [0x3A]
        }
    }

    /// A class, so that an exchange holds its route by one reference.
    final class Route: Sendable {
        let rule: RouteRule
        let metricIndex: Int
        let upstreamName: String

        init(rule: RouteRule, metricIndex: Int, upstreamName: String) {
            self.rule = rule
            self.metricIndex = metricIndex
            self.upstreamName = upstreamName
        }
    }
}

/// Patience with callers, in milliseconds.
struct CallerTimeouts: Sendable, Equatable {
    var head: UInt64 = 10_000
    var bodyIdle: UInt64 = 60_000
    var keepAlive: UInt64 = 75_000
    var writeIdle: UInt64 = 60_000
    var credential: UInt64 = 15_000
}

struct CallerLimits: Sendable, Equatable {
    var connections = 10_000
    /// Exchanges at once on one HTTP/2 connection.
    var http2Streams: UInt32 = 100
    var head = HeadLimits()
    var retryMemoryBytes = 64 * 1024
    var temporaryDirectory = "/tmp"
}

/// One upstream, times in milliseconds. Two that are equal can share connections.
struct UpstreamSettings: Sendable, Equatable {
    var name: String
    var identity: UpstreamIdentity
    /// What to connect to and, with TLS, to verify.
    var host: String
    var port: UInt16
    /// nil: plain HTTP, which the configuration allowed explicitly.
    var tls: TLSClientConfiguration?
    var pool: UpstreamPool.Limits
    var connectTimeout: UInt64 = 5_000
    var tlsTimeout: UInt64 = 5_000
    var firstByteTimeout: UInt64 = 60_000
    var responseIdleTimeout: UInt64 = 60_000
    var writeIdleTimeout: UInt64 = 60_000
    var idleTimeout: UInt64 = 60_000
    var maxAge: UInt64?
    var protocolChoice = ProtocolChoice.automatic
    /// Exchanges at once on one HTTP/2 connection.
    var maxStreams = 100
    /// After so long without an octet from it an HTTP/2 connection is asked by a PING; nil: never.
    var pingInterval: UInt64? = 30_000
    /// How long the answer may take.
    var pingTimeout: UInt64 = 10_000
    var metricIndex = 0
    /// The host may be on a loopback or private address. False where only a pattern has allowed it: whoever has a name
    /// below somebody's domain could lead us into our own network by it.
    var allowsPrivate = true
    /// Where a grant's captured values say where the upstream is: `host` and the authority are empty then.
    var template: UpstreamTemplate?

    enum ProtocolChoice: Sendable, Equatable {
        /// What ALPN agrees on; HTTP/1 without TLS.
        case automatic
        case http1
        /// With TLS only h2 is offered and nothing else accepted; without TLS the connection begins with the preface.
        case http2

        /// What is offered in the handshake.
        var alpn: [String] {
            switch self {
            case .automatic: ["h2", "http/1.1"]
            case .http1: ["http/1.1"]
            case .http2: ["h2"]
            }
        }
    }
}
