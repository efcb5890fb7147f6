// The directives of the data plane: upstreams and routes.

let upstreamDirectives = Directives<Snapshot.Upstream>(
    place: .upstream,
    list: [
        Directive(
            "url", .upstreamURL, default: .none, isRequired: true,
            "The API's URL; its path goes before each request's. `{name}` is a value of the grant."
        ) {
            $0.url = $1.sample
            $0.urlTemplate = $1.names.isEmpty ? nil : $1
        },
        Directive(
            "allowed_hosts", .list(of: .hostPattern, mayBeEmpty: false), \.allowedHosts,
            "The hosts that `{name}` in url may choose: `api.example.com`, or `*.example.com` for all below."),
        Directive(
            "allow_private", .boolean, \.allowPrivate, default: false,
            "Let a host that only a pattern of allowed_hosts allows be on a private or loopback address."),
        Directive("host", .authority, \.host, "The Host field to send instead of the URL's."),
        Directive("ca_file", .path, \.caFile, "Certificates (PEM) to trust instead of the system's."),
        Directive(
            "client_certificate_file", .path, \.clientCertificateFile,
            "Our certificate and its chain (PEM) for an upstream that asks for one (mutual TLS), re-read when it changes."
        ),
        Directive(
            "client_key_file", .secretPath, \.clientKeyFile,
            "The private key of client_certificate_file (PEM, not encrypted)."),
        Directive(
            "protocol", .upstreamProtocol, \.protocolChoice, default: "auto",
            "`auto`: what the TLS handshake agrees on (ALPN), HTTP/1 without TLS; the others: only this."),
        Directive(
            "allow_plaintext", .boolean, \.allowPlaintext, default: false,
            "Accept an `http://` url: the token then travels in the clear."),
        Directive(
            "max_connections", .integer(1...100_000), \.maxConnections, default: 1024,
            "Connections at once, per worker."),
        Directive(
            "max_idle_connections", .integer(0...100_000), \.maxIdleConnections, default: 256,
            "Idle connections kept for later, per worker."),
        Directive(
            "max_streams", .integer(1...10_000), \.maxStreams, default: 100,
            "Requests at once on one HTTP/2 connection; the upstream may allow fewer."),
        Directive(
            "max_connection_age", .durationOrOff(.seconds(1)...longest, zero: "no limit"), \.maxConnectionAge,
            default: "1h", "An older connection takes no further request."),
        Directive(
            "connect_timeout", .duration(shortest...longest), \.connectTimeout, default: "5s",
            "For the name's lookup and the TCP connection."),
        Directive(
            "tls_timeout", .duration(shortest...longest), \.tlsTimeout, default: "5s", "For the TLS handshake."),
        Directive(
            "first_byte_timeout", .duration(shortest...longest), \.firstByteTimeout, default: "60s",
            "From when the upstream has taken the whole request to the response's first byte."),
        Directive(
            "response_idle_timeout", .duration(shortest...longest), \.responseIdleTimeout, default: "60s",
            "The longest pause inside a response, while no content goes the other way."),
        Directive(
            "write_idle_timeout", .duration(shortest...longest), \.writeIdleTimeout, default: "60s",
            "How long the upstream may take none of the request that waits for it."),
        Directive(
            "idle_timeout", .duration(shortest...longest), \.idleTimeout, default: "60s",
            "How long a kept connection may be idle."),
        Directive(
            "http2_ping_interval", .durationOrOff(.seconds(1)...longest), \.http2PingInterval, default: "30s",
            "An HTTP/2 connection from which nothing came for so long is asked (PING) whether it still lives."),
        Directive(
            "http2_ping_timeout", .duration(.milliseconds(100)...longest), \.http2PingTimeout, default: "10s",
            "How long the answer may take before the connection is given up."),
    ])

extension ValueType where Value == Snapshot.Upstream.ProtocolChoice {
    static var upstreamProtocol: Self {
        let words = choice([("auto", .automatic), ("http1", .http1), ("http2", .http2)])
        return Self(words.name, expected: words.expected, legal: words.legal) { node in
            // What ALPN calls them.
            let meant = ["h2": "http2", "http/1.1": "http1"]
            if case .string(let text, _) = node.kind, let word = meant[text] {
                return .mistakes([
                    Mistake(
                        node.position,
                        "must be \(words.expected), not \(node.found); did you mean \(quoted(word))?")
                ])
            }
            return words.read(node)
        }
    }
}

let routeDirectives = Directives<Snapshot.Route>(
    place: .route, list: matchDirectives + treatmentDirectives + routeLimitDirectives)

