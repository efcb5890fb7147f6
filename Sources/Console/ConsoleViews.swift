package import Telemetry

/// One grant as the admin API shows it; the command-line client decodes the same type. Never a token.
package struct GrantView: Codable, Sendable, Equatable {
    package struct LastError: Codable, Sendable, Equatable {
        /// The error's class: `transient`, `reauthorization_required`, `configuration_error`.
        package var errorClass: String
        /// One sentence, no secret.
        package var reason: String
        package var at: Timestamp?

        package init(errorClass: String, reason: String, at: Timestamp? = nil) {
            self.errorClass = errorClass
            self.reason = reason
            self.at = at
        }

        private enum CodingKeys: String, CodingKey {
            case errorClass = "class"
            case reason
            case at
        }
    }

    /// What the last consent came to, so that a waiting client can report it.
    package struct LastConsent: Codable, Sendable, Equatable {
        /// `connected`, or a word of ``ConsentFailure/Kind``.
        package var outcome: String
        package var reason: String?
        package var at: Timestamp

        package init(outcome: String, reason: String? = nil, at: Timestamp) {
            self.outcome = outcome
            self.reason = reason
            self.at = at
        }
    }

    package var name: String
    /// `nil` where the tokens come from a file.
    package var provider: String?
    package var state: GrantStateLabel
    /// As granted; as configured while there is no grant yet.
    package var scopes: [String]
    package var generation: UInt64
    package var accessTokenExpiresAt: Timestamp?
    package var refreshTokenExpiresAt: Timestamp?
    package var lastRefreshAt: Timestamp?
    package var nextAttemptAt: Timestamp?
    package var lastError: LastError?
    package var lastConsent: LastConsent?
    /// Where a signed-in operator begins a consent; filled in by the console. `nil` where there is nobody to ask.
    package var authorizeURL: String?
    /// `true`: the gateway gets tokens by itself, and no person consents; `nil` otherwise.
    package var unattended: Bool?
    /// Names of the routes that use the grant.
    package var routes: [String]
    /// Who has consented, where the provider says so.
    package var account: String?
    /// The template that the grant was made from; `nil` for a grant of the file.
    package var template: String?
    /// The operator's note.
    package var label: String?
    /// What fills the templated URLs: given when the grant was made, or captured from the provider's answers.
    package var variables: [String: String]?
    /// Of a grant that was revoked here: what it came to at the provider. Not yet confirmed: `failedKeptForRetry`.
    package var revocation: RevocationResult?
    /// What is left to do there, where something is.
    package var revocationAdvice: String?
    /// Asked for and not granted; `nil` where nothing is missing.
    package var missingScopes: [String]?
    /// Fields of `extra_headers` that its requests lack, because nothing gives them a value; `nil` where there are none.
    package var headersLeftOut: [String]?

    package init(
        name: String, provider: String?, state: GrantStateLabel, scopes: [String], generation: UInt64,
        accessTokenExpiresAt: Timestamp? = nil, refreshTokenExpiresAt: Timestamp? = nil,
        lastRefreshAt: Timestamp? = nil, nextAttemptAt: Timestamp? = nil, lastError: LastError? = nil,
        lastConsent: LastConsent? = nil, authorizeURL: String? = nil, routes: [String] = [], template: String? = nil,
        label: String? = nil, variables: [String: String]? = nil, account: String? = nil,
        missingScopes: [String]? = nil
    ) {
        self.account = account
        self.missingScopes = missingScopes
        self.template = template
        self.label = label
        self.variables = variables
        self.name = name
        self.provider = provider
        self.state = state
        self.scopes = scopes
        self.generation = generation
        self.accessTokenExpiresAt = accessTokenExpiresAt
        self.refreshTokenExpiresAt = refreshTokenExpiresAt
        self.lastRefreshAt = lastRefreshAt
        self.nextAttemptAt = nextAttemptAt
        self.lastError = lastError
        self.lastConsent = lastConsent
        self.authorizeURL = authorizeURL
        self.routes = routes
    }

    private enum CodingKeys: String, CodingKey {
        case name
        case provider
        case state
        case scopes
        case generation
        case accessTokenExpiresAt = "access_token_expires_at"
        case refreshTokenExpiresAt = "refresh_token_expires_at"
        case lastRefreshAt = "last_refresh_at"
        case nextAttemptAt = "next_attempt_at"
        case lastError = "last_error"
        case lastConsent = "last_consent"
        case authorizeURL = "authorize_url"
        case unattended
        case routes
        case account
        case template
        case label
        case variables
        case revocation
        case revocationAdvice = "revocation_advice"
        case missingScopes = "missing_scopes"
        case headersLeftOut = "headers_left_out"
    }
}

