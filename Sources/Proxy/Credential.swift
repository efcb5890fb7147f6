package import HTTP
internal import Synchronization

/// What a worker injects: one header field, built once per generation and shared by all requests.
package final class Credential: Sendable, CustomStringConvertible, CustomReflectable {
    /// The field's name in lower case.
    package let headerName: [UInt8]
    /// The whole field line for HTTP/1: name, colon, space, value, CRLF. Secret.
    package let headerLine: [UInt8]
    /// Where the value stands in ``headerLine``.
    package let headerValueSlice: Slice
    /// No other credential of this process has it, whatever its generation: same key, same name and value.
    package let key: UInt64
    /// Grows by one each time the grant's tokens change.
    package let generation: UInt64
    /// When it must no longer be sent, in milliseconds of the monotonic clock; `UInt64.max` when not known.
    package let expiry: UInt64
    /// Go upstream with it, in place of the caller's fields of the same names.
    package let extraHeaders: [CredentialField]
    /// The lines of ``extraHeaders`` for HTTP/1.
    package let extraLines: [UInt8]
    /// What the grant has captured; an upstream's host may come of it.
    package let captured: [String: String]
    /// Present where the token is bound to a key (RFC 9449): the encoded key, whose proof goes with each request. Secret.
    package let proofKey: [UInt8]?

    /// - Parameters:
    ///   - headerName: a token.
    ///   - headerValue: a field value; the caller has checked that it has no control octets.
    ///   - extraHeaders: one of the credential's own name is left out.
    package init(
        headerName: String, headerValue: [UInt8], generation: UInt64, expiry: UInt64,
        extraHeaders: [CredentialField] = [], captured: [String: String] = [:], proofKey: [UInt8]? = nil
    ) {
        self.headerName = Array(headerName.lowercased().utf8)
        headerLine = Array(headerName.utf8) + [0x3A, 0x20] + headerValue + [0x0D, 0x0A]
        headerValueSlice = Slice(start: headerName.utf8.count + 2, length: headerValue.count)
        key = Self.lastKey.add(1, ordering: .relaxed).newValue
        self.generation = generation
        self.expiry = expiry
        let name = Array(headerName.lowercased().utf8)
        let extra = extraHeaders.filter { $0.name != name }
        self.extraHeaders = extra
        extraLines = extra.flatMap(\.line)
        self.captured = captured
        self.proofKey = proofKey
    }

    private static let lastKey = Atomic<UInt64>(0)

    /// Calls `body` with the field's value, which stays where it is. Secret.
    package func withHeaderValue<Result>(_ body: (UnsafeRawBufferPointer) -> Result) -> Result {
        headerLine.withUnsafeBytes { line in
            let start = Int(headerValueSlice.start)
            return body(UnsafeRawBufferPointer(rebasing: line[start..<(start + headerValueSlice.count)]))
        }
    }

    package var description: String { "credential of generation \(generation)" }
    package var customMirror: Mirror { Mirror(self, children: ["generation": generation]) }
}

/// Why no credential is to be had for a request now.
package enum CredentialRefusal: Sendable, Equatable {
    case notConnected
    case reauthorizationRequired
    case configurationError
    /// Try again after this many seconds.
    case unavailable(retryAfter: UInt32)
    /// The rejected credential is still the newest and is not to be refreshed now.
    case unchanged
    /// Nobody has made a grant of this name.
    case unknownGrant

    package var error: GatewayError {
        switch self {
        case .notConnected: .notConnected
        case .reauthorizationRequired: .reauthorizationRequired
        case .configurationError: .configurationError
        case .unavailable, .unchanged: .tokenUnavailable
        case .unknownGrant: .unknownGrant
        }
    }
}
