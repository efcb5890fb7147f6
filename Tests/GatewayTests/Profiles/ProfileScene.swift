import Configuration
import OpenSSLKit
import Testing

@testable import Gateway
@testable import OAuth
@testable import Proxy

/// One grant of a gateway.conf that names a profile, with the machines that the gateway makes of it, against a provider
/// that answers from a list: no socket, no clock, no file.
final class ProfileScene {
    private enum Work {
        case provider(ProviderAction)
        case grant(GrantAction)
        case consent(ConsentAction)
    }

    let snapshot: Snapshot
    let settings: ProviderSettings
    let grantSettings: GrantSettings
    var provider: ProviderMachine
    var grant: GrantMachine
    var consents = AuthorizationMachine()
    var now = Moment(monotonic: 1_000_000, wall: 1_700_000_000_000)

    /// What the provider will be asked, and answers.
    var steps: [DocumentedStep] = []
    var requests: [ProviderRequest] = []
    var stored: GrantRecord?
    var published: OAuth.Credential?
    var outcome: ConsentOutcome?
    var results: [TicketResult] = []
    var start: ConsentStart?
    private var endpoints: ProviderEndpoints?
    private var pending: [String: [UInt8]] = [:]
    private var queue: [Work] = []
    private var isRunning = false
    private var nextTicket: UInt64 = 1
    private var consentCount: UInt8 = 0
    private var timer: Int64?

    /// - Parameter changing: lines of the configuration and what stands in their place.
    init(_ profile: String, changing: [(String, String)] = []) throws {
        snapshot = try ProfileConfiguration.snapshot(profile, changing: changing)
        let configured = try #require(snapshot.providers.first)
        var problems: [String] = []
        let material = ProviderMaterial(configured, environment: ProfileConfiguration.environment, &problems)
        try #require(problems == [])
        settings = ProviderSettings(configured, material)
        let own = try #require(snapshot.grants.first)
        guard case .provider(_, let scopes, let required) = own.source else { throw ProfileConfiguration.Unusable() }
        grantSettings = GrantSettings(own, provider: settings, scopes: scopes, required: required)
        provider = ProviderMachine(settings: settings)
        grant = GrantMachine(
            settings: grantSettings, provider: settings.with(own.credentialHeader),
            environment: .init(instance: "a", storeIsExclusive: true, seed: 1))
    }

    // MARK: Events

    /// From the start of a consent to its end.
    @discardableResult
    func consent(callback: String) throws -> ConsentOutcome? {
        run(grant.started(now: now).map { .grant($0) })
        let id = CallID(owner: .consent(0), number: 0)
        run(provider.endpointsNeeded(id, variables: grantSettings.variables, now: now).map { .provider($0) })
        let request = ConsentRequest(
            grant: grantSettings, provider: settings, endpoints: try #require(endpoints),
            redirectURI: ProfileScript.redirectURI, binding: Secret("a-browser-and-its-cookie"))
        consentCount += 1
        let randomness = [UInt8](repeating: consentCount, count: ConsentStart.randomnessBytes)
        let start = try ConsentStart.make(request, randomness: randomness, now: now).get()
        self.start = start
        pending[start.key] = start.pending.encoded()
        let state = try #require(Self.query(start.authorizationURL)["state"])
        let query = "code=c-1%2Fx&state=\(state)" + callback
        run(
            consents.callbackReceived(CallbackID(1), query: query, binding: request.binding, now: now)
                .map { .consent($0) })
        return outcome
    }

    /// For a grant that nobody consents to.
    func need() {
        run(grant.started(now: now).map { .grant($0) })
        run(grant.credentialNeeded(WaiterID(1), now: now).map { .grant($0) })
    }

    func refresh() -> TicketResult? {
        results = []
        run(grant.refreshRequested(ticket(), now: now).map { .grant($0) })
        return results.first
    }

    func revoke() -> TicketResult? {
        results = []
        run(grant.revokeRequested(ticket(), now: now).map { .grant($0) })
        return results.first
    }

    func pass(seconds: Int64) {
        now = Moment(monotonic: now.monotonic + seconds * 1000, wall: now.wall + seconds * 1000)
    }

    /// To what the grant waits for.
    func passToTimer() {
        guard let due = timer else { return }
        let step = max(due - now.monotonic, 0)
        now = Moment(monotonic: now.monotonic + step, wall: now.wall + step)
        timer = nil
        run(grant.timerFired(now: now).map { .grant($0) })
    }

    private func ticket() -> Ticket {
        defer { nextTicket += 1 }
        return Ticket(nextTicket)
    }

    var state: GrantState { grant.status(now: now).state }

    // MARK: Actions

    private func run(_ work: [Work]) {
        queue += work
        guard !isRunning else { return }
        isRunning = true
        while !queue.isEmpty { perform(queue.removeFirst()) }
        isRunning = false
    }

    private func perform(_ work: Work) {
        switch work {
        case .provider(let action): perform(action)
        case .grant(let action): perform(action)
        case .consent(let action): perform(action)
        }
    }

