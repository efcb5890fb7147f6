import CAllocationCounter
import Glibc
import HTTP
import OpenSSLKit
import Proxy
import Reactor
import Synchronization
import Telemetry
import Testing

@testable import Gateway

/// Grants that requests name, over all pairs of protocol versions.
@Suite struct MatrixGrantTests {
    /// `grant_from`, and what a request of a tenant is like then.
    struct Naming: Sendable, CustomTestStringConvertible {
        var from: String
        var path: @Sendable (String) -> String = { _ in "/" }
        var fields: @Sendable (String) -> PeerHead.Fields = { _ in [] }
        var testDescription: String { from }

        static let all = [
            Naming(from: "header:X-Tenant", fields: { [("x-other", "1"), ("x-tenant", $0)] }),
            Naming(from: "path:2", path: { "/t/\($0)/items?a=b" }),
        ]
    }

    @Test(arguments: PeerPair.all, Naming.all)
    func `each request gets the token of the grant that it names`(pair: PeerPair, naming: Naming) throws {
        let scene = try Scene(pair, Tenants.setup(from: naming.from), control: Tenants.answer)
        let caller = try scene.connect()
        for name in ["acme", "Bob@example.com", "acme", "a.b_c-d", "Bob@example.com"] {
            let call = caller.request("GET", naming.path(name), naming.fields(name))
            let served = try scene.served()
            #expect(served.head?.values("authorization") == ["Bearer t:\(name)/1"])
            #expect(served.head?["x-tenant"] == nil)
            #expect(served.head?.target == naming.path(name))
            served.answer(200, name)
            try scene.finish(call)
            #expect(call.head?.status == 200 && call.content.text == name)
        }
        #expect(scene.plane.control.questions.map(\.grant) == ["t:acme", "t:Bob@example.com", "t:a.b_c-d"])
        try scene.end()
    }

    @Test(arguments: PeerPair.plain)
    func `the field that names the grant goes on where the route says so`(pair: PeerPair) throws {
        let setup = Tenants.setup(from: "header:X-Tenant", route: "remove_grant_header = false")
        let scene = try Scene(pair, setup, control: Tenants.answer)
        let call = try scene.connect().request("GET", "/", [("X-Tenant", "acme")])
        let served = try scene.served()
        #expect(served.head?.values("x-tenant") == ["acme"])
        served.answer()
        try scene.finish(call)
        try scene.end()
    }

    @Test(arguments: PeerPair.plain)
    func `a route's fixed name is the same for all`(pair: PeerPair) throws {
        let scene = try Scene(pair, Tenants.setup(from: "name:acme"), control: Tenants.answer)
        let call = try scene.connect().request("GET", "/", [("x-tenant", "evil")])
        let served = try scene.served()
        #expect(served.head?.values("authorization") == ["Bearer t:acme/1"])
        served.answer()
        try scene.finish(call)
        try scene.end()
    }

    private static let unnamed: [(String, String, PeerHead.Fields)] = [
        ("header:X-Tenant", "/", []), ("header:X-Tenant", "/", [("x-tenant", "a"), ("x-tenant", "a")]),
        ("header:X-Tenant", "/", [("x-tenant", "a b")]), ("header:X-Tenant", "/", [("x-tenant", "a:b")]),
        ("path:2", "/t", []), ("path:2", "/t/a%2Fb", []), ("path:2", "/t/" + String(repeating: "a", count: 129), []),
        ("caller", "/", [("x-tenant", "a")]),
    ]

    @Test(arguments: PeerPair.plain, unnamed.indices)
    func `a request that does not name its grant is refused, and nothing is asked or sent`(
        pair: PeerPair, index: Int
    ) throws {
        let (from, path, fields) = Self.unnamed[index]
        let scene = try Scene(pair, Tenants.setup(from: from), control: Tenants.answer)
        let caller = try scene.connect()
        for _ in 0..<2 {
            let call = caller.request("GET", path, fields)
            try scene.finish(call)
            #expect(call.head?.status == 400 && call.head?["token-gateway-error"] == "grant_not_named")
            #expect(call.content.text.contains("\"code\":\"grant_not_named\"") && call.isEnded)
        }
        #expect(scene.plane.control.questions.isEmpty && scene.upstreams.isEmpty && !caller.inputEnded)
        try scene.end()
    }

