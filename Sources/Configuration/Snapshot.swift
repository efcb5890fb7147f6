/// One immutable, validated configuration: what `gateway.conf` says, with every default filled in and every
/// reference resolved to a name that exists.
///
/// It is made only by `GatewayConfiguration.parse`; whoever holds one may rely on all cross-checks having passed.
/// It holds no secret: secrets are named by `SecretSource` and read by `SecretLoader`. Sections keep the order of the
/// file. Two snapshots that compare equal configure the same gateway, which is how a reload finds what changed.
package struct Snapshot: Sendable, Hashable {
    /// Threads with an event loop; at least 1. Default: the number of cores.
    package internal(set) var workers = 1
    package internal(set) var listeners: [Listener] = []
    /// Present whenever a grant comes from a provider, because its callback needs it.
    package internal(set) var console: Console?
    /// Present whenever a grant comes from a provider.
    package internal(set) var store: Store?
    package internal(set) var providers: [Provider] = []
    package internal(set) var grants: [Grant] = []
    package internal(set) var grantTemplates: [GrantTemplate] = []
    package internal(set) var upstreams: [Upstream] = []
    package internal(set) var routes: [Route] = []
    package internal(set) var timeouts = Timeouts()
    package internal(set) var limits = Limits()
    package internal(set) var log = Log()

    /// The provider of that name; complexity O(providers).
    package func provider(named name: String) -> Provider? { providers.first { $0.name == name } }

    /// The grant of that name; complexity O(grants).
    package func grant(named name: String) -> Grant? { grants.first { $0.name == name } }

    /// The template of that name; complexity O(templates).
    package func grantTemplate(named name: String) -> GrantTemplate? { grantTemplates.first { $0.name == name } }

    /// The upstream of that name; complexity O(upstreams).
    package func upstream(named name: String) -> Upstream? { upstreams.first { $0.name == name } }
}

extension Snapshot {
    /// `[console]`: the listener of the dashboard, the callback, the metrics and the admin API.
    package struct Console: Sendable, Hashable {
        package internal(set) var address = Address.unix(path: "")
        package internal(set) var unixMode: UInt32 = 0
        /// Where browsers reach the console; without query and fragment. Present whenever a grant comes from a
        /// provider.
        package internal(set) var publicURL: URL?
        /// The bearer secret of the admin surface; several are all accepted (rotation). Empty: no authentication,
        /// which is possible only on a loopback or Unix address.
        package internal(set) var secrets: [SecretSource] = []
        /// How long a started consent may take until its callback.
        package internal(set) var consentLifetime = Duration.zero

        /// Exactly what is to be registered at the provider, the same string in authorize and token requests.
        package var redirectURI: String? {
            guard let publicURL else { return nil }
            let base = publicURL.description
            return (base.hasSuffix("/") ? String(base.dropLast()) : base) + "/oauth/callback"
        }
    }

    /// `[timeouts]`: patience with callers.
    package struct Timeouts: Sendable, Hashable {
        /// From the first byte of a request (or the connection's start) to the end of its head.
        package internal(set) var head = Duration.zero
        /// The longest pause inside a request body.
        package internal(set) var bodyIdle = Duration.zero
        /// How long a connection may be idle between requests.
        package internal(set) var keepAlive = Duration.zero
        /// How long a caller may take none of the response that waits for it.
        package internal(set) var writeIdle = Duration.zero
        /// How long an exchange waits for a credential before it is answered 503.
        package internal(set) var credential = Duration.zero
        /// How long running exchanges may go on after SIGTERM.
        package internal(set) var drain = Duration.zero
    }

    /// `[limits]`: what callers and upstreams may cost.
    package struct Limits: Sendable, Hashable {
        /// Callers connected at once, per worker.
        package internal(set) var maxConnections = 0
        /// A header section, from callers and from upstreams.
        package internal(set) var headerBytes = 0
        package internal(set) var headerCount = 0
        package internal(set) var targetBytes = 0
        /// Requests at once on one caller's HTTP/2 connection.
        package internal(set) var http2MaxStreams = 0
        /// How much of a body kept for the retry stays in memory; the rest goes to an unlinked file.
        package internal(set) var retryMemoryBytes = 0
        /// Where those files are made.
        package internal(set) var temporaryDirectory = ""
    }

    /// `[log]`.
    package struct Log: Sendable, Hashable {
        package enum Level: String, Sendable, Hashable, CaseIterable {
            case error, warning, notice, info, debug, trace
        }
        package enum Format: String, Sendable, Hashable, CaseIterable {
            /// Text on a terminal, JSON otherwise.
            case auto
            case json, text
        }
        package enum Sink: Sendable, Hashable {
            case off, standardOutput, standardError
            case file(path: String)
        }
        package internal(set) var level = Level.info
        package internal(set) var format = Format.auto
        package internal(set) var access = Sink.off
    }
}
