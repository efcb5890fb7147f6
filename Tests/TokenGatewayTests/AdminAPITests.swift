import Configuration
import Console
import Reactor
import Telemetry
import Testing

@testable import TokenGateway

@Suite struct AdminAPITests {
    private func failure(_ work: () throws(CommandFailure) -> some Any) -> CommandFailure? {
        do throws(CommandFailure) {
            _ = try work()
            return nil
        } catch {
            return error
        }
    }

    @Test func `the grants are fetched with the secret and a host that the console takes`() throws {
        let view = GrantView(state: .active)
        try withConsole([answer(200, GrantsReply(grants: [view]))], secret: "s3cret") { api, console in
            #expect(try api.grants().grants == [view])
            let request = try #require(console.requests.first)
            #expect(request.hasPrefix("GET /api/v1/grants HTTP/1.1\r\n"))
            #expect(request.contains("\r\nHost: \(console.address)\r\n"))
            #expect(request.contains("\r\nAuthorization: Bearer s3cret\r\n"))
            #expect(!"\(api.client)".contains("s3cret"))
        }
    }

    @Test func `commands are posted as JSON, the grant's name encoded`() throws {
        let reply = RevokeReply(result: .failedKeptForRetry, grant: GrantView(state: .revoked))
        try withConsole([answer(202, reply)]) { api, console in
            #expect(try api.revoke("a b/ü") == reply)
            let request = try #require(console.requests.first)
            #expect(request.hasPrefix("POST /api/v1/grants/a%20b%2F%C3%BC/revoke HTTP/1.1\r\n"))
            #expect(request.contains("\r\nContent-Type: application/json\r\n"))
            #expect(request.hasSuffix("\r\n\r\n{}\n"))
            #expect(!request.contains("Authorization"))
        }
    }

    @Test func `a unix socket is spoken to as localhost`() throws {
        let folder = try Folder()
        let console = try PreparedConsole(
            [answer(200, GrantsReply(grants: []))], on: .unix(path: folder.path + "/c.sock"))
        defer { console.stop() }
        let endpoint = try #require(ConsoleEndpoint(.unix(path: folder.path + "/c.sock")))
        #expect(try AdminAPI(client: ConsoleClient(endpoint: endpoint)).grants().grants.isEmpty)
        #expect(console.requests.first?.contains("\r\nHost: localhost\r\n") == true)
    }

    @Test func `wildcard addresses are reached on loopback, and port 0 not at all`() {
        #expect(ConsoleEndpoint(.any(port: 9090))?.host == "127.0.0.1:9090")
        #expect(ConsoleEndpoint(.tcp(.v4(0), port: 9090))?.host == "127.0.0.1:9090")
        #expect(ConsoleEndpoint(.tcp(.v6(high: 0, low: 1), port: 9090))?.host == "[::1]:9090")
        #expect(ConsoleEndpoint(.tcp(.v4(0x0a00_0001), port: 9090))?.host == "10.0.0.1:9090")
        #expect(ConsoleEndpoint(.any(port: 0)) == nil)
        #expect(ConsoleEndpoint(.tcp(.v4(0x7f00_0001), port: 0)) == nil)
    }

    @Test(arguments: ["The content is too large", "The content is too large."])
    func `title and detail of a problem make one sentence`(title: String) throws {
        try withConsole([problem(413, "body_too_large", title: title, detail: "64 KiB at most.")]) { api, _ in
            let failure = failure { () throws(CommandFailure) in try api.refresh("crm") }
            #expect(failure?.message == "The content is too large: 64 KiB at most.")
        }
    }

    @Test(arguments: [
        ("sign_in_required", 401, CommandStatus.notAuthorized), ("host_not_allowed", 421, .notAuthorized),
        ("not_connected", 409, .failed), ("access_denied", 422, .failed), ("provider_unavailable", 502, .temporary),
        ("provider_refused", 502, .failed), ("invalid_variable", 400, .usage), ("invalid_label", 400, .usage),
        ("store_unavailable", 503, .temporary), ("something_new", 503, .temporary), ("something_new", 400, .failed),
        ("internal_error", 500, .internalError), ("unknown_grant", 404, .usage), ("not_found", 404, .usage),
    ])
    func `each of the console's codes has its exit code`(code: String, status: Int, expected: CommandStatus) throws {
        try withConsole([problem(status, code)]) { api, _ in
            let failure = failure { () throws(CommandFailure) in try api.refresh("crm") }
            #expect(failure?.status == expected)
            #expect(failure?.code == (code == "not_found" ? "unknown_grant" : code))
        }
    }

    @Test func `a problem is told with its detail, the time to wait and the request`() throws {
        let text = problem(502, "provider_unavailable", detail: "It sleeps.", fields: "Retry-After: 90\r\n")
        try withConsole([text]) { api, _ in
            let failure = failure { () throws(CommandFailure) in try api.refresh("crm") }
            #expect(failure?.message == "Title: It sleeps. (try again in 1 min) [request r1]")
        }
    }

    @Test func `the nearest grant is suggested, or all are named`() throws {
        func message(_ name: String, _ grants: [String]) throws -> String? {
            try withConsole([problem(404, "unknown_grant")], grants: grants) { api, _ in
                failure { () throws(CommandFailure) in try api.grant(name) }?.message
            }
        }
        #expect(try message("billling", ["crm", "billing"])?.contains("did you mean \"billing\"?") == true)
        #expect(try message("xyzxyz", ["crm", "billing"])?.contains("there are: crm, billing") == true)
        #expect(try message("crm", ["crm"])?.contains("SIGHUP") == true)
        #expect(try message("crm", []) == "there is no grant \"crm\"")
    }

    @Test func `a gateway that is not running is named with its address and how to start it`() throws {
        let console = try PreparedConsole([])
        console.stop()
        let api = AdminAPI(
            client: ConsoleClient(endpoint: ConsoleEndpoint(console.address)), configurationPath: "x/gateway.conf")
        let failure = failure { () throws(CommandFailure) in try api.grants() }
        #expect(failure?.status == .unavailable && failure?.code == "gateway_unreachable")
        #expect(failure?.message.contains("\(console.address)") == true)
        #expect(failure?.message.contains("token-gateway run --config x/gateway.conf") == true)
    }

    @Test(arguments: ["", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\ncut", "220 mail ready\r\n\r\n"])
    func `what is not our console is said to be none`(text: String) throws {
        try withConsole([text]) { api, _ in
            let failure = failure { () throws(CommandFailure) in try api.grants() }
            #expect(failure?.status == .unavailable && failure?.code == "not_a_gateway")
        }
    }

    @Test func `an answer that is not the API's is not taken`() throws {
        let page = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>"
        let forbidden = "HTTP/1.1 403 No\r\nContent-Length: 6\r\n\r\n<html>"
        try withConsole([page, forbidden]) { api, _ in
            #expect(failure { () throws(CommandFailure) in try api.grants() }?.status == .internalError)
            #expect(failure { () throws(CommandFailure) in try api.grants() }?.status == .notAuthorized)
        }
    }

    @Test func `a console that never answers is given up`() throws {
        try withConsole([nil]) { api, _ in
            _ = #expect(throws: ConsoleClientError.timedOut) { try api.client.request("GET", "/", milliseconds: 50) }
        }
    }

    @Test func `failures are JSON with a code for programs`() {
        let failure = CommandFailure(.usage, "unknown_grant", "there is no grant \"x\"")
        #expect(failure.json == #"{"error":{"code":"unknown_grant","message":"there is no grant \"x\""}}"# + "\n")
    }
}
