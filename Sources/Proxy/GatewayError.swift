/// Every way in which the gateway itself ends an exchange.
///
/// One table maps a kind to status, fault, label and words, so that the answer, the log and the metrics never disagree.
package enum GatewayError: UInt8, Error, Sendable, CaseIterable {
    case malformedRequest, requestTimeout, bodyTooLarge, targetTooLong, headersTooLarge, versionNotSupported
    case notImplemented, expectationFailed
    case callerDenied, noRoute, grantNotNamed, unknownGrant
    case upstreamUnreachable, upstreamTLS, upstreamProtocol, upstreamTimeout, upstreamNotNamed
    case notConnected, reauthorizationRequired, tokenUnavailable, configurationError, overloaded, draining
    case internalError

    package enum Fault: Sendable { case caller, upstream, provider, gateway }

    /// The stable code: body member, header value and metric label.
    package var code: StaticString {
        switch self {
        case .malformedRequest: "malformed_request"
        case .requestTimeout: "request_timeout"
        case .bodyTooLarge: "body_too_large"
        case .targetTooLong: "target_too_long"
        case .headersTooLarge: "headers_too_large"
        case .versionNotSupported: "version_not_supported"
        case .notImplemented: "not_implemented"
        case .expectationFailed: "expectation_failed"
        case .callerDenied: "caller_denied"
        case .noRoute: "no_route"
        case .grantNotNamed: "grant_not_named"
        case .unknownGrant: "unknown_grant"
        case .upstreamUnreachable: "upstream_unreachable"
        case .upstreamTLS: "upstream_tls"
        case .upstreamProtocol: "upstream_protocol"
        case .upstreamTimeout: "upstream_timeout"
        case .upstreamNotNamed: "upstream_not_named"
        case .notConnected: "not_connected"
        case .reauthorizationRequired: "reauthorization_required"
        case .tokenUnavailable: "token_unavailable"
        case .configurationError: "configuration_error"
        case .overloaded: "overloaded"
        case .draining: "draining"
        case .internalError: "internal_error"
        }
    }

    package var status: UInt16 {
        switch self {
        case .malformedRequest, .grantNotNamed: 400
        case .requestTimeout: 408
        case .bodyTooLarge: 413
        case .targetTooLong: 414
        case .expectationFailed: 417
        case .headersTooLarge: 431
        case .notImplemented: 501
        case .versionNotSupported: 505
        case .callerDenied: 403
        case .noRoute, .unknownGrant: 404
        case .upstreamUnreachable, .upstreamTLS, .upstreamProtocol, .upstreamNotNamed: 502
        case .upstreamTimeout: 504
        case .notConnected, .reauthorizationRequired, .tokenUnavailable, .configurationError, .overloaded, .draining:
            503
        case .internalError: 500
        }
    }

    /// One sentence for whoever reads the answer; it names no internals.
    package var detail: StaticString {
        switch self {
        case .malformedRequest: "The request is not valid HTTP."
        case .requestTimeout: "The request did not arrive in time."
        case .bodyTooLarge: "The content is larger than this route allows."
        case .targetTooLong: "The request target is too long."
        case .headersTooLarge: "The header section is too large."
        case .versionNotSupported: "Only HTTP/1.0, HTTP/1.1 and HTTP/2 are spoken here."
        case .notImplemented: "The transfer coding or method is not supported."
        case .expectationFailed: "The only expectation that can be met is 100-continue."
        case .callerDenied: "This caller may not use this route."
        case .noRoute: "No route covers this request."
        case .grantNotNamed: "The request does not name its grant as this route wants it."
        case .unknownGrant: "There is no grant of the name that the request gives."
        case .upstreamUnreachable: "No connection to the upstream could be made."
        case .upstreamTLS: "The upstream's TLS connection could not be trusted or set up."
        case .upstreamProtocol: "The upstream's answer was broken."
        case .upstreamTimeout: "The upstream did not answer in time."
        case .upstreamNotNamed: "The grant does not lead to a host that this upstream allows."
        case .notConnected: "The grant of this route is not connected: an operator must give consent."
        case .reauthorizationRequired: "The grant of this route has ended: an operator must give consent again."
        case .tokenUnavailable: "No valid access token is to be had at the moment; try again later."
        case .configurationError: "The provider refused the gateway's own credentials: an operator must correct them."
        case .overloaded: "The gateway is at its limit; try again later."
        case .draining: "The gateway is shutting down; try again."
        case .internalError: "The gateway failed."
        }
    }

    package var fault: Fault {
        switch self {
        case .malformedRequest, .requestTimeout, .bodyTooLarge, .targetTooLong, .headersTooLarge, .versionNotSupported,
            .notImplemented, .expectationFailed, .callerDenied, .noRoute, .grantNotNamed, .unknownGrant:
            .caller
        case .upstreamUnreachable, .upstreamTLS, .upstreamProtocol, .upstreamTimeout, .upstreamNotNamed: .upstream
        case .notConnected, .reauthorizationRequired, .tokenUnavailable: .provider
        case .configurationError, .overloaded, .draining, .internalError: .gateway
        }
    }

    /// Whether the same request may succeed later without anybody doing anything.
    package var isRetryable: Bool {
        switch self {
        case .requestTimeout, .upstreamUnreachable, .upstreamTimeout, .tokenUnavailable, .overloaded, .draining: true
        case .malformedRequest, .bodyTooLarge, .targetTooLong, .headersTooLarge, .versionNotSupported, .notImplemented,
            .expectationFailed, .callerDenied, .noRoute, .grantNotNamed, .unknownGrant, .upstreamTLS, .upstreamProtocol,
            .upstreamNotNamed, .notConnected, .reauthorizationRequired, .configurationError, .internalError:
            false
        }
    }

    /// Whether the caller's connection must not be used again: what follows on it cannot be trusted or is not wanted.
    package var closesCaller: Bool {
        switch self {
        case .malformedRequest, .requestTimeout, .bodyTooLarge, .targetTooLong, .headersTooLarge, .versionNotSupported,
            .notImplemented, .draining, .internalError:
            true
        case .expectationFailed, .callerDenied, .noRoute, .grantNotNamed, .unknownGrant, .upstreamUnreachable,
            .upstreamTLS, .upstreamProtocol, .upstreamTimeout, .upstreamNotNamed, .notConnected,
            .reauthorizationRequired, .tokenUnavailable, .configurationError,
            .overloaded:
            false
        }
    }

    /// Whether the answer says which grant it is about.
    package var concernsGrant: Bool {
        switch self {
        case .unknownGrant, .upstreamNotNamed, .notConnected, .reauthorizationRequired, .tokenUnavailable,
            .configurationError:
            true
        case .malformedRequest, .requestTimeout, .bodyTooLarge, .targetTooLong, .headersTooLarge, .versionNotSupported,
            .notImplemented, .expectationFailed, .callerDenied, .noRoute, .grantNotNamed, .upstreamUnreachable,
            .upstreamTLS, .upstreamProtocol, .upstreamTimeout, .overloaded, .draining, .internalError:
            false
        }
    }
}
