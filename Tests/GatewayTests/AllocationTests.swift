import Foundation
import Testing

/// The release build's budget of heap allocations and system calls, counted by a library that is preloaded into the
/// real program.
///
/// Requests run in lock-step: the program is stopped while all callers ask, and again while the upstream answers all of
/// them, so that it finds everything there at once. The numbers are therefore the same on any machine.
@Suite(.serialized) struct AllocationTests {
    @Test(arguments: Pairing.all)
    func `a proxied request allocates nothing on the worker's thread and makes no needless system call`(
        pairing: Pairing
    ) throws {
        let counted = try CountedGateway(pairing)
        defer { counted.stop() }
        try counted.connect()
        for _ in 0..<20 { try counted.batch() }
        let before = try counted.workerCounts()
        try #require(before.allocations > 0 && before.receives > 0, "the counter does not count")
        try counted.traceAllocations()
        let batches = 20
        for _ in 0..<batches { try counted.batch() }
        let spent = try counted.workerCounts() - before
        #expect(spent.allocations == 0, "\(spent)")
        #expect(spent.receives <= batches * pairing.receives, "\(spent)")
        #expect(spent.sends <= batches * pairing.sends, "\(spent)")
        // Both times it goes on: once for the interruption, once for the events, once to sleep. The rest is for timers.
        #expect(spent.waits <= batches * 8, "\(spent)")
        #expect(spent.registrations == 0, "\(spent)")
        #expect(spent.others == 0, "\(spent)")
    }

    @Test func `a caller's connection costs six system calls beside its request's`() throws {
        let counted = try CountedGateway(Pairing(callers: .http1, upstream: .http1, isTLS: true, connections: 16))
        defer { counted.stop() }
        try counted.connect()
        for _ in 0..<10 { try counted.renewedBatch() }
        let before = try counted.workerCounts()
        let batches = 20
        for _ in 0..<batches { try counted.renewedBatch() }
        let spent = try counted.workerCounts() - before
        let connections = batches * counted.pairing.connections
        #expect(spent.registrations == connections, "\(spent)")
        // accept4 and close for each, and one accept4 more that finds nobody.
        #expect(spent.others <= 2 * connections + 2 * batches, "\(spent)")
        // What the request needs, and the end of the caller's stream.
        #expect(spent.receives <= 3 * connections, "\(spent)")
        #expect(spent.sends <= 2 * connections, "\(spent)")
    }
}

/// What callers and the upstream speak, how many ask at a time, and what that may cost.
struct Pairing: CustomTestStringConvertible, Sendable {
    enum Version: Int, Sendable {
        case http1 = 1
        case http2
    }

    /// Where the credential comes from.
    enum Grant: String, Sendable {
        case fixed
        /// Of a template; a field of the request says which.
        case named
        /// The same, and the upstream's host comes with it.
        case captured
    }

    var callers: Version
    var upstream: Version
    var isTLS = true
    var grant = Grant.fixed
    /// Of callers.
    var connections = 64
    /// Requests at a time on each.
    var streams = 1

    static let all = [
        Pairing(callers: .http1, upstream: .http1, isTLS: false),
        Pairing(callers: .http1, upstream: .http1),
        Pairing(callers: .http1, upstream: .http2),
        Pairing(callers: .http2, upstream: .http1, connections: 4, streams: 16),
        Pairing(callers: .http2, upstream: .http2, connections: 4, streams: 16),
        Pairing(callers: .http1, upstream: .http1, grant: .named),
        Pairing(callers: .http2, upstream: .http2, grant: .named, connections: 4, streams: 16),
        Pairing(callers: .http1, upstream: .http1, grant: .captured),
        Pairing(callers: .http2, upstream: .http2, grant: .captured, connections: 4, streams: 16),
    ]
    /// Grants that requests name in turn.
    static let tenants = 8

    /// Requests in a batch.
    var requests: Int { connections * streams }
    /// Over HTTP/2 one connection carries all.
    var upstreamConnections: Int { upstream == .http1 ? requests : 1 }
    /// For a batch: one on each connection for what came in one piece.
    var receives: Int { connections + upstreamConnections }
    /// For a batch: one on each connection, however many messages leave on it.
    var sends: Int { connections + upstreamConnections }

    var testDescription: String {
        "h\(callers.rawValue) to \(isTLS ? "TLS " : "")h\(upstream.rawValue), \(connections) x \(streams), \(grant.rawValue) grant"
    }
}
