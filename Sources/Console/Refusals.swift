/// The console's own errors: code, status and words in one table.
enum Refusal: String, Sendable, CaseIterable {
    case notFound = "not_found"
    case methodNotAllowed = "method_not_allowed"
    case hostNotAllowed = "host_not_allowed"
    case notLocal = "not_local"
    case crossSite = "cross_site_request"
    case formExpired = "form_expired"
    case signInNeeded = "sign_in_required"
    case tooManyAttempts = "too_many_attempts"
    case linkUsed = "link_used"
    case malformedRequest = "malformed_request"
    case unsupportedMediaType = "unsupported_media_type"
    case bodyTooLarge = "body_too_large"
    case internalError = "internal_error"

    var status: Int {
        switch self {
        case .notFound: 404
        case .methodNotAllowed: 405
        case .hostNotAllowed: 421
        case .notLocal, .crossSite, .formExpired, .linkUsed: 403
        case .signInNeeded: 401
        case .tooManyAttempts: 429
        case .malformedRequest: 400
        case .unsupportedMediaType: 415
        case .bodyTooLarge: 413
        case .internalError: 500
        }
    }

    var title: String {
        switch self {
        case .notFound: "There is no such page"
        case .methodNotAllowed: "That method is not allowed here"
        case .hostNotAllowed: "The console is not served under this name"
        case .notLocal: "The console is open to this machine only"
        case .crossSite: "Another site asked for this"
        case .formExpired: "This page was out of date"
        case .signInNeeded: "Sign in first"
        case .tooManyAttempts: "Too many wrong attempts"
        case .linkUsed: "This link has been used or has expired"
        case .malformedRequest: "The request could not be understood"
        case .unsupportedMediaType: "The content type is not the one expected"
        case .bodyTooLarge: "The request is too large"
        case .internalError: "Something went wrong in the gateway"
        }
    }

    var detail: String {
        switch self {
        case .notFound: "Check the address, or begin at the dashboard."
        case .methodNotAllowed: "The Allow field of this response lists the methods that are."
        case .hostNotAllowed:
            "Open it by its loopback address or by the public_url of gateway.conf. This guards against DNS rebinding."
        case .notLocal:
            "No secret is configured, so requests from other machines or through a proxy are refused. Configure the "
                + "console's authentication to use it from elsewhere."
        case .crossSite: "A page of another site sent this request, so nothing was done."
        case .formExpired: "Nothing was done. Go back, reload the page and try again."
        case .signInNeeded: "Send the console's secret as a bearer credential, or sign in with a browser."
        case .tooManyAttempts: "Wait a little, then try again."
        case .linkUsed: "A link works once and for ten minutes. Ask for a new one: token-gateway authorize NAME."
        case .malformedRequest: "The body must be the JSON object that the documentation describes."
        case .unsupportedMediaType: "Programs send application/json, the console's pages send their forms."
        case .bodyTooLarge: "The console takes at most 64 KiB."
        case .internalError: "The log has more under the request id."
        }
    }
}

extension ConsoleFailure.Code {
    var status: Int {
        switch self {
        case .unknownGrant, .unknownTemplate, .unknownKey: 404
        case .linkUsed: 403
        case .invalidName, .invalidVariable, .invalidLabel, .unusableToken: 400
        case .importRefused: 422
        case .unattended, .deviceNotSupported: 409
        case .notAuthorizable, .notConnected, .reauthorizationRequired, .configurationError, .grantExists,
            .tooManyGrants, .configuredGrant, .keyInUse, .rekeyRunning:
            409
        case .tooManyPendingConsents: 429
        case .providerRefused, .providerUnavailable: 502
        case .storeUnavailable, .draining: 503
        case .internal: 500
        }
    }

    var title: String {
        switch self {
        case .unknownGrant: "There is no grant of that name"
        case .linkUsed: Refusal.linkUsed.title
        case .unknownTemplate: "There is no grant template of that name"
        case .invalidName: "No grant can have that name"
        case .invalidVariable: "A variable of the grant is missing or cannot have that value"
        case .invalidLabel: "No grant can have that label"
        case .grantExists: "There is a grant of that name"
        case .tooManyGrants: "The template has as many grants as it may"
        case .configuredGrant: "This grant stands in gateway.conf"
        case .keyInUse: "The key is in use"
        case .unknownKey: "There is no key with that id"
        case .rekeyRunning: "The store is being sealed again already"
        case .unattended: "Nobody consents to this grant"
        case .deviceNotSupported: "The provider has no device authorization"
        case .unusableToken: "That is no refresh token"
        case .importRefused: "The refresh token was not imported"
        case .notAuthorizable: "This grant's token comes from a file"
        case .notConnected: "Nobody has consented yet"
        case .reauthorizationRequired: "A new consent is needed"
        case .configurationError: "The provider's settings here, or this gateway's registration there, are not right"
        case .tooManyPendingConsents: "Too many consents are waiting"
        case .providerRefused: "The provider refused the request"
        case .providerUnavailable: "The provider could not be reached or gave no usable answer"
        case .storeUnavailable: "The store is not available"
        case .draining: "The gateway is shutting down"
        case .internal: "Something went wrong in the gateway"
        }
    }

