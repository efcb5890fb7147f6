package import OpenSSLKit

/// The private key that a grant's tokens are bound to (RFC 9449). It lives as long as the grant's tokens, in the same
/// sealed record; everywhere between it travels as `Secret(encoded())`, and only who signs reads it.
package struct ProofKey: Sendable, Equatable {
    /// The algorithms that a key of 32 octets serves.
    package static let algorithms: [SignatureAlgorithm] = [.es256, .edDSA]
    package static let seedBytes = 32

    package let algorithm: SignatureAlgorithm
    private let seed: SecretBytes
    let key: SigningKey

    /// nil: another algorithm than `algorithms`, or octets that are no key (for ES256 one seed in 2^32).
    package init?(algorithm: SignatureAlgorithm, seed: [UInt8]) {
        let kind: KeyKind
        switch algorithm {
        case .es256: kind = .p256
        case .edDSA: kind = .ed25519
        case .rs256, .rs384, .rs512, .ps256, .ps384, .ps512, .es384, .es512: return nil
        }
        let seed = SecretBytes(seed)
        guard let key = try? SigningKey(kind, seed: seed) else { return nil }
        self.algorithm = algorithm
        self.seed = seed
        self.key = key
    }

    /// A new key. `randomness` is 32 octets of the system's generator, used for nothing else.
    package static func make(_ algorithm: SignatureAlgorithm, randomness: [UInt8]) -> ProofKey? {
        // Octets that are out of range are stretched once: twice in a row does not happen.
        ProofKey(algorithm: algorithm, seed: randomness)
            ?? ProofKey(algorithm: algorithm, seed: Crypto.sha256(randomness))
    }

    /// What `dpop_jkt` carries and what the server binds tokens to (RFC 9449 sections 6.1 and 10).
    package var thumbprint: String { key.publicKey.thumbprint }

    package func encoded() -> String {
        "\(algorithm.rawValue).\(Crypto.base64URL(seed.exposed()))"
    }

    /// nil for what `encoded()` does not make.
    package init?(encoded: String) {
        let parts = encoded.split(separator: ".", omittingEmptySubsequences: false)
        guard parts.count == 2, let algorithm = SignatureAlgorithm(rawValue: String(parts[0])) else { return nil }
        guard let seed = Base64.urlDecode(String(parts[1])), seed.count == Self.seedBytes else { return nil }
        self.init(algorithm: algorithm, seed: seed)
    }
}

extension ProofKey: CustomStringConvertible, CustomDebugStringConvertible, CustomReflectable {
    package var description: String { "proof key \(thumbprint)" }
    package var debugDescription: String { description }
    package var customMirror: Mirror { Mirror(self, children: [:]) }
}
