/// What the console asks its driver to do. Every command is answered by exactly one ``ConsoleOutcome``.
///
/// The description is the command's name: codes and bindings are secret.
package enum ConsoleCommand: Sendable, Equatable, CustomStringConvertible {
    /// Begin a consent bound to this browser: answered by `authorizationStarted`. Where it comes by a one-time `link`,
    /// that is taken first: one that is not kept for this grant is answered by `failed` with `linkUsed`.
    case startAuthorization(grant: String, browserBinding: String, link: String?)
    /// May a consent for this grant be begun by link? If so the driver keeps `link` for
    /// ``ConsoleLimits/ticketSeconds``, where every replica finds it, to be taken once. Answered by `linkAllowed`.
    case authorizationLink(grant: String, link: String)
    /// A provider's answer came back. `query` is as received (at most 8 KiB); `browserBinding` is the browser's cookie,
    /// or what `startAuthorization` was given where the answer was pasted.
    /// With `expectedGrant` an answer for another grant is refused. Answered by `connected` or `consentFailed`.
    case callback(query: String, browserBinding: String?, expectedGrant: String?)
    /// Answered by `refreshed`.
    case refresh(grant: String)
    /// Answered by `revoked`.
    case revoke(grant: String)
    /// Answered by `forgotten`.
    case forget(grant: String)
    /// Answered by `grants`.
    case listGrants(GrantsQuery)
    /// Makes a grant from a template. Answered by `created`.
    case createGrant(CreateGrantOrder)
    /// Ends a grant that was made from a template: its record is deleted. Answered by `forgotten`.
    case deleteGrant(grant: String)
    /// The keys of the store and what each seals. Answered by `keys`.
    case keys
    /// Seals every row under the active key, in the background; then takes the key `retire` off the store's list.
    /// Answered by `rekeyStarted`.
    case rekey(retire: String?)
    /// Answered by `grant`.
    case grantDetail(grant: String)
    /// Answered by `status`.
    case status
    /// Begin a consent on another device (RFC 8628); one that is under way for the grant is given up. Answered by
    /// `deviceStarted` as soon as there is a code.
    case startDevice(grant: String)
    /// What came of the last one. Answered by `deviceStatus`.
    case deviceStatus(grant: String)
    /// Take this refresh token over if a refresh with it succeeds now; else the grant stays as it is. The token is
    /// printable ASCII of at most ``ImportOrder/limitBytes``. Answered by `imported`.
    case importToken(grant: String, refreshToken: String)
    /// Answered by `metrics`.
    case metrics
    /// Answered by `readiness`.
    case readiness

    package var description: String { "\(name)" }

    /// For logs.
    package var name: StaticString {
        switch self {
        case .startAuthorization: "start_authorization"
        case .authorizationLink: "authorization_link"
        case .callback: "callback"
        case .refresh: "refresh"
        case .revoke: "revoke"
        case .forget: "forget"
        case .listGrants: "list_grants"
        case .createGrant: "create_grant"
        case .deleteGrant: "delete_grant"
        case .keys: "keys"
        case .rekey: "rekey"
        case .grantDetail: "grant_detail"
        case .status: "status"
        case .startDevice: "start_device"
        case .deviceStatus: "device_status"
        case .importToken: "import_token"
        case .metrics: "metrics"
        case .readiness: "readiness"
        }
    }
}

/// What came of a command. `failed` may answer any of them.
///
/// The description is redacted: the provider's URL holds the state.
package enum ConsoleOutcome: Sendable, CustomStringConvertible {
    package var description: String { "ConsoleOutcome" }

    /// The provider's authorization URL, with all parameters; goes into `Location`.
    case authorizationStarted(url: String)
    case linkAllowed
    case connected(ConsentSuccess)
    case consentFailed(ConsentFailure)
    case refreshed(GrantView)
    /// `advice`: what is left to do at this provider, for the operator.
    case revoked(GrantView, RevocationResult, advice: String? = nil)
    case forgotten
    case grants(GrantsReply)
    case created(GrantView)
    case keys(KeysReply)
    case rekeyStarted(KeysReply)
    case grant(GrantView)
    case status(StatusView)
    case deviceStarted(DeviceReply)
    case deviceStatus(DeviceStatus)
    case imported(GrantView)
    case metrics([UInt8])
    case readiness(Readiness)
    case failed(ConsoleFailure)
}

