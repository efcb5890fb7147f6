import COpenSSL

/// A public key by its numbers, as JSON Web Keys have them (RFC 7518 section 6, RFC 8037 section 2): checked when it is
/// made, and then a value that any thread may use.
package enum PublicKey: Sendable, Hashable {
    /// Big-endian, without leading zeros.
    case rsa(modulus: [UInt8], exponent: [UInt8])
    /// Big-endian, as wide as the curve.
    case elliptic(KeyKind, x: [UInt8], y: [UInt8])
    case ed25519([UInt8])

    package static let rsaBits = 2048...8192

    package var kind: KeyKind {
        switch self {
        case .rsa: .rsa
        case .elliptic(let kind, _, _): kind
        case .ed25519: .ed25519
        }
    }

    /// From the numbers that a peer sent. nil: too small, too large, or not a key at all.
    package init?(modulus: [UInt8], exponent: [UInt8]) {
        let modulus = Array(modulus.drop { $0 == 0 })
        let exponent = Array(exponent.drop { $0 == 0 })
        guard let first = modulus.first, exponent.count <= 8 else { return nil }
        let bits = modulus.count * 8 - first.leadingZeroBitCount
        guard Self.rsaBits.contains(bits) else { return nil }
        self.init(checked: .rsa(modulus: modulus, exponent: exponent))
    }

    /// From the numbers that a peer sent. nil: of another width, or not on the curve.
    package init?(curve: KeyKind, x: [UInt8], y: [UInt8]) {
        let width: Int
        switch curve {
        case .p256: width = 32
        case .p384: width = 48
        case .p521: width = 66
        case .rsa, .ed25519: return nil
        }
        guard x.count == width, y.count == width else { return nil }
        self.init(checked: .elliptic(curve, x: x, y: y))
    }

    /// From what a peer sent. nil: not 32 octets.
    package init?(ed25519 octets: [UInt8]) {
        guard octets.count == 32 else { return nil }
        self.init(checked: .ed25519(octets))
    }

    private init?(checked key: PublicKey) {
        guard key.loaded() != nil else { return nil }
        self = key
    }

    init?(of key: PrivateKey) {
        guard let kind = unsafe KeyKind(tg_key_kind_of(key.pointer)) else { return nil }
        func number(_ part: tg_key_part) -> [UInt8] {
            unsafe [UInt8](unsafeUninitializedCapacity: 1100) { octets, count in
                count = unsafe tg_key_number(key.pointer, part, octets.baseAddress, octets.count)
            }
        }
        switch kind {
        case .rsa: self = .rsa(modulus: number(tg_part_n), exponent: number(tg_part_e))
        case .p256, .p384, .p521: self = .elliptic(kind, x: number(tg_part_x), y: number(tg_part_y))
        case .ed25519: self = .ed25519(number(tg_part_x))
        }
        guard loaded() != nil else { return nil }
    }

    private func loaded() -> PrivateKey? {
        defer { ERR_clear_error() }
        let pointer =
            switch self {
            case .rsa(let modulus, let exponent):
                unsafe tg_key_from_rsa(modulus, modulus.count, exponent, exponent.count)
            case .elliptic(let kind, let x, let y): unsafe tg_key_from_coordinates(kind.number, x, y)
            case .ed25519(let octets): unsafe EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, nil, octets, octets.count)
            }
        guard let pointer = unsafe pointer else { return nil }
        return unsafe PrivateKey(owning: pointer)
    }

    /// True only for the signature of exactly this message by this key and algorithm.
    package func isValid(_ signature: [UInt8], of message: [UInt8], algorithm: SignatureAlgorithm) -> Bool {
        guard algorithm.suits(kind), let key = loaded() else { return false }
        defer { ERR_clear_error() }
        return unsafe tg_key_verify(
            key.pointer, algorithm.number, message, message.count, signature, signature.count)
    }
}

extension PublicKey {
    /// The JSON Web Key with the required members only, in the order of their names and without white space: what
    /// RFC 7638 hashes, and what goes into the header of a DPoP proof (RFC 9449 section 4.2).
    package var jwk: String {
        switch self {
        case .rsa(let modulus, let exponent):
            #"{"e":"\#(Base64.urlEncode(exponent))","kty":"RSA","n":"\#(Base64.urlEncode(modulus))"}"#
        case .elliptic(let kind, let x, let y):
            #"{"crv":"\#(kind.curve)","kty":"EC","x":"\#(Base64.urlEncode(x))","y":"\#(Base64.urlEncode(y))"}"#
        case .ed25519(let octets): #"{"crv":"Ed25519","kty":"OKP","x":"\#(Base64.urlEncode(octets))"}"#
        }
    }

    /// SHA-256 of `jwk`, in base64url (RFC 7638 section 3).
    package var thumbprint: String { Base64.urlEncode(Digest.sha256(jwk.utf8)) }
}

extension KeyKind {
    /// As "crv" of a JSON Web Key.
    fileprivate var curve: String {
        switch self {
        case .p256: "P-256"
        case .p384: "P-384"
        case .p521: "P-521"
        case .ed25519: "Ed25519"
        case .rsa: "none"
        }
    }
}
