/// The field names that the gateway knows by number. Any other name is ``other`` and is kept as it came.
@usableFromInline
package enum FieldID: UInt8, Sendable, CaseIterable {
    case other
    case authorization, connection, contentLength, contentType, cookie, date, expect, forwarded, host, keepAlive
    case location, maxForwards, proxyAuthenticate, proxyAuthenticationInfo, proxyAuthorization, proxyConnection
    case retryAfter, secWebSocketKey, server, setCookie, te, trailer, transferEncoding, upgrade, via, wwwAuthenticate
    case xForwardedFor, xForwardedHost, xForwardedPort, xForwardedProto, xRequestID, tokenGatewayError

    // The one that is derived from the raw values is a call through a table from the other modules.
    @inlinable
    package static func == (one: FieldID, other: FieldID) -> Bool {
        unsafe unsafeBitCast(one, to: UInt8.self) == unsafeBitCast(other, to: UInt8.self)
    }

    /// The name in lower case.
    package var name: StaticString { text }

    /// Inlined, so that ``find(_:)`` compares with constants.
    @inline(__always)
    private var text: StaticString {
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
        if unsafe isName(name, one.text) { return one }
        if two != .other, unsafe isName(name, two.text) { return two }
        if three != .other, unsafe isName(name, three.text) { return three }
        if four != .other, unsafe isName(name, four.text) { return four }
        return .other
    }

    /// Compares octets of a token with a name of letters and `-` of the same length: setting bit 5 folds the case of
    /// letters, leaves `-` alone, and makes neither of any other token character. A word at a time, the last one
    /// overlapping the one before it; the name's words and its length are constants.
    @inline(__always)
    private static func isName(_ bytes: UnsafeRawBufferPointer, _ name: StaticString) -> Bool {
        let count = name.utf8CodeUnitCount
        guard bytes.count == count, let base = bytes.baseAddress else { return false }
        let other = unsafe UnsafeRawPointer(name.utf8Start)
        if count >= 8 {
            if unsafe folded(base, count - 8, UInt64.self) != folded(other, count - 8, UInt64.self) { return false }
            if count > 24, unsafe folded(base, 16, UInt64.self) != folded(other, 16, UInt64.self) { return false }
            if count > 16, unsafe folded(base, 8, UInt64.self) != folded(other, 8, UInt64.self) { return false }
            return unsafe count == 8 || folded(base, 0, UInt64.self) == folded(other, 0, UInt64.self)
        }
        if count >= 4 {
            if unsafe folded(base, count - 4, UInt32.self) != folded(other, count - 4, UInt32.self) { return false }
            return unsafe count == 4 || folded(base, 0, UInt32.self) == folded(other, 0, UInt32.self)
        }
        if unsafe folded(base, count - 2, UInt16.self) != folded(other, count - 2, UInt16.self) { return false }
        return unsafe count == 2 || folded(base, 0, UInt16.self) == folded(other, 0, UInt16.self)
    }

    @inline(__always)
    private static func folded<Word: FixedWidthInteger & BitwiseCopyable>(
        _ bytes: UnsafeRawPointer, _ offset: Int, _: Word.Type
    ) -> Word {
        // 0x20 in each octet.
        unsafe bytes.loadUnaligned(fromByteOffset: offset, as: Word.self) | (Word.max / 0xFF &* 0x20)
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
