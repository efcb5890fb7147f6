import Testing

@testable import OAuth

/// A ProviderMachine with a server that answers from a list, in order; what was asked is kept.
struct ScriptedProvider {
    static let now = Moment(monotonic: 0, wall: 1_700_000_000_000)

    var machine: ProviderMachine
    var replies: [ProviderOutcome]
    var requests: [ProviderRequest] = []
    var facts: [ProviderFact] = []

    init(_ settings: ProviderSettings, _ replies: [ProviderOutcome]) {
        machine = ProviderMachine(settings: settings)
        self.replies = replies
    }

    init(_ settings: ProviderSettings, _ replies: ProviderOutcome...) {
        self.init(settings, replies)
    }

    /// Runs until nothing is to be sent or the script is over; the actions that are no requests.
    private mutating func run(_ first: [ProviderAction]) -> [ProviderAction] {
        var queue = first
        var rest: [ProviderAction] = []
        while !queue.isEmpty {
            let action = queue.removeFirst()
            guard case .send(let id, let request, _) = action else {
                if case .note(let fact) = action { facts.append(fact) }
                rest.append(action)
                continue
            }
            requests.append(request)
            guard !replies.isEmpty else { return rest }
            queue = machine.replyReceived(id, replies.removeFirst(), now: Self.now) + queue
        }
        return rest
    }

    mutating func tokens(_ call: TokenCall) -> Result<TokenSet, ProviderProblem>? {
        for case .tokenCallFinished(_, let report) in run(machine.tokensNeeded(call, now: Self.now)) {
            return report.result
        }
        return nil
    }

    mutating func revoke(_ call: RevocationCall) -> RevocationCallResult? {
        for case .revocationCallFinished(_, let result) in run(machine.revocationNeeded(call, now: Self.now)) {
            return result
        }
        return nil
    }

    static func reply(_ body: String, status: Int = 200, headers: [HeaderField] = []) -> ProviderOutcome {
        .success(ProviderReply(status: status, headers: headers, body: Array(body.utf8)))
    }

    static func refresh(_ token: String = "r", variables: [String: String] = [:]) -> TokenCall {
        TokenCall(
            id: CallID(owner: .grant("g"), number: 1), kind: .refresh(refreshToken: Secret(token), scopes: ["a"]),
            variables: variables)
    }

    static func code(variables: [String: String] = [:]) -> TokenCall {
        let kind = TokenCall.Kind.code(
            Secret("the-code"), verifier: nil, redirectURI: "https://gw.example/cb",
            tokenEndpoint: ProviderURL("https://as.example/token")!)
        return TokenCall(id: CallID(owner: .consent(1), number: 1), kind: kind, variables: variables)
    }

    static func revocation(_ hint: RevocationCall.Hint, variables: [String: String] = [:]) -> RevocationCall {
        RevocationCall(
            id: CallID(owner: .grant("g"), number: 2),
            token: Secret(hint == .accessToken ? "the-access" : "the-refresh"),
            hint: hint, variables: variables)
    }
}

extension ProviderRequest {
    var text: String { String(decoding: body, as: UTF8.self) }

    func field(_ name: String) -> String? {
        let found = headers.filter { $0.name.lowercased() == name }
        return found.count == 1 ? found[0].value : nil
    }

    /// "name=value" of each parameter in the body, sorted.
    var formTexts: [String] {
        (FormEncoding.decode(text) ?? []).map { "\($0.name)=\($0.value)" }.sorted()
    }
}

/// The result of a call that has ended.
func ended(_ result: Result<TokenSet, ProviderProblem>?) throws -> Result<TokenSet, ProviderProblem> {
    try #require(result)
}
