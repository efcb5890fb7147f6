import COpenSSL

/// The asymmetric signature algorithms of JWS (RFC 7518 section 3.1, RFC 8037). `none` and the HS* family are not here:
/// what is verified with a public key can never be one of those.
package enum SignatureAlgorithm: String, Sendable, Hashable, CaseIterable {
    case rs256 = "RS256"
    case rs384 = "RS384"
    case rs512 = "RS512"
    case ps256 = "PS256"
    case ps384 = "PS384"
    case ps512 = "PS512"
    case es256 = "ES256"
    case es384 = "ES384"
    case es512 = "ES512"
    /// With Ed25519 keys.
    case edDSA = "EdDSA"

    var number: tg_algorithm {
        switch self {
        case .rs256: tg_rs256
        case .rs384: tg_rs384
        case .rs512: tg_rs512
        case .ps256: tg_ps256
        case .ps384: tg_ps384
        case .ps512: tg_ps512
        case .es256: tg_es256
        case .es384: tg_es384
        case .es512: tg_es512
        case .edDSA: tg_eddsa
        }
    }

    /// Whether a key of that kind makes and checks such signatures.
    package func suits(_ kind: KeyKind) -> Bool {
        switch self {
        case .rs256, .rs384, .rs512, .ps256, .ps384, .ps512: kind == .rsa
        case .es256: kind == .p256
        case .es384: kind == .p384
        case .es512: kind == .p521
        case .edDSA: kind == .ed25519
        }
    }
}

/// The kinds of keys that `SignatureAlgorithm` needs.
package enum KeyKind: Sendable, Hashable, CaseIterable {
    case rsa, p256, p384, p521, ed25519

    init?(_ number: tg_key_kind) {
        switch number {
        case tg_key_rsa: self = .rsa
        case tg_key_p256: self = .p256
        case tg_key_p384: self = .p384
        case tg_key_p521: self = .p521
        case tg_key_ed25519: self = .ed25519
        case _: return nil
        }
    }

    var number: tg_key_kind {
        switch self {
        case .rsa: tg_key_rsa
        case .p256: tg_key_p256
        case .p384: tg_key_p384
        case .p521: tg_key_p521
        case .ed25519: tg_key_ed25519
        }
    }

    /// The algorithm to sign with where none is named.
    package var usualAlgorithm: SignatureAlgorithm {
        switch self {
        case .rsa: .rs256
        case .p256: .es256
        case .p384: .es384
        case .p521: .es512
        case .ed25519: .edDSA
        }
    }
}

/// Why there is no key or no signature. Never has anything of a key in it.
package enum KeyError: Error, Sendable, Hashable, CustomStringConvertible {
    /// Not the octets of a private key of a known kind.
    case unreadable
    /// RSA with less than 2048 bits or more than 8192.
    case badSize
    /// The algorithm needs another kind of key.
    case unsuitable(SignatureAlgorithm)
    /// OpenSSL failed: memory is short.
    case library

    package var description: String {
        switch self {
        case .unreadable: "the private key cannot be read, or is of a kind that signatures of JWS do not use"
        case .badSize: "the RSA key must have between 2048 and 8192 bits"
        case .unsuitable(let algorithm): "the private key does not suit the algorithm \(algorithm.rawValue)"
        case .library: "OpenSSL could not use the private key"
        }
    }
}
