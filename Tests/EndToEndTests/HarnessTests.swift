import Foundation
import Testing

/// The end-to-end suite: a real authorization server, a real API, real callers; only the gateway is ours. One scenario
/// at a time, so that their times mean something.
@Suite("End to end", .serialized)
enum EndToEnd {}

extension EndToEnd {
    /// The peers without the gateway: what a scenario may rely on.
    @Suite("The peers", .serialized, .timeLimit(.minutes(3)))
    struct PeerTests {
        @Test func `canaille consents, issues, rotates and revokes, and nginx asks it about every request`()
            async throws
        {
            let site = try await Site.lasting.value
            let seat = site.seat(.probe1)
            let first = try await site.token(seat, try await site.authorizationCode(seat))
            let access = try #require(first.member("access_token"))
            let refresh = try #require(first.member("refresh_token"))
            #expect(first.member("expires_in") == "3600")

            #expect(try await echo(site, access).status == 200)
            let junk = try await echo(site, "junk")
            #expect(junk.status == 401)
            #expect(junk.field("www-authenticate") == #"Bearer error="invalid_token""#)
            #expect(try await site.curl.call(site.nginx.apiURL + "/echo").field("www-authenticate") == "Bearer")

            try await site.canaille.pace()
            let second = try await site.refreshed(seat, refresh)
            let newAccess = try #require(second.member("access_token"))
            #expect(second.member("refresh_token") != refresh)
            #expect(try await echo(site, access).status == 401, "a refresh ends the old access token")
            #expect(try await echo(site, newAccess).status == 200)
            #expect(try await site.refreshed(seat, refresh).member("error") == "invalid_grant", "no grace for replays")

            let revoked = try await site.call(seat, "revoke", ["token=\(second.member("refresh_token") ?? "")"])
            #expect(revoked.status == 200)
            #expect(try await echo(site, newAccess).status == 401, "revoking one ends both")
        }

        @Test func `a second token within one second is answered 500 and harms nothing`() async throws {
            let site = try await Site.lasting.value
            let seat = site.seat(.probe2)
            var reply = try await site.token(seat, try await site.authorizationCode(seat))
            // The clock decides whether two calls fall into one second; a few tries are enough.
            for _ in 0..<5 where reply.status == 200 {
                try await site.canaille.pace()
                reply = try await site.refreshed(seat, try #require(reply.member("refresh_token")))
                let refresh = try #require(reply.member("refresh_token"))
                let hasty = try await site.refreshed(seat, refresh)
                guard hasty.status == 500 else {
                    reply = hasty
                    continue
                }
                #expect(hasty.text.contains(refresh) == false)
                try await site.canaille.pace()
                #expect(try await site.refreshed(seat, refresh).status == 200, "the old refresh token is alive")
                return
            }
            Issue.record("five pairs of token calls, none of them within one second")
        }

        @Test func `the harness forgets an access token at the server and the refresh token lives on`() async throws {
            let site = try await Site.lasting.value
            let seat = site.seat(.probe3)
            let first = try await site.token(seat, try await site.authorizationCode(seat))
            let access = try #require(first.member("access_token"))
            #expect(try await site.isActive(access))
            let issued = try await site.canaille.currentToken(of: seat)
            #expect(issued.access == access && issued.refresh == first.member("refresh_token"))
            try await site.canaille.forgetAccess(issued)
            #expect(try await site.isActive(access) == false)
            #expect(try await site.refreshed(seat, try #require(issued.refresh)).status == 200)
            #expect(try site.nginx.tokenCalls(by: seat) == [200, 200])
        }

        @Test func `nginx gives back what it was given`() async throws {
            let site = try await Site.lasting.value
            let seat = site.seat(.probe4)
            let access = try #require(try await site.token(seat, site.authorizationCode(seat)).member("access_token"))
            let bearer = ["-H", "Authorization: Bearer \(access)"]
            let content = randomBytes(3 << 20)
            let api = site.nginx.apiURL
            #expect(try await site.curl.call(api + "/files/probe", bearer, upload: content, put: true).status == 201)
            #expect(try site.nginx.uploaded("probe") == content)
            #expect(try await site.curl.call(api + "/files/probe", bearer).body == content)
            #expect(try await site.curl.call(api + "/static/large", bearer).body == site.nginx.large)
            let echo = try await site.curl.call(api + "/echo?a=%20", bearer, upload: content.prefix(1 << 20))
            #expect(echo.text.hasPrefix("POST /echo?a=%20\n"))
            #expect(echo.body.suffix(1 << 20) == content.prefix(1 << 20))
            #expect(try await site.curl.call(api + "/chunked", bearer).field("transfer-encoding") == "chunked")
            let outcomes = try await Curl(authority: site.certificates.authority, options: bearer)
                .parallel((0..<50).map { "\(api)/echo?\($0)" })
            #expect(outcomes == ["200": 50])
        }

        @Test func `a call that is made again gets the same answer`() async throws {
            let site = try await Site.lasting.value
            let seat = site.seat(.probe5)
            let access = try #require(try await site.token(seat, site.authorizationCode(seat)).member("access_token"))
            for call in SampleCall.all {
                let first = try await site.direct(call, token: access)
                #expect(first.status < 500 && first.status != 401, "\(call.name): \(first.status)")
                expectEqual(first, try await site.direct(call, token: access), call.name)
            }
        }

        @Test func `a program ends with its handle`() async throws {
            var process: ProcessHandle? = try await ProcessHandle(
                ["sleep", "1000"], output: Workspace.newFile("log"))
            let pid = try #require(process?.pid)
            #expect(kill(pid, 0) == 0)
            process = nil
            #expect(kill(pid, 0) == -1)
        }

        private func echo(_ site: Site, _ access: String) async throws -> Reply {
            try await site.curl.call(site.nginx.apiURL + "/echo", ["-H", "Authorization: Bearer \(access)"])
        }
    }
}