    private func perform(_ action: ProviderAction) {
        switch action {
        case .send(let id, let request, _):
            requests.append(request)
            let outcome = answer(request)
            run(provider.replyReceived(id, outcome, now: now).map { .provider($0) })
        case .endpointsReady(_, let found): endpoints = found
        case .endpointsUnavailable(_, let problem): Issue.record("no endpoints: \(problem.detail)")
        case .tokenCallFinished(let id, let report):
            switch id.owner {
            case .grant: run(grant.tokenCallFinished(id, report, now: now).map { .grant($0) })
            case .consent: run(consents.codeExchanged(id, report, now: now).map { .consent($0) })
            case .device: break
            }
        case .revocationCallFinished(let id, let result):
            run(grant.revocationCallFinished(id, result, now: now).map { .grant($0) })
        case .pushFinished, .deviceAuthorizationFinished, .note: break
        }
    }

    private func perform(_ action: GrantAction) {
        switch action {
        case .load: run(grant.recordLoaded(stored, now: now).map { .grant($0) })
        case .commit(let commit):
            stored = GrantRecord(payload: commit.record.encoded(), revision: commit.record.revision)
            run(grant.commitFinished(.committed, now: now).map { .grant($0) })
        case .delete: stored = nil
        case .requestTokens(let call): run(provider.tokensNeeded(call, now: now).map { .provider($0) })
        case .revokeToken(let call): run(provider.revocationNeeded(call, now: now).map { .provider($0) })
        case .publish(let credential): published = credential
        case .finish(let ticket, let result):
            if consents.owns(ticket) {
                run(consents.consentFinished(ticket, result, now: now).map { .consent($0) })
            } else {
                results.append(result)
            }
        case .armTimer(let due): timer = due
        case .answer, .note: break
        }
    }

    private func perform(_ action: ConsentAction) {
        switch action {
        case .takePending(let key):
            let found = pending.removeValue(forKey: key).flatMap { PendingConsent(payload: $0) }
            run(consents.pendingTaken(key: key, found, now: now).map { .consent($0) })
        case .restorePending(let key, let consent): pending[key] = consent.encoded()
        case .exchangeCode(_, let call): run(provider.tokensNeeded(call, now: now).map { .provider($0) })
        case .grantTokens(_, _, let tokens, let sentAt, let ticket):
            run(grant.authorizationGranted(tokens, sentAt: sentAt, ticket: ticket, now: now).map { .grant($0) })
        case .show(_, let shown): outcome = shown
        case .remember, .lookAgain: break
        }
    }

    // MARK: The provider

    private func answer(_ request: ProviderRequest) -> ProviderOutcome {
        guard !steps.isEmpty else {
            Issue.record("a request that the documentation does not have: \(request)")
            return .failure(.notSent(.refused))
        }
        let step = steps.removeFirst()
        request.expect(step.request)
        var body = step.reply.body.replacing("KEY_SET", with: ProfileKeys.keySet)
        if body.contains("ID_TOKEN") { body = body.replacing("ID_TOKEN", with: idToken) }
        return .success(
            ProviderReply(status: step.reply.status, headers: step.reply.headers, body: Array(body.utf8)))
    }

    private var idToken: String {
        ProfileKeys.idToken(
            issuer: settings.issuer ?? "", audience: settings.clientID, nonce: start?.pending.nonce?.reveal() ?? "",
            seconds: now.wall / 1000)
    }

    static func query(_ url: String) -> [String: String] {
        let text = url.split(separator: "?", maxSplits: 1).dropFirst().first ?? ""
        return Dictionary((FormEncoding.decode(String(text)) ?? []).map { ($0.name, $0.value) }) { _, _ in "twice" }
    }
}

extension ProviderRequest {
    /// Every octet that the documentation speaks of.
    func expect(_ documented: DocumentedRequest) {
        #expect(method.rawValue == documented.method && url.description == documented.url)
        var found = Dictionary(headers.map { ($0.name.lowercased(), $0.value) }) { _, _ in "twice" }
        let wanted = documented.allHeaders
        for (name, value) in wanted where value == "*" && found[name] != nil { found[name] = "*" }
        #expect(found == wanted, "header fields of \(self)")
        let text = String(decoding: body, as: UTF8.self)
        switch documented.body {
        case .none: #expect(text.isEmpty, "body of \(self)")
        case .form(let members):
            let pairs = (FormEncoding.decode(text) ?? []).map { ($0.name, $0.value) }
            expect(Dictionary(pairs) { _, _ in "twice" }, members)
        case .json(let members):
            guard case .object(let json)? = JSONValue(body) else {
                Issue.record("no JSON object: \(self)")
                return
            }
            expect(json.mapValues { $0.text ?? "no text" }, members)
        }
        expectOneAuthentication(text)
    }

    private func expect(_ found: [String: String], _ wanted: [String: String]) {
        var found = found
        for (name, value) in wanted where value == "*" && found[name]?.isEmpty == false { found[name] = "*" }
        #expect(found == wanted, "body of \(self)")
    }

    /// RFC 6749 section 2.3.
    private func expectOneAuthentication(_ text: String) {
        let inHeader = headers.filter { $0.name.lowercased() == "authorization" }.count
        let inBody = text.contains("client_secret") ? 1 : 0
        #expect(inHeader + inBody <= 1, "authentication of \(self)")
        #expect(!url.description.contains("s3cret"))
    }
}
