import Console
import Foundation
import Proxy
import Reactor
import Synchronization
import Telemetry
import Testing

@testable import Gateway
@testable import OAuth
@testable import TokenStore

/// Several controls on one store: what one finds out, the others know.
@Suite struct GrantFleetTests {
    private static func replica(
        _ name: String, _ database: FakeDatabase, _ endpoint: TokenEndpoint, provider: String = ""
    ) throws -> ControlHarness {
        try ControlHarness(
            FakeStore(database, instance: name, isShared: true),
            configuration: FileGrant.configuration(endpoint, provider: provider))
    }

    @Test func `a grant that has ended at one replica is not asked for at another, nor after a restart`() throws {
        let endpoint = try TokenEndpoint { _, _ in .json(400, #"{"error":"invalid_grant"}"#) }
        let database = FakeDatabase()
        ManyGrantsTests.put("crm", FileGrant.expired(), in: database)
        let one = try Self.replica("a", database, endpoint)
        #expect(try one.refusal() == .reauthorizationRequired)
        #expect(endpoint.calls.count == 1)
        let other = try Self.replica("b", database, endpoint)
        for _ in 0..<10 {
            #expect(try other.refusal() == .reauthorizationRequired)
            #expect(try one.refusal() == .reauthorizationRequired)
        }
        #expect(endpoint.calls.count == 1)
        // One that was there all the time knows as well as one that begins anew.
        endpoint.answer { _, _ in .tokens("new", "r2") }
        #expect(try other.refreshNow())
        try one.until("the latch is released here too") { $0.view(named: "crm")?.generation == 2 }
        #expect(try one.token() == "Bearer new")
        #expect(endpoint.calls.count == 2)
    }

    @Test func `a latch reaches a replica that is running`() throws {
        let endpoint = try TokenEndpoint { _, _ in .json(400, #"{"error":"invalid_grant"}"#) }
        let database = FakeDatabase()
        ManyGrantsTests.put("crm", FileGrant.record(expiresIn: 3_000_000, age: 600_000), in: database)
        let one = try Self.replica("a", database, endpoint)
        let other = try Self.replica("b", database, endpoint)
        #expect(try one.token() == "Bearer old")
        #expect(try other.token() == "Bearer old")
        #expect(try one.refusal(rejected: 1) == .reauthorizationRequired)
        try other.until("the other knows") { $0.view(named: "crm")?.state == .reauthorizationRequired }
        #expect(try other.refusal(rejected: 1) == .reauthorizationRequired)
        #expect(endpoint.calls.count == 1)
    }

    @Test func `a back-off is the same for every replica`() throws {
        let endpoint = try TokenEndpoint { _, _ in .json(503, "", fields: "Retry-After: 120\r\n") }
        let database = FakeDatabase()
        ManyGrantsTests.put("crm", FileGrant.expired(), in: database)
        let one = try Self.replica("a", database, endpoint)
        guard case .unavailable = try one.refusal() else {
            Issue.record("not unavailable")
            return
        }
        let other = try Self.replica("b", database, endpoint)
        guard case .unavailable(let seconds) = try other.refusal() else {
            Issue.record("not unavailable")
            return
        }
        #expect((60...135).contains(Int(seconds)), "\(seconds)")
        #expect(endpoint.calls.count == 1)
    }

    @Test func `a gap in the news while revisions are compared is compared, too`() throws {
        let endpoint = try TokenEndpoint { _, _ in .tokens("new", "r2") }
        let database = FakeDatabase()
        ManyGrantsTests.put("crm", FileGrant.record(expiresIn: 3_000_000, age: 600_000), in: database)
        let one = try Self.replica("a", database, endpoint)
        #expect(try one.token() == "Bearer old")
        // The record changes, and news of it are lost, after the first comparison has looked at it.
        let changed = FileGrant.record(expiresIn: 3_000_000, age: 1_000)
        let rounds = Mutex(0)
        database.with { state in
            state.whenCompared = {
                let round = rounds.withLock { round in
                    round += 1
                    return round
                }
                guard round == 1 else { return }
                database.with { state in
                    var record = changed
                    (record.revision, record.generation) = (2, 2)
                    record.tokens?.accessToken = Secret("elsewhere")
                    state.rows["crm"] = .init(payload: record.encoded(), generation: 2)
                    state.news["a", default: StoreNews()].mayHaveMissedSome = true
                }
                // The news are there before the answer.
                usleep(300_000)
            }
            state.news["a", default: StoreNews()].mayHaveMissedSome = true
        }
        let began = MonotonicClock.milliseconds()
        try one.until("the other's token is known") { $0.view(named: "crm")?.generation == 2 }
        #expect(try one.token() == "Bearer elsewhere")
        // The poll would find it, too, but not so soon.
        #expect(MonotonicClock.milliseconds() - began < 3_000)
        #expect(rounds.withLock { $0 } >= 2)
    }

    @Test func `many callers at many replicas make one call, and each gets its result`() throws {
        let endpoint = try TokenEndpoint { _, _ in
            usleep(200_000)
            return .tokens("new", "r2")
        }
        let database = FakeDatabase()
        ManyGrantsTests.put("crm", FileGrant.expired(), in: database)
        let replicas = try ["a", "b", "c"].map { try Self.replica($0, database, endpoint) }
        DispatchQueue.concurrentPerform(iterations: replicas.count) { index in
            for _ in 0..<5 {
                let token = try? replicas[index].token()
                #expect(token == "Bearer new")
            }
        }
        #expect(endpoint.calls.count == 1)
    }

    @Test func `one of several replicas keeps an idle grant of the file alive, with one call`() throws {
        let endpoint = try TokenEndpoint { _, _ in
            usleep(100_000)
            return .tokens("new", "r2", lifetime: 864_000)
        }
        let database = FakeDatabase()
        let day: Int64 = 86_400_000
        ManyGrantsTests.put("crm", FileGrant.record(expiresIn: nil, age: 31 * day), in: database)
        let replicas = try ["a", "b", "c"].map {
            try Self.replica($0, database, endpoint, provider: "keepalive_interval = \"30d\"")
        }
        for replica in replicas {
            try replica.until("kept alive everywhere") { $0.view(named: "crm")?.generation == 2 }
        }
        #expect(endpoint.calls.map { $0.form["refresh_token"] } == ["refresh"])
        #expect(FileGrant.stored(in: database)?.tokens?.refreshToken == Secret("r2"))
        for replica in replicas { #expect(try replica.token() == "Bearer new") }
        // Each has the grant's new time, and nothing is left to do.
        #expect(endpoint.calls.count == 1)
    }
}
