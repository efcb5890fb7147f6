import OpenSSLKit

/// The last nonce of each server that sends some (RFC 9449 section 8).
struct ProofNonces: Sendable {
    /// A provider has one or two servers.
    static let limit = 16
    static let longest = 1024

    private var nonces: [String: String] = [:]

    subscript(url: ProviderURL) -> String? { nonces[Self.server(url)] }

    /// Every reply may bring a new one. Returns it.
    mutating func learn(_ outcome: ProviderOutcome, from url: ProviderURL) -> String? {
        guard case .success(let reply) = outcome, let nonce = reply.header("dpop-nonce"), Self.isNonce(nonce) else {
            return nil
        }
        let server = Self.server(url)
        if nonces.count >= Self.limit, nonces[server] == nil { nonces = [:] }
        nonces[server] = nonce
        return nonce
    }

    /// NQCHAR of RFC 6749 appendix A (RFC 9449 section 8.1).
    static func isNonce(_ text: String) -> Bool {
        !text.isEmpty && text.utf8.count <= longest
            && text.utf8.allSatisfy { $0 > 0x20 && $0 < 0x7F && $0 != 0x22 && $0 != 0x5C }
    }

    private static func server(_ url: ProviderURL) -> String {
        "\(url.scheme.rawValue)://\(url.hostField)"
    }
}

/// DPoP at the token endpoint (RFC 9449 section 5).
extension ProviderMachine {
    /// The key that a call's tokens will be bound to. A refresh keeps what its grant has: new tokens for a grant without
    /// a key stay bearer tokens until the next consent, for a server that did not take the proof might use up the
    /// refresh token all the same.
    func proofKey(for call: TokenCall, endpoints: ProviderEndpoints) throws(ProviderProblem) -> ProofKey? {
        if let key = try proofKey(encoded: call.proofKey) { return key }
        guard settings.dpop == .on, call.kind.beginsGrant || call.isImport else { return nil }
        guard let key = ProofKey.make(endpoints.proofAlgorithm, randomness: random(ProofKey.seedBytes)) else {
            throw .proofKey("\(endpoints.proofAlgorithm.rawValue) is not an algorithm for proofs.")
        }
        return key
    }

    /// nil: there is none.
    func proofKey(encoded: Secret?) throws(ProviderProblem) -> ProofKey? {
        guard let encoded else { return nil }
        guard let key = ProofKey(encoded: encoded.reveal()) else {
            throw .proofKey("The key that the grant's tokens are bound to cannot be read.")
        }
        return key
    }

    /// Goes with a request that carries the access token, as one to an upstream does (RFC 9449 section 7.1); nil where the
    /// token is bound to no key.
    func proof(
        for request: ProviderRequest, of tokens: TokenSet, now: Moment
    ) throws(ProviderProblem) -> HeaderField? {
        guard let key = try proofKey(encoded: tokens.proofKey) else { return nil }
        return try proof(for: request, key: key, tokenHash: ProofSigner.tokenHash(tokens.accessToken), now: now)
    }

    /// - Parameter tokenHash: of the access token that the request carries; empty at the token endpoint.
    func proof(
        for request: ProviderRequest, key: ProofKey, tokenHash: [UInt8] = [], now: Moment
    ) throws(ProviderProblem) -> HeaderField {
        let url = request.url
        let place = "\(url.scheme.rawValue)://\(url.hostField)\(url.path)"
        let value = ProofSigner(key)?.proof(
            method: Array(request.method.rawValue.utf8), url: Array(place.utf8), tokenHash: tokenHash,
            nonce: Array((nonces[url] ?? "").utf8), tokenID: random(16), issuedAt: now.wall / 1000)
        guard let value else { throw .proofKey("The proof could not be signed.") }
        return HeaderField("DPoP", String(decoding: value, as: UTF8.self))
    }
}

extension ProviderProblem {
    fileprivate static func proofKey(_ detail: String) -> ProviderProblem {
        ProviderProblem(.configuration, code: "proof_key", detail: detail)
    }
}

extension TokenCall.Kind {
    /// False for a refresh, which goes on with what the grant has.
    var beginsGrant: Bool {
        switch self {
        case .refresh: false
        case .code, .deviceCode, .unattended: true
        }
    }
}
