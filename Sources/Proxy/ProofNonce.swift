package import HTTP

/// The nonces that a server wants to see in proofs of possession (RFC 9449 8, 9).
package enum ProofNonce {
    static let maximumLength = 1024

    /// The nonce for the next proof; nil where the response gives none, or more than one.
    package static func find(in response: borrowing MessageHead) -> Slice? {
        var found: Slice?
        for index in response.fields.indices {
            let field = response.fields[index]
            guard Octet.equal(response.bytes(field.name), ignoringCase: "dpop-nonce") else { continue }
            guard found == nil, isNonce(response.bytes(field.value)) else { return nil }
            found = field.value
        }
        return found
    }

    /// Whether the response refuses the proof, not the token, for want of a nonce: a challenge says `use_dpop_nonce`.
    package static func isWanted(_ response: borrowing MessageHead) -> Bool {
        guard response.status == 401 else { return false }
        for index in response.fields.indices where response.fields[index].id == .wwwAuthenticate {
            if says(response.bytes(response.fields[index].value), "use_dpop_nonce") { return true }
        }
        return false
    }

    /// NQCHAR (RFC 6749 appendix A): it goes into a JSON string.
    private static func isNonce(_ value: UnsafeRawBufferPointer) -> Bool {
        guard value.count > 0, value.count <= maximumLength else { return false }
        for byte in value {
            guard byte == 0x21 || 0x23...0x5B ~= byte || 0x5D...0x7E ~= byte else { return false }
        }
        return true
    }

    /// Whether `word` stands in `text` as the value of `error`.
    private static func says(_ text: UnsafeRawBufferPointer, _ word: StaticString) -> Bool {
        let count = word.utf8CodeUnitCount
        guard text.count > count else { return false }
        for start in 1...(text.count - count) {
            // After "=" or "=\"": not in a description.
            guard text[start - 1] == 0x3D || text[start - 1] == 0x22 && start > 1 && text[start - 2] == 0x3D else {
                continue
            }
            guard Octet.equal(UnsafeRawBufferPointer(rebasing: text[start..<(start + count)]), ignoringCase: word)
            else { continue }
            let end = start + count
            if end == text.count || text[end] == 0x22 || text[end] == 0x2C || text[end] == 0x20 { return true }
        }
        return false
    }
}
