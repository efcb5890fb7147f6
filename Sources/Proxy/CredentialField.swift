internal import HTTP

/// A field that goes upstream beside the credential, such as `Notion-Version`; it replaces the caller's of that name.
package struct CredentialField: Sendable, Equatable {
    /// In lower case.
    package let name: [UInt8]
    package let value: [UInt8]
    /// The whole line for HTTP/1.
    let line: [UInt8]

    /// Nil where this is no field, or one whose meaning is not the provider's to set: framing, routing, hop by hop.
    package init?(name: String, value: String) {
        let lowered = Array(name.lowercased().utf8)
        let octets = Array(value.utf8)
        guard lowered.withUnsafeBytes({ Octet.isToken($0) && Self.isFree(FieldID.find($0)) }),
            octets.withUnsafeBytes({ Octet.isFieldValue($0) })
        else { return nil }
        self.name = lowered
        self.value = octets
        line = Array(name.utf8) + [0x3A, 0x20] + octets + [0x0D, 0x0A]
    }

    private static func isFree(_ id: FieldID) -> Bool {
        switch id {
        case .other, .contentType, .cookie, .date, .xRequestID: true
        case .authorization, .connection, .contentLength, .expect, .forwarded, .host, .keepAlive, .location,
            .maxForwards, .proxyAuthenticate, .proxyAuthenticationInfo, .proxyAuthorization, .proxyConnection,
            .retryAfter, .secWebSocketKey, .server, .setCookie, .te, .trailer, .transferEncoding, .upgrade, .via,
            .wwwAuthenticate, .xForwardedFor, .xForwardedHost, .xForwardedPort, .xForwardedProto, .tokenGatewayError:
            false
        }
    }
}