    var defaultDetail: String {
        switch self {
        case .unknownGrant:
            "The grants are those of gateway.conf, and those that were made from its templates (TEMPLATE:NAME)."
        case .linkUsed: Refusal.linkUsed.detail
        case .unknownTemplate: "The templates are the [grant_template.NAME] of gateway.conf."
        case .invalidName: "A name has 1 to 128 of the characters A-Z a-z 0-9 . _ @ - and nothing else."
        case .invalidVariable: "Variables have plain names, and values without spaces that the template takes."
        case .invalidLabel: "A label is one short line."
        case .grantExists: "Nothing was changed."
        case .tooManyGrants: "See max_grants of the template, or delete grants that are not needed."
        case .configuredGrant: "Remove it there and reload; forget deletes its tokens."
        case .keyInUse: "Rows of the store are sealed under it: rekey first."
        case .unknownKey: "token-gateway keys lists them."
        case .rekeyRunning: "token-gateway keys shows how far it is."
        case .unattended: "The gateway asks for its tokens by itself; there is nothing to authorize or to import."
        case .deviceNotSupported: "Its metadata names no endpoint for it, and device_url is not set: use authorize."
        case .unusableToken: "It must be printable ASCII in one line, of at most 32 KiB."
        case .importRefused: "Nothing was changed. See that it belongs to this client and has not been used elsewhere."
        case .notAuthorizable: "Another program keeps it fresh; there is nobody to ask for consent."
        case .notConnected: "Authorize the grant first."
        case .reauthorizationRequired: "The provider has ended the old one. Authorize the grant again."
        case .configurationError: "Check the client id and the client secret in gateway.conf."
        case .tooManyPendingConsents: "Finish one of them, or wait ten minutes until they expire."
        case .providerRefused: "The grant keeps what it has. See the provider's settings in gateway.conf."
        case .providerUnavailable: "The grant keeps what it has. Try again later."
        case .storeUnavailable: "Nothing was changed. Try again later."
        case .draining: "Try again when it is back."
        case .internal: "The log has more under the request id."
        }
    }
}

extension ConsentFailure.Kind {
    var status: Int {
        switch self {
        case .unknownState, .otherBrowser, .malformed, .issuerMismatch, .otherGrant: 400
        case .denied, .providerError, .noRefreshToken, .missingScope, .wrongAccount, .accountUnknown: 422
        case .exchangeFailed: 502
        case .storeUnavailable: 503
        }
    }

    var title: String {
        switch self {
        case .unknownState: "This consent is not waited for any more"
        case .otherBrowser: "This consent was begun in another browser"
        case .malformed: "The provider's answer could not be understood"
        case .issuerMismatch: "The answer came from another provider"
        case .denied: "Consent was declined"
        case .providerError: "The provider refused"
        case .exchangeFailed: "The provider gave no tokens"
        case .noRefreshToken: "The provider gave no refresh token"
        case .missingScope: "Not everything was granted"
        case .wrongAccount: "Another account has consented"
        case .accountUnknown: "It is not known who has consented"
        case .otherGrant: "This answer belongs to another grant"
        case .storeUnavailable: "The tokens could not be stored"
        }
    }

    var detail: String {
        switch self {
        case .unknownState:
            "It took longer than ten minutes, it was finished already, or this page was not reached from the provider. "
                + "If the grant is not connected, begin again."
        case .otherBrowser:
            "Begin and finish in the same browser, with cookies allowed. On a machine without a browser use "
                + "token-gateway authorize NAME --paste."
        case .malformed: "It lacks what it needs, or says something twice. Nothing was changed. Begin again."
        case .issuerMismatch: "It was dropped, and no code was sent anywhere. If this happens again, tell the provider."
        case .denied: "Nothing was changed. A grant that worked before still works."
        case .providerError: "Nothing was changed. A grant that worked before still works."
        case .exchangeFailed: "The consent itself went well, but the exchange for tokens failed. Begin again."
        case .noRefreshToken:
            "Without one the grant would end within hours, so it was not taken over. The provider's documentation says "
                + "which parameter or scope asks for one."
        case .missingScope: "A scope that gateway.conf asks for was not granted, so nothing was taken over."
        case .wrongAccount:
            "Nothing was changed. Sign out at the provider, sign in with the account that the grant belongs to, and begin "
                + "again."
        case .accountUnknown:
            "Nothing was changed. The provider has to say who consented before expected_account can be compared."
        case .otherGrant: "Paste the answer to the grant for which the link was made."
        case .storeUnavailable: "Tokens are used only once they are safely stored. Begin again when the store is back."
        }
    }
}
