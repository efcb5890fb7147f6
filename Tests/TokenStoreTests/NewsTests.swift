import Foundation
import PostgreSQLTesting
import Testing

@testable import TokenStore

/// What replicas hear of each other.
@Suite(.serialized) struct NewsTests {
    let scratch = Scratch()

    /// Waits for news until `isEnough` of all that was heard; the seconds that it took.
    @discardableResult
    private func hear(
        _ store: PostgreSQLStore, within seconds: Double = 60, until isEnough: (StoreNews) -> Bool
    ) throws -> (news: StoreNews, seconds: Double) {
        let start = Date()
        var heard = StoreNews()
        while true {
            let news = try store.waitForNews(upTo: 200)
            heard.changes.merge(news.changes) { _, new in new }
            heard.mayHaveMissedSome = heard.mayHaveMissedSome || news.mayHaveMissedSome
            heard.instances = news.instances
            heard.presenceIsKnown = news.presenceIsKnown
            let elapsed = Date().timeIntervalSince(start)
            if isEnough(heard) { return (heard, elapsed) }
            guard elapsed < seconds else {
                Issue.record("heard only \(heard)")
                return (heard, elapsed)
            }
        }
    }

    @Test func `commits and removals of others are heard within milliseconds`() throws {
        let database = try scratch.sharedDatabase()
        let listener = try database.open(instance: "a")
        let writer = try database.open(instance: "b")
        #expect(try hear(listener) { $0.mayHaveMissedSome }.news.changes == [:])
        let long = String(repeating: "ü", count: 250)
        for (grant, outcome) in [("crm", UInt64(1)), (long, 1), ("with space", 1)] {
            _ = try writer.commit(grant: grant, payload: [1], ifGeneration: 0)
            #expect(try hear(listener) { !$0.changes.isEmpty }.news.changes == [grant: outcome])
        }
        _ = try writer.remove(grant: "crm", ifGeneration: 1)
        #expect(try hear(listener) { !$0.changes.isEmpty }.news.changes == ["crm": 0])
        // A commit that lost is no news.
        _ = try writer.commit(grant: "crm", payload: [1], ifGeneration: 7)
        _ = try writer.commit(grant: "other", payload: [1], ifGeneration: 0)
        #expect(try hear(listener) { !$0.changes.isEmpty }.news.changes == ["other": 1])
    }

    @Test func `the time from a commit to its news is measured`() throws {
        let database = try scratch.sharedDatabase()
        let listener = try database.open(instance: "a")
        let writer = try database.open(instance: "b")
        try hear(listener) { $0.mayHaveMissedSome }
        let count = 100
        let heard = Notes<(UInt64, UInt64)>()
        let told = Notes<(UInt64, UInt64)>()
        onThreads(2) { index in
            if index == 0 {
                for generation in 0..<UInt64(count) {
                    _ = try? writer.commit(
                        grant: "a", payload: [UInt8](repeating: 1, count: 1500), ifGeneration: generation)
                    told.add((generation + 1, DispatchTime.now().uptimeNanoseconds))
                }
            } else {
                while heard.all.last?.0 ?? 0 < UInt64(count), let news = try? listener.waitForNews(upTo: 5000) {
                    let now = DispatchTime.now().uptimeNanoseconds
                    if let revision = news.changes["a"] { heard.add((revision, now)) }
                }
            }
        }
        let at = Dictionary(uniqueKeysWithValues: told.all)
        let times = heard.all.compactMap { revision, time in
            at[revision].map { Double(Int64(time) - Int64($0)) / 1e6 }
        }.sorted()
        #expect(heard.all.last?.0 == UInt64(count))
        print("news after the commit's return, ms: median \(times[times.count / 2]), largest \(times.last ?? 0)")
    }

    @Test func `a gap is told once for each new session`() throws {
        let database = try scratch.sharedDatabase()
        let listener = try database.open(instance: "a")
        let writer = try database.open(instance: "b")
        try hear(listener) { $0.mayHaveMissedSome }
        #expect(try !hear(listener, until: \.presenceIsKnown).news.mayHaveMissedSome)
        try database.server.sql(
            "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname = '\(database.name)'")
        _ = try writer.commit(grant: "a", payload: [1], ifGeneration: 0)
        let heard = try hear(listener) { $0.mayHaveMissedSome }.news
        #expect(!heard.presenceIsKnown)
        #expect(try writer.revisions(of: ["a"]) == ["a": 1])
        _ = try writer.commit(grant: "a", payload: [1], ifGeneration: 1)
        let next = try hear(listener) { !$0.changes.isEmpty }.news
        #expect(next.changes == ["a": 2])
        #expect(!next.mayHaveMissedSome)
    }

