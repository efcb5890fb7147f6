extension Snapshot {
    /// `[grant.NAME]`: one resource owner's authorization, or a token that another program keeps fresh.
    package struct Grant: Sendable, Hashable {
        package enum Source: Sendable, Hashable {
            /// `requiredScopes`: missing ones make the grant unusable (RFC 6749 section 3.3).
            case provider(String, scopes: [String], requiredScopes: [String])
            /// Re-read when it changes.
            case tokenFile(path: String)
        }
        package internal(set) var name = ""
        package internal(set) var source = Source.tokenFile(path: "")
        /// true: a consent without a refresh token is refused; false: accepted; nil: refused only where it would
        /// replace a grant that has one.
        package internal(set) var requireRefreshToken: Bool?
        /// The only account whose consent is accepted; nil: the first one is pinned, where `paths.account` is set.
        package internal(set) var expectedAccount: String?
        /// The grant's own, else its provider's, else `Authorization: Bearer`.
        package internal(set) var credentialHeader = CredentialHeader()
        /// How the tokens of a grant with a provider are had.
        package internal(set) var acquisition = Acquisition.authorizationCode
        /// The grant's own values of `{name}`; they come before the provider's, and are never captured over.
        package internal(set) var variables: [String: String] = [:]

        /// The provider's name, when the grant has one.
        package var providerName: String? {
            switch source {
            case .provider(let name, _, _): name
            case .tokenFile: nil
            }
        }
    }

    /// `[grant_template.NAME]`: what many grants have in common, which are made while the gateway runs.
    package struct GrantTemplate: Sendable, Hashable {
        package internal(set) var name = ""
        /// What each of its grants is like; its name is the template's.
        package internal(set) var grant = Grant()
        /// More are not made.
        package internal(set) var maxGrants = 0
        /// Variables that each grant must be given when it is made, since neither the provider nor the template has
        /// them.
        package internal(set) var neededVariables: [RequiredVariable] = []

        /// Its provider's name.
        package var providerName: String { grant.providerName ?? "" }
    }

    /// How tokens are had.
    package enum Acquisition: Sendable, Hashable {
        /// A person consents in a browser.
        case authorizationCode
        /// A person consents on another device (RFC 8628).
        case device
        /// RFC 6749 section 4.4.
        case clientCredentials
        /// RFC 7523 section 2.1.
        case jwtBearer(Assertion)
        /// RFC 8693.
        case tokenExchange(Exchange)

        /// Whether no person is needed.
        package var isUnattended: Bool {
            switch self {
            case .authorizationCode, .device: false
            case .clientCredentials, .jwtBearer, .tokenExchange: true
            }
        }
    }

    /// What the assertion of a JWT bearer grant says.
    package struct Assertion: Sendable, Hashable {
        /// nil: the client id.
        package internal(set) var issuer: String?
        /// nil: no such claim.
        package internal(set) var subject: String?
        /// nil: the token endpoint.
        package internal(set) var audience: String?
        package internal(set) var lifetime = Duration.seconds(180)
        /// Further claims, all texts.
        package internal(set) var claims: [NamedValue] = []
    }

    /// What a token exchange asks for.
    package struct Exchange: Sendable, Hashable {
        package enum Source: Sendable, Hashable {
            /// Read for each call.
            case file(path: String)
            /// The access token of another grant of the file.
            case grant(String)
        }
        package internal(set) var subject = Source.file(path: "")
        package internal(set) var subjectTokenType = ""
        package internal(set) var actor: Source?
        package internal(set) var actorTokenType = ""
        package internal(set) var requestedTokenType: String?
        package internal(set) var audiences: [String] = []
        /// A reply whose `token_type` is `N_A` is taken all the same.
        package internal(set) var acceptsUntypedToken = false
    }
}
