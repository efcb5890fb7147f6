import COpenSSL

/// Turns OpenSSL's error queue and the refused certificate into one `TLSError`. Allocates: failures only.
struct TLSFailure {
    /// Whom we talk to, for the sentence: "api.example.com" or "the caller".
    var peer: String
    /// The peer is a caller of a listener.
    private let isCaller: Bool
    /// The first error in the queue that says something: one of libssl, else the oldest.
    private(set) var code: UInt = 0

    /// Empties the thread's error queue.
    init(peer: String, isCaller: Bool = false) {
        self.peer = peer
        self.isCaller = isCaller
        while true {
            let next = ERR_get_error()
            guard next != 0 else { break }
            let isFirst = code == 0
            let isBetter = library(code) != ERR_LIB_SSL && library(next) == ERR_LIB_SSL
            if isFirst || isBetter { code = next }
        }
    }

    func error(_ kind: TLSError.Kind, _ reason: String) -> TLSError {
        TLSError(kind: kind, reason: reason, openSSLCode: code)
    }

    /// - Parameter isEstablished: the handshake had been completed.
    func error(_ tls: UnsafeMutablePointer<tg_tls>, isEstablished: Bool) -> TLSError {
        guard library(code) == ERR_LIB_SSL else {
            // Another part of OpenSSL chokes on what a peer sent in the handshake, for example a point off the curve.
            let isTheirs = code != 0 && !isEstablished
            let text = code == 0 ? "memory may be short" : libraryText(code)
            return error(isTheirs ? .protocolViolation : .internalFailure, "TLS with \(peer) failed: \(text)")
        }
        let reason = tg_error_reason(code)
        if reason == SSL_R_CERTIFICATE_VERIFY_FAILED, unsafe tls.pointee.verify_error != X509_V_OK {
            return unsafe refusal(tls)
        }
        if alertReasons.contains(reason) { return alert(reason - SSL_AD_REASON_OFFSET) }
        // The reasons that all parts of OpenSSL share lie above: memory, internal errors.
        if reason > alertReasons.upperBound {
            return error(.internalFailure, "TLS with \(peer) failed: \(libraryText(code))")
        }
        return violation(reason, isEstablished: isEstablished)
    }

    private func violation(_ reason: Int32, isEstablished: Bool) -> TLSError {
        switch reason {
        case SSL_R_WRONG_VERSION_NUMBER where isEstablished:
            return error(.protocolViolation, "\(peer) sent something that is not a TLS record after the handshake")
        case SSL_R_WRONG_VERSION_NUMBER, SSL_R_HTTP_REQUEST, SSL_R_HTTPS_PROXY_REQUEST:
            guard !isCaller else {
                return error(
                    .notTLS,
                    "\(peer) does not speak TLS (it may speak plain HTTP): this listener has TLS, and its URLs begin "
                        + "with https://")
            }
            return error(
                .notTLS, "\(peer) does not speak TLS on this port (it may be plain HTTP): the port must be one for TLS")
        case SSL_R_UNSUPPORTED_PROTOCOL, SSL_R_WRONG_SSL_VERSION, SSL_R_VERSION_TOO_LOW, SSL_R_VERSION_TOO_HIGH,
            SSL_R_UNKNOWN_PROTOCOL, SSL_R_INAPPROPRIATE_FALLBACK:
            return error(.versionMismatch, "\(peer) speaks no common version of TLS: it must speak TLS 1.2 or 1.3")
        case SSL_R_NO_SHARED_CIPHER, SSL_R_NO_SUITABLE_KEY_SHARE, SSL_R_NO_SUITABLE_SIGNATURE_ALGORITHM,
            SSL_R_NO_SHARED_SIGNATURE_ALGORITHMS, SSL_R_NO_SHARED_GROUPS, SSL_R_WRONG_CIPHER_RETURNED,
            SSL_R_WRONG_SIGNATURE_TYPE, SSL_R_DH_KEY_TOO_SMALL:
            return noCommonParameters()
        case SSL_R_NO_APPLICATION_PROTOCOL:
            return error(.noApplicationProtocol, "\(peer) offers only application protocols that are not spoken here")
        case SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE:
            return error(.noPeerCertificate, "\(peer) sent no certificate: this listener requires one")
        case SSL_R_CERTIFICATE_VERIFY_FAILED:
            return error(.otherVerification, "the certificate of \(peer) could not be verified")
        case SSL_R_PROTOCOL_IS_SHUTDOWN:
            return error(.internalFailure, "TLS to \(peer) was used after it had been closed")
        case SSL_R_UNEXPECTED_EOF_WHILE_READING:
            return error(.truncated, "\(peer) ended the connection without close_notify")
        case SSL_R_DECRYPTION_FAILED_OR_BAD_RECORD_MAC:
            return error(.protocolViolation, "a record from \(peer) does not decrypt: it was changed on its way")
        default:
            return error(.protocolViolation, "\(peer) broke the rules of TLS: \(libraryText(code))")
        }
    }

