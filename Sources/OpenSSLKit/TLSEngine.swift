import COpenSSL

/// One TLS connection as a machine: ciphertext in, plaintext out, and the other way. No socket, no clock.
///
/// Stays on one thread. In the steady state no call allocates. After a failure every call returns that failure again;
/// what is in `output` then (an alert) should still be sent.
@safe package final class TLSEngine {
    private let tls: UnsafeMutablePointer<tg_tls>?
    private let role: Role
    private var isEstablished = false
    private var failure: TLSError?
    /// Plaintext that waits for the rest of a handshake message of the peer. Nearly always empty.
    private var postponed: [UInt8] = []
    /// Records sent under the present key, counted downwards from above.
    private var recordsUnderKey = 0

    private enum Role {
        case client(TLSClientContext, host: String)
        case server(TLSServerContext)
    }

    /// RFC 8446 5.5 allows 2^24.5 full records under one AES-GCM key. A variable for tests only.
    var recordsPerKey = 1 << 23
    private static let recordBytes = 16 * 1024
    private static let postponedBytesLimit = 1 << 20

    /// An engine that connects.
    ///
    /// - Parameters:
    ///   - host: the DNS name (also sent as SNI) or IP literal (IPv6 with or without brackets) that the certificate
    ///     must be for. An impossible one makes the handshake fail before anything is sent.
    ///   - session: from `takeNewSession()` of an earlier engine with the same context and host; others are ignored.
    package init(client context: TLSClientContext, host: String, session: TLSSession? = nil) {
        role = .client(context, host: host)
        unsafe tls = tg_tls_new(context.pointer, false)
        guard let tls = unsafe tls else {
            failure = Self.noMemory
            return
        }
        guard unsafe VerifiedHost(host)?.apply(to: tls.pointee.ssl) == true else {
            failure = TLSError(
                kind: .invalidHost,
                reason:
                    "\(String(reflecting: host)) cannot be verified: it must be a DNS name in ASCII or an IP address")
            return
        }
        if let session, session.context === context, session.host == host, session.isResumable {
            unsafe SSL_set_session(tls.pointee.ssl, session.pointer)
        }
    }

    /// An engine that accepts.
    package init(server context: TLSServerContext) {
        role = .server(context)
        unsafe tls = tg_tls_new(context.pointer, true)
        if unsafe tls == nil { failure = Self.noMemory }
    }

    deinit { unsafe tg_tls_free(tls) }

    private static var noMemory: TLSError {
        TLSError(kind: .internalFailure, reason: "OpenSSL could not make a TLS connection: memory is short")
    }

    // MARK: - Bytes

    /// Goes on with the handshake. A client's first call, without input, makes its first flight.
    package func handshake(_ input: UnsafeRawBufferPointer, output: TLSOutputBuffer) -> TLSHandshakeStep {
        guard let tls = unsafe usable() else { return TLSHandshakeStep(consumed: 0, state: .failed(failed())) }
        guard !isEstablished else { return TLSHandshakeStep(consumed: 0, state: .complete) }
        var consumed = 0
        let code = unsafe tg_tls_handshake(tls, input.baseAddress, input.count, output.storage, &consumed)
        switch code {
        case SSL_ERROR_NONE:
            isEstablished = true
            if let violation = unofferedProtocol() {
                return TLSHandshakeStep(consumed: consumed, state: .failed(fail(violation)))
            }
            return TLSHandshakeStep(consumed: consumed, state: .complete)
        case SSL_ERROR_WANT_READ:
            return TLSHandshakeStep(consumed: consumed, state: .needsInput)
        default:
            return unsafe TLSHandshakeStep(consumed: consumed, state: .failed(fail(tls)))
        }
    }

    /// Decrypts `input` into `plaintext`, as many records as fit.
    ///
    /// - Parameters:
    ///   - input: must not be memory of `output`, which may move.
    ///   - plaintext: not empty; 16 KiB holds any record.
    ///   - output: gets what TLS itself must answer (alerts, key updates).
    package func receive(
        _ input: UnsafeRawBufferPointer, into plaintext: UnsafeMutableRawBufferPointer, output: TLSOutputBuffer
    ) -> TLSReceiveStep {
        guard isEstablished, let tls = unsafe usable() else {
            return TLSReceiveStep(consumed: 0, produced: 0, state: .failed(failed()))
        }
        var consumed = 0
        var produced = 0
        let code = unsafe tg_tls_receive(
            tls, input.baseAddress, input.count, plaintext.baseAddress, plaintext.count, output.storage, &consumed,
            &produced)
        switch code {
        case SSL_ERROR_NONE:
            return TLSReceiveStep(consumed: consumed, produced: produced, state: .open)
        case SSL_ERROR_WANT_READ:
            if !postponed.isEmpty { sendPostponed(output) }
            return TLSReceiveStep(consumed: consumed, produced: produced, state: .needsInput)
        case SSL_ERROR_ZERO_RETURN:
            return TLSReceiveStep(consumed: consumed, produced: produced, state: .closed)
        default:
            return unsafe TLSReceiveStep(consumed: consumed, produced: produced, state: .failed(fail(tls)))
        }
    }

    /// Encrypts all of `plaintext`, in records of up to 16 KiB.
    package func send(_ plaintext: UnsafeRawBufferPointer, output: TLSOutputBuffer) -> TLSSendStep {
        guard isEstablished, let tls = unsafe usable() else {
            return TLSSendStep(consumed: 0, state: .failed(failed()))
        }
        guard plaintext.count > 0 else { return TLSSendStep(consumed: 0, state: .open) }
        if !postponed.isEmpty { return unsafe postpone(plaintext) }
        countRecords(of: plaintext.count)
        switch unsafe tg_tls_send(tls, plaintext.baseAddress, plaintext.count, output.storage) {
        case SSL_ERROR_NONE:
            return TLSSendStep(consumed: plaintext.count, state: .open)
        case SSL_ERROR_WANT_READ:
            return unsafe postpone(plaintext)
        default:
            return unsafe TLSSendStep(consumed: 0, state: .failed(fail(tls)))
        }
    }

    /// Appends close_notify, once. Nothing can be sent afterwards; receiving goes on until the peer closes too.
    package func close(output: TLSOutputBuffer) {
        guard failure == nil, isEstablished, let tls = unsafe tls else { return }
        unsafe tg_tls_close(tls, output.storage)
    }

    /// What the end of the peer's stream means (RFC 8446 6.1).
    package func inputEnded() -> TLSInputEnd {
        guard let tls = unsafe tls, unsafe SSL_get_shutdown(tls.pointee.ssl) & SSL_RECEIVED_SHUTDOWN != 0 else {
            return .truncated
        }
        return isEstablished && failure == nil ? .closedCleanly : .truncated
    }

    /// True when `receive` without input would give plaintext.
    package var hasBufferedPlaintext: Bool {
        guard let tls = unsafe tls else { return false }
        return unsafe !tls.pointee.drained
    }

    /// Gives back OpenSSL's two record buffers (about 33 KB) until the next record; for connections that go idle.
    /// Does nothing while a record is half read.
    package func releaseIdleBuffers() {
        guard isEstablished, let tls = unsafe tls else { return }
        unsafe SSL_free_buffers(tls.pointee.ssl)
    }

    /// Changes the sending key, and the peer's too, before the next octet that is sent. TLS 1.3 only: with 1.2 nothing
    /// happens. The engine does it by itself in time (RFC 8446 5.5).
    package func updateKeys() {
        guard isEstablished, failure == nil, let tls = unsafe tls else { return }
        guard unsafe SSL_version(tls.pointee.ssl) == TLS1_3_VERSION else { return }
        // Refused in the middle of a message of the peer: then the next call tries again.
        if unsafe SSL_key_update(tls.pointee.ssl, SSL_KEY_UPDATE_REQUESTED) == 1 { recordsUnderKey = 0 }
    }
}

