/// What the console must remember of a request while its driver works. Opaque to the driver; goes back with the outcome.
///
/// The description is redacted: the context holds cookies.
package struct ConsoleContext: Sendable, CustomStringConvertible {
    /// How the answer to a command is shown.
    enum Answer: Sendable, Equatable {
        /// As the endpoint has it.
        case usual
        /// Make a one-time link and go there: the browser is not at the public URL, where its cookie must be set.
        case goToPublicURL
        /// The provider's URL and the binding go to the client that will paste the answer.
        case paste(binding: String)
    }

    /// `nil` for a path that names nothing.
    var endpoint: Endpoint?
    var isHead: Bool
    var requestID: String
    var isForPrograms: Bool
    /// Whether the browser's connection is (as far as can be told) TLS, so that cookies can be `Secure`.
    var isSecure: Bool
    /// The peer is known to be an operator: details may be shown.
    var isOperator = false
    /// There is a session that can be signed out of.
    var hasSession = false
    /// The value of the cookie that forms are bound to.
    var formCookie: String
    var formToken: String
    /// Set by this response.
    var setCookies: [String] = []
    var answer = Answer.usual
    /// The secret of a one-time link that is being made.
    var ticket: String?

    package var description: String { "ConsoleContext(\(requestID))" }
}

/// Names and attributes of the console's cookies.
enum ConsoleCookie {
    case session
    case form
    case consent

    /// With the `__Host-` prefix a browser takes the cookie only over TLS, for this host alone (RFC 6265bis 4.1.3.2).
    func name(isSecure: Bool) -> String {
        let bare =
            switch self {
            case .session: "tg-session"
            case .form: "tg-form"
            case .consent: "tg-consent"
            }
        return isSecure ? "__Host-\(bare)" : bare
    }

    /// The session's cookie never comes along from another site. The consent's must, when the provider sends the browser
    /// back; and the form's does when a link leads here, or else each such visit would replace it and spoil the forms in
    /// other tabs. It gives no right by itself: a form's token does, together with it.
    private var sameSite: String {
        switch self {
        case .session: "Strict"
        case .form, .consent: "Lax"
        }
    }

    func field(value: String, isSecure: Bool, maxAge: Int?) -> String {
        var text = "\(name(isSecure: isSecure))=\(value); Path=/; HttpOnly; SameSite=\(sameSite)"
        if let maxAge { text += "; Max-Age=\(maxAge)" }
        if isSecure { text += "; Secure" }
        return text
    }
}
