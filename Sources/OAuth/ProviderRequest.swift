/// A header field of a provider's request or reply.
package struct HeaderField: Sendable, Hashable {
    package var name: String
    package var value: String

    package init(_ name: String, _ value: String) {
        self.name = name
        self.value = value
    }
}

/// One HTTP request to a provider, ready to be written by a driver.
///
/// The driver adds Host (`url.hostField`) and Content-Length, always verifies TLS, never follows a redirect
/// (checklist D22), reads at most `replyLimitBytes`, and ends the call as a whole at the deadline that comes with it.
package struct ProviderRequest: Sendable, Equatable {
    package enum Purpose: String, Sendable {
        case metadata, codeExchange, refresh, revocation, lookup
        case pushedRequest, keySet
        case unattended, deviceAuthorization, devicePoll
    }

    package enum Method: String, Sendable {
        case get = "GET"
        case post = "POST"
        case delete = "DELETE"
    }

    /// The most that is read of a reply's body; what is longer is `ProviderFailure.tooLarge` (checklist D21).
    package static let replyLimitBytes = 1 << 20

    package var purpose: Purpose
    package var method: Method
    package var url: ProviderURL
    package var headers: [HeaderField]
    package var body: [UInt8]
    /// The path for descriptions, where the true one holds a token; nil: the true one.
    package var shownPath: String?
    /// The host was chosen by a value of the grant, and only a pattern allows it: the driver must not send it to a loopback
    /// or private address, whatever the name resolves to.
    package var mustBePublic = false

    package init(
        purpose: Purpose, method: Method, url: ProviderURL, headers: [HeaderField] = [], body: [UInt8] = [],
        shownPath: String? = nil
    ) {
        self.purpose = purpose
        self.method = method
        self.url = url
        self.headers = headers
        self.body = body
        self.shownPath = shownPath
    }
}

extension ProviderRequest: CustomStringConvertible, CustomDebugStringConvertible, CustomReflectable {
    /// Purpose, method and place; headers, query and body hold secrets, and some paths do.
    package var description: String {
        "\(purpose.rawValue): \(method.rawValue) \(url.scheme.rawValue)://\(url.hostField)\(shownPath ?? url.path)"
    }
    package var debugDescription: String { description }
    package var customMirror: Mirror { Mirror(self, children: [:]) }
}

/// A complete reply of a provider.
package struct ProviderReply: Sendable, Equatable {
    package var status: Int
    package var headers: [HeaderField]
    package var body: [UInt8]

    package init(status: Int, headers: [HeaderField] = [], body: [UInt8] = []) {
        self.status = status
        self.headers = headers
        self.body = body
    }

    /// The first field of that name, in any case.
    package func header(_ name: String) -> String? {
        let wanted = name.lowercased()
        return headers.first { $0.name.lowercased() == wanted }?.value
    }

    /// What may be logged of a reply instead of its body (pains 19): status, type, length and a hash prefix.
    package var summary: String {
        let type = header("content-type").map { SafeText.clean($0, limit: 60) } ?? "no content type"
        let digest = Crypto.base64URL(Array(Crypto.sha256(body).prefix(6)))
        return "status \(status), \(type), \(body.count) bytes, sha256 \(digest)…"
    }
}

extension ProviderReply: CustomStringConvertible, CustomDebugStringConvertible, CustomReflectable {
    package var description: String { summary }
    package var debugDescription: String { summary }
    package var customMirror: Mirror { Mirror(self, children: [:]) }
}

/// Why there is no reply. What matters most is whether the provider may have acted on the request.
package enum ProviderFailure: Error, Sendable, Hashable {
    /// No octet of the request left: name look-up, connection refused, connect timeout.
    case notSent(Reason)
    /// The request was sent, in whole or in part, and no complete reply came: its outcome is unknown.
    case replyLost(Reason)
    /// The certificate or the handshake was refused; no octet of the request left. Text for the operator, no secrets.
    case tls(String)
    /// The reply was longer than `ProviderRequest.replyLimitBytes`; the outcome is unknown.
    case tooLarge
    /// The reply was not HTTP; the outcome is unknown.
    case malformed

    package enum Reason: String, Sendable, Hashable {
        case resolution, refused, unreachable, timeout, reset, closed, proxy, stopped
    }

    /// True where the provider may have acted, so that a refresh token may have been used up.
    package var outcomeUnknown: Bool {
        switch self {
        case .notSent, .tls: false
        case .replyLost, .tooLarge, .malformed: true
        }
    }
}

package typealias ProviderOutcome = Result<ProviderReply, ProviderFailure>

/// Text from a peer made fit for a page, a log line and a terminal.
package enum SafeText {
    /// Control characters, and everything outside printable ASCII but letters of other scripts, become "?"; the text is
    /// cut at `limit` characters. It is still to be escaped for HTML.
    package static func clean(_ text: String, limit: Int) -> String {
        var result = ""
        for (count, scalar) in text.unicodeScalars.enumerated() {
            guard count < limit else { return result + "…" }
            result.unicodeScalars.append(isPlain(scalar) ? scalar : "?")
        }
        return result
    }

    private static func isPlain(_ scalar: Unicode.Scalar) -> Bool {
        if scalar.isASCII { return (0x20...0x7E).contains(scalar.value) }
        return scalar.properties.isAlphabetic || scalar.properties.numericType != nil
    }
}
