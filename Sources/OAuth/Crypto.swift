import OpenSSLKit

/// The few primitives that this target needs, in one place.
enum Crypto {
    static func sha256(_ bytes: [UInt8]) -> [UInt8] {
        Digest.sha256(bytes)
    }

    /// RFC 4648 section 5 without padding.
    static func base64URL(_ bytes: [UInt8]) -> String {
        Base64.urlEncode(bytes)
    }

    /// RFC 4648 section 4 with padding.
    static func base64(_ bytes: [UInt8]) -> String {
        Base64.encode(bytes)
    }

    /// Compares in time that depends on the lengths only.
    static func constantTimeEquals(_ left: [UInt8], _ right: [UInt8]) -> Bool {
        OpenSSLKit.constantTimeEquals(left, right)
    }
}
