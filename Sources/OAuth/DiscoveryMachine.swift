/// Finds a provider's metadata (RFC 8414 section 3, OpenID Connect Discovery section 4) and keeps the last good one.
struct DiscoveryMachine: Sendable {
    enum Step: Sendable, Equatable {
        case fetch(ProviderRequest)
        /// The metadata is new.
        case found
        case failed(ProviderProblem)
    }

    private enum State: Sendable {
        case idle
        /// `rest`: the places that are tried after this one.
        case fetching(rest: [ProviderURL], firstProblem: String?)
        case waiting(until: Int64, ProviderProblem)
    }

    static let firstBackoff: Int64 = 1000
    static let longestBackoff: Int64 = 60_000

    private(set) var metadata: ProviderMetadata?
    private var fetchedAt: Int64 = .min
    private var state = State.idle
    private var failures = 0
    private let issuer: String
    private let settings: ProviderSettings

    /// nil: there is no issuer, or all that is needed is given.
    ///
    /// - Parameter needsAll: also where the endpoints are all given, for what else the metadata says.
    init?(settings: ProviderSettings, needsAll: Bool = false) {
        guard let issuer = settings.issuer else { return nil }
        let needsMore =
            needsAll || settings.presentsCertificate
            || settings.pushedRequests == .required && settings.pushedRequestEndpoint == nil
        guard
            needsMore || !settings.knowsAuthorizationEndpoint || !settings.knowsTokenEndpoint
                || !settings.knowsRevocationEndpoint
        else { return nil }
        self.issuer = issuer
        self.settings = settings
    }

    var isFetching: Bool {
        guard case .fetching = state else { return false }
        return true
    }

    /// Somebody needs metadata. nil: nothing to do now (it is there and fresh, or is being fetched).
    mutating func metadataNeeded(now: Moment) -> Step? {
        switch state {
        case .fetching: return nil
        case .waiting(let until, var problem) where now.monotonic < until:
            guard metadata == nil else { return nil }
            problem.retryAfter = until - now.monotonic
            return .failed(problem)
        case .idle, .waiting:
            if metadata != nil, now.monotonic < fetchedAt.saturatingAdd(settings.metadataLifetime) { return nil }
            return begin(now: now)
        }
    }

    private mutating func begin(now: Moment) -> Step {
        guard var places = Self.places(issuer: issuer, settings: settings), !places.isEmpty else {
            return fail("the issuer is not an https URL without query", now: now)
        }
        let first = places.removeFirst()
        state = .fetching(rest: places, firstProblem: nil)
        return .fetch(request(first))
    }

    mutating func replyReceived(_ outcome: ProviderOutcome, now: Moment) -> Step? {
        guard case .fetching(var rest, let firstProblem) = state else { return nil }
        let problem: String
        switch outcome {
        case .success(let reply) where reply.status == 200:
            let read = ProviderMetadata.read(
                reply.body, issuer: issuer, plaintextOnLoopback: settings.allowPlaintextOnLoopback)
            switch read {
            case .success(let found):
                // A consent's endpoint may be missing: unattended grants need none.
                if settings.knowsTokenEndpoint || found.tokenEndpoint != nil { return succeed(found, now: now) }
                problem = "the metadata names no token endpoint"
            case .failure(let wrong): problem = wrong.explanation
            }
        case .success(let reply): problem = "status \(reply.status)"
        case .failure(let failure): problem = ProviderProblem(failure).detail
        }
        let told = firstProblem ?? problem
        guard !rest.isEmpty else { return fail(told, now: now) }
        let next = rest.removeFirst()
        state = .fetching(rest: rest, firstProblem: told)
        return .fetch(request(next))
    }

    private mutating func succeed(_ found: ProviderMetadata, now: Moment) -> Step {
        metadata = found
        fetchedAt = now.monotonic
        failures = 0
        state = .idle
        return .found
    }

    /// The last good metadata stays in force (checklist D39).
    private mutating func fail(_ text: String, now: Moment) -> Step {
        let wait = min(Self.firstBackoff << Int64(min(failures, 10)), Self.longestBackoff)
        failures += 1
        let sentence = text.hasSuffix(".") ? text : text + "."
        let problem = ProviderProblem(
            .transient, code: "discovery_failed", detail: "Discovery of \(issuer) failed: \(sentence)", retryAfter: wait
        )
        state = .waiting(until: now.monotonic.saturatingAdd(wait), problem)
        return .failed(problem)
    }

    private func request(_ url: ProviderURL) -> ProviderRequest {
        ProviderRequest(
            purpose: .metadata, method: .get, url: url,
            headers: [HeaderField("Accept", "application/json"), HeaderField("User-Agent", settings.userAgent)])
    }

    /// RFC 8414 puts the well-known part between host and path, OpenID Connect after the path.
    static func places(issuer: String, settings: ProviderSettings) -> [ProviderURL]? {
        guard let url = ProviderURL(issuer), url.query == nil else { return nil }
        guard url.isAllowed(plaintextOnLoopback: settings.allowPlaintextOnLoopback) else { return nil }
        let base = "\(url.scheme.rawValue)://\(url.hostField)"
        let path = url.path.hasSuffix("/") ? String(url.path.dropLast()) : url.path
        let oauth = ProviderURL(base + "/.well-known/oauth-authorization-server" + path)
        let openID = ProviderURL(base + path + "/.well-known/openid-configuration")
        return switch settings.discovery {
        case .automatic: [oauth, openID].compactMap { $0 }
        case .oauth: [oauth].compactMap { $0 }
        case .openID: [openID].compactMap { $0 }
        }
    }
}