    @Test func `a wait ends with its time, and at once when the store is closed`() throws {
        let database = try scratch.sharedDatabase()
        let store = try database.open()
        try hear(store, until: \.presenceIsKnown)
        let start = Date()
        let quiet = try store.waitForNews(upTo: 300)
        #expect((0.25..<30).contains(Date().timeIntervalSince(start)))
        #expect(quiet == StoreNews(instances: ["one"], presenceIsKnown: true))
        let closer = Thread {
            usleep(100_000)
            store.stopNews()
        }
        closer.start()
        #expect(storeError { while true { _ = try store.waitForNews(upTo: 60_000) } }?.kind == .closed)
        #expect(Date().timeIntervalSince(start) < 45)
        #expect(try store.read(grant: "a") == nil)
        store.close()
        #expect(storeError { _ = try store.waitForNews(upTo: 1000) }?.kind == .closed)
    }

    // MARK: Presence

    @Test func `kill -9 of a replica is seen within seconds, and its row goes`() throws {
        let database = try scratch.sharedDatabase()
        let store = try database.open(instance: "watcher")
        let helpers = try ["first", "second"].map { try Helper("present", database.url, $0) }
        for helper in helpers { helper.read(lines: 1) }
        #expect(
            try hear(store) { $0.presenceIsKnown && $0.instances.count == 3 }.news.instances == [
                "watcher", "first", "second",
            ])
        helpers[0].kill()
        let seen = try hear(store) { $0.presenceIsKnown && !$0.instances.contains("first") }
        #expect(seen.news.instances == ["watcher", "second"])
        print("death of a replica seen after \(seen.seconds) s")
        let start = Date()
        while try database.sql("SELECT count(*) FROM token_gateway.replica") != "2" {
            _ = try store.waitForNews(upTo: 200)
            try #require(Date().timeIntervalSince(start) < 60)
        }
        helpers[1].kill()
    }

    @Test func `a replica that only lost its session is not taken for dead`() throws {
        let database = try scratch.sharedDatabase()
        let store = try database.open(instance: "watcher")
        let helper = try Helper("present", database.url, "other")
        helper.read(lines: 1)
        try hear(store) { $0.presenceIsKnown && $0.instances.count == 2 }
        for _ in 0..<3 {
            try database.server.sql(
                """
                SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname = '\(database.name)'
                    AND pid = (SELECT backend FROM token_gateway.replica WHERE instance = 'other')
                """, database: database.name)
            let end = Date().addingTimeInterval(1)
            while Date() < end {
                #expect(try store.waitForNews(upTo: 100).instances.contains("other"))
            }
        }
        helper.kill()
    }

    @Test(arguments: [PostgreSQLServer.End.fast, .kill])
    func `a restart of the database makes nobody dead`(_ end: PostgreSQLServer.End) throws {
        let database = try SharedDatabase(PostgreSQLServer())
        let store = try database.open(instance: "watcher")
        let helper = try Helper("present", database.url, "other")
        helper.read(lines: 1)
        try hear(store) { $0.presenceIsKnown && $0.instances.count == 2 }
        let deaths = Notes<StoreNews>()
        func watch(_ seconds: Double, until isEnough: (StoreNews) -> Bool) throws -> Bool {
            let end = Date().addingTimeInterval(seconds)
            while Date() < end {
                let news = try store.waitForNews(upTo: 100)
                if news.presenceIsKnown, !news.instances.contains("other") { deaths.add(news) }
                if isEnough(news) { return true }
            }
            return false
        }
        database.server.stop(end)
        #expect(try watch(3) { !$0.presenceIsKnown })
        #expect(try !watch(2) { $0.presenceIsKnown })
        try database.server.start()
        #expect(try watch(15) { $0.presenceIsKnown })
        #expect(try !watch(2) { !$0.presenceIsKnown })
        #expect(deaths.all == [])
        // One that dies while the database is away is seen when it has come back.
        database.server.stop(end)
        helper.kill()
        try database.server.start()
        #expect(try hear(store) { $0.presenceIsKnown && $0.instances == ["watcher"] }.news.presenceIsKnown)
    }
}
