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
        guard let base = name.baseAddress else { return .other }
        return unsafe find(base, name.count)
    }

    /// The names stand here again, as literals: their lengths and words are constants in the code then.
    static func find(_ base: UnsafeRawPointer, _ count: Int) -> FieldID {
        switch count {
        case 2:
            if unsafe isName(base, "te") { return .te }
        case 3:
            if unsafe isName(base, "via") { return .via }
        case 4:
            if unsafe isName(base, "date") { return .date }
            if unsafe isName(base, "host") { return .host }
        case 6:
            if unsafe isName(base, "cookie") { return .cookie }
            if unsafe isName(base, "expect") { return .expect }
            if unsafe isName(base, "server") { return .server }
        case 7:
            if unsafe isName(base, "trailer") { return .trailer }
            if unsafe isName(base, "upgrade") { return .upgrade }
        case 8:
            if unsafe isName(base, "location") { return .location }
        case 9:
            if unsafe isName(base, "forwarded") { return .forwarded }
        case 10:
            if unsafe isName(base, "connection") { return .connection }
            if unsafe isName(base, "keep-alive") { return .keepAlive }
            if unsafe isName(base, "set-cookie") { return .setCookie }
        case 11:
            if unsafe isName(base, "retry-after") { return .retryAfter }
        case 12:
            if unsafe isName(base, "content-type") { return .contentType }
            if unsafe isName(base, "max-forwards") { return .maxForwards }
            if unsafe isName(base, "x-request-id") { return .xRequestID }
        case 13:
            if unsafe isName(base, "authorization") { return .authorization }
        case 14:
            if unsafe isName(base, "content-length") { return .contentLength }
        case 15:
            if unsafe isName(base, "x-forwarded-for") { return .xForwardedFor }
        case 16:
            if unsafe isName(base, "x-forwarded-host") { return .xForwardedHost }
            if unsafe isName(base, "x-forwarded-port") { return .xForwardedPort }
            if unsafe isName(base, "proxy-connection") { return .proxyConnection }
            if unsafe isName(base, "www-authenticate") { return .wwwAuthenticate }
        case 17:
            if unsafe isName(base, "sec-websocket-key") { return .secWebSocketKey }
            if unsafe isName(base, "transfer-encoding") { return .transferEncoding }
            if unsafe isName(base, "x-forwarded-proto") { return .xForwardedProto }
        case 18:
            if unsafe isName(base, "proxy-authenticate") { return .proxyAuthenticate }
        case 19:
            if unsafe isName(base, "proxy-authorization") { return .proxyAuthorization }
            if unsafe isName(base, "token-gateway-error") { return .tokenGatewayError }
        case 25:
            if unsafe isName(base, "proxy-authentication-info") { return .proxyAuthenticationInfo }
        default:
            break
        }
        return .other
    }

    /// Compares octets of a token with a name of letters and `-` of the same length: setting bit 5 folds the case of
    /// letters, leaves `-` alone, and makes neither of any other token character. A word at a time, the last one
    /// overlapping the one before it.
    @inline(__always)
    private static func isName(_ base: UnsafeRawPointer, _ name: StaticString) -> Bool {
        let count = name.utf8CodeUnitCount
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