    private func noCommonParameters() -> TLSError {
        error(
            .noCommonParameters,
            "\(peer) shares no cipher suite, group or signature algorithm with us: it must speak TLS 1.3, or TLS 1.2 "
                + "with ECDHE and AES-GCM or ChaCha20-Poly1305")
    }

    /// RFC 8446 6.2 and RFC 5246 7.2.2.
    private func alert(_ number: Int32) -> TLSError {
        switch number {
        case SSL_AD_PROTOCOL_VERSION:
            return error(.versionMismatch, "\(peer) refuses our versions of TLS: it must speak TLS 1.2 or 1.3")
        case SSL_AD_HANDSHAKE_FAILURE, SSL_AD_INSUFFICIENT_SECURITY:
            return noCommonParameters()
        case SSL_AD_NO_APPLICATION_PROTOCOL:
            return error(.noApplicationProtocol, "\(peer) speaks none of the application protocols that we offer")
        case SSL_AD_CERTIFICATE_REQUIRED:
            return error(.peerAlert, "\(peer) requires a client certificate: configure one with its key")
        case SSL_AD_UNRECOGNIZED_NAME:
            return error(.peerAlert, "\(peer) does not serve this name (SNI): the host must be one that it serves")
        case SSL_AD_UNKNOWN_CA, SSL_AD_BAD_CERTIFICATE, SSL_AD_UNSUPPORTED_CERTIFICATE, SSL_AD_CERTIFICATE_REVOKED,
            SSL_AD_CERTIFICATE_EXPIRED, SSL_AD_CERTIFICATE_UNKNOWN, SSL_AD_ACCESS_DENIED:
            return error(.peerAlert, "\(peer) refuses our certificate: \(alertName(number))")
        default:
            return error(.peerAlert, "\(peer) ended the TLS connection with the alert \(number), \(alertName(number))")
        }
    }

    private func alertName(_ number: Int32) -> String {
        guard let text = unsafe SSL_alert_desc_string_long(number) else { return "unknown" }
        return unsafe String(cString: text)
    }

    private var alertReasons: ClosedRange<Int32> { SSL_AD_REASON_OFFSET...SSL_AD_REASON_OFFSET + 255 }

    private func library(_ code: UInt) -> Int32 { tg_error_library(code) }
}

// MARK: - Refused certificates

extension TLSFailure {
    private var authorities: String { isCaller ? "client_ca_file" : "CA file" }

    private func refusal(_ tls: UnsafeMutablePointer<tg_tls>) -> TLSError {
        let verdict = unsafe tls.pointee.verify_error
        let facts = unsafe CertificateFacts(tls.pointee.rejected)
        let whose =
            unsafe tls.pointee.verify_depth == 0
            ? "the certificate of \(peer)" : "the certificate \"\(facts.subject)\" in the chain of \(peer)"
        switch verdict {
        case X509_V_ERR_CERT_HAS_EXPIRED:
            return error(
                .certificateExpired,
                "\(whose) expired at \(facts.notAfter): it must be renewed, or the clock of this machine is wrong")
        case X509_V_ERR_CERT_NOT_YET_VALID:
            return error(
                .certificateNotYetValid,
                "\(whose) is valid only from \(facts.notBefore): the clock of this machine may be wrong")
        case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
            return error(
                .selfSigned,
                "\(whose) is self-signed: it must come from a trusted authority, or be in the configured \(authorities)"
            )
        case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN, X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT,
            X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY, X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE,
            X509_V_ERR_CERT_UNTRUSTED:
            return error(
                .unknownAuthority,
                "\(whose) was issued by \"\(facts.issuer)\", which leads to no trusted authority: add that authority to "
                    + "the \(authorities), or have the \(isCaller ? "caller" : "server") send its intermediate "
                    + "certificates")
        case X509_V_ERR_HOSTNAME_MISMATCH, X509_V_ERR_IP_ADDRESS_MISMATCH:
            let names = facts.names.isEmpty ? "no name at all" : facts.names
            return error(
                .hostMismatch, "\(whose) is for \(names): the configured host must be one of the names it has")
        case X509_V_ERR_CERT_REVOKED:
            return error(.certificateRevoked, "\(whose) is revoked: it must be replaced")
        default:
            let text = unsafe String(cString: X509_verify_cert_error_string(Int(verdict)))
            return error(.otherVerification, "\(whose) is refused: \(text)")
        }
    }
}

/// What a message says about a certificate.
private struct CertificateFacts {
    var subject = "unknown"
    var issuer = "unknown"
    var names = ""
    var notBefore = "unknown"
    var notAfter = "unknown"

    init(_ certificate: OpaquePointer?) {
        guard let certificate = unsafe certificate else { return }
        subject = unsafe cText { unsafe tg_x509_subject(certificate, false, $0, $1) }
        issuer = unsafe cText { unsafe tg_x509_subject(certificate, true, $0, $1) }
        names = unsafe cText { unsafe tg_x509_names(certificate, $0, $1) }
        notBefore = unsafe cText { unsafe tg_x509_time(certificate, false, $0, $1) }
        notAfter = unsafe cText { unsafe tg_x509_time(certificate, true, $0, $1) }
    }
}
