/// What starts a consent, and how the answer will come back.
package struct ConsentRequest: Sendable, Equatable {
    package var grant: GrantSettings
    package var provider: ProviderSettings
    package var endpoints: ProviderEndpoints
    /// `public_url` + /oauth/callback: from the configuration, never from a request (checklist D7).
    package var redirectURI: String
    /// The secret that the starting browser keeps as a cookie, or the command that started hands to one; at least 128
    /// bits, in any text form.
    package var binding: Secret

    package init(
        grant: GrantSettings, provider: ProviderSettings, endpoints: ProviderEndpoints, redirectURI: String,
        binding: Secret
    ) {
        self.grant = grant
        self.provider = provider
        self.endpoints = endpoints
        self.redirectURI = redirectURI
        self.binding = binding
    }
}

/// A consent that waits for its callback; kept in the store under `key`, sealed, bounded in number, taken once.
package struct PendingConsent: Sendable, Equatable {
    /// How long a person has.
    package static let lifetime: Int64 = 600_000

    package var grant: String
    package var provider: String
    /// The client that asked; nil in what an older version of the program has stored.
    package var clientID: String?
    package var issuer: String?
    package var requiresIssuer: Bool
    package var tokenEndpoint: ProviderURL
    package var redirectURI: String
    package var codeParameter: String
    package var verifier: Secret?
    /// Not nil: openid was asked for, and the id_token must repeat this.
    package var nonce: Secret?
    /// `ProofKey.encoded()` of the key that the tokens will be bound to (RFC 9449).
    package var proofKey: Secret?
    /// What the callback must give besides the code, and the grant's variables; nil: nothing.
    package var capture: PendingCapture?
    /// Of the binding, with a prefix of its own.
    package var bindingHash: String
    /// Wall milliseconds.
    package var expiresAt: Int64

    package static func bindingHash(_ binding: Secret) -> String {
        Crypto.base64URL(Crypto.sha256(Array("token-gateway consent binding\n".utf8) + binding.bytes))
    }

    /// What the store knows it by: the state itself is nowhere but in the browser.
    package static func key(forState state: String) -> String {
        Crypto.base64URL(Crypto.sha256(Array("token-gateway consent state\n\(state)".utf8)))
    }

    func isBound(to binding: Secret?) -> Bool { Self.matches(binding, of: bindingHash) }

    /// Who holds `binding` is the one whose `bindingHash` this is.
    static func matches(_ binding: Secret?, of hash: String) -> Bool {
        guard let binding else { return false }
        return Crypto.constantTimeEquals(Array(bindingHash(binding).utf8), Array(hash.utf8))
    }
}

extension PendingConsent: CustomStringConvertible, CustomDebugStringConvertible, CustomReflectable {
    package var description: String { "pending consent for \(grant)" }
    package var debugDescription: String { description }
    package var customMirror: Mirror { Mirror(self, children: [:]) }
}

extension PendingConsent {
    private static let format = "1"

    /// The payload for the store, to be sealed.
    package func encoded() -> [UInt8] {
        var members: [String: JSONValue] = [
            "format": .string(Self.format), "grant": .string(grant), "provider": .string(provider),
            "requires_issuer": .bool(requiresIssuer),
            "token_endpoint": .string(tokenEndpoint.description), "redirect_uri": .string(redirectURI),
            "code_parameter": .string(codeParameter), "binding_hash": .string(bindingHash),
            "expires_at": .number(String(expiresAt)),
        ]
        members["client_id"] = clientID.map { .string($0) }
        members["issuer"] = issuer.map { .string($0) }
        members["verifier"] = verifier.map { .string($0.reveal()) }
        members["nonce"] = nonce.map { .string($0.reveal()) }
        members["proof_key"] = proofKey.map { .string($0.reveal()) }
        members["capture"] = capture?.json
        return JSONValue.object(members).encoded()
    }

    /// nil for what `encoded()` does not make.
    package init?(payload: [UInt8]) {
        guard let json = JSONValue(payload), json["format"]?.text == Self.format else { return nil }
        guard let grant = json["grant"]?.text, let provider = json["provider"]?.text else { return nil }
        guard let tokenEndpoint = json["token_endpoint"]?.text.flatMap({ ProviderURL($0) }) else { return nil }
        guard let redirectURI = json["redirect_uri"]?.text, let bindingHash = json["binding_hash"]?.text else {
            return nil
        }
        let capture = json["capture"].flatMap { PendingCapture($0) }
        guard capture != nil || json["capture"] == nil else { return nil }
        guard let expiresAt = json["expires_at"]?.integer, let code = json["code_parameter"]?.text else { return nil }
        self.init(
            grant: grant, provider: provider, clientID: json["client_id"]?.text,
            issuer: json["issuer"]?.text,
            requiresIssuer: json["requires_issuer"]?.flag ?? true, tokenEndpoint: tokenEndpoint,
            redirectURI: redirectURI, codeParameter: code, verifier: json["verifier"]?.text.map { Secret($0) },
            nonce: json["nonce"]?.text.map { Secret($0) }, proofKey: json["proof_key"]?.text.map { Secret($0) },
            capture: capture, bindingHash: bindingHash, expiresAt: expiresAt)
    }
}
