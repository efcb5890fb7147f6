import OpenSSLKit

@testable import OAuth

/// Drives a ProviderMachine against a server that the test plays: requests in, replies out, nothing else.
struct ScriptedServer {
    static let issuer = "https://as.example"
    static let wall: Int64 = 1_700_000_000_000

    var machine: ProviderMachine
    var now = Moment(monotonic: 1_000_000, wall: ScriptedServer.wall)
    /// Requests that wait for a reply, oldest first.
    var open: [(id: RequestID, request: ProviderRequest)] = []
    /// All that ever came.
    var requests: [ProviderRequest] = []
    var reports: [TokenCallReport] = []
    var revocations: [RevocationCallResult] = []
    var pushes: [Result<PushedRequest, ProviderProblem>] = []
    var facts: [ProviderFact] = []
    var endpoints: [ProviderEndpoints] = []
    var failures: [ProviderProblem] = []

    init(_ configure: (inout ProviderSettings) -> Void = { _ in }) {
        machine = ProviderMachine(settings: Self.settings(configure))
    }

    static func settings(_ configure: (inout ProviderSettings) -> Void = { _ in }) -> ProviderSettings {
        var settings = ProviderSettings(name: "p", clientID: "client")
        settings.authorizationEndpoint = ProviderURL("https://as.example/authorize")
        settings.tokenEndpoint = ProviderURL("https://as.example/token")
        settings.clientSecrets = [Secret("s3cret-s3cret")]
        configure(&settings)
        return settings
    }

    static let refresh = TokenCall(
        id: CallID(owner: .grant("g"), number: 1), kind: .refresh(refreshToken: Secret("r1"), scopes: []))

    static func code(nonce: String? = nil, proofKey: Secret? = nil) -> TokenCall {
        let kind = TokenCall.Kind.code(
            Secret("c1"), verifier: Secret("v1"), redirectURI: "https://gw.example/cb",
            tokenEndpoint: ProviderURL("https://as.example/token")!)
        return TokenCall(
            id: CallID(owner: .consent(1), number: 1), kind: kind, proofKey: proofKey,
            identity: nonce.map { IdentityExpectation(nonce: Secret($0)) })
    }

    mutating func run(_ actions: [ProviderAction]) {
        for action in actions {
            switch action {
            case .send(let id, let request, _):
                open.append((id, request))
                requests.append(request)
            case .endpointsReady(_, let found): endpoints.append(found)
            case .endpointsUnavailable(_, let problem): failures.append(problem)
            case .tokenCallFinished(_, let report): reports.append(report)
            case .revocationCallFinished(_, let result): revocations.append(result)
            case .pushFinished(_, let result): pushes.append(result)
            case .deviceAuthorizationFinished: break
            case .note(let fact): facts.append(fact)
            }
        }
    }

    mutating func tokens(_ call: TokenCall = ScriptedServer.refresh) {
        run(machine.tokensNeeded(call, now: now))
    }

    /// Answers the oldest open request.
    mutating func reply(_ status: Int, _ body: String, headers: [HeaderField] = []) {
        reply(.success(ProviderReply(status: status, headers: headers, body: Array(body.utf8))))
    }

    mutating func reply(_ outcome: ProviderOutcome) {
        guard !open.isEmpty else { return }
        let id = open.removeFirst().id
        run(machine.replyReceived(id, outcome, now: now))
    }

    mutating func refuseClient() {
        reply(401, #"{"error":"invalid_client"}"#)
    }

    mutating func reload(_ configure: (inout ProviderSettings) -> Void) {
        var settings = machine.settings
        configure(&settings)
        run(machine.settingsChanged(settings, now: now))
    }

    var problem: ProviderProblem? {
        guard case .failure(let problem)? = reports.last?.result else { return nil }
        return problem
    }

    var tokenSet: TokenSet? { try? reports.last?.result.get() }
}

extension ProviderRequest {
    var form: [ProviderSettings.Parameter] { FormEncoding.decode(String(decoding: body, as: UTF8.self)) ?? [] }

    func parameter(_ name: String) -> String? { form.first { $0.name == name }?.value }

    func header(_ name: String) -> String? { headers.first { $0.name.lowercased() == name }?.value }
}

/// A compact JWS as text, taken apart without believing it.
struct OpenToken {
    var header: JSONValue
    var claims: JSONValue
    var headerText: String
    var claimsText: String
    var input: [UInt8]
    var signature: [UInt8]

    init?(_ text: String) {
        let parts = text.split(separator: ".").map(String.init)
        guard parts.count == 3, let header = Base64.urlDecode(parts[0]), let claims = Base64.urlDecode(parts[1]),
            let signature = Base64.urlDecode(parts[2]), let headerJSON = JSONValue(header),
            let claimsJSON = JSONValue(claims)
        else { return nil }
        self.header = headerJSON
        self.claims = claimsJSON
        headerText = String(decoding: header, as: UTF8.self)
        claimsText = String(decoding: claims, as: UTF8.self)
        input = Array("\(parts[0]).\(parts[1])".utf8)
        self.signature = signature
    }
}

/// A small generator for bytes that nobody chose (SplitMix64).
struct Noise: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var word = state
        word = (word ^ (word >> 30)) &* 0xBF58_476D_1CE4_E5B9
        word = (word ^ (word >> 27)) &* 0x94D0_49BB_1331_11EB
        return word ^ (word >> 31)
    }
}
