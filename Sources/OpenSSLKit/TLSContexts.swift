import COpenSSL

/// The settings shared by all TLS connections to one kind of upstream or provider, with the trusted roots loaded.
///
/// Make one per worker: it is not Sendable, and so needs no lock. Making one reads files; do it when a snapshot is
/// built, never while serving.
@safe package final class TLSClientContext {
    let pointer: OpaquePointer
    package let configuration: TLSClientConfiguration

    /// - Parameter other: where it trusts the same roots, they are shared. Reading the system's takes 20 ms and 0.8
    ///   MB, so make the first context of a snapshot alone and the others with it. Same thread only.
    /// - Throws: what an operator must mend, with the path of the file.
    package init(
        _ configuration: TLSClientConfiguration, sharingRootsOf other: TLSClientContext? = nil
    ) throws(TLSConfigurationError) {
        self.configuration = configuration
        unsafe pointer = try makeContext(
            TLS_client_method(), releasesBuffers: configuration.releasesBuffersAfterEachRecord)
        unsafe tg_context_prepare(pointer, tg_verify_required)
        unsafe tg_set_cache_mode(pointer, Int(SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL))
        try limitVersions()
        try offer(configuration.alpn)
        if let other, other.configuration.caFile == configuration.caFile,
            other.configuration.caPEM == configuration.caPEM
        {
            unsafe SSL_CTX_set1_cert_store(pointer, SSL_CTX_get_cert_store(other.pointer))
        } else {
            try unsafe trust(caFile: configuration.caFile, caPEM: configuration.caPEM, in: pointer)
        }
        switch (configuration.clientCertificateFile, configuration.clientKeyFile) {
        case (nil, nil):
            guard let identity = configuration.clientIdentity else { return }
            try unsafe present(
                certificates: .text(identity.chainPEM, name: "the client certificate"),
                key: .secret(identity.keyPEM, name: "the client key"), in: pointer)
        case (let certificate?, let key?):
            try unsafe present(certificates: .file(certificate), key: .file(key), in: pointer)
        case (let certificate?, nil):
            throw PEMSource.file(certificate).error(
                .badKey, "the client certificate \(certificate) needs its private key in a file too")
        case (nil, let key?):
            throw PEMSource.file(key).error(
                .noCertificate, "the client key \(key) needs its certificate in a file too")
        }
    }

    deinit { unsafe SSL_CTX_free(pointer) }

    private func limitVersions() throws(TLSConfigurationError) {
        if configuration.minimumVersion == .tls13 {
            guard configuration.maximumVersion != .tls12 else {
                throw TLSConfigurationError(
                    kind: .badVersions, path: nil, reason: "the newest TLS version must not be older than the oldest")
            }
            unsafe tg_set_minimum_version(pointer, TLS1_3_VERSION)
        }
        if configuration.maximumVersion == .tls12 { unsafe tg_set_maximum_version(pointer, TLS1_2_VERSION) }
    }

    private func offer(_ names: [String]) throws(TLSConfigurationError) {
        let wire = try wireNames(names)
        guard !wire.isEmpty else { return }
        // Unlike its siblings, this function returns 0 for success.
        guard unsafe SSL_CTX_set_alpn_protos(pointer, wire, UInt32(wire.count)) == 0 else { throw outOfMemory() }
    }
}

/// RFC 9325: TLS 1.2 or later; with 1.2 only ECDHE and AEAD; no compression, no renegotiation; early data is off
/// unless asked for, and is not asked for.
func makeContext(
    _ method: OpaquePointer?, releasesBuffers: Bool
) throws(TLSConfigurationError) -> OpaquePointer {
    let suites12 =
        "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:"
        + "ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305"
    let suites13 = "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"
    ERR_clear_error()
    defer { ERR_clear_error() }
    guard let context = unsafe SSL_CTX_new(method) else { throw outOfMemory() }
    guard unsafe tg_set_minimum_version(context, TLS1_2_VERSION) == 1,
        unsafe tg_set_maximum_version(context, 0) == 1,
        unsafe SSL_CTX_set_cipher_list(context, suites12) == 1,
        unsafe SSL_CTX_set_ciphersuites(context, suites13) == 1,
        unsafe tg_set_groups(context, "X25519:P-256:P-384:P-521") == 1
    else {
        let cause = libraryText(ERR_peek_error())
        unsafe SSL_CTX_free(context)
        throw TLSConfigurationError(
            kind: .library, path: nil, reason: "the system's OpenSSL refuses our TLS settings: \(cause)")
    }
    unsafe SSL_CTX_set_security_level(context, max(2, SSL_CTX_get_security_level(context)))
    unsafe SSL_CTX_set_options(context, tg_hardening_options())
    unsafe tg_set_mode(context, Int(SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER))
    if releasesBuffers { unsafe tg_set_mode(context, Int(SSL_MODE_RELEASE_BUFFERS)) }
    // Read-ahead saves system calls; over memory there are none, and it only moves octets (measured: 10 % slower).
    unsafe tg_set_read_ahead(context, 0)
    return unsafe context
}

/// Sets our own certificate, its chain and its key, and checks that they belong together.
func present(
    certificates: PEMSource, key: PEMSource, in context: OpaquePointer
) throws(TLSConfigurationError) {
    let chain = try certificates.certificates()
    let privateKey = try key.privateKey()
    ERR_clear_error()
    defer { ERR_clear_error() }
    guard unsafe SSL_CTX_use_certificate(context, chain[0].pointer) == 1 else {
        let cause = libraryText(ERR_peek_error())
        throw certificates.error(.badCertificate, "the certificate in \(certificates.name) cannot be used: \(cause)")
    }
    for issuer in chain.dropFirst() {
        unsafe X509_up_ref(issuer.pointer)
        guard unsafe tg_add_chain_certificate(context, issuer.pointer) == 1 else {
            unsafe X509_free(issuer.pointer)
            let cause = libraryText(ERR_peek_error())
            throw certificates.error(.badCertificate, "the chain in \(certificates.name) cannot be used: \(cause)")
        }
    }
    guard unsafe SSL_CTX_use_PrivateKey(context, privateKey.pointer) == 1,
        unsafe SSL_CTX_check_private_key(context) == 1
    else {
        throw key.error(
            .badKey, "the key in \(key.name) is not the key of the first certificate in \(certificates.name)")
    }
}

/// ALPN's wire form: each name after its length (RFC 7301 3.1).
func wireNames(_ names: [String]) throws(TLSConfigurationError) -> [UInt8] {
    var wire: [UInt8] = []
    for name in names {
        guard let length = UInt8(exactly: name.utf8.count), length > 0 else {
            throw TLSConfigurationError(
                kind: .badProtocolName, path: nil,
                reason: "the protocol name \"\(name)\" must have between 1 and 255 octets")
        }
        wire.append(length)
        wire.append(contentsOf: name.utf8)
    }
    return wire
}

func outOfMemory() -> TLSConfigurationError {
    TLSConfigurationError(kind: .library, path: nil, reason: "OpenSSL could not get the memory that it needs")
}