    @Test(arguments: PeerPair.all)
    func `a grant that nobody has made is a 404, until somebody makes it`(pair: PeerPair) throws {
        let scene = try Scene(pair, Tenants.setup(from: "header:X-Tenant"), control: { _ in .refusal(.unknownGrant) })
        let caller = try scene.connect()
        for _ in 0..<3 {
            let call = caller.request("GET", "/", [("x-tenant", "acme")])
            try scene.finish(call)
            #expect(call.head?.status == 404 && call.head?["token-gateway-error"] == "unknown_grant")
            #expect(call.content.text.contains("\"grant\":\"t:acme\""))
        }
        // What is not there is not asked for again at once.
        #expect(scene.plane.control.questions.count == 1 && scene.upstreams.isEmpty)
        scene.plane.post(.credential(grant: "t:acme", .ready(Tenants.credential("t:acme"))))
        let call = caller.request("GET", "/", [("x-tenant", "acme")])
        let served = try scene.served()
        #expect(served.head?.values("authorization") == ["Bearer t:acme/1"])
        served.answer()
        try scene.finish(call)
        #expect(scene.plane.control.questions.count == 1)
        try scene.end()
    }

    @Test(arguments: PeerPair.plain)
    func `after a second it is asked again whether there is such a grant`(pair: PeerPair) throws {
        let exists = Mutex(false)
        let scene = try Scene(
            pair, Tenants.setup(from: "header:X-Tenant"),
            control: { question in
                exists.withLock { $0 } ? Tenants.answer(question) : .refusal(.unknownGrant)
            })
        let caller = try scene.connect()
        try scene.finish(caller.request("GET", "/", [("x-tenant", "acme")]))
        exists.withLock { $0 = true }
        // As if the second had passed.
        _ = try scene.plane.inspect { $0.grants.find("t:acme")?.missingUntil = 1 }
        let call = caller.request("GET", "/", [("x-tenant", "acme")])
        try scene.served().answer()
        try scene.finish(call)
        #expect(call.head?.status == 200 && scene.plane.control.questions.count == 2)
        try scene.end()
    }

    @Test(arguments: PeerPair.all)
    func `after a 401 only the tenant's own token is renewed`(pair: PeerPair) throws {
        let scene = try Scene(pair, Tenants.setup(from: "header:X-Tenant"), control: Tenants.answer)
        let caller = try scene.connect()
        for round in 0..<2 {
            for name in ["acme", "bob"] {
                let call = caller.request("POST", "/", [("x-tenant", name)], framing: .length(3))
                call.send("abc")
                call.end()
                var served = try scene.served()
                try scene.finish(served)
                let known = round == 1 && name == "acme" ? 2 : 1
                #expect(served.head?.values("authorization") == ["Bearer t:\(name)/\(known)"])
                if round == 0, name == "acme" {
                    served.answer(401, "no", [("www-authenticate", "Bearer error=\"invalid_token\"")])
                    served = try scene.served()
                    try scene.finish(served)
                    #expect(served.head?.values("authorization") == ["Bearer t:acme/2"] && served.content.text == "abc")
                }
                served.answer()
                try scene.finish(call)
                #expect(call.head?.status == 200)
            }
        }
        let asked = scene.plane.control.questions.map { "\($0.grant) \($0.rejected ?? 0)" }
        #expect(asked == ["t:acme 0", "t:acme 1", "t:bob 0"])
        try scene.end()
    }

    @Test(arguments: PeerPair.all)
    func `a grant that is withdrawn while a request waits for its connection is not used`(pair: PeerPair) throws {
        let scene = try Scene(pair, Tenants.setup(from: "header:X-Tenant"), control: Tenants.answer)
        try scene.plane.remember(atMost: 1)
        // Without a handshake a connection is there at once.
        scene.holdsHandshakes = pair.isTLS
        let caller = try scene.connect()
        let call = caller.request("GET", "/", [("x-tenant", "acme")])
        guard pair.isTLS else {
            try Self.withdrawnAtOnce(scene, call)
            return
        }
        try scene.wait("a connection") { !scene.upstreams.isEmpty }
        // Others come and go: what waits is not forgotten.
        for name in ["b", "c", "d"] {
            let other = try scene.connect()
            let otherCall = other.request("GET", "/\(name)", [("x-tenant", name)])
            try scene.waitForCounters("another request") { $0.requestsCurrent >= 2 }
            otherCall.reset()
            try scene.waitForCounters("one request") { $0.requestsCurrent == 1 }
        }
        #expect(try scene.plane.knownGrants() <= 2)
        scene.plane.post(.credential(grant: "t:acme", .refused(.notConnected)))
        try scene.settle()
        scene.holdsHandshakes = false
        for link in scene.upstreams { link.reads = true }
        try scene.finish(call)
        #expect(call.head?.status == 503 && call.head?["token-gateway-error"] == "not_connected")
        #expect(call.content.text.contains("\"grant\":\"t:acme\"") && !scene.hasRequest)
        try scene.end()
    }

