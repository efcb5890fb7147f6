import COpenSSL

/// A TLS listener's settings, ready for connections. Not Sendable: one per thread.
@safe package final class TLSServerContext {
    /// Read by OpenSSL's callbacks for as long as the context lives, and that is as long as any engine that uses it.
    private let server: UnsafeMutablePointer<tg_server>
    private let names: ServerNameTable
    /// For each certificate what else a session must agree with before it is resumed.
    private let sessionScopes: [[UInt8]]
    package let settings: TLSServerSettings

    /// How long a ticket is good for, in seconds. What is checked in a full handshake is checked that often.
    private static let ticketLifetime = 3600

    /// The context that connections start with.
    var pointer: OpaquePointer? { unsafe server.pointee.contexts[0] }

    /// - Throws: what an operator must mend.
    package init(_ settings: TLSServerSettings) throws(TLSConfigurationError) {
        guard let made = unsafe tg_server_new(settings.identities.count) else { throw outOfMemory() }
        unsafe server = unsafe made
        self.settings = settings
        names = ServerNameTable(settings.identities.map(\.names))
        let policy = settings.clientCertificates.digest
        sessionScopes = settings.identities.map { Digest.sha256(policy + $0.scopeDigest) }
        // From here on a throw runs deinit.
        guard !settings.identities.isEmpty else {
            throw TLSConfigurationError(kind: .noCertificate, path: nil, reason: "a TLS listener needs a certificate")
        }
        unsafe server.pointee.owner = unsafe UnsafeRawPointer(Unmanaged.passUnretained(self).toOpaque())
        unsafe server.pointee.choose = { owner, name, count, scope in
            guard let owner = unsafe owner, let scope = unsafe scope else { return 0 }
            let context = unsafe Unmanaged<TLSServerContext>.fromOpaque(owner).takeUnretainedValue()
            return unsafe context.choose(UnsafeBufferPointer(start: name, count: count), scope)
        }
        try setProtocols()
        setTicketKeys()
        for index in settings.identities.indices { try attach(index) }
    }

    deinit { unsafe tg_server_free(server) }

    /// The certificate for the name that a caller asks for. Runs inside `TLSEngine.handshake`.
    private func choose(_ name: UnsafeBufferPointer<UInt8>, _ scope: UnsafeMutablePointer<UInt8>) -> Int {
        let normalized = unsafe ServerName.normalized(name)
        let index = normalized.flatMap { names.index(of: $0) } ?? 0
        // RFC 6066 3: a session is resumed only under the name that it was made with.
        let digest = Digest.sha256(sessionScopes[index] + Array((normalized ?? "").utf8))
        for position in digest.indices { unsafe scope[position] = digest[position] }
        return index
    }

    private func setProtocols() throws(TLSConfigurationError) {
        let wire = try wireNames(settings.alpn)
        guard !wire.isEmpty else { return }
        guard unsafe tg_buffer_reserve(&server.pointee.alpn, wire.count) else { throw outOfMemory() }
        unsafe UnsafeMutableRawBufferPointer(start: server.pointee.alpn.bytes, count: wire.count).copyBytes(from: wire)
        unsafe server.pointee.alpn.count = wire.count
    }

    private func setTicketKeys() {
        guard settings.clientCertificates == .none else { return }
        let keys = [settings.ticketKeys.current, settings.ticketKeys.previous].compactMap { $0 }
        unsafe withUnsafeMutableBytes(of: &server.pointee.keys) { storage in
            for (index, key) in keys.enumerated() {
                let place = unsafe UnsafeMutableRawBufferPointer(
                    rebasing: storage[(index * TLSTicketKeys.byteCount)..<((index + 1) * TLSTicketKeys.byteCount)])
                unsafe key.withUnsafeBytes { unsafe place.copyMemory(from: $0) }
            }
        }
        unsafe server.pointee.key_count = keys.count
    }

    private func attach(_ index: Int) throws(TLSConfigurationError) {
        let identity = settings.identities[index]
        let context = try unsafe makeContext(TLS_server_method(), releasesBuffers: false)
        unsafe tg_server_attach(server, index, context)
        if settings.minimumVersion == .tls13 { unsafe tg_set_minimum_version(context, TLS1_3_VERSION) }
        // Tickets only: nothing is kept per session.
        unsafe tg_set_cache_mode(context, Int(SSL_SESS_CACHE_OFF))
        unsafe SSL_CTX_set_timeout(context, Self.ticketLifetime)
        switch settings.clientCertificates {
        case .none: unsafe tg_context_prepare(context, tg_verify_none)
        case .optional(let caPEM):
            unsafe tg_context_prepare(context, tg_verify_optional)
            try unsafe accept(clientsOf: caPEM, in: context)
        case .required(let caPEM):
            unsafe tg_context_prepare(context, tg_verify_required)
            try unsafe accept(clientsOf: caPEM, in: context)
        }
        try unsafe present(
            certificates: .text(identity.chainPEM, name: "the certificate chain"),
            key: .secret(identity.keyPEM, name: "the private key"), in: context)
    }

    /// An authority that the operator names is trusted as it is: an intermediate needs no root above it.
    private func accept(clientsOf caPEM: String, in context: OpaquePointer) throws(TLSConfigurationError) {
        let store = unsafe SSL_CTX_get_cert_store(context)
        for authority in try PEMSource.text(caPEM, name: "the client authorities").certificates() {
            guard unsafe X509_STORE_add_cert(store, authority.pointer) == 1,
                unsafe SSL_CTX_add_client_CA(context, authority.pointer) == 1
            else { throw outOfMemory() }
        }
        unsafe X509_STORE_set_flags(store, UInt(X509_V_FLAG_PARTIAL_CHAIN))
    }
}

extension TLSServerContext {
    /// One certificate, for tests and the demo services.
    ///
    /// - Parameters:
    ///   - certificateChainPEM: the leaf, then its issuers.
    ///   - privateKeyPEM: the leaf's key, unencrypted.
    ///   - alpn: protocols that are spoken, most wanted first.
    ///   - clientCAFile: with it every client must present a certificate of these authorities.
    package convenience init(
        certificateChainPEM: String, privateKeyPEM: String, alpn: [String] = [], clientCAFile: String? = nil
    ) throws(TLSConfigurationError) {
        let identity = try TLSIdentity(chainPEM: certificateChainPEM, keyPEM: SecretBytes(privateKeyPEM.utf8))
        var settings = TLSServerSettings(identities: [identity], alpn: alpn)
        if let clientCAFile {
            settings.clientCertificates = .required(caPEM: try PEMSource.file(clientCAFile).contents())
        }
        try self.init(settings)
    }
}

extension TLSServerSettings.ClientCertificates {
    /// Tells policies apart: a session of a listener with another one is not resumed.
    fileprivate var digest: [UInt8] {
        switch self {
        case .none: Digest.sha256([0])
        case .optional(let caPEM): Digest.sha256([1] + Array(caPEM.utf8))
        case .required(let caPEM): Digest.sha256([2] + Array(caPEM.utf8))
        }
    }
}

extension TLSIdentity {
    /// A renewed certificate for the same names goes on with the sessions of the old one; one for other names does not.
    fileprivate var scopeDigest: [UInt8] {
        let text = names.isEmpty ? chainPEM : names.sorted().joined(separator: " ")
        return Digest.sha256(Array(text.utf8))
    }
}
