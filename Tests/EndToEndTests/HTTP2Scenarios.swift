import Foundation
import Testing

extension EndToEnd {
    /// HTTP/2 and what rides on it, tried by peers that are not ours: h2, hpack, hyperframe, grpcio and websockets from
    /// PyPI. Each test is a table of cases in a script of its own; each case that fails is an issue with its sentence.
    @Suite("HTTP/2", .serialized, .timeLimit(.minutes(5)))
    struct HTTP2Scenarios {
        @Test func `what RFC 9113 and 7541 demand of a server holds on plain and TLS listeners`() async throws {
            let stage = try await Stage.start("conformance")
            try await stage.run("conformance.py", atLeast: 360)
            // The last case is the end of the gateway.
            try await stage.end(isAsked: true)
        }

        @Test func `APIs that break RFC 9113, refuse, leave or have limits do not harm callers`() async throws {
            let stage = try await Stage.start("upstreams", ownUpstreams: 200)
            try await stage.run("upstreams.py", atLeast: 160)
            try await stage.end()
        }

        @Test func `every feature works over every pair of protocols`() async throws {
            let stage = try await Stage.start("pairs", workers: 2)
            try await stage.run("pairs.py", atLeast: 140)
            try await stage.end()
        }

        @Test func `abuse ends a caller's connection, costs bounded memory and harms nobody else`() async throws {
            let stage = try await Stage.start("abuse")
            try await stage.run("abuse.py", atLeast: 25)
            try await stage.end()
        }

        @Test func `exchanges of every kind at random do not disturb each other`() async throws {
            let stage = try await Stage.start("chaos", workers: 2)
            try await stage.run("chaos.py", atLeast: 2)
            try await stage.end()
        }

        @Test func `gRPC works with grpcio on both ends`() async throws {
            let stage = try await Stage.start("rpc", workers: 2)
            try await stage.run("rpc.py", atLeast: 26)
            try await stage.end()
        }

        @Test func `WebSocket works by Upgrade and by extended CONNECT`() async throws {
            let stage = try await Stage.start("sockets", workers: 2)
            try await stage.run("sockets.py", atLeast: 70)
            try await stage.end()
        }
    }
}
