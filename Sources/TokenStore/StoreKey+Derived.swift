import OpenSSLKit

extension StoreKey {
    /// 32 bytes for another use than sealing: an HMAC of the label under the key, which tells nothing about the key.
    /// The same for every process that has the key, however its text was spelt.
    package func derived(for label: String) -> [UInt8] {
        Digest.hmacSHA256(key: bytes.exposed(), message: Array(label.utf8))
    }
}