// MARK: - Facts

extension TLSEngine {
    /// What ALPN chose; `.none` before the handshake is complete.
    package var negotiatedProtocol: ApplicationProtocol {
        unsafe withSelectedProtocol { name in
            if name.isEmpty { return .none }
            if unsafe name.elementsEqual("h2".utf8) { return .h2 }
            return unsafe name.elementsEqual("http/1.1".utf8) ? .http11 : .other
        }
    }

    /// For example "TLSv1.3". For logs.
    package var tlsVersion: String {
        guard let tls = unsafe tls, let name = unsafe SSL_get_version(tls.pointee.ssl) else { return "unknown" }
        return unsafe String(cString: name)
    }

    /// For example "TLS_AES_128_GCM_SHA256". For logs.
    package var cipherName: String {
        guard let tls = unsafe tls, let cipher = unsafe SSL_get_current_cipher(tls.pointee.ssl),
            let name = unsafe SSL_CIPHER_get_name(cipher)
        else { return "none" }
        return unsafe String(cString: name)
    }

    /// The handshake was shortened by a session.
    package var sessionReused: Bool {
        guard let tls = unsafe tls else { return false }
        return unsafe SSL_session_reused(tls.pointee.ssl) == 1
    }

    /// The newest session that the server has given, once. TLS 1.3 servers give it after the handshake: ask when the
    /// connection is put back in its pool or closed. Always nil for a server's engine.
    package func takeNewSession() -> TLSSession? {
        guard case .client(let context, let host) = role, let tls = unsafe tls,
            let session = unsafe tls.pointee.session
        else { return nil }
        unsafe tls.pointee.session = nil
        return unsafe TLSSession(owning: session, context: context, host: host)
    }

