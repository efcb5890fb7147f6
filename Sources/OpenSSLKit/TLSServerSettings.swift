import COpenSSL

/// A TLS listener's material, read and checked: made once by control, turned into a ``TLSServerContext`` by each
/// worker.
package struct TLSServerSettings: Sendable, Hashable {
    /// Whether callers have certificates. With any but `none` every connection is a full handshake: a resumed session
    /// would carry a verdict of earlier, and an authority that was taken away would go on being trusted.
    package enum ClientCertificates: Sendable, Hashable {
        /// They are not asked for one.
        case none
        /// A caller may come without one; one that it presents must be of these authorities.
        case optional(caPEM: String)
        /// A caller without a certificate of these authorities is refused in the handshake.
        case required(caPEM: String)
    }

    /// Not empty. SNI chooses among them by their DNS names; the first answers callers that ask for no name or for one
    /// that none has.
    package var identities: [TLSIdentity]
    package var clientCertificates: ClientCertificates
    /// Protocols that are spoken, most wanted first, for example `["h2", "http/1.1"]`. A caller that offers only others
    /// is refused. Empty: ALPN is not answered.
    package var alpn: [String]
    package var minimumVersion: TLSVersion
    package var ticketKeys: TLSTicketKeys

    package init(
        identities: [TLSIdentity], clientCertificates: ClientCertificates = .none, alpn: [String] = [],
        minimumVersion: TLSVersion = .tls12, ticketKeys: TLSTicketKeys = TLSTicketKeys()
    ) {
        self.identities = identities
        self.clientCertificates = clientCertificates
        self.alpn = alpn
        self.minimumVersion = minimumVersion
        self.ticketKeys = ticketKeys
    }

    /// Checks all that can be wrong with the settings, as making a context does.
    package func check() throws(TLSConfigurationError) { _ = try TLSServerContext(self) }
}

/// The keys that seal session tickets (RFC 5077 4, RFC 8446 4.6.1). Contexts with the same keys accept each other's
/// tickets. They live in memory only: a restart costs each caller one full handshake.
package struct TLSTicketKeys: Sendable, Hashable {
    /// Seals and opens.
    let current: SecretBytes
    /// Only opens.
    let previous: SecretBytes?

    static let byteCount = 80

    /// New random keys.
    package init() {
        current = SecretBytes(RandomBytes.bytes(Self.byteCount))
        previous = nil
    }

    private init(current: SecretBytes, previous: SecretBytes) {
        self.current = current
        self.previous = previous
    }

    /// A new key that seals; the one until now opens what it sealed. Tickets sealed by the one before that are not
    /// accepted any more.
    package func rotated() -> TLSTicketKeys {
        TLSTicketKeys(current: SecretBytes(RandomBytes.bytes(Self.byteCount)), previous: current)
    }
}

/// Checks that `pem` holds at least one certificate and no damaged one. `name` is what messages call it.
package func checkAuthorities(_ pem: String, name: String) throws(TLSConfigurationError) {
    _ = try PEMSource.text(pem, name: name).certificates()
}
