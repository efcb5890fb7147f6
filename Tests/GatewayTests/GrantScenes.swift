import OpenSSLKit
import Proxy
import Reactor
import Testing

@testable import Gateway

/// Routes whose grants come from a template.
enum Tenants {
    /// - Parameters:
    ///   - from: `grant_from`.
    ///   - clientID: grants of another client are other grants.
    static func setup(
        from: String, route: String = "", upstream: String = "", clientID: String = "c", timeouts: String = "",
        url: String? = nil
    ) -> PlaneSetup {
        var setup = PlaneSetup(timeouts: timeouts, upstream: upstream, hasGrant: false)
        setup.url = url
        setup.route = "grant_template = \"t\"\ngrant_from = \"\(from)\"\n" + route
        setup.more = """
            [listener.unix]
            address = "unix:/k/callers.sock"
            [console]
            address = "127.0.0.1:9"
            public_url = "http://127.0.0.1:9"
            [store]
            path = "/k/store"
            key_file = "/k/key"
            [provider.p]
            authorize_url = "https://as.test/authorize"
            token_url = "https://as.test/token"
            client_id = "\(clientID)"
            client_secret_file = "/k/secret"
            response_capture = { zone = "zone" }
            [grant_template.t]
            provider = "p"
            """
        return setup
    }

    /// A token that says whose it is.
    static func credential(
        _ grant: String, _ generation: UInt64 = 1, captured: [String: String] = [:], extra: [CredentialField] = []
    ) -> Credential {
        Credential(
            headerName: "Authorization", headerValue: Array("Bearer \(grant)/\(generation)".utf8),
            generation: generation, expiry: .max, extraHeaders: extra, captured: captured)
    }

    /// Control that knows every grant.
    static func answer(_ question: StubControl.Question) -> StubControl.Answer {
        .credential(credential(question.grant, (question.rejected ?? 0) + 1))
    }
}

extension Plane {
    /// As after a start with room for so many grants only.
    func remember(atMost count: Int) throws {
        _ = try inspect { worker in
            worker.grants = KnownGrants(capacity: count)
            worker.grants.adopt(worker.configuration)
        }
    }

    func knownGrants() throws -> Int { try inspect { $0.grants.templatedCount } }
}