    /// The name that the client asked for (SNI), as it came: not validated, not lower-cased. Only for servers.
    package var serverName: String? {
        guard case .server = role, let tls = unsafe tls,
            let name = unsafe SSL_get_servername(tls.pointee.ssl, TLSEXT_NAMETYPE_host_name)
        else { return nil }
        return unsafe String(validatingCString: name)
    }

    /// The subject of the certificate that the caller presented and that was accepted (RFC 2253), printable ASCII. Only
    /// for servers; nil before the handshake is complete, without a certificate, or with a subject above 4 KiB.
    package var clientCertificateSubject: String? {
        guard let certificate = unsafe clientCertificate else { return nil }
        let capacity = 4096
        let text = unsafe cText(capacity: capacity) { unsafe tg_x509_subject(certificate, false, $0, $1) }
        return text.utf8.count < capacity - 1 ? text : nil
    }

    /// The subject's common name in that certificate; nil when there is none, or more than one.
    package var clientCertificateCommonName: String? {
        guard let certificate = unsafe clientCertificate, let subject = unsafe X509_get_subject_name(certificate)
        else { return nil }
        let index = unsafe X509_NAME_get_index_by_NID(subject, NID_commonName, -1)
        guard index >= 0, unsafe X509_NAME_get_index_by_NID(subject, NID_commonName, index) < 0,
            let entry = unsafe X509_NAME_get_entry(subject, index)
        else { return nil }
        var text: UnsafeMutablePointer<UInt8>?
        let count = unsafe ASN1_STRING_to_UTF8(&text, X509_NAME_ENTRY_get_data(entry))
        guard count >= 0, let text = unsafe text else { return nil }
        defer { unsafe CRYPTO_free(text, nil, 0) }
        return unsafe String(validating: UnsafeBufferPointer(start: text, count: Int(count)), as: UTF8.self)
    }

    /// The names (subjectAltName) of that certificate.
    package var clientCertificateNames: [TLSAlternativeName] { unsafe alternativeNames(of: clientCertificate) }

    /// Borrowed. OpenSSL lets no handshake be completed with a certificate that it did not accept.
    private var clientCertificate: OpaquePointer? {
        guard case .server = role, isEstablished, failure == nil, let tls = unsafe tls else { return nil }
        return unsafe SSL_get0_peer_certificate(tls.pointee.ssl)
    }

    private func withSelectedProtocol<Result>(_ body: (UnsafeBufferPointer<UInt8>) -> Result) -> Result {
        var name: UnsafePointer<UInt8>?
        var count: UInt32 = 0
        if let tls = unsafe tls { unsafe SSL_get0_alpn_selected(tls.pointee.ssl, &name, &count) }
        return unsafe body(UnsafeBufferPointer(start: name, count: Int(count)))
    }

    /// RFC 7301 3.1: the server must choose from what was offered. OpenSSL 3.0 does not look.
    private func unofferedProtocol() -> TLSError? {
        guard case .client(let context, let host) = role else { return nil }
        let isOffered = unsafe withSelectedProtocol { name in
            name.isEmpty || context.configuration.alpn.contains { unsafe name.elementsEqual($0.utf8) }
        }
        guard !isOffered else { return nil }
        return TLSError(
            kind: .noApplicationProtocol, reason: "\(host) chose an application protocol that was not offered to it")
    }
}