private let matchDirectives: [Directive<Snapshot.Route>] = [
    Directive(
        "path", .pathPattern, \.path, isRequired: true,
        "The request's path: exactly this, or with `/*` at its end everything below."),
    Directive("host", .hostName, \.host, "Only requests for this host, whatever the port."),
    Directive("methods", .list(of: .method, mayBeEmpty: false), \.methods, "Only requests with these methods."),
    Directive(
        "allow_from", .list(of: .network), \.allowFrom,
        "The callers that may use the route, by address; without it, all who reach the listener."),
]

private let treatmentDirectives: [Directive<Snapshot.Route>] = [
    Directive("upstream", .string(), \.upstream, isRequired: true, "Where requests go."),
    Directive("grant", .string(), \.grant, "Whose token they carry; without it, none."),
    Directive(
        "grant_template", .string(), \.grantTemplate, "Instead of grant: the template whose grants requests carry."),
    Directive(
        "grant_from", .grantKeySource, \.grantFrom,
        "Which of them: `header:NAME`, `path:N` (a segment, from 1), `caller` or `name:NAME`."),
    Directive(
        "remove_grant_header", .boolean, \.removeGrantHeader, default: true,
        "Keep the field of `header:NAME` from the upstream."),
    Directive(
        "strip_grant_segment", .boolean, \.stripGrantSegment, default: false,
        "Take the segment of `path:N` out of the path, too."),
    Directive("strip_prefix", .stripPrefix, \.stripPrefix, "Taken off the front of the path."),
    Directive(
        "forward_authorization", .boolean, \.forwardAuthorization, default: false,
        "Let the caller's own Authorization through; only without a grant that uses this field."),
    Directive("forward_cookies", .boolean, \.forwardCookies, default: false, "Let the caller's Cookie through."),
    Directive(
        "forwarded", .choice, \.forwarded, default: "off",
        "Tell the upstream about the caller: `X-Forwarded-*` or `Forwarded` (RFC 7239); what callers say is dropped."),
    Directive("via", .boolean, \.via, default: true, "Add `Via` (RFC 9110 section 7.6.3)."),
    Directive(
        "allow_upgrade", .list(of: .choice([("websocket", "websocket")])), default: .none,
        "Protocols that callers may upgrade to; only `websocket`."
    ) { $0.allowWebSocket = $1.contains("websocket") },
    Directive(
        "retry_statuses", .list(of: .integer(400...599)), \.retryStatuses, default: [401],
        "Answers that mean that the token was not accepted: refresh and send once more."),
]

private let routeLimitDirectives: [Directive<Snapshot.Route>] = [
    Directive(
        "retry_body_limit", .size(0...1 << 30), \.retryBodyLimit, default: "256KiB",
        "Request bodies up to this size are kept so that they can be sent again."),
    Directive(
        "request_body_limit", .sizeOrUnlimited(1...1 << 40), \.requestBodyLimit, default: 0,
        "The largest request body."),
    Directive(
        "response_body_limit", .sizeOrUnlimited(1...1 << 40), \.responseBodyLimit, default: 0,
        "The largest response body."),
    Directive(
        "timeout", .durationOrOff(.milliseconds(1)...year, zero: "no limit"), \.timeout, default: "1h",
        "For the whole exchange, waiting and retry included; an upgraded connection is not counted."),
]

extension ValueType where Value == String {
    static var stripPrefix: Self {
        string("path", expected: "the front of a path such as \"/crm\", without \"/\" at its end") {
            $0.hasPrefix("/") && !$0.hasSuffix("/") && PathText.isPlain($0)
                && $0.utf8.allSatisfy(PathText.isUnescaped)
        }
    }
}

extension ValueType where Value == Snapshot.URLTemplate {
    static var upstreamURL: Self {
        ValueType<String>.string("url", expected: "an absolute URL such as \"https://api.example.com\", without query")
            .map { text in TemplateText.url(text).flatMap { $0.sample.query == nil ? $0 : nil } }
    }
}

extension ValueType where Value == Snapshot.GrantKeySource {
    static var grantKeySource: Self {
        ValueType<String>.string(
            "source", expected: #""header:NAME", "path:N" with N from 1 to 32, "caller" or "name:NAME""#
        )
        .map { text in
            let parts = text.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
            switch (parts[0], parts.count == 2 ? parts[1] : nil) {
            case ("caller", nil): return .caller
            case ("header", let name?) where isFieldName(name) && !reservedFields.contains(name.lowercased()):
                return .header(name.lowercased())
            case ("path", let number?):
                guard number.utf8.allSatisfy(\.isDigit), let segment = Int(number), (1...32).contains(segment) else {
                    return nil
                }
                return .path(segment)
            case ("name", let name?) where Snapshot.isGrantKey(name): return .name(name)
            case _: return nil
            }
        }
    }
}
