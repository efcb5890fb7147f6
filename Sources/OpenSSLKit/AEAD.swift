import COpenSSL

package enum AEADError: Error, Sendable, Equatable {
    /// The key does not have 32 octets.
    case badKeyLength
    /// The text is shorter than a nonce and a tag.
    case tooShort
    /// Wrong key, wrong associated data, or the text was changed.
    case notAuthentic
    /// OpenSSL failed: memory is short, or the text is longer than 2 GiB.
    case library
}

/// AES-256-GCM (NIST SP 800-38D). The sealed form is nonce (12 octets), ciphertext, tag (16 octets).
///
/// Nonces are random: one key may seal up to 2^32 texts.
package enum AEAD {
    package static let keyByteCount = 32
    private static let nonceByteCount = 12
    private static let tagByteCount = 16

    /// - Parameter associatedData: bound to the text, not stored: `open` must be given the same.
    package static func seal(
        _ plaintext: [UInt8], key: SecretBytes, associatedData: [UInt8]
    ) throws(AEADError) -> [UInt8] {
        let nonce = RandomBytes.bytes(nonceByteCount)
        return try unsafe withContext(key: key, nonce: nonce, sealing: true) { context throws(AEADError) in
            try unsafe bind(associatedData, context)
            var sealed = nonce + [UInt8](repeating: 0, count: plaintext.count + tagByteCount)
            let finished = unsafe sealed.withUnsafeMutableBytes { sealed in
                let text = unsafe UnsafeMutableRawBufferPointer(rebasing: sealed[nonceByteCount...])
                return unsafe update(context, plaintext[...], into: text)
                    && EVP_CIPHER_CTX_ctrl(
                        context, EVP_CTRL_GCM_GET_TAG, Int32(tagByteCount), text.baseAddress! + plaintext.count) == 1
            }
            guard finished else { throw .library }
            return sealed
        }
    }

    /// The plaintext, only if everything is as it was sealed.
    package static func open(
        _ sealed: [UInt8], key: SecretBytes, associatedData: [UInt8]
    ) throws(AEADError) -> [UInt8] {
        guard sealed.count >= nonceByteCount + tagByteCount else { throw .tooShort }
        let nonce = Array(sealed.prefix(nonceByteCount))
        let ciphertext = sealed[nonceByteCount..<sealed.count - tagByteCount]
        var tag = Array(sealed.suffix(tagByteCount))
        return try unsafe withContext(key: key, nonce: nonce, sealing: false) { context throws(AEADError) in
            try unsafe bind(associatedData, context)
            guard unsafe EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_GCM_SET_TAG, Int32(tagByteCount), &tag) == 1 else {
                throw .library
            }
            var plaintext = [UInt8](repeating: 0, count: ciphertext.count)
            let isAuthentic = unsafe plaintext.withUnsafeMutableBytes { unsafe update(context, ciphertext, into: $0) }
            guard isAuthentic else {
                unsafe plaintext.withUnsafeMutableBytes { unsafe OPENSSL_cleanse($0.baseAddress, $0.count) }
                throw .notAuthentic
            }
            return plaintext
        }
    }

    private static func withContext<Result>(
        key: SecretBytes, nonce: [UInt8], sealing: Bool, _ body: (OpaquePointer) throws(AEADError) -> Result
    ) throws(AEADError) -> Result {
        guard key.count == keyByteCount else { throw .badKeyLength }
        guard let context = unsafe EVP_CIPHER_CTX_new() else { throw .library }
        defer {
            unsafe EVP_CIPHER_CTX_free(context)
            ERR_clear_error()
        }
        let ready = unsafe key.withUnsafeBytes { key in
            unsafe EVP_CipherInit_ex(
                context, EVP_aes_256_gcm(), nil, key.baseAddress?.assumingMemoryBound(to: UInt8.self), nonce,
                sealing ? 1 : 0)
        }
        guard ready == 1 else { throw .library }
        return try unsafe body(context)
    }

    private static func bind(_ associatedData: [UInt8], _ context: OpaquePointer) throws(AEADError) {
        guard !associatedData.isEmpty else { return }
        guard let count = Int32(exactly: associatedData.count) else { throw .library }
        var written: Int32 = 0
        guard unsafe EVP_CipherUpdate(context, nil, &written, associatedData, count) == 1 else { throw .library }
    }

    /// All of the text and the end of it; false also when the tag does not fit.
    private static func update(
        _ context: OpaquePointer, _ text: ArraySlice<UInt8>, into room: UnsafeMutableRawBufferPointer
    ) -> Bool {
        guard let count = Int32(exactly: text.count) else { return false }
        var written: Int32 = 0
        var unused: UInt8 = 0
        let output = unsafe room.baseAddress?.assumingMemoryBound(to: UInt8.self)
        let isTaken =
            unsafe count == 0
            || text.withUnsafeBufferPointer {
                unsafe EVP_CipherUpdate(context, output, &written, $0.baseAddress, count) == 1
            }
        // GCM is a stream: the end writes nothing.
        return unsafe isTaken && written == count && EVP_CipherFinal_ex(context, &unused, &written) == 1
    }
}