// MARK: - The rare ways

extension TLSEngine {
    /// Nil after a failure.
    private func usable() -> UnsafeMutablePointer<tg_tls>? {
        failure == nil ? unsafe tls : nil
    }

    /// The failure to repeat; without one, a call came before the handshake was complete.
    private func failed() -> TLSError {
        failure
            ?? TLSError(kind: .internalFailure, reason: "TLS was used before its handshake was complete")
    }

    private func fail(_ tls: UnsafeMutablePointer<tg_tls>) -> TLSError {
        unsafe fail(TLSFailure(peer: peerName, isCaller: isServer).error(tls, isEstablished: isEstablished))
    }

    private func fail(_ error: TLSError) -> TLSError {
        failure = error
        postponed = []
        return error
    }

    private var peerName: String {
        switch role {
        case .client(_, let host): host
        case .server: "the caller"
        }
    }

    private var isServer: Bool {
        switch role {
        case .client: false
        case .server: true
        }
    }

    private func countRecords(of count: Int) {
        recordsUnderKey += count / Self.recordBytes + 1
        if recordsUnderKey >= recordsPerKey { updateKeys() }
    }

    /// Keeps plaintext until the peer has sent the rest of its handshake message, so that drivers need not.
    private func postpone(_ plaintext: UnsafeRawBufferPointer) -> TLSSendStep {
        guard plaintext.count <= Self.postponedBytesLimit - postponed.count else {
            let error = TLSError(
                kind: .protocolViolation, reason: "\(peerName) holds back the rest of a TLS handshake message")
            return TLSSendStep(consumed: 0, state: .failed(fail(error)))
        }
        unsafe postponed.append(contentsOf: plaintext)
        return TLSSendStep(consumed: plaintext.count, state: .open)
    }

    /// A failure shows at the next call.
    private func sendPostponed(_ output: TLSOutputBuffer) {
        guard let tls = unsafe tls else { return }
        let waiting = postponed
        let code = unsafe waiting.withUnsafeBytes {
            unsafe tg_tls_send(tls, $0.baseAddress, $0.count, output.storage)
        }
        switch code {
        case SSL_ERROR_NONE: postponed = []
        case SSL_ERROR_WANT_READ: break
        default: _ = unsafe fail(tls)
        }
    }
}

/// The name that the peer's certificate must have.
private struct VerifiedHost {
    private let name: String
    private let isAddress: Bool

    /// Nil for what OpenSSL would take as "any" (empty), as "any below" (leading dot), or cut off (NUL).
    init?(_ host: String) {
        var text = Substring(host)
        let isBracketed = text.hasPrefix("[") && text.hasSuffix("]")
        if isBracketed { text = text.dropFirst().dropLast() }
        isAddress = Self.isAddress(String(text))
        guard isAddress || !isBracketed else { return nil }
        if text.hasSuffix(".") { text = text.dropLast() }
        name = String(text)
        guard !isAddress else { return }
        let isPlausible = name.utf8.allSatisfy { octet in
            octet > 0x20 && octet < 0x7f && !"*/:@[]".utf8.contains(octet)
        }
        guard isPlausible, !name.isEmpty, name.utf8.count <= 253, !name.hasPrefix("."), !Self.isAddress(name) else {
            return nil
        }
    }

    private static func isAddress(_ text: String) -> Bool {
        guard !text.utf8.contains(0), let octets = unsafe a2i_IPADDRESS(text) else { return false }
        unsafe ASN1_OCTET_STRING_free(octets)
        return true
    }

    /// SNI for names only (RFC 6066 3). Only subjectAltName counts (RFC 9525 6.1).
    func apply(to ssl: OpaquePointer?) -> Bool {
        let parameters = unsafe SSL_get0_param(ssl)
        if isAddress { return unsafe X509_VERIFY_PARAM_set1_ip_asc(parameters, name) == 1 }
        let flags = X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS | X509_CHECK_FLAG_NEVER_CHECK_SUBJECT
        unsafe X509_VERIFY_PARAM_set_hostflags(parameters, UInt32(flags))
        return unsafe X509_VERIFY_PARAM_set1_host(parameters, name, name.utf8.count) == 1
            && tg_set_server_name(ssl, name) == 1
    }
}