/// The gateway as a whole.
package struct StatusView: Codable, Sendable, Equatable {
    package var version: String
    package var startedAt: Timestamp
    package var workers: Int
    package var draining: Bool
    package var requestsTotal: UInt64
    package var serverErrorsTotal: UInt64
    package var requestsCurrent: Int64
    package var callerConnections: Int64
    package var configurationLoadedAt: Timestamp
    /// False where the file that was read last was refused and the one before is in force.
    package var lastReloadSuccessful: Bool
    /// The grants of the file.
    package var grants: [GrantView]
    /// The grants that were made from templates, counted.
    package var templates: [TemplateView]?
    package var store: StoreView?

    package init(
        version: String, startedAt: Timestamp, workers: Int, draining: Bool, requestsTotal: UInt64,
        serverErrorsTotal: UInt64, requestsCurrent: Int64, callerConnections: Int64,
        configurationLoadedAt: Timestamp, lastReloadSuccessful: Bool, grants: [GrantView],
        templates: [TemplateView]? = nil, store: StoreView? = nil
    ) {
        self.templates = templates
        self.store = store
        self.version = version
        self.startedAt = startedAt
        self.workers = workers
        self.draining = draining
        self.requestsTotal = requestsTotal
        self.serverErrorsTotal = serverErrorsTotal
        self.requestsCurrent = requestsCurrent
        self.callerConnections = callerConnections
        self.configurationLoadedAt = configurationLoadedAt
        self.lastReloadSuccessful = lastReloadSuccessful
        self.grants = grants
    }

    private enum CodingKeys: String, CodingKey {
        case version
        case startedAt = "started_at"
        case workers
        case draining
        case requestsTotal = "requests_total"
        case serverErrorsTotal = "server_errors_total"
        case requestsCurrent = "requests_current"
        case callerConnections = "caller_connections"
        case configurationLoadedAt = "configuration_loaded_at"
        case lastReloadSuccessful = "last_reload_successful"
        case grants
        case templates
        case store
    }
}

/// Whether traffic is welcome, and what stands against it.
package struct Readiness: Codable, Sendable, Equatable {
    package struct UnusableGrant: Codable, Sendable, Equatable {
        package var route: String
        package var grant: String
        package var state: GrantStateLabel

        package init(route: String, grant: String, state: GrantStateLabel) {
            self.route = route
            self.grant = grant
            self.state = state
        }
    }

    package var draining: Bool
    package var storeOpen: Bool
    /// Why the store cannot be used; `nil` while it can.
    package var storeReason: String?
    package var unusableGrants: [UnusableGrant]

    package var isReady: Bool { !draining && storeOpen && unusableGrants.isEmpty }

    package init(draining: Bool, storeOpen: Bool, storeReason: String? = nil, unusableGrants: [UnusableGrant]) {
        self.draining = draining
        self.storeOpen = storeOpen
        self.storeReason = storeReason
        self.unusableGrants = unusableGrants
    }

    private enum CodingKeys: String, CodingKey {
        case draining
        case storeOpen = "store_open"
        case storeReason = "store_reason"
        case unusableGrants = "unusable_grants"
    }
}

/// What came of revoking at the provider. Injection has stopped in every case.
package enum RevocationResult: String, Codable, Sendable, CaseIterable {
    case revoked
    /// There was nothing left to revoke.
    case alreadyInvalid = "already_invalid"
    /// The provider has no revocation endpoint.
    case notSupported = "not_supported"
    /// The provider did not know the access token, by which alone it ends a grant: the refresh token may still live.
    case notConfirmed = "not_confirmed"
    /// The provider did not confirm; the attempt is remembered and repeated.
    case failedKeptForRetry = "failed_kept_for_retry"
}

