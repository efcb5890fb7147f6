import COpenSSL

/// A certificate with its chain and its key, read and checked once: what a listener shows to callers, or the gateway
/// to an upstream. It is made by control and used by all threads.
package struct TLSIdentity: Sendable, Hashable {
    /// The leaf, then its issuers.
    package let chainPEM: String
    /// The leaf's key as PEM, unencrypted.
    package let keyPEM: SecretBytes
    /// The leaf's DNS names (subjectAltName): lower case, without a dot at the end; wildcards as `*.example.com`.
    package let names: [String]
    /// The leaf's subject (RFC 2253), as printable ASCII.
    package let subject: String
    /// Since when and until when the leaf counts.
    package let validity: Validity
    /// The same as text, for example `2027-01-31T00:00:00Z`.
    package let notBefore: String
    package let notAfter: String

    /// - Parameters:
    ///   - chainName: what messages call the certificates, for example the file's path.
    ///   - keyName: the same for the key.
    /// - Throws: what is wrong: the kind `badKey` is about the key, all others are about the certificates.
    package init(
        chainPEM: String, keyPEM: SecretBytes, chainName: String = "the certificate chain",
        keyName: String = "the private key"
    ) throws(TLSConfigurationError) {
        self.chainPEM = chainPEM
        self.keyPEM = keyPEM
        let chain = PEMSource.text(chainPEM, name: chainName)
        let leaf = try chain.certificates()[0]
        names = unsafe alternativeNames(of: leaf.pointer).compactMap {
            $0.kind == .dns ? ServerName.normalized($0.text) : nil
        }
        subject = unsafe cText { unsafe tg_x509_subject(leaf.pointer, false, $0, $1) }
        validity = unsafe Validity(
            notBefore: tg_x509_seconds(leaf.pointer, false), notAfter: tg_x509_seconds(leaf.pointer, true))
        notBefore = unsafe cText { unsafe tg_x509_time(leaf.pointer, false, $0, $1) }
        notAfter = unsafe cText { unsafe tg_x509_time(leaf.pointer, true, $0, $1) }
        // A context refuses what a listener would: another key, weak keys, weak signatures.
        let context = try unsafe makeContext(TLS_method(), releasesBuffers: false)
        defer { unsafe SSL_CTX_free(context) }
        try unsafe present(certificates: chain, key: .secret(keyPEM, name: keyName), in: context)
    }
}

/// A name in a certificate's subjectAltName (RFC 5280 4.2.1.6).
package struct TLSAlternativeName: Sendable, Hashable, CustomStringConvertible {
    package enum Kind: String, Sendable {
        case dns = "DNS"
        case uri = "URI"
        case mail = "email"
        case address = "IP"
    }
    package let kind: Kind
    /// As in the certificate, printable ASCII without spaces.
    package let text: String

    /// As OpenSSL writes it: `URI:spiffe://example.com/billing`.
    package var description: String { "\(kind.rawValue):\(text)" }
}

/// The names of a certificate, in its order.
func alternativeNames(of certificate: OpaquePointer?) -> [TLSAlternativeName] {
    guard let certificate = unsafe certificate else { return [] }
    var buffer = unsafe tg_buffer()
    defer { unsafe tg_buffer_free(&buffer) }
    guard unsafe tg_x509_alternatives(certificate, &buffer) else { return [] }
    let octets = unsafe UnsafeBufferPointer(start: buffer.bytes, count: buffer.count)
    return unsafe octets.split(separator: 0).compactMap { entry in
        guard let first = unsafe entry.first, let kind = TLSAlternativeName.Kind(letter: first) else { return nil }
        return unsafe TLSAlternativeName(kind: kind, text: String(decoding: entry.dropFirst(), as: UTF8.self))
    }
}

extension TLSAlternativeName.Kind {
    fileprivate init?(letter: UInt8) {
        switch letter {
        case UInt8(ascii: "D"): self = .dns
        case UInt8(ascii: "U"): self = .uri
        case UInt8(ascii: "E"): self = .mail
        case UInt8(ascii: "I"): self = .address
        case _: return nil
        }
    }
}
