import COpenSSL

/// The primitives that sealing rests on.
enum Cipher {
    static let nonceBytes = 12
    static let tagBytes = 16

    static func sha256(_ bytes: [UInt8]) -> [UInt8] {
        var digest = [UInt8](repeating: 0, count: 32)
        let ok = EVP_Digest(bytes, bytes.count, &digest, nil, EVP_sha256(), nil)
        precondition(ok == 1, "SHA-256 is not available")
        return digest
    }

    static func random(_ count: Int) -> [UInt8] {
        var generator = SystemRandomNumberGenerator()
        return (0..<count).map { _ in UInt8.random(in: 0...255, using: &generator) }
    }

    static func seal(_ plain: [UInt8], key: StoreKey, nonce: [UInt8], aad: [UInt8]) -> [UInt8]? {
        guard let context = EVP_CIPHER_CTX_new() else { return nil }
        defer { EVP_CIPHER_CTX_free(context) }
        var out = [UInt8](repeating: 0, count: plain.count + tagBytes)
        var count: Int32 = 0
        var last: Int32 = 0
        var tag = [UInt8](repeating: 0, count: tagBytes)
        guard EVP_EncryptInit_ex(context, EVP_aes_256_gcm(), nil, key.bytes, nonce) == 1,
            EVP_EncryptUpdate(context, nil, &count, aad, Int32(aad.count)) == 1,
            EVP_EncryptUpdate(context, &out, &count, plain, Int32(plain.count)) == 1,
            EVP_EncryptFinal_ex(context, &tag, &last) == 1,
            EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_GET_TAG, Int32(tagBytes), &tag) == 1
        else { return nil }
        out.replaceSubrange(plain.count..., with: tag)
        return out
    }

    static func open(_ sealed: [UInt8], key: StoreKey, nonce: [UInt8], aad: [UInt8]) -> [UInt8]? {
        guard sealed.count >= tagBytes, let context = EVP_CIPHER_CTX_new() else { return nil }
        defer { EVP_CIPHER_CTX_free(context) }
        let text = Array(sealed.dropLast(tagBytes))
        var tag = Array(sealed.suffix(tagBytes))
        var out = [UInt8](repeating: 0, count: text.count)
        var count: Int32 = 0
        var none: UInt8 = 0
        guard EVP_DecryptInit_ex(context, EVP_aes_256_gcm(), nil, key.bytes, nonce) == 1,
            EVP_DecryptUpdate(context, nil, &count, aad, Int32(aad.count)) == 1,
            EVP_DecryptUpdate(context, &out, &count, text, Int32(text.count)) == 1,
            EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_SET_TAG, Int32(tagBytes), &tag) == 1,
            EVP_DecryptFinal_ex(context, &none, &count) == 1
        else { return nil }
        return out
    }
}
