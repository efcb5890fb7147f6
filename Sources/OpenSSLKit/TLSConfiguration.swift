package enum TLSVersion: Sendable, Hashable, CaseIterable { case tls12, tls13 }

/// How to connect to upstreams or providers by TLS. Verification has no switch: it is always on.
package struct TLSClientConfiguration: Sendable, Hashable {
    /// A PEM file with the authorities to trust. With `caPEM` too, both are trusted; with neither, the system's
    /// bundle, or the one that `SSL_CERT_FILE` names.
    package var caFile: String?
    /// Authorities to trust, as PEM text.
    package var caPEM: String?
    /// Protocols to offer, most wanted first, for example `["h2", "http/1.1"]`. Empty: the extension is not sent.
    package var alpn: [String]
    /// With TLS 1.2 only suites with ECDHE and AEAD are offered (RFC 9325 4.2).
    package var minimumVersion: TLSVersion
    /// Nil: the newest. For peers that mishandle TLS 1.3.
    package var maximumVersion: TLSVersion?
    /// A PEM file with our certificate and its chain, leaf first. Needs `clientKeyFile`.
    package var clientCertificateFile: String?
    /// A PEM file with the unencrypted private key of `clientCertificateFile`.
    package var clientKeyFile: String?
    /// The same, already read; used where no files are given.
    package var clientIdentity: TLSIdentity?
    /// Gives back OpenSSL's buffers (about 33 KB) after every record, at the price of allocating them again.
    /// `TLSEngine.releaseIdleBuffers()` does the same only where it is worth it.
    package var releasesBuffersAfterEachRecord: Bool

    package init(
        caFile: String? = nil, caPEM: String? = nil, alpn: [String] = [], minimumVersion: TLSVersion = .tls12,
        maximumVersion: TLSVersion? = nil, clientCertificateFile: String? = nil, clientKeyFile: String? = nil,
        clientIdentity: TLSIdentity? = nil, releasesBuffersAfterEachRecord: Bool = false
    ) {
        self.caFile = caFile
        self.caPEM = caPEM
        self.alpn = alpn
        self.minimumVersion = minimumVersion
        self.maximumVersion = maximumVersion
        self.clientCertificateFile = clientCertificateFile
        self.clientKeyFile = clientKeyFile
        self.clientIdentity = clientIdentity
        self.releasesBuffersAfterEachRecord = releasesBuffersAfterEachRecord
    }
}

/// Why a context could not be made: a matter for the operator, found at start-up or reload.
package struct TLSConfigurationError: Error, Sendable, Equatable, CustomStringConvertible {
    package enum Kind: Sendable, Equatable {
        /// The file is not there, or we may not read it.
        case unreadableFile
        /// There is no certificate where one is needed.
        case noCertificate
        /// A certificate is damaged, or too weak for the security level.
        case badCertificate
        /// A private key is damaged, encrypted, missing, or of another certificate.
        case badKey
        /// A protocol name is empty or longer than 255 octets.
        case badProtocolName
        /// The oldest version is newer than the newest.
        case badVersions
        /// OpenSSL refused something that cannot fail but for want of memory.
        case library
    }

    package var kind: Kind
    /// The file concerned.
    package var path: String?
    /// One sentence that says what is wrong and what would be right.
    package var reason: String

    package var description: String { reason }
}
