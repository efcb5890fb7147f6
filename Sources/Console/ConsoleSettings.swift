/// The URL under which browsers reach the console, split for comparing.
package struct PublicURL: Sendable, Equatable {
    /// `https` or `http`.
    package let scheme: String
    /// Host and, where it is not the scheme's own, port; lower case.
    package let authority: String
    /// Empty, or a path that starts with `/` and does not end with it.
    package let prefix: String

    package var isHTTPS: Bool { scheme == "https" }
    /// What browsers send in `Origin`.
    package var origin: String { "\(scheme)://\(authority)" }
    package var text: String { origin + prefix }
    /// What is registered at providers.
    package var redirectURI: String { text + "/oauth/callback" }

    /// Takes `https://host[:port][/prefix]`, or `http`; refuses userinfo, a query, a fragment and anything odd.
    package init?(_ text: String) {
        guard let separator = text.firstRange(of: "://") else { return nil }
        let scheme = text[..<separator.lowerBound].lowercased()
        let rest = text[separator.upperBound...]
        let slash = rest.firstIndex(of: "/") ?? rest.endIndex
        var authority = rest[..<slash].lowercased()
        var prefix = String(rest[slash...])
        while prefix.hasSuffix("/") { prefix.removeLast() }
        guard scheme == "https" || scheme == "http", !authority.isEmpty,
            authority.utf8.allSatisfy(Self.isAuthorityByte), prefix.utf8.allSatisfy(Self.isPathByte)
        else { return nil }
        let standardPort = scheme == "https" ? ":443" : ":80"
        if authority.hasSuffix(standardPort) { authority.removeLast(standardPort.count) }
        self.scheme = scheme
        self.authority = authority
        self.prefix = prefix
    }

    private static func isAuthorityByte(_ byte: UInt8) -> Bool {
        isNameByte(byte) || byte == UInt8(ascii: ":") || byte == UInt8(ascii: "[") || byte == UInt8(ascii: "]")
    }

    private static func isPathByte(_ byte: UInt8) -> Bool {
        isNameByte(byte) || byte == UInt8(ascii: "/") || byte == UInt8(ascii: "~")
    }

    private static func isNameByte(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
            UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "."), UInt8(ascii: "_"):
            true
        default: false
        }
    }
}

/// The two primitives that the console needs; given by the driver so that this target links no library.
package struct ConsoleCryptography: Sendable {
    package var sha256: @Sendable (_ data: [UInt8]) -> [UInt8]
    package var hmacSHA256: @Sendable (_ key: [UInt8], _ data: [UInt8]) -> [UInt8]

    package init(
        sha256: @escaping @Sendable ([UInt8]) -> [UInt8],
        hmacSHA256: @escaping @Sendable ([UInt8], [UInt8]) -> [UInt8]
    ) {
        self.sha256 = sha256
        self.hmacSHA256 = hmacSHA256
    }
}

/// Who may use the console.
package enum ConsoleAuthentication: Sendable, Equatable, CustomStringConvertible {
    /// Anybody on this machine: the listener must be on loopback, and so must every peer and `Host`.
    case none
    /// Who knows one of the secrets (several while one replaces another); only their SHA-256 are kept.
    case secrets(digests: [[UInt8]])

    /// Who knows the one secret.
    package static func secret(digest: [UInt8]) -> ConsoleAuthentication { .secrets(digests: [digest]) }

    package var description: String {
        switch self {
        case .none: "none"
        case .secrets: "secret [redacted]"
        }
    }
}

/// The console's part of a snapshot.
package struct ConsoleSettings: Sendable {
    package var publicURL: PublicURL
    package var authentication: ConsoleAuthentication
    /// `Secure` on every cookie, whatever the request looks like: for a console that itself listens with TLS.
    package var servesTLS: Bool
    package var version: String
    package var cryptography: ConsoleCryptography
    /// The first one signs sessions, forms and the address of the page after a consent; all of them are accepted. The
    /// same on every replica. Empty: a key of this process's own.
    package var signingKeys: [[UInt8]]

    package init(
        publicURL: PublicURL, authentication: ConsoleAuthentication, servesTLS: Bool = false, version: String,
        cryptography: ConsoleCryptography, signingKeys: [[UInt8]] = []
    ) {
        self.publicURL = publicURL
        self.authentication = authentication
        self.servesTLS = servesTLS
        self.version = version
        self.cryptography = cryptography
        self.signingKeys = signingKeys
    }
}

/// The console's bounds, in one place.
package enum ConsoleLimits {
    /// Of a request's body; a form or a pasted URL.
    package static let bodyBytes = 64 * 1024
    /// Of a callback's query (a code and a state are some hundred bytes).
    package static let callbackQueryBytes = 8 * 1024
    package static let sessionSeconds: Int64 = 12 * 3600
    /// Sessions that were signed out and have not ended by themselves yet.
    package static let signedOut = 1024
    package static let ticketSeconds: Int64 = 600
    /// How long a browser keeps the cookie that binds a consent to it.
    package static let consentCookieSeconds = 600
    /// Wrong secrets that one peer may send at once; then one more every ``secondsPerAttempt``.
    package static let attemptsPerPeer = 10
    package static let secondsPerAttempt: Int64 = 6
    package static let attemptPeers = 1024
    /// Provider-supplied text shown on a page.
    package static let detailCharacters = 200
    /// Of a grant's name in a path: a template's, a colon, and its own.
    package static let grantNameBytes = 320
    /// Grants on one page of a list.
    package static let pageGrants = 100
    package static let largestPage = 1000
    package static let labelBytes = 200
    package static let variables = 32
    package static let variableBytes = 1024
}
