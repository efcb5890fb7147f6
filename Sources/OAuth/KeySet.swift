import OpenSSLKit

/// A key that a provider signs id_tokens with.
struct VerificationKey: Sendable, Equatable {
    var keyID: String?
    /// nil: any that suits the key.
    var algorithm: SignatureAlgorithm?
    var key: PublicKey

    func serves(_ algorithm: SignatureAlgorithm, keyID: String?) -> Bool {
        guard algorithm.suits(key.kind), self.algorithm == nil || self.algorithm == algorithm else { return false }
        return keyID == nil || self.keyID == keyID
    }
}

/// Reads a JSON Web Key Set (RFC 7517 section 5).
enum KeySet {
    /// More keys than this are not looked at: each costs a check of its numbers.
    static let limit = 64

    /// The keys for signatures that we can use; others are passed over. nil: not a key set at all.
    static func read(_ body: [UInt8]) -> [VerificationKey]? {
        guard let list = JSONValue(body)?["keys"]?.list else { return nil }
        return list.prefix(limit).compactMap(key)
    }

    private static func key(_ json: JSONValue) -> VerificationKey? {
        if let use = json["use"]?.text, use != "sig" { return nil }
        if let operations = json["key_ops"]?.list, !operations.contains(.string("verify")) { return nil }
        var algorithm: SignatureAlgorithm?
        if let name = json["alg"]?.text {
            algorithm = SignatureAlgorithm(rawValue: name)
            guard algorithm != nil else { return nil }
        }
        guard let key = publicKey(json) else { return nil }
        return VerificationKey(keyID: json["kid"]?.text, algorithm: algorithm, key: key)
    }

    /// The public key of a JSON Web Key (RFC 7518 section 6, RFC 8037 section 2); private parts are not looked at.
    static func publicKey(_ json: JSONValue) -> PublicKey? {
        func number(_ name: String) -> [UInt8]? { json[name]?.text.flatMap { Base64.urlDecode($0) } }
        switch (json["kty"]?.text, json["crv"]?.text) {
        case ("RSA", _):
            guard let modulus = number("n"), let exponent = number("e") else { return nil }
            return PublicKey(modulus: modulus, exponent: exponent)
        case ("EC", let curve?):
            guard let curve = curves[curve], let x = number("x"), let y = number("y") else { return nil }
            return PublicKey(curve: curve, x: x, y: y)
        case ("OKP", "Ed25519"): return number("x").flatMap { PublicKey(ed25519: $0) }
        case _: return nil
        }
    }

    private static let curves: [String: KeyKind] = ["P-256": .p256, "P-384": .p384, "P-521": .p521]
}

/// Keeps a provider's key set: fetched when first needed, again when an unknown key is named, and never more often than
/// twice in a minimum interval, whatever the tokens say. Twice, because a key may be changed just after a fetch: whoever
/// signs in then must not be turned away.
struct KeySetMachine: Sendable {
    enum Step: Sendable, Equatable {
        case keys([VerificationKey])
        case fetch(ProviderRequest)
        /// It is being fetched.
        case wait
        /// The set was fetched a moment ago and has no such key.
        case unknownKey
        case failed(ProviderProblem)
    }

    /// A key that the provider has withdrawn is not believed for longer.
    static let lifetime: Int64 = 3_600_000
    static let minimumInterval: Int64 = 10_000
    /// A token without "kid" is tried with so many keys.
    static let candidateLimit = 8

    private var url: ProviderURL?
    private var keys: [VerificationKey] = []
    private var fetchedAt: Int64?
    private var triedAt: Int64?
    /// When a set that was good had to be fetched again before its interval was over.
    private var hurriedAt: Int64?
    private var problem: ProviderProblem?
    private(set) var isFetching = false

    /// - Parameters:
    ///   - hasFetched: a set was fetched for this token already, and did not help.
    ///   - isStale: the keys of the set do not fit, although they might by their names.
    mutating func keysNeeded(
        _ algorithm: SignatureAlgorithm, keyID: String?, url: ProviderURL, userAgent: String, hasFetched: Bool = false,
        isStale: Bool = false, now: Moment
    ) -> Step {
        if url != self.url { self = KeySetMachine(url: url) }
        let isFresh = fetchedAt.map { now.monotonic < $0.saturatingAdd(Self.lifetime) } ?? false
        if isFresh, !isStale {
            let candidates = keys.lazy.filter { $0.serves(algorithm, keyID: keyID) }.prefix(Self.candidateLimit)
            if !candidates.isEmpty { return .keys(Array(candidates)) }
        }
        if isFetching { return .wait }
        if hasFetched { return problem.map { .failed($0) } ?? .unknownKey }
        if let triedAt, now.monotonic < triedAt.saturatingAdd(Self.minimumInterval) {
            if let problem { return .failed(problem) }
            if let hurriedAt, now.monotonic < hurriedAt.saturatingAdd(Self.minimumInterval) { return .unknownKey }
            hurriedAt = now.monotonic
        }
        isFetching = true
        triedAt = now.monotonic
        return .fetch(
            ProviderRequest(
                purpose: .keySet, method: .get, url: url,
                headers: [HeaderField("Accept", "application/json"), HeaderField("User-Agent", userAgent)]))
    }

    /// The fetch ended; ask again with `keysNeeded`.
    mutating func replyReceived(_ outcome: ProviderOutcome, now: Moment) {
        isFetching = false
        triedAt = now.monotonic
        let reason: String
        switch outcome {
        case .success(let reply) where reply.status == 200:
            if let found = KeySet.read(reply.body) {
                keys = found
                fetchedAt = now.monotonic
                problem = nil
                return
            }
            reason = "it is not a JSON Web Key Set"
        case .success(let reply): reason = "status \(reply.status)"
        case .failure(let failure): reason = ProviderProblem(failure).detail
        }
        problem = ProviderProblem(
            .transient, code: "key_set_unavailable",
            detail: "The provider's keys for id_tokens could not be had: \(reason).", retryAfter: Self.minimumInterval)
    }

    init(url: ProviderURL? = nil) {
        self.url = url
    }
}
