/// Takes secrets out of what is about to be shown.
package enum Redactor {
    /// What stands in a secret's place.
    package static let mask = "[redacted]"

    /// How much of a request target may be logged: all before the query or the fragment.
    package static func pathLength(of target: Span<UInt8>) -> Int {
        var index = 0
        while index < target.count, target[index] != UInt8(ascii: "?"), target[index] != UInt8(ascii: "#") {
            index += 1
        }
        return index
    }

    /// A request target without its query and fragment.
    package static func withoutQuery(_ target: String) -> String {
        var bytes = Array(target.utf8)
        let length = pathLength(of: bytes.span)
        bytes.removeSubrange(length...)
        return String(decoding: bytes, as: UTF8.self)
    }

    /// Whether a field's value is a credential, or may hold one. Names are compared without regard to case.
    ///
    /// Besides the known names, any name that ends in `-token`, `-key`, `-secret`, `-authorization` or `-signature`
    /// counts, since providers invent their own (`X-Shopify-Access-Token`).
    package static func isSensitive(field name: String) -> Bool {
        let lower = name.lowercased()
        return sensitiveFields.contains(lower) || sensitiveEndings.contains { lower.hasSuffix($0) }
    }

    /// A field's value for showing. Where the value has an authentication scheme the scheme stays: `Bearer [redacted]`.
    package static func value(ofField name: String, _ value: String) -> String {
        guard isSensitive(field: name) else { return masking(urlIn: value, field: name) }
        guard name.lowercased().hasSuffix("authorization"), let space = value.utf8.firstIndex(of: UInt8(ascii: " ")),
            value[..<space].utf8.allSatisfy(isSchemeByte)
        else { return mask }
        return "\(value[..<space]) \(mask)"
    }

    private static let sensitiveFields: Set<String> = [
        "authorization", "proxy-authorization", "cookie", "set-cookie", "dpop", "www-authenticate",
        "proxy-authenticate", "authentication-info", "proxy-authentication-info", "x-api-key", "api-key", "apikey",
        "x-auth-token", "token", "secret", "sec-websocket-key", "sec-websocket-protocol",
    ]
    private static let sensitiveEndings = [
        "-token", "-key", "-secret", "-authorization", "-signature", "-password", "-credential", "-credentials",
    ]

    /// Fields whose value is a URL lose its query: a callback's `Referer` holds the code.
    private static func masking(urlIn value: String, field name: String) -> String {
        switch name.lowercased() {
        case "referer", "location", "content-location", "x-original-url", "x-rewrite-url", "link": withoutQuery(value)
        default: value
        }
    }

    private static func isSchemeByte(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
            UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"):
            true
        default: false
        }
    }
}
