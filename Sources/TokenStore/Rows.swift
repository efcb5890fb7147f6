import OpenSSLKit

/// A row of grants, opened.
struct GrantRow {
    let generation: UInt64
    /// `nil`: the grant was removed.
    let payload: [UInt8]?
    /// When it wants to be looked at, in milliseconds since 1970. Not authenticated: it only tells when to look.
    let dueAt: Int64?
    /// One word, as little authenticated.
    var state: String?

    var record: StoredRecord? {
        payload.map { StoredRecord(generation: generation, payload: $0) }
    }

    /// The generation after this one; `nil`: there is none that both stores can hold.
    var nextGeneration: UInt64? { generation < UInt64(Int64.max) ? generation + 1 : nil }
}

/// A row of pending consents, opened.
struct ConsentRow {
    let expiresAt: Int64
    let payload: [UInt8]
}

extension SealedPlace {
    /// A removed grant's row is sealed as such, so that it cannot be turned into a live one.
    static func grant(_ grant: String, _ generation: UInt64, live: Bool) -> SealedPlace {
        SealedPlace(table: live ? "grant" : "removed grant", row: grant, number: generation)
    }

    static func consent(_ digest: String, _ expiresAt: Int64) -> SealedPlace {
        SealedPlace(table: "pending consent", row: digest, number: UInt64(bitPattern: expiresAt))
    }

    static func keyCheck(_ id: KeyID) -> SealedPlace {
        SealedPlace(table: "key check", row: id.text, number: 0)
    }
}

/// What a key seals so that it is known again.
enum KeyProof {
    static let text = Array("token-gateway store key".utf8)

    static func isRight(_ sealed: [UInt8], _ id: KeyID, _ sealer: Sealer) -> Bool {
        sealer.open(Sealed(keyID: id, bytes: sealed), at: .keyCheck(id)) == text
    }

    static func wrongKey(_ store: String, listed: [KeyID], missing: [KeyID], ring: [KeyID]) -> StoreError {
        func list(_ ids: [KeyID]) -> String { ids.map(\.text).joined(separator: ", ") }
        return StoreError(
            .key,
            "\(store) is sealed under key \(list(listed)), but the configured key is \(list(ring)); missing: "
                + "\(list(missing)). Nothing was changed. Configure the missing key (as an older key if another is to "
                + "replace it)")
    }

    static func inUse(_ store: String, _ id: KeyID, rows: Int) -> StoreError {
        StoreError(
            .key, "\(store): key \(id) still seals \(rows) rows and cannot be retired. Run a rekey to its end first")
    }

    static func active(_ store: String, _ id: KeyID) -> StoreError {
        StoreError(.key, "\(store): key \(id) is the one in front and cannot be retired. Put another in front first")
    }
}

/// Which row a pending consent is found by: the id itself is a secret while it is pending.
func consentDigest(of id: String) -> String {
    hexText(Digest.sha256(Array("token-gateway consent id".utf8) + Array(id.utf8)))
}

/// The first text, in the order of bytes, that comes after every text with this prefix; `nil`: there is none.
func end(ofPrefix prefix: String) -> String? {
    var scalars = Array(prefix.unicodeScalars)
    while let last = scalars.popLast() {
        // The numbers from D800 to DFFF are no characters.
        let next = last.value == 0xD7FF ? 0xE000 : last.value + 1
        if let next = Unicode.Scalar(next) {
            var text = String.UnicodeScalarView()
            text.append(contentsOf: scalars)
            text.append(next)
            return String(text)
        }
    }
    return nil
}

/// The checks of arguments that every store makes.
struct ArgumentCheck {
    /// What messages call the store.
    let store: String

    func storable(id: String, _ payload: [UInt8]) throws(StoreError) {
        guard (1...largestIDBytes).contains(id.utf8.count), !id.utf8.contains(0) else {
            throw StoreError(.invalid, "\(store): an id must have 1 to \(largestIDBytes) bytes and no NUL")
        }
        guard payload.count <= largestPayloadBytes else {
            throw StoreError(
                .invalid, "\(store): \(payload.count) bytes are more than a store takes (\(largestPayloadBytes))")
        }
    }
}
