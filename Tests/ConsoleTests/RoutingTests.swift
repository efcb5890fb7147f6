import Telemetry
import Testing

@testable import Console

@Suite struct RoutingTests {
    @Test(arguments: [
        ("GET", "/", "status"), ("HEAD", "/", "status"), ("GET", "/grants", "list_grants"),
        ("GET", "/grants/crm", "grant_detail"), ("GET", "/authorize/crm", "start_authorization"),
        ("GET", "/oauth/callback?code=1&state=2", "callback"), ("GET", "/metrics", "metrics"),
        ("GET", "/readyz", "readiness"), ("GET", "/api/v1/status", "status"), ("GET", "/api/v1/grants", "list_grants"),
        ("GET", "/api/v1/grants/crm", "grant_detail"), ("POST", "/api/v1/grants/crm/authorize", "authorization_link"),
        ("POST", "/api/v1/grants/crm/refresh", "refresh"), ("POST", "/api/v1/grants/crm/revoke", "revoke"),
        ("POST", "/api/v1/grants/crm/forget", "forget"),
    ])
    func `a request leads to its command`(method: String, target: String, command: String) {
        let harness = Harness()
        let fields = method == "POST" ? [Harness.json] : []
        guard case .perform(let performed, _) = harness.send(method, target, fields: fields) else {
            Issue.record("no command for \(method) \(target)")
            return
        }
        #expect("\(performed.name)" == command)
    }

    @Test func `a grant's name is decoded once`() {
        let harness = Harness()
        let answer = harness.perform("GET", "/grants/a%2520b", outcome: .failed(ConsoleFailure(.unknownGrant)))
        #expect(answer?.command == .grantDetail(grant: "a%20b"))
    }

    @Test(arguments: [
        "/nothing", "/grants/", "/grants/crm/explode", "/grants/a%2Fb", "/grants/%ff", "/grants/%00", "/api", "/api/v1",
        "/api/v2/grants", "/api/v1/grants/", "/api/v1/grants/crm/explode", "/oauth", "/oauth/callback/", "//",
        "/livez/",
        "/authorize/", "/authorize/a/b", "/%2e%2e/grants", "", "*", "grants", "/GRANTS",
        "/grants/" + String(repeating: "x", count: ConsoleLimits.grantNameBytes + 1),
    ])
    func `what names nothing is not found`(path: String) {
        let harness = Harness()
        let response = harness.respond("GET", path)
        #expect(response?.status == 404)
        #expect(response?.code == "not_found")
    }

    @Test(arguments: [
        ("POST", "/", "GET, HEAD"), ("PUT", "/grants/crm", "GET, HEAD"),
        ("PUT", "/api/v1/grants/crm", "GET, HEAD, DELETE"),
        ("GET", "/api/v1/grants/crm/refresh", "POST"), ("GET", "/grants/crm/refresh", "POST"),
        ("OPTIONS", "/api/v1/grants", "GET, HEAD, POST"), ("GET", "/api/v1/rekey", "POST"),
        ("HEAD", "/oauth/callback?code=1&state=2", "GET"),
        ("POST", "/oauth/callback", "GET"), ("HEAD", "/authorize/crm", "GET"), ("POST", "/livez", "GET, HEAD"),
        ("GET", "/sign-out", "POST"), ("DELETE", "/grants/crm/revoke", "GET, HEAD, POST"), ("get", "/", "GET, HEAD"),
        ("TRACE", "/metrics", "GET, HEAD"),
    ])
    func `a method that an endpoint does not know is refused with those that it does`(
        method: String, target: String, allow: String
    ) {
        let harness = Harness()
        let response = harness.respond(method, target)
        #expect(response?.status == 405)
        #expect(response?.field("Allow") == allow)
    }

    @Test func `HEAD has the fields of GET and no body`() {
        let harness = Harness()
        let get = harness.perform("GET", "/grants", outcome: .grants(GrantsReply(grants: [sampleGrant()])))?.response
        let head = harness.perform("HEAD", "/grants", outcome: .grants(GrantsReply(grants: [sampleGrant()])))?.response
        #expect(head?.body.isEmpty == true)
        #expect(head?.field("Content-Length") == get?.field("Content-Length"))
        #expect(get?.field("Content-Length") == get.map { String($0.body.count) })
    }

    @Test func `the public URL's prefix may be there or not, and links carry it`() {
        let harness = Harness(publicURL: "http://127.0.0.1:9090/tokens")
        for path in ["/grants", "/tokens/grants"] {
            let answer = harness.perform("GET", path, outcome: .grants(GrantsReply(grants: [sampleGrant()])))
            #expect(answer?.command == .listGrants(GrantsQuery()))
            #expect(answer?.response.text.contains("href=\"/tokens/authorize/crm\"") == true)
        }
        #expect(harness.perform("GET", "/tokens", outcome: .status(sampleStatus()))?.command == .status)
        #expect(harness.respond("GET", "/tokensgrants")?.status == 404)
    }

    @Test func `liveness is plain text and needs nothing`() {
        let harness = Harness(withSecret: true)
        harness.host = "10.0.0.7:9090"
        harness.isLoopbackPeer = false
        let response = harness.respond("GET", "/livez")
        #expect(response?.status == 200)
        #expect(response?.text == "ok\n")
    }

    @Test(
        arguments: [
            (false, true, [], 200),
            (true, true, [], 503),
            (false, false, [], 503),
            (false, true, [Readiness.UnusableGrant(route: "crm", grant: "crm", state: .notConnected)], 503),
        ] as [(Bool, Bool, [Readiness.UnusableGrant], Int)])
    func `readiness follows from what stands against it`(
        draining: Bool, storeOpen: Bool, grants: [Readiness.UnusableGrant], status: Int
    ) throws {
        let harness = Harness()
        let readiness = Readiness(draining: draining, storeOpen: storeOpen, unusableGrants: grants)
        let response = try #require(harness.perform("GET", "/readyz", outcome: .readiness(readiness))?.response)
        #expect(response.status == status)
        #expect(try ConsoleJSON.decode(Readiness.self, from: response.body) == readiness)
        #expect(response.text.contains("\"ready\":\(status == 200)"))
    }

    @Test func `a stranger learns whether we are ready and no names`() throws {
        let harness = Harness(withSecret: true)
        let readiness = Readiness(
            draining: false, storeOpen: true, unusableGrants: [.init(route: "crm", grant: "crm", state: .revoked)])
        let stranger = try #require(harness.perform("GET", "/readyz", outcome: .readiness(readiness))?.response)
        #expect(stranger.status == 503)
        #expect(stranger.text == "{\"ready\":false}\n")
        let known = harness.perform("GET", "/readyz", fields: [Harness.bearer], outcome: .readiness(readiness))?
            .response
        #expect(known?.text.contains("\"grant\":\"crm\"") == true)
    }

    @Test func `a body beyond the limit is refused`() {
        let harness = Harness()
        let body = String(repeating: "x", count: ConsoleLimits.bodyBytes + 1)
        let response = harness.respond("POST", "/api/v1/grants/crm/refresh", fields: [Harness.json], body: body)
        #expect(response?.status == 413)
    }

    @Test func `an outcome that does not answer the command is an internal error, not a trap`() {
        let harness = Harness()
        let outcomes: [ConsoleOutcome] = [.linkAllowed, .forgotten]
        for outcome in outcomes {
            #expect(harness.perform("GET", "/grants", outcome: outcome)?.response.status == 500)
        }
    }
}
