/// The field names that the gateway knows by number. Any other name is ``other`` and is kept as it came.
package enum FieldID: UInt8, Sendable, CaseIterable {
    case other
    case authorization, connection, contentLength, contentType, cookie, date, expect, forwarded, host, keepAlive
    case location, maxForwards, proxyAuthenticate, proxyAuthenticationInfo, proxyAuthorization, proxyConnection
    case retryAfter, secWebSocketKey, server, setCookie, te, trailer, transferEncoding, upgrade, via, wwwAuthenticate
    case xForwardedFor, xForwardedHost, xForwardedPort, xForwardedProto, xRequestID, tokenGatewayError

    /// The name in lower case.
    package var name: StaticString {
        switch self {
        case .other: ""
        case .authorization: "authorization"
        case .connection: "connection"
        case .contentLength: "content-length"
        case .contentType: "content-type"
        case .cookie: "cookie"
        case .date: "date"
        case .expect: "expect"
        case .forwarded: "forwarded"
        case .host: "host"
        case .keepAlive: "keep-alive"
        case .location: "location"
        case .maxForwards: "max-forwards"
        case .proxyAuthenticate: "proxy-authenticate"
        case .proxyAuthenticationInfo: "proxy-authentication-info"
        case .proxyAuthorization: "proxy-authorization"
        case .proxyConnection: "proxy-connection"
        case .retryAfter: "retry-after"
        case .secWebSocketKey: "sec-websocket-key"
        case .server: "server"
        case .setCookie: "set-cookie"
        case .te: "te"
        case .trailer: "trailer"
        case .transferEncoding: "transfer-encoding"
        case .upgrade: "upgrade"
        case .via: "via"
        case .wwwAuthenticate: "www-authenticate"
        case .xForwardedFor: "x-forwarded-for"
        case .xForwardedHost: "x-forwarded-host"
        case .xForwardedPort: "x-forwarded-port"
        case .xForwardedProto: "x-forwarded-proto"
        case .xRequestID: "x-request-id"
        case .tokenGatewayError: "token-gateway-error"
        }
    }

    /// Finds the number of a name, in any case; names with unknown spelling are ``other``.
    package static func find(_ name: UnsafeRawBufferPointer) -> FieldID {
        switch name.count {
        case 2: unsafe first(name, .te)
        case 3: unsafe first(name, .via)
        case 4: unsafe first(name, .host, .date)
        case 6: unsafe first(name, .cookie, .expect, .server)
        case 7: unsafe first(name, .upgrade, .trailer)
        case 8: unsafe first(name, .location)
        case 9: unsafe first(name, .forwarded)
        case 10: unsafe first(name, .connection, .keepAlive, .setCookie)
        case 11: unsafe first(name, .retryAfter)
        case 12: unsafe first(name, .contentType, .maxForwards, .xRequestID)
        case 13: unsafe first(name, .authorization)
        case 14: unsafe first(name, .contentLength)
        case 15: unsafe first(name, .xForwardedFor)
        case 16: unsafe first(name, .proxyConnection, .wwwAuthenticate, .xForwardedHost, .xForwardedPort)
        case 17: unsafe first(name, .transferEncoding, .xForwardedProto, .secWebSocketKey)
        case 18: unsafe first(name, .proxyAuthenticate)
        case 19: unsafe first(name, .proxyAuthorization, .tokenGatewayError)
        case 25: unsafe first(name, .proxyAuthenticationInfo)
        default: .other
        }
    }

    @inline(__always)
    private static func first(
        _ name: UnsafeRawBufferPointer, _ one: FieldID, _ two: FieldID = .other, _ three: FieldID = .other,
        _ four: FieldID = .other
    ) -> FieldID {
        // Fixed parameters: a variadic list would be an array on the heap for every field.
        if unsafe isName(name, one.name) { return one }
        if two != .other, unsafe isName(name, two.name) { return two }
        if three != .other, unsafe isName(name, three.name) { return three }
        if four != .other, unsafe isName(name, four.name) { return four }
        return .other
    }

    /// Compares octets of a token with a name of letters and `-` of the same length: setting bit 5 folds the case of
    /// letters, leaves `-` alone, and makes neither of any other token character.
    @inline(__always)
    private static func isName(_ bytes: UnsafeRawBufferPointer, _ name: StaticString) -> Bool {
        let other = unsafe name.utf8Start
        let count = name.utf8CodeUnitCount
        guard bytes.count == count, unsafe bytes[count - 1] | 0x20 == other[count - 1] else { return false }
        var difference: UInt8 = 0
        for index in 0..<count {
            unsafe difference |= (bytes[index] | 0x20) ^ other[index]
        }
        return difference == 0
    }

    /// Fields that concern one connection only and are never forwarded as received (RFC 9110 7.6.1, 11.7).
    package var isHopByHop: Bool {
        switch self {
        case .connection, .keepAlive, .proxyAuthenticate, .proxyAuthenticationInfo, .proxyAuthorization,
            .proxyConnection, .te, .trailer, .transferEncoding, .upgrade:
            true
        case .other, .authorization, .contentLength, .contentType, .cookie, .date, .expect, .forwarded, .host,
            .location, .maxForwards, .retryAfter, .secWebSocketKey, .server, .setCookie, .via, .wwwAuthenticate,
            .xForwardedFor, .xForwardedHost, .xForwardedPort, .xForwardedProto, .xRequestID, .tokenGatewayError:
            false
        }
    }

    /// Fields whose name with `_` for `-` must not slip through: servers behind CGI-like interfaces fold the two.
    package var isSensitiveWhenFolded: Bool {
        switch self {
        case .authorization, .connection, .contentLength, .cookie, .expect, .forwarded, .host, .keepAlive,
            .maxForwards, .proxyAuthorization, .proxyConnection, .te, .trailer, .transferEncoding, .upgrade, .via,
            .xForwardedFor, .xForwardedHost, .xForwardedPort, .xForwardedProto, .xRequestID:
            true
        case .other, .contentType, .date, .location, .proxyAuthenticate, .proxyAuthenticationInfo, .retryAfter,
            .secWebSocketKey, .server, .setCookie, .wwwAuthenticate, .tokenGatewayError:
            false
        }
    }
}
