import Configuration
import HTTP
import OpenSSLKit
import Proxy
import Telemetry

/// From the words of `gateway.conf` to what the workers run on.
extension WorkerConfiguration {
    /// - Parameters:
    ///   - names: of the configuration before; every name keeps its place in the counters.
    ///   - clientIdentities: what we present to upstreams, by their names.
    convenience init(
        _ snapshot: Snapshot, extending names: MetricNames?, clientIdentities: [String: TLSIdentity] = [:]
    ) {
        let routeNames = snapshot.routes.map(\.name)
        let upstreamNames = snapshot.upstreams.map(\.name)
        let codes = GatewayError.allCases.map { $0.code.description }
        let extended =
            names?.extended(routes: routeNames, upstreams: upstreamNames)
            ?? MetricNames(
                routes: routeNames, upstreams: upstreamNames, errorCodes: codes,
                sessionFailures: HTTP2Abuse.allCases.map { $0.label.description })
        let grants = snapshot.grants.map(\.name)
        self.init(
            table: RouteTable(snapshot.routes.map { RouteRule($0, in: snapshot) }),
            upstreams: snapshot.upstreams.map { upstream in
                UpstreamSettings(
                    upstream, clientIdentity: clientIdentities[upstream.name],
                    metricIndex: extended.upstreamIndex(of: upstream.name) ?? 0)
            },
            grants: grants, grantSources: snapshot.grantSources, templates: snapshot.workerTemplates,
            timeouts: CallerTimeouts(snapshot.timeouts),
            limits: CallerLimits(snapshot.limits),
            names: extended)
    }
}

extension Snapshot {
    /// For each grant what makes its tokens these and no others.
    fileprivate var grantSources: [String: String] {
        var sources: [String: String] = [:]
        for grant in grants {
            if let source = source(of: grant) { sources[grant.name] = source }
        }
        return sources
    }

    fileprivate var workerTemplates: [WorkerConfiguration.GrantTemplate] {
        grantTemplates.map { template in
            WorkerConfiguration.GrantTemplate(name: template.name, source: source(of: template.grant) ?? "")
        }
    }

    private func source(of grant: Grant) -> String? {
        switch grant.source {
        case .tokenFile(let path):
            return "file \(path)"
        case .provider(let name, _, _):
            guard let provider = provider(named: name) else { return nil }
            let endpoint = provider.tokenURL.map { "\($0)" } ?? provider.tokenURLTemplate?.text ?? provider.issuer ?? ""
            return "provider \(endpoint) \(provider.clientID)"
        }
    }
}

extension Duration {
    /// Whole milliseconds, never negative.
    var milliseconds: UInt64 {
        let (seconds, attoseconds) = components
        return UInt64(max(0, seconds)) * 1000 + UInt64(max(0, attoseconds / 1_000_000_000_000_000))
    }
}

extension CallerTimeouts {
    init(_ timeouts: Snapshot.Timeouts) {
        head = timeouts.head.milliseconds
        bodyIdle = timeouts.bodyIdle.milliseconds
        keepAlive = timeouts.keepAlive.milliseconds
        writeIdle = timeouts.writeIdle.milliseconds
        credential = timeouts.credential.milliseconds
    }
}

extension CallerLimits {
    init(_ limits: Snapshot.Limits) {
        connections = limits.maxConnections
        head = HeadLimits(
            targetBytes: limits.targetBytes, headBytes: limits.headerBytes, fieldCount: limits.headerCount)
        http2Streams = UInt32(clamping: limits.http2MaxStreams)
        retryMemoryBytes = limits.retryMemoryBytes
        temporaryDirectory = limits.temporaryDirectory
    }
}

extension UpstreamSettings {
    init(_ upstream: Snapshot.Upstream, clientIdentity: TLSIdentity?, metricIndex: Int) {
        let choice = ProtocolChoice(upstream.protocolChoice)
        // Where the host comes with the credential, so does what is said of it.
        let template = UpstreamTemplate(upstream)
        let authority = upstream.host ?? (template == nil ? upstream.url.authority : "")
        var basePath = template == nil ? Array(upstream.url.path.utf8) : []
        while basePath.last == 0x2F { basePath.removeLast() }
        self.init(
            name: upstream.name,
            identity: UpstreamIdentity(
                isPlaintext: upstream.url.isPlaintext, authority: Array(authority.utf8), basePath: basePath),
            host: template == nil ? upstream.url.host : "", port: upstream.url.port,
            tls: upstream.url.isPlaintext
                ? nil
                : TLSClientConfiguration(caFile: upstream.caFile, alpn: choice.alpn, clientIdentity: clientIdentity),
            pool: UpstreamPool.Limits(
                connections: upstream.maxConnections, idle: upstream.maxIdleConnections,
                waiting: upstream.maxConnections * 4))
        connectTimeout = upstream.connectTimeout.milliseconds
        tlsTimeout = upstream.tlsTimeout.milliseconds
        firstByteTimeout = upstream.firstByteTimeout.milliseconds
        responseIdleTimeout = upstream.responseIdleTimeout.milliseconds
        writeIdleTimeout = upstream.writeIdleTimeout.milliseconds
        idleTimeout = upstream.idleTimeout.milliseconds
        maxAge = upstream.maxConnectionAge?.milliseconds
        protocolChoice = choice
        maxStreams = upstream.maxStreams
        pingInterval = upstream.http2PingInterval?.milliseconds
        pingTimeout = upstream.http2PingTimeout.milliseconds
        self.metricIndex = metricIndex
        self.template = template
        allowsPrivate = template == nil || upstream.allowPrivate
    }
}