    private static func withdrawnAtOnce(_ scene: Scene, _ call: PeerStream) throws {
        let served = try scene.served()
        served.answer()
        try scene.finish(call)
        scene.plane.post(.credential(grant: "t:acme", .refused(.reauthorizationRequired)))
        let next = call.link.request("GET", "/", [("x-tenant", "acme")])
        try scene.finish(next)
        #expect(next.head?.status == 503 && next.head?["token-gateway-error"] == "reauthorization_required")
        #expect(!scene.hasRequest)
        try scene.end()
    }

    @Test(arguments: PeerPair.plain)
    func `a request that waits for a token leaves when its time is over, and control hears of it`(pair: PeerPair) throws
    {
        let setup = Tenants.setup(from: "header:X-Tenant", timeouts: "credential = \"50ms\"")
        let scene = try Scene(pair, setup, control: { _ in .silence })
        let call = try scene.connect().request("GET", "/", [("x-tenant", "acme")])
        try scene.finish(call)
        #expect(call.head?.status == 503 && call.head?["token-gateway-error"] == "token_unavailable")
        let asked = scene.plane.control.questions.map(\.waiter)
        #expect(scene.plane.control.left == asked && asked.count == 1)
        try scene.end()
    }

    @Test(arguments: PeerPair.plain)
    func `a template that means another provider's tokens by now gives no token to requests of before`(
        pair: PeerPair
    ) throws {
        let scene = try Scene(
            pair, Tenants.setup(from: "header:X-Tenant"),
            control: { $0.grant == "t:slow" ? .silence : Tenants.answer($0) })
        let caller = try scene.connect()
        let first = caller.request("GET", "/", [("x-tenant", "acme")])
        try scene.served().answer()
        try scene.finish(first)
        let other = try scene.connect()
        let slow = other.request("GET", "/slow", [("x-tenant", "slow")])
        try scene.wait("a question") { scene.plane.control.questions.count == 2 }
        var changed = Tenants.setup(from: "header:X-Tenant", clientID: "other")
        changed.isTLS = scene.setup.isTLS
        changed.upstream = scene.setup.upstream
        try scene.plane.reconfigure(changed)
        let question = scene.plane.control.questions[1]
        scene.plane.control.answer(question.waiter, .credential(Tenants.credential("t:slow")))
        try scene.finish(slow)
        #expect(slow.head?.status == 503 && slow.head?["token-gateway-error"] == "token_unavailable")
        // Under the new configuration nothing is known of the grant.
        let next = caller.request("GET", "/", [("x-tenant", "acme")])
        try scene.served().answer()
        try scene.finish(next)
        #expect(scene.plane.control.questions.map(\.grant) == ["t:acme", "t:slow", "t:acme"])
        try scene.end()
    }

    @Test(arguments: PeerPair.plain)
    func `what a reload leaves as it was stays known`(pair: PeerPair) throws {
        let setup = Tenants.setup(from: "header:X-Tenant")
        let scene = try Scene(pair, setup, control: Tenants.answer)
        let caller = try scene.connect()
        for _ in 0..<3 {
            let call = caller.request("GET", "/", [("x-tenant", "acme")])
            try scene.served().answer()
            try scene.finish(call)
            try scene.plane.reconfigure(scene.setup)
        }
        #expect(scene.plane.control.questions.count == 1)
        try scene.end()
    }

