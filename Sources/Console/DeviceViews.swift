package import Telemetry

/// Answer to `POST /api/v1/grants/NAME/device`: what a person types in, and where (RFC 8628). The description is
/// redacted: with the code anybody could end the consent.
package struct DeviceReply: Codable, Sendable, Equatable, CustomStringConvertible {
    package var userCode: String
    package var verificationURI: String
    /// Holds the code already; nil where the provider gives none.
    package var verificationURIComplete: String?
    package var expiresAt: Timestamp
    /// Seconds between the gateway's polls; asking the gateway more often tells nothing new.
    package var interval: Int

    package init(
        userCode: String, verificationURI: String, verificationURIComplete: String?, expiresAt: Timestamp,
        interval: Int
    ) {
        self.userCode = userCode
        self.verificationURI = verificationURI
        self.verificationURIComplete = verificationURIComplete
        self.expiresAt = expiresAt
        self.interval = interval
    }

    package var description: String { "DeviceReply(expiresAt: \(expiresAt.rfc3339))" }

    private enum CodingKeys: String, CodingKey {
        case userCode = "user_code"
        case verificationURI = "verification_uri"
        case verificationURIComplete = "verification_uri_complete"
        case expiresAt = "expires_at"
        case interval
    }
}

/// Answer to `GET /api/v1/grants/NAME/device`.
package struct DeviceStatus: Codable, Sendable, Equatable {
    package enum State: String, Codable, Sendable, CaseIterable {
        /// This gateway knows of none: it was never begun, or in another process.
        case none
        /// The person has not decided yet; `prompt` says what to show.
        case waiting
        case connected
        /// The person said no.
        case denied
        /// Nobody consented in time.
        case expired
        /// Another one was begun for the same grant.
        case cancelled
        /// `reason` says why.
        case failed
    }

    package var state: State
    package var prompt: DeviceReply?
    /// One sentence, no secret.
    package var reason: String?
    /// Words of ``ConsentSuccess/Note``, where it is connected.
    package var notes: [String]?

    package init(_ state: State, prompt: DeviceReply? = nil, reason: String? = nil, notes: [String]? = nil) {
        self.state = state
        self.prompt = prompt
        self.reason = reason
        self.notes = notes
    }
}

/// Body of `POST /api/v1/grants/NAME/import`. The description is redacted.
package struct ImportOrder: Codable, Sendable, Equatable, CustomStringConvertible {
    package static let limitBytes = 32 * 1024

    package var refreshToken: String

    package init(refreshToken: String) {
        self.refreshToken = refreshToken
    }

    package var description: String { "ImportOrder([redacted])" }

    /// Printable ASCII (RFC 6749 appendix A.17) of a bounded length.
    var isUsable: Bool {
        !refreshToken.isEmpty && refreshToken.utf8.count <= Self.limitBytes
            && refreshToken.utf8.allSatisfy { (0x20...0x7E).contains($0) }
    }

    private enum CodingKeys: String, CodingKey {
        case refreshToken = "refresh_token"
    }
}
