/// Why a TLS connection ended, as a fact for the driver and a sentence for the operator.
package struct TLSError: Error, Sendable, Equatable, CustomStringConvertible {
    package enum Kind: Sendable, Equatable, CaseIterable {
        case certificateExpired
        case certificateNotYetValid
        /// The chain does not lead to a trusted authority.
        case unknownAuthority
        /// The certificate is its own issuer, and not trusted.
        case selfSigned
        case hostMismatch
        case certificateRevoked
        /// The peer's certificate is refused for another reason (weak key, wrong purpose, bad signature).
        case otherVerification
        /// The peer, a server's client, sent no certificate though one is required.
        case noPeerCertificate
        /// No common version of TLS.
        case versionMismatch
        /// No common cipher suite, group or signature algorithm.
        case noCommonParameters
        /// No common application protocol, or one that was not offered (RFC 7301).
        case noApplicationProtocol
        /// What came is not TLS; most often plain HTTP.
        case notTLS
        /// The peer ended the connection with a fatal alert that none of the kinds above says better.
        case peerAlert
        /// What came breaks the rules of TLS, or was changed on its way.
        case protocolViolation
        /// The stream ended without close_notify: data may be missing.
        case truncated
        /// The host to verify is not a name or an address.
        case invalidHost
        /// Our own fault: memory, or a call out of order.
        case internalFailure
    }

    package var kind: Kind
    /// One sentence that says what is wrong and what would be right. Never has a secret; names in it come from the
    /// peer's certificate and are reduced to printable ASCII.
    package var reason: String
    /// OpenSSL's packed error code; 0 where it had none.
    package var openSSLCode: UInt

    package init(kind: Kind, reason: String, openSSLCode: UInt = 0) {
        self.kind = kind
        self.reason = reason
        self.openSSLCode = openSSLCode
    }

    package var description: String { reason }
}

/// The protocol that ALPN chose.
package enum ApplicationProtocol: Sendable, Equatable {
    case http11
    case h2
    /// The peer did not take part in ALPN.
    case none
    case other
}

package struct TLSHandshakeStep: Sendable {
    package enum State: Sendable {
        /// The rest of the input, if any, belongs to `receive`. Call that once even without input: what came with the
        /// last flight may be inside the engine already.
        case complete
        case needsInput
        case failed(TLSError)
    }

    /// Octets of the input that the engine has taken.
    package var consumed: Int
    package var state: State
}

package struct TLSReceiveStep: Sendable {
    package enum State: Sendable {
        /// The room for plaintext is full. Call again with the rest of the input, even if that is empty.
        case open
        /// All input is taken and there is nothing more to decrypt.
        case needsInput
        /// The peer sent close_notify: what came is complete.
        case closed
        case failed(TLSError)
    }

    /// Octets of the input that the engine has taken.
    package var consumed: Int
    /// Octets of plaintext written. Can be more than 0 in any state.
    package var produced: Int
    package var state: State
}

package struct TLSSendStep: Sendable {
    package enum State: Sendable {
        case open
        case failed(TLSError)
    }

    /// All of the plaintext, or 0 on failure.
    package var consumed: Int
    package var state: State
}

/// What the end of the stream means.
package enum TLSInputEnd: Sendable, Equatable {
    /// close_notify had come before.
    case closedCleanly
    /// It had not: data may be missing.
    case truncated
}
