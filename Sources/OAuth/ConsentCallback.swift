/// The parameters of an authorization response (RFC 6749 section 4.1.2, RFC 9207), read strictly.
struct ConsentCallback: Sendable, Equatable {
    static let limitBytes = 8192
    /// As many octets as `ConsentStart` makes, in base64url.
    static let stateLength = 43

    enum Answer: Sendable, Equatable {
        case code(Secret)
        case error(code: String, description: String?)
    }

    var state: String
    private var parameters: [String: String]
    private var repeated: Set<String> = []

    /// `query` without the "?". What is unknown is ignored; what is known and comes twice is refused (checklist D9).
    static func read(_ query: String) -> Result<ConsentCallback, CallbackRejection> {
        guard query.utf8.count <= limitBytes else { return .failure(.tooLong) }
        guard let pairs = FormEncoding.decode(query) else { return .failure(.malformed) }
        var parameters: [String: String] = [:]
        var repeated: Set<String> = []
        for pair in pairs where parameters.updateValue(pair.value, forKey: pair.name) != nil {
            repeated.insert(pair.name)
        }
        let known = ["state", "code", "error", "error_description", "error_uri", "iss", "session_state"]
        if known.contains(where: repeated.contains) { return .failure(.repeatedParameter) }
        // A repeated parameter of another name must not be read later as the code of some provider.
        for name in repeated { parameters.removeValue(forKey: name) }
        guard let state = parameters["state"], isState(state) else { return .failure(.unknownState) }
        return .success(ConsentCallback(state: state, parameters: parameters, repeated: repeated))
    }

    /// A further parameter, as it came; nil where it is absent or came twice.
    func value(_ name: String) -> String? { parameters[name] }

    func isRepeated(_ name: String) -> Bool { repeated.contains(name) }

    private static func isState(_ text: String) -> Bool {
        text.utf8.count == stateLength
            && text.utf8.allSatisfy { byte in
                switch byte {
                case 0x30...0x39, 0x41...0x5A, 0x61...0x7A, 0x2D, 0x5F: true
                default: false
                }
            }
    }

    /// Everything that is checked against the pending consent, before any request is made.
    func answer(for pending: PendingConsent) -> Result<Answer, CallbackRejection> {
        if let issuer = parameters["iss"] {
            // Simple string comparison (RFC 9207 section 2.4). Without a configured issuer there is nothing to compare.
            if let expected = pending.issuer, issuer != expected { return .failure(.otherIssuer) }
        } else if pending.requiresIssuer {
            return .failure(.missingIssuer)
        }
        let code = parameters[pending.codeParameter]
        switch (code, parameters["error"]) {
        case (_?, _?): return .failure(.codeAndError)
        case (nil, nil): return .failure(.neitherCodeNorError)
        case (let code?, nil):
            guard !code.isEmpty, code.utf8.allSatisfy({ (0x20...0x7E).contains($0) }) else {
                return .failure(.malformed)
            }
            return .success(.code(Secret(code)))
        case (nil, let error?):
            let description = parameters["error_description"].map { SafeText.clean($0, limit: 200) }
            return .success(.error(code: SafeText.clean(error, limit: 80), description: description))
        }
    }
}

/// Why a callback is refused with status 400. None of these makes a token request.
package enum CallbackRejection: String, Error, Sendable, Hashable, CaseIterable {
    case tooLong = "too_long"
    case malformed
    case repeatedParameter = "repeated_parameter"
    /// Never made here, expired, or used before.
    case unknownState = "unknown_state"
    case wrongBrowser = "wrong_browser"
    case otherIssuer = "other_issuer"
    case missingIssuer = "missing_issuer"
    case codeAndError = "code_and_error"
    case neitherCodeNorError = "neither_code_nor_error"
    /// A value that must come with the code is missing or not allowed: a host that is not in `allowed_hosts`.
    case captureRefused = "capture_refused"
    case storeUnavailable = "store_unavailable"
    case tooManyCallbacks = "too_many_callbacks"

    /// One or two sentences for the page, in plain words and without anything that came with the request.
    package var explanation: String {
        switch self {
        case .tooLong: "The address that the provider sent you back to is too long."
        case .malformed: "The address that the provider sent you back to cannot be read."
        case .repeatedParameter: "The address that the provider sent you back to says the same thing twice."
        case .unknownState:
            "This consent is not known here: it was started more than ten minutes ago, was finished already, or was "
                + "never started here. Start again."
        case .wrongBrowser:
            "This consent was started in another browser. Open the link again in this one, or finish in the other."
        case .otherIssuer: "The answer came from another authorization server than the one that was asked."
        case .missingIssuer: "The answer does not say which authorization server it came from, and this one must."
        case .codeAndError: "The answer is a consent and a refusal at once."
        case .neitherCodeNorError: "The answer is neither a consent nor a refusal."
        case .captureRefused:
            "The answer lacks a value that this provider must send, or has one that is not allowed. Nothing was sent "
                + "anywhere."
        case .storeUnavailable: "The gateway cannot reach its store now. Start again in a moment."
        case .tooManyCallbacks: "The gateway is busy with other consents. Start again in a moment."
        }
    }
}
