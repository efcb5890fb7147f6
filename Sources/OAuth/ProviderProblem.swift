extension ProviderProblem {
    static func invalidReply(_ detail: String) -> ProviderProblem {
        ProviderProblem(.transient, code: "invalid_reply", detail: detail, status: 200, outcomeUnknown: true)
    }

    /// A call without a reply.
    package init(_ failure: ProviderFailure) {
        let (code, detail): (String, String) =
            switch failure {
            case .notSent(let reason):
                ("not_sent_\(reason.rawValue)", "The provider was not reached: \(reason.rawValue).")
            case .replyLost(let reason):
                (
                    reason == .timeout ? "timeout" : "reply_lost_\(reason.rawValue)",
                    "The request was sent and no reply came: \(reason.rawValue)."
                )
            case .tls(let reason): ("tls", "TLS to the provider failed: \(SafeText.clean(reason, limit: 200)).")
            case .tooLarge: ("reply_too_large", "The reply is longer than \(ProviderRequest.replyLimitBytes) bytes.")
            case .malformed: ("malformed_reply", "The reply is not HTTP.")
            }
        self.init(.transient, code: code, detail: detail, outcomeUnknown: failure.outcomeUnknown)
    }

    /// A reply that is not a success. Only a parsed OAuth error, or what the provider's aliases say, is anything but
    /// transient (pains 6).
    init(
        _ reply: ProviderReply, fields: ReplyFields?, settings: ProviderSettings, now: Moment, hiding secrets: [Secret],
        isRefresh: Bool = false
    ) {
        let retryAfter = reply.header("retry-after").flatMap { RetryAfter.parse($0, now: now) }
        guard let code = fields?.errorCode(settings) else {
            if isRefresh, let refusal = Self(emptyRefusal: reply, settings: settings) {
                self = refusal
                return
            }
            self.init(withoutCode: reply, settings: settings, retryAfter: retryAfter)
            return
        }
        let meaning = settings.meaning(ofCode: code, status: reply.status)
        // 429 and 5xx say "not now" whatever code comes with them.
        let errorClass = reply.status == 429 || reply.status >= 500 ? .transient : Self.errorClass(ofCode: meaning)
        let description = fields?.errorDescription(settings, hiding: secrets).map { ": \($0)" } ?? ""
        self.init(
            errorClass, code: code, detail: "The provider answered \(code)\(description).", status: reply.status,
            retryAfter: retryAfter, outcomeUnknown: reply.status >= 500)
    }

    private init(withoutCode reply: ProviderReply, settings: ProviderSettings, retryAfter: Int64?) {
        let status = reply.status
        if let meaning = settings.errorAliases[String(status)] {
            self.init(
                Self.errorClass(ofCode: meaning), code: "http_\(status)",
                detail: "The provider answered \(status), which it uses for \(SafeText.clean(meaning, limit: 80)).",
                status: status, retryAfter: retryAfter)
            return
        }
        let isPage =
            reply.header("content-type")?.lowercased().contains("html") == true
            || reply.body.first { $0 > 0x20 } == UInt8(ascii: "<")
        let (code, detail): (String, String) =
            switch status {
            case 300..<400: ("redirect", "The provider answered with a redirect (\(status)), which is not followed.")
            case _ where isPage:
                ("blocked_by_intermediary", "A web page came instead of a token reply (\(reply.summary)).")
            case 200: ("invalid_reply", "The reply is neither a JSON object nor a form (\(reply.summary)).")
            default: ("http_\(status)", "The provider answered without an OAuth error (\(reply.summary)).")
            }
        self.init(
            .transient, code: code, detail: detail, status: status, retryAfter: retryAfter,
            outcomeUnknown: status >= 500 || status == 200 || status == 408)
    }

    /// A refresh that is refused with 400, 401 or 403 and not one octet of explanation: so some servers say that the
    /// refresh token is dead (glewlwyd; checklist D24). A page is an intermediary's, and 401 with a challenge is about
    /// the client (RFC 6749 section 5.2); neither is this.
    private init?(emptyRefusal reply: ProviderReply, settings: ProviderSettings) {
        guard settings.emptyRefusalEndsGrant, reply.body.isEmpty else { return nil }
        guard reply.status == 400 || reply.status == 401 || reply.status == 403 else { return nil }
        guard settings.errorAliases[String(reply.status)] == nil else { return nil }
        guard reply.header("content-type")?.lowercased().contains("html") != true else { return nil }
        let isAboutClient = reply.status == 401 && reply.header("www-authenticate") != nil
        self.init(
            isAboutClient ? .configuration : .permanent, code: "http_\(reply.status)",
            detail: isAboutClient
                ? "The provider answered 401 with a challenge to the client: it does not accept our client secret."
                : "The provider refused the refresh token: it answered \(reply.status) without a word.",
            status: reply.status)
    }

    /// What a problem's code says about where an operator must look.
    package enum Side: Sendable {
        /// The provider answered, and its own word is that it does not do this.
        case refused
        /// It could not be reached, cannot answer now, or its answer cannot be used.
        case unavailable
        /// Something of ours is missing or wrong: nothing was sent.
        case settings
    }

    private static let unavailableCodes: Set<String> = [
        "timeout", "tls", "redirect", "invalid_reply", "malformed_reply", "reply_too_large", "blocked_by_intermediary",
        "discovery_failed", "key_set_unavailable", "lookup_failed", "capture_missing", "capture_refused", "not_dpop",
        "wrong_token_type", "refresh_failed", "server_error", "temporarily_unavailable", "slow_down",
        "authorization_pending", "use_dpop_nonce",
    ]
    private static let settingsCodes: Set<String> = [
        "no_endpoints", "client_key", "proof_key", "unresolved_variable", "bad_variable", "host_not_allowed",
        "no_subject_token", "no_assertion",
    ]

    package static func side(ofCode code: String) -> Side {
        if settingsCodes.contains(code) { return .settings }
        let isOurs = ["http_", "not_sent_", "reply_lost_"].contains { code.hasPrefix($0) }
        let isIdentity = IDTokenFault(rawValue: code) != nil
        return isOurs || isIdentity || unavailableCodes.contains(code) ? .unavailable : .refused
    }

    static func errorClass(ofCode code: String) -> ErrorClass {
        switch code {
        case "invalid_grant": .permanent
        case "invalid_client", "unauthorized_client": .configuration
        default: .transient
        }
    }
}
