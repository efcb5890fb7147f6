import Synchronization
import Testing

@testable import Reactor

/// A name server that answers when the test lets it.
private final class FakeLookup: Sendable {
    let asked = Guarded<[String]>([])
    let started = Gate()
    let mayAnswer = Gate()
    let answer = Guarded<Resolver.Answer>(
        .success([.ipv4(0x0a00_0001, port: 0), .ipv6(high: 1, low: 2, port: 0, scope: 0)]))

    func look(_ host: String) -> Resolver.Answer {
        asked.update { $0.append(host) }
        started.open()
        _ = mayAnswer.pass()
        return answer.value
    }
}

/// Collects answers from whatever thread.
private final class Answers: Sendable {
    let list = Guarded<[Resolver.Answer]>([])
    let arrived = Gate()

    func receive(_ answer: Resolver.Answer) {
        list.update { $0.append(answer) }
        arrived.open()
    }
}

@Suite struct ResolverTests {
    @Test(arguments: ["127.0.0.1", "::1", "[::1]"])
    func `a numeric host is answered at once`(host: String) throws {
        let fake = FakeLookup()
        let answers = Answers()
        let resolver = try Resolver(lookup: fake.look)
        resolver.resolve(host: host, port: 8443, answers.receive)
        let expected = try #require(SocketAddress(numericHost: host, port: 8443))
        #expect(answers.list.value == [.success([expected])])
        #expect(fake.asked.value.isEmpty)
    }

    @Test func `requests for one name share a lookup and each gets its own port`() throws {
        let fake = FakeLookup()
        let answers = Answers()
        let resolver = try Resolver(lookup: fake.look)
        resolver.resolve(host: "api.example", port: 1, answers.receive)
        try #require(fake.started.pass())
        resolver.resolve(host: "API.Example", port: 2, answers.receive)
        #expect(answers.list.value.isEmpty, "nobody is blocked and nobody has an answer")
        fake.mayAnswer.open()
        try #require(answers.arrived.pass())
        try #require(answers.arrived.pass())
        #expect(fake.asked.value == ["api.example"])
        let ports = try answers.list.value.map { try $0.get().map(\.port) }
        #expect(ports == [[1, 1], [2, 2]])

        resolver.resolve(host: "api.example", port: 3, answers.receive)
        #expect(try answers.list.value.last?.get().first == .ipv4(0x0a00_0001, port: 3), "remembered: at once")
    }

    @Test func `names are looked up side by side by as many threads as allowed`() throws {
        let fake = FakeLookup()
        let answers = Answers()
        var limits = ResolverLimits()
        limits.threads = 2
        let resolver = try Resolver(limits: limits, lookup: fake.look)
        for name in ["a", "b", "c"] { resolver.resolve(host: name, port: 1, answers.receive) }
        try #require(fake.started.pass())
        try #require(fake.started.pass())
        #expect(Set(fake.asked.value) == ["a", "b"])
        fake.mayAnswer.open()
        try #require(fake.started.pass())
        fake.mayAnswer.open(times: 2)
        for _ in 0..<3 { try #require(answers.arrived.pass()) }
        #expect(fake.asked.value.last == "c")
    }

    @Test func `the addresses of a failing resolver stay in use`() throws {
        let fake = FakeLookup()
        let answers = Answers()
        let clock = ManualClock()
        let resolver = try Resolver(clock: clock.milliseconds, lookup: fake.look)
        fake.mayAnswer.open()
        resolver.resolve(host: "a", port: 1, answers.receive)
        try #require(answers.arrived.pass())
        clock.advance(by: 3_600_000)
        fake.answer.update { $0 = .failure(ResolveError(kind: .temporary, host: "a", detail: "no answer")) }
        fake.mayAnswer.open()
        resolver.resolve(host: "a", port: 1, answers.receive)
        try #require(answers.arrived.pass())
        #expect(fake.asked.value == ["a", "a"])
        #expect(answers.list.value[0] == answers.list.value[1])
    }

    @Test(arguments: ["", "a b", "a\0b", "exämple.com", "a/b", "-a", "a:80", String(repeating: "a", count: 254)])
    func `what is no host name is never looked up`(host: String) throws {
        let fake = FakeLookup()
        let answers = Answers()
        let resolver = try Resolver(lookup: fake.look)
        resolver.resolve(host: host, port: 1, answers.receive)
        guard case .failure(let error)? = answers.list.value.first else {
            Issue.record("an answer is expected at once")
            return
        }
        #expect(error.kind == .invalidName)
        #expect(fake.asked.value.isEmpty)
    }

    @Test func `a resolver that is let go during a lookup harms nobody`() throws {
        let fake = FakeLookup()
        let answers = Answers()
        do {
            let resolver = try Resolver(lookup: fake.look)
            resolver.resolve(host: "a", port: 1, answers.receive)
            try #require(fake.started.pass())
        }
        fake.mayAnswer.open()
        try #require(answers.arrived.pass())
        #expect(answers.list.value.count == 1)
    }

    @Test func `the system knows localhost and does not know an invalid name`() throws {
        let found = try Resolver.systemLookup("localhost").get()
        #expect(!found.isEmpty)
        #expect(found.allSatisfy { $0.isLoopback })
        guard case .failure(let error) = Resolver.systemLookup("name.invalid") else {
            Issue.record("name.invalid has an address")
            return
        }
        #expect(error.kind == .notFound || error.kind == .temporary)
        #expect(error.description.hasPrefix("cannot resolve \"name.invalid\": "))
    }
}