    @Test(arguments: PeerPair.plain)
    func `fields of the credential go upstream in place of the caller's`(pair: PeerPair) throws {
        let field = try #require(CredentialField(name: "Notion-Version", value: "2022-06-28"))
        let scene = try Scene(
            pair, Tenants.setup(from: "header:X-Tenant"),
            control: { .credential(Tenants.credential($0.grant, extra: [field])) })
        let caller = try scene.connect()
        for _ in 0..<3 {
            let call = caller.request("GET", "/", [("x-tenant", "acme"), ("notion-version", "evil")])
            let served = try scene.served()
            #expect(served.head?.values("notion-version") == ["2022-06-28"])
            served.answer()
            try scene.finish(call)
        }
        try scene.end()
    }

    // MARK: Callers

    @Test(arguments: PeerPair.secure)
    func `a caller's certificate names the grant`(pair: PeerPair) throws {
        let authority = PlaneCertificates.authority.certificatePEM
        let api = try TLSIdentity(PlaneCertificates.api)
        var tls = TLSServerSettings(identities: [api], alpn: ["h2", "http/1.1"])
        tls.clientCertificates = .optional(caPEM: authority)
        let scene = try Scene(
            pair, Tenants.setup(from: "caller"), listener: ListenerSettings(name: "internal", tls: tls),
            control: Tenants.answer)
        for name in ["acme", "bob"] {
            let certificate = try PlaneCertificates.authority.issue(
                LeafRequest(commonName: name, dnsNames: [], validity: Certificates.validity))
            let caller = try scene.connect(identity: TLSIdentity(certificate))
            for _ in 0..<2 {
                let call = caller.request("GET", "/", [("x-tenant", "evil")])
                let served = try scene.served()
                #expect(served.head?.values("authorization") == ["Bearer t:\(name)/1"])
                served.answer()
                try scene.finish(call)
            }
        }
        let strange = try PlaneCertificates.authority.issue(
            LeafRequest(commonName: "Acme, Inc.", dnsNames: [], validity: Certificates.validity))
        for identity in [nil, try TLSIdentity(strange)] {
            let call = try scene.connect(identity: identity).request("GET", "/", [("x-tenant", "evil")])
            try scene.finish(call)
            #expect(call.head?.status == 400 && call.head?["token-gateway-error"] == "grant_not_named")
        }
        #expect(scene.plane.control.questions.count == 2)
        try scene.end()
    }