extension RevocationResult {
    /// For people, where a grant is shown.
    package var words: String {
        switch self {
        case .revoked: "confirmed by the provider"
        case .alreadyInvalid: "the provider knew the grant no more"
        case .notSupported: "the provider cannot be told"
        case .notConfirmed: "not confirmed: the refresh token may still be good at the provider"
        case .failedKeptForRetry: "not confirmed yet; the gateway goes on trying"
        }
    }
}

/// `GET /api/v1/grants`.
package struct GrantsReply: Codable, Sendable, Equatable {
    package var grants: [GrantView]
    /// There are more: ask again with `after` set to this.
    package var next: String?
    /// The template whose grants these are.
    package var template: String?

    package init(grants: [GrantView], next: String? = nil, template: String? = nil) {
        self.grants = grants
        self.next = next
        self.template = template
    }
}

/// Body of `POST /api/v1/grants/NAME/authorize`; an empty object asks for a link.
package struct AuthorizeOrder: Codable, Sendable, Equatable {
    package enum Mode: String, Codable, Sendable {
        /// A one-time link to the console, which sets the browser's cookie and goes on to the provider.
        case link
        /// The provider's own URL; the person pastes back where the browser was sent.
        case paste
    }

    package var mode: Mode?

    package init(mode: Mode?) {
        self.mode = mode
    }
}

/// Answer to ``AuthorizeOrder``. The description is redacted: the URL is a key to a consent.
package struct AuthorizeReply: Codable, Sendable, Equatable, CustomStringConvertible {
    package var authorizeURL: String
    package var expiresAt: Timestamp
    /// Only for `paste`: goes back with ``CallbackOrder``.
    package var binding: String?

    package init(authorizeURL: String, expiresAt: Timestamp, binding: String? = nil) {
        self.authorizeURL = authorizeURL
        self.expiresAt = expiresAt
        self.binding = binding
    }

    package var description: String { "AuthorizeReply(expiresAt: \(expiresAt.rfc3339))" }

    private enum CodingKeys: String, CodingKey {
        case authorizeURL = "authorize_url"
        case expiresAt = "expires_at"
        case binding
    }
}

/// Body of `POST /api/v1/grants/NAME/callback`. The description is redacted: the URL holds the code.
package struct CallbackOrder: Codable, Sendable, Equatable, CustomStringConvertible {
    package var redirectURL: String
    package var binding: String

    package init(redirectURL: String, binding: String) {
        self.redirectURL = redirectURL
        self.binding = binding
    }

    package var description: String { "CallbackOrder([redacted])" }

    private enum CodingKeys: String, CodingKey {
        case redirectURL = "redirect_url"
        case binding
    }
}

/// Answer to ``CallbackOrder``.
package struct ConsentReply: Codable, Sendable, Equatable {
    package var grant: String
    package var notes: [String]

    package init(grant: String, notes: [String]) {
        self.grant = grant
        self.notes = notes
    }
}

/// Answer to `POST /api/v1/grants/NAME/revoke`.
package struct RevokeReply: Codable, Sendable, Equatable {
    package var result: RevocationResult
    package var grant: GrantView
    /// What is left to do at this provider; plain words.
    package var advice: String?

    package init(result: RevocationResult, grant: GrantView, advice: String? = nil) {
        self.result = result
        self.grant = grant
        self.advice = advice
    }
}

/// Answer to `POST /api/v1/grants/NAME/forget`.
package struct ForgetReply: Codable, Sendable, Equatable {
    package var forgotten: String

    package init(forgotten: String) {
        self.forgotten = forgotten
    }
}

/// RFC 9457 with a stable `code`.
package struct Problem: Codable, Sendable, Equatable {
    package var title: String
    package var status: Int
    package var code: String
    package var detail: String?
    package var requestID: String

    package init(title: String, status: Int, code: String, detail: String? = nil, requestID: String) {
        self.title = title
        self.status = status
        self.code = code
        self.detail = detail
        self.requestID = requestID
    }

    private enum CodingKeys: String, CodingKey {
        case title
        case status
        case code
        case detail
        case requestID = "request_id"
    }
}
