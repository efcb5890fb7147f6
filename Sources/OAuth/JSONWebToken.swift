package import OpenSSLKit

/// Compact JSON Web Signatures (RFC 7515 section 7.1), built with their members in the order given.
package enum JSONWebToken {
    package typealias Members = [(name: String, value: JSONValue)]

    /// "alg" comes first in the header; the rest of it as given.
    package static func signed(
        header: Members = [], claims: Members, key: SigningKey, algorithm: SignatureAlgorithm
    ) throws(KeyError) -> String {
        let input = input(algorithm: algorithm.rawValue, header: header, claims: claims)
        return input + "." + Crypto.base64URL(try key.signature(of: Array(input.utf8), algorithm: algorithm))
    }

    /// HS256 (RFC 7518 section 3.2): for client_secret_jwt only.
    static func signed(header: Members = [], claims: Members, secret: Secret) -> String {
        let input = input(algorithm: "HS256", header: header, claims: claims)
        return input + "." + Crypto.base64URL(Digest.hmacSHA256(key: secret.bytes, message: Array(input.utf8)))
    }

    private static func input(algorithm: String, header: Members, claims: Members) -> String {
        let header = encoded([("alg", .string(algorithm))] + header)
        return Crypto.base64URL(header) + "." + Crypto.base64URL(encoded(claims))
    }

    /// One object, members in their order and each once.
    static func encoded(_ members: Members) -> [UInt8] {
        var output: [UInt8] = [UInt8(ascii: "{")]
        for (index, member) in members.enumerated() {
            if index > 0 { output.append(UInt8(ascii: ",")) }
            output += JSONValue.string(member.name).encoded()
            output.append(UInt8(ascii: ":"))
            output += member.value.encoded()
        }
        output.append(UInt8(ascii: "}"))
        return output
    }
}

/// A compact JWS that a peer sent, taken apart. Nothing of it is to be believed before `isSigned` said so.
struct ReceivedToken: Sendable {
    static let limitBytes = 64 * 1024

    /// "alg" of the header, whatever it is.
    let algorithm: String
    let keyID: String?
    let claims: JSONValue
    private let input: [UInt8]
    private let signature: [UInt8]

    /// nil: not three parts of base64url around two JSON objects, longer than the limit, or with header parameters that
    /// must be understood ("crit", RFC 7515 section 4.1.11): we understand none.
    init?(_ text: Secret) {
        let bytes = text.bytes
        guard bytes.count <= Self.limitBytes else { return nil }
        let parts = bytes.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false)
        guard parts.count == 3 else { return nil }
        let decoded = parts.compactMap { Base64.urlDecode(String(decoding: $0, as: UTF8.self)) }
        guard decoded.count == 3, let header = JSONValue(decoded[0]), let claims = JSONValue(decoded[1]) else {
            return nil
        }
        guard case .object = claims, let algorithm = header["alg"]?.text, header["crit"] == nil else { return nil }
        self.algorithm = algorithm
        keyID = header["kid"]?.text
        self.claims = claims
        input = Array(bytes[..<parts[1].endIndex])
        signature = decoded[2]
    }

    func isSigned(by key: PublicKey, algorithm: SignatureAlgorithm) -> Bool {
        key.isValid(signature, of: input, algorithm: algorithm)
    }
}