/// The console's answer to a request.
package enum ConsoleAction: Sendable {
    case respond(ConsoleResponse)
    /// Do this, then hand the outcome and the context to ``Console/commandEnded(_:outcome:now:random:)``.
    case perform(ConsoleCommand, ConsoleContext)
}

/// Why a command did not do what it should.
package struct ConsoleFailure: Error, Sendable, Equatable {
    package enum Code: String, Sendable, CaseIterable {
        case unknownGrant = "unknown_grant"
        /// The grant's tokens come from a file: there is nobody to ask.
        case notAuthorizable = "not_authorizable"
        case notConnected = "not_connected"
        case reauthorizationRequired = "reauthorization_required"
        case configurationError = "configuration_error"
        case tooManyPendingConsents = "too_many_pending_consents"
        /// A one-time link that was used, has expired or was never made.
        case linkUsed = "link_used"
        case unknownTemplate = "unknown_template"
        /// The text is no name that a grant can have.
        case invalidName = "invalid_name"
        /// What the order gives a variable of the grant, or does not give it.
        case invalidVariable = "invalid_variable"
        case invalidLabel = "invalid_label"
        case grantExists = "grant_exists"
        /// The template's `max_grants` is reached.
        case tooManyGrants = "too_many_grants"
        /// The configuration file names the grant: only there can it be removed.
        case configuredGrant = "configured_grant"
        /// There is no such key, or it still seals something.
        case keyInUse = "key_in_use"
        case unknownKey = "unknown_key"
        case rekeyRunning = "rekey_running"
        /// The grant has no person who could consent, and no refresh token.
        case unattended
        /// The provider has no device authorization endpoint.
        case deviceNotSupported = "device_not_supported"
        /// What was to be imported is no refresh token.
        case unusableToken = "unusable_token"
        /// The provider refused the refresh token, or what it gave for it is not what the grant needs.
        case importRefused = "import_refused"
        /// The provider answered, and said by an OAuth error that it does not do this: another try would end the same way.
        case providerRefused = "provider_refused"
        /// The provider answered with something that is not a refusal, or not at all.
        case providerUnavailable = "provider_unavailable"
        case storeUnavailable = "store_unavailable"
        case draining
        case `internal` = "internal_error"
    }

    package var code: Code
    /// One sentence for the operator. Never a secret, never a provider's body.
    package var detail: String?
    package var retryAfterSeconds: Int?

    package init(_ code: Code, detail: String? = nil, retryAfterSeconds: Int? = nil) {
        self.code = code
        self.detail = detail
        self.retryAfterSeconds = retryAfterSeconds
    }
}

/// A consent that ended well.
package struct ConsentSuccess: Sendable, Equatable {
    package enum Note: String, Sendable, CaseIterable {
        /// The provider gave no refresh token: the grant ends with the access token.
        case noRefreshToken = "no_refresh_token"
        /// The provider granted other scopes than asked.
        case scopesDiffer = "scopes_differ"
    }

    package var grant: String
    package var notes: [Note]

    package init(grant: String, notes: [Note] = []) {
        self.grant = grant
        self.notes = notes
    }
}

/// A consent that ended without a grant. A grant that was good before is still good.
package struct ConsentFailure: Error, Sendable, Equatable {
    package enum Kind: String, Sendable, CaseIterable {
        /// Missing, unknown, used or expired state.
        case unknownState = "unknown_state"
        /// The state is known and belongs to another browser.
        case otherBrowser = "other_browser"
        /// Code and error together, a parameter twice, or neither.
        case malformed = "malformed_callback"
        case issuerMismatch = "issuer_mismatch"
        /// The person said no.
        case denied = "access_denied"
        /// The provider sent another error.
        case providerError = "provider_error"
        /// The code could not be exchanged.
        case exchangeFailed = "exchange_failed"
        case noRefreshToken = "no_refresh_token"
        case missingScope = "missing_scope"
        /// Another account consented than the grant belongs to.
        case wrongAccount = "wrong_account"
        /// Who consented is not said, and a certain account is expected.
        case accountUnknown = "account_unknown"
        case otherGrant = "other_grant"
        case storeUnavailable = "store_unavailable"
    }

    package var kind: Kind
    package var grant: String?
    /// The provider's own error word and description, or what was missing. Shown escaped and cut; never a code or token.
    package var detail: String?

    package init(_ kind: Kind, grant: String? = nil, detail: String? = nil) {
        self.kind = kind
        self.grant = grant
        self.detail = detail
    }
}