    @Test func `a user at the other end of a Unix socket names the grant`() throws {
        let path = "/tmp/tg-caller-\(SystemRandom.uint64()).sock"
        let plane = try Plane(Tenants.setup(from: "caller"), unixPath: path, control: Tenants.answer)
        let user = try #require(UserName.find(geteuid()))
        for _ in 0..<2 {
            let caller = try plane.connect()
            caller.write("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            let upstream = try plane.upstream.accept()
            #expect(upstream.read(until: "\r\n\r\n").contains("Authorization: Bearer t:\(user)/1\r\n"))
            upstream.write(ok(fields: "Connection: close\r\n"))
            #expect(caller.readAll()?.hasPrefix("HTTP/1.1 200") == true)
        }
        #expect(plane.control.questions.count == 1)
        #expect(try plane.stop() == PlaneEnd())
    }

    // MARK: Cost

    private static let countsAllocations = allocations_of_this_thread() >= 0

    /// Allocations of the worker's thread for a request in the steady state; the optimizer is off here.
    private func cost(_ pair: PeerPair, _ setup: PlaneSetup, _ fields: PeerHead.Fields) throws -> Int {
        let scene = try Scene(pair, setup, control: Tenants.answer)
        scene.plane.post(.credential(grant: "fixed", .ready(Tenants.credential("fixed"))))
        let caller = try scene.connect()
        func go(_ count: Int) throws {
            for _ in 0..<count {
                let call = caller.request("GET", "/", fields)
                try scene.served().answer()
                try scene.finish(call)
            }
        }
        try go(40)
        let before = try scene.plane.inspect { _ in allocations_of_this_thread() }
        try go(40)
        let spent = try scene.plane.inspect { _ in allocations_of_this_thread() } - before
        try scene.end()
        return spent / 40
    }

    /// The release build allocates nothing for a fixed grant (AllocationTests), so nothing for one that a request names.
    @Test(.enabled(if: countsAllocations), arguments: PeerPair.plain)
    func `a grant that a request names costs no allocation more than a fixed one`(pair: PeerPair) throws {
        let fixed = try cost(pair, PlaneSetup(), [("x-tenant", "acme")])
        let named = try cost(pair, Tenants.setup(from: "header:X-Tenant"), [("x-tenant", "acme")])
        // A closure for each comparison of names, which the optimizer takes away; see NameTableTests.
        #expect(named <= fixed + 12, "\(named) and \(fixed)")
    }

    // MARK: Many

    @Test(arguments: PeerPair.plain)
    func `of what is not used only so much is remembered`(pair: PeerPair) throws {
        let scene = try Scene(pair, Tenants.setup(from: "header:X-Tenant"), control: Tenants.answer)
        try scene.plane.remember(atMost: 2)
        let caller = try scene.connect()
        for name in ["a", "b", "a", "c", "a", "b"] {
            let call = caller.request("GET", "/", [("x-tenant", name)])
            let served = try scene.served()
            #expect(served.head?.values("authorization") == ["Bearer t:\(name)/1"])
            served.answer()
            try scene.finish(call)
        }
        #expect(scene.plane.control.questions.map(\.grant) == ["t:a", "t:b", "t:c", "t:b"])
        #expect(try scene.plane.knownGrants() == 2)
        // News of what is not remembered is of no interest.
        scene.plane.post(.credential(grant: "t:new", .ready(Tenants.credential("t:new"))))
        #expect(try scene.plane.knownGrants() == 2)
        try scene.end()
    }

    /// Some tokens are rejected once, the table has room for a twentieth, and everything is under way at once.
    @Test(arguments: PeerPair.plain)
    func `a thousand tenants never get each other's tokens`(pair: PeerPair) throws {
        let scene = try Scene(pair, Tenants.setup(from: "header:X-Tenant"), control: Tenants.answer)
        try scene.plane.remember(atMost: 50)
        let callers = try (0..<16).map { _ in try scene.connect() }
        var random = SplitMix(state: 4)
        var tenants = (0..<1000).map { "tenant-\($0)" }
        tenants.shuffle(using: &random)
        var seen: [ObjectIdentifier: Int] = [:]
        var rejected: Set<String> = []
        for wave in 0..<(tenants.count / 32) {
            let names = tenants[(wave * 32)..<(wave * 32 + 32)].map { $0 } + (wave > 0 ? [tenants[wave]] : [])
            for chunk in stride(from: 0, to: names.count, by: callers.count) {
                let part = names[chunk..<min(chunk + callers.count, names.count)]
                let calls = zip(callers, part).map { caller, name in
                    (name, caller.request("GET", "/\(name)", [("x-tenant", name)]))
                }
                try scene.wait("all answers") {
                    for link in scene.upstreams { Self.answer(link, &seen, &rejected, &random) }
                    return calls.allSatisfy { $0.1.isOver }
                }
                for (name, call) in calls {
                    let generation = rejected.contains(name) ? 2 : 1
                    #expect(call.head?.status == 200)
                    #expect(["Bearer t:\(name)/1", "Bearer t:\(name)/\(generation)"].contains(call.content.text))
                }
            }
        }
        #expect(rejected.count > 50)
        #expect(try scene.plane.knownGrants() <= 50)
        try scene.end()
    }

    /// Each answer says whose token came, and the path says whose it must be.
    private static func answer(
        _ link: PeerLink, _ seen: inout [ObjectIdentifier: Int], _ rejected: inout Set<String>,
        _ random: inout SplitMix
    ) {
        let next = seen[ObjectIdentifier(link)] ?? 0
        for stream in link.streams[next...] {
            guard let head = stream.head else { return }
            let name = String(head.target.dropFirst())
            let token = head["authorization"] ?? ""
            #expect(token.hasPrefix("Bearer t:\(name)/"))
            if token.hasSuffix("/1"), !rejected.contains(name), Int.random(in: 0..<10, using: &random) == 0 {
                rejected.insert(name)
                stream.answer(401, "no", [("www-authenticate", "Bearer error=\"invalid_token\"")])
            } else {
                stream.answer(200, token)
            }
            seen[ObjectIdentifier(link), default: 0] += 1
        }
    }
}

/// A small generator with a seed, so that a failure can be had again.
struct SplitMix: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
        return mixed ^ (mixed >> 31)
    }
}
