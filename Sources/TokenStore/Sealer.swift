import OpenSSLKit

/// Where a sealed value belongs. It is authenticated with the value, so that a value moved elsewhere does not open.
struct SealedPlace {
    let table: String
    let row: String
    /// The row's generation or time of expiry.
    let number: UInt64
}

/// A sealed value, and the key that opens it.
struct Sealed {
    let keyID: KeyID
    let bytes: [UInt8]
}

/// Seals and opens values with AES-256-GCM. The form is one version byte, a random nonce, ciphertext and tag; key id
/// and place are associated data. Random nonces are safe for 2^32 values of one key, which no store comes near.
struct Sealer: Sendable {
    private static let version: UInt8 = 1
    var ring: KeyRing

    func seal(_ plain: [UInt8], at place: SealedPlace) throws(StoreError) -> Sealed {
        try Self.seal(plain, with: ring.active, at: place)
    }

    static func seal(_ plain: [UInt8], with key: StoreKey, at place: SealedPlace) throws(StoreError) -> Sealed {
        do {
            let sealed = try AEAD.seal(plain, key: key.bytes, associatedData: associatedData(key.id, place))
            return Sealed(keyID: key.id, bytes: [version] + sealed)
        } catch {
            throw StoreError(.invalid, "the store could not seal a value (\(error))")
        }
    }

    /// Opens a value of a row that `what` names. Throws `unknownKey` when the key is not on the ring, and what `corrupt`
    /// makes when the value is not the one that was put there.
    func open(
        _ sealed: Sealed, at place: SealedPlace, in store: String, what: @autoclosure () -> String,
        corrupt: (String) -> StoreError
    ) throws(StoreError) -> [UInt8] {
        if let plain = open(sealed, at: place) { return plain }
        guard ring.key(sealed.keyID) == nil, sealed.keyID.isWellFormed else {
            throw corrupt("\(what()) does not open under its key")
        }
        throw StoreError(
            .unknownKey,
            "\(store): \(what()) is sealed under key \(sealed.keyID), which is not configured here (we have "
                + "\(ring.ids.map(\.text).joined(separator: ", "))). Configure it, as an older key if another is to "
                + "replace it")
    }

    /// `nil`: the bytes were damaged, moved or sealed under another key.
    func open(_ sealed: Sealed, at place: SealedPlace) -> [UInt8]? {
        guard let key = ring.key(sealed.keyID), sealed.bytes.first == Self.version else { return nil }
        return try? AEAD.open(
            Array(sealed.bytes.dropFirst()), key: key.bytes, associatedData: Self.associatedData(key.id, place))
    }

    /// Each part with its length in front, so that no two places have the same bytes.
    private static func associatedData(_ id: KeyID, _ place: SealedPlace) -> [UInt8] {
        var data = Array("token-gateway sealed value 1".utf8)
        for part in [id.text, place.table, place.row] {
            data += bigEndian(UInt64(part.utf8.count)) + part.utf8
        }
        return data + bigEndian(place.number)
    }

    private static func bigEndian(_ value: UInt64) -> [UInt8] {
        stride(from: 56, through: 0, by: -8).map { UInt8(truncatingIfNeeded: value >> UInt64($0)) }
    }
}
