import COpenSSL

/// SHA-256 and its HMAC (FIPS 180-4, RFC 2104).
package enum Digest {
    /// 32 octets.
    package static func sha256(_ bytes: [UInt8]) -> [UInt8] {
        unsafe bytes.withUnsafeBytes { unsafe sha256($0) }
    }

    /// 32 octets.
    package static func sha256(_ bytes: some Sequence<UInt8>) -> [UInt8] {
        sha256(Array(bytes))
    }

    /// 32 octets. Borrows `bytes`.
    package static func sha256(_ bytes: UnsafeRawBufferPointer) -> [UInt8] {
        unsafe [UInt8](unsafeUninitializedCapacity: Int(SHA256_DIGEST_LENGTH)) { digest, count in
            let made = unsafe SHA256(bytes.baseAddress, bytes.count, digest.baseAddress)
            precondition(unsafe made != nil, "SHA-256 is not available in this OpenSSL")
            count = Int(SHA256_DIGEST_LENGTH)
        }
    }

    /// 32 octets.
    package static func hmacSHA256(key: [UInt8], message: [UInt8]) -> [UInt8] {
        unsafe key.withUnsafeBytes { key in
            unsafe message.withUnsafeBytes { message in unsafe hmacSHA256(key: key, message: message) }
        }
    }

    /// 32 octets.
    package static func hmacSHA256(key: SecretBytes, message: [UInt8]) -> [UInt8] {
        unsafe key.withUnsafeBytes { key in
            unsafe message.withUnsafeBytes { message in unsafe hmacSHA256(key: key, message: message) }
        }
    }

    private static func hmacSHA256(key: UnsafeRawBufferPointer, message: UnsafeRawBufferPointer) -> [UInt8] {
        unsafe [UInt8](unsafeUninitializedCapacity: Int(SHA256_DIGEST_LENGTH)) { digest, count in
            var length: UInt32 = 0
            let made = unsafe HMAC(
                EVP_sha256(), key.baseAddress, Int32(key.count), message.baseAddress, message.count,
                digest.baseAddress, &length)
            precondition(unsafe made != nil && length == SHA256_DIGEST_LENGTH, "HMAC-SHA-256 is not available")
            count = Int(length)
        }
    }
}

/// Compares without telling by its time where the difference is. The lengths are not secret.
package func constantTimeEquals(_ left: [UInt8], _ right: [UInt8]) -> Bool {
    guard left.count == right.count else { return false }
    return unsafe CRYPTO_memcmp(left, right, left.count) == 0
}

package enum RandomBytes {
    /// Unpredictable octets, fit for keys, nonces and `state`.
    package static func bytes(_ count: Int) -> [UInt8] {
        unsafe [UInt8](unsafeUninitializedCapacity: count) { buffer, initialized in
            // Without randomness nothing here is safe: stopping is the only honest answer.
            precondition(unsafe RAND_bytes(buffer.baseAddress, Int32(count)) == 1, "the system gives no randomness")
            initialized = count
        }
    }
}

package enum OpenSSLVersion {
    /// The library in use, for example "OpenSSL 3.0.19 27 Jan 2026".
    package static var text: String { unsafe String(cString: OpenSSL_version(OPENSSL_VERSION)) }
}

extension Digest {
    /// SHA-1, 20 octets: only for what a protocol defines by it and where nothing hangs on its strength, as WebSocket's
    /// handshake does (RFC 6455 4.2.2).
    package static func sha1(_ bytes: [UInt8]) -> [UInt8] {
        unsafe [UInt8](unsafeUninitializedCapacity: Int(SHA_DIGEST_LENGTH)) { digest, count in
            let made = unsafe bytes.withUnsafeBytes { unsafe SHA1($0.baseAddress, $0.count, digest.baseAddress) }
            precondition(unsafe made != nil, "SHA-1 is not available in this OpenSSL")
            count = Int(SHA_DIGEST_LENGTH)
        }
    }
}