extension UpstreamSettings.ProtocolChoice {
    init(_ choice: Snapshot.Upstream.ProtocolChoice) {
        switch choice {
        case .automatic: self = .automatic
        case .http1: self = .http1
        case .http2: self = .http2
        }
    }
}

extension TLSServerSettings {
    /// - Parameters:
    ///   - identities: of `listener`'s certificates, in their order.
    ///   - clientCA: the text of its `client_ca_file`.
    init(
        _ tls: Snapshot.ListenerTLS, of listener: Snapshot.Listener, identities: [TLSIdentity], clientCA: String?,
        ticketKeys: TLSTicketKeys
    ) {
        let alpn = (listener.allowsHTTP2 ? ["h2"] : []) + (listener.allowsHTTP1 ? ["http/1.1"] : [])
        self.init(
            identities: identities, alpn: alpn, minimumVersion: tls.minimumVersion == .tls13 ? .tls13 : .tls12,
            ticketKeys: ticketKeys)
        guard let clientCA else { return }
        switch tls.clientCertificate {
        case .required: clientCertificates = .required(caPEM: clientCA)
        case .optional: clientCertificates = .optional(caPEM: clientCA)
        }
    }
}

extension ListenerSettings {
    init(_ listener: Snapshot.Listener, tls: TLSServerSettings?) {
        self.init(
            name: listener.name, tls: tls, allowsHTTP1: listener.allowsHTTP1, allowsHTTP2: listener.allowsHTTP2)
    }
}

extension RouteRule {
    init(_ route: Snapshot.Route, in snapshot: Snapshot) {
        let path: Path =
            switch route.path {
            case .exact(let path): .exact(Array(path.utf8))
            case .prefix(let path): .prefix(Array(path.utf8))
            }
        // The parser has checked that all names exist.
        let upstream = snapshot.upstreams.firstIndex { $0.name == route.upstream } ?? 0
        let (selection, grant) = GrantSelection.make(route.grantSelection, in: snapshot)
        self.init(name: route.name, path: path, upstream: upstream, grantSelection: selection)
        removesGrantHeader = route.removeGrantHeader
        removesGrantSegment = route.stripGrantSegment
        host = route.host.map { Array($0.utf8) }
        methods = route.methods.map { Array($0.utf8) }
        stripPrefix = Array((route.stripPrefix ?? "").utf8)
        if stripPrefix.last == 0x2F { stripPrefix.removeLast() }
        forwardAuthorization = route.forwardAuthorization
        forwardCookies = route.forwardCookies
        forwarded =
            switch route.forwarded {
            case .off: .off
            case .xForwarded: .xForwarded
            case .rfc7239: .rfc7239
            }
        via = route.via
        retryStatuses = route.retryStatuses.map { UInt16(clamping: $0) }
        retryBodyLimit = route.retryBodyLimit
        requestBodyLimit = route.requestBodyLimit.map { UInt64($0) }
        responseBodyLimit = route.responseBodyLimit.map { UInt64($0) }
        allowFrom = route.allowFrom.map { AddressBlock($0) }
        allowWebSocket = route.allowWebSocket
        timeout = route.timeout?.milliseconds
        if let grant {
            let header = grant.credentialHeader
            credentialHeader = Array(header.name.lowercased().utf8)
            acceptsAnyChallenge =
                header.name.lowercased() != "authorization" || header.scheme.lowercased() != "bearer"
        }
    }
}

extension GrantSelection {
    /// The selection, and what all grants that it can pick have in common.
    fileprivate static func make(
        _ selection: Snapshot.GrantSelection, in snapshot: Snapshot
    ) -> (GrantSelection, Snapshot.Grant?) {
        switch selection {
        case .none:
            return (.none, nil)
        case .fixed(let name):
            guard let index = snapshot.grants.firstIndex(where: { $0.name == name }) else { return (.none, nil) }
            return (.fixed(index), snapshot.grants[index])
        case .template(let name, let source):
            guard let index = snapshot.grantTemplates.firstIndex(where: { $0.name == name }) else {
                return (.none, nil)
            }
            return (.template(index, GrantKeySource(source)), snapshot.grantTemplates[index].grant)
        }
    }
}

extension GrantKeySource {
    init(_ source: Snapshot.GrantKeySource) {
        switch source {
        case .header(let name): self = .header(Array(name.utf8))
        case .path(let number): self = .pathSegment(number)
        case .caller: self = .caller
        case .name(let name): self = .name(Array(name.utf8))
        }
    }
}

extension UpstreamTemplate {
    /// Nil where the URL says it all itself.
    fileprivate init?(_ upstream: Snapshot.Upstream) {
        guard let url = upstream.urlTemplate else { return nil }
        // Scheme, user and port are plain text; a name at the very front stands for scheme and host together.
        var rest = Substring(url.text)
        if let scheme = rest.firstRange(of: "://") { rest = rest[scheme.upperBound...] }
        let end = rest.firstIndex(of: "/") ?? rest.endIndex
        let host = rest[..<end].prefix { $0 != ":" }
        self.init(
            host: String(host), path: String(rest[end...]), port: upstream.url.port,
            isPlaintext: upstream.url.isPlaintext, allowed: upstream.allowedHosts.compactMap { AllowedHost($0) })
    }
}

extension AddressBlock {
    init(_ network: Snapshot.Network) {
        switch network.address {
        case .v4(let bits):
            self.init(high: 0, low: UInt64(bits), isIPv4: true, prefixLength: network.prefixLength)
        case .v6(let high, let low):
            self.init(high: high, low: low, isIPv4: false, prefixLength: network.prefixLength)
        }
    }
}
