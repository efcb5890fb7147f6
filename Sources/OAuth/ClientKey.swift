package import OpenSSLKit

/// A private key of ours with which assertions are signed (RFC 7523, RFC 7515).
package struct ClientKey: Sendable, Hashable {
    package var algorithm: SignatureAlgorithm
    /// What the provider knows the key by: "kid" of the header.
    package var keyID: String?
    package var key: SigningKey

    package init(algorithm: SignatureAlgorithm, keyID: String?, key: SigningKey) {
        self.algorithm = algorithm
        self.keyID = keyID
        self.key = key
    }
}
