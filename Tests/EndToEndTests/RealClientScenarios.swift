import Foundation
import Testing

extension EndToEnd {
    /// curl, nghttp and h2load as callers, nginx as the API: every pair of protocols, plain and over TLS.
    @Suite("Real clients", .serialized, .timeLimit(.minutes(5)))
    struct RealClientScenarios {
        @Test func `curl gets and sends files of every size over every pair of protocols`() async throws {
            try await clients("curl") { stage, api in
                for caller in Caller.allCases {
                    for upstream in ["h1", "h2"] {
                        try await exchange(Pair(caller: caller, upstream: upstream, stage: stage), api)
                    }
                }
            }
        }

        @Test func `h2load's requests are all answered, over plain and TLS listeners`() async throws {
            try await clients("h2load") { stage, api in
                for upstream in ["h1", "h2"] {
                    for base in ["http://127.0.0.1:\(stage.plainPort)", "https://localhost:\(stage.tlsPort)"] {
                        let url = "\(base)/\(upstream)"
                        try await load("\(url)/static/one", ["-n", "4000", "-c", "8", "-m", "50"], 4000)
                        try await load("\(url)/static/some", ["-n", "400", "-c", "4", "-m", "25"], 400)
                        try await load(
                            "\(url)/files/load",
                            ["-n", "200", "-c", "2", "-m", "10", "-d", api.file("some"), "-H", ":method: PUT"], 200)
                        try await load("\(url)/static/one", ["--h1", "-n", "1000", "-c", "8"], 1000)
                        #expect(try api.takeUploaded("load") == api.files[2].content)
                    }
                }
            }
        }

        @Test func `nghttp's uploads, padding, trailers and small windows are understood`() async throws {
            try await clients("nghttp") { stage, api in
                for base in ["http://127.0.0.1:\(stage.plainPort)", "https://localhost:\(stage.tlsPort)"] {
                    for upstream in ["h1", "h2"] {
                        try await nghttp("\(base)/\(upstream)", api)
                    }
                }
            }
        }

        // MARK: curl

        private enum Caller: String, CaseIterable {
            case h1 = "HTTP/1.1"
            case h2c = "h2c"
            case h1TLS = "HTTP/1.1 over TLS"
            case h2 = "HTTP/2 over TLS"

            var options: [String] {
                switch self {
                case .h1, .h1TLS: ["--http1.1"]
                case .h2c: ["--http2-prior-knowledge"]
                case .h2: ["--http2"]
                }
            }

            var version: String { self == .h1 || self == .h1TLS ? "1.1" : "2" }
            var isTLS: Bool { self == .h1TLS || self == .h2 }
        }

        private struct Pair {
            let caller: Caller
            let upstream: String
            let stage: Stage

            var curl: Curl { Curl(authority: stage.certificates.authority, options: caller.options) }
            var name: String { "\(caller.rawValue) → \(upstream)" }
            var base: String {
                caller.isTLS
                    ? "https://localhost:\(stage.tlsPort)/\(upstream)"
                    : "http://127.0.0.1:\(stage.plainPort)/\(upstream)"
            }
        }

        private func exchange(_ pair: Pair, _ api: StaticAPI) async throws {
            for (name, content) in api.files {
                let down = try await pair.curl.call("\(pair.base)/static/\(name)")
                expect(down, pair, "download of \(name)", status: 200)
                #expect(down.body == content, "\(pair.name): \(name) has \(down.body.count) octets")

                // curl itself never ends the chunks of an empty file.
                let hasChunks = pair.caller.version == "1.1" && !content.isEmpty
                let chunks = ["-H", "Content-Length:", "-H", "Transfer-Encoding: chunked"]
                for options in hasChunks ? [[], chunks] : [[]] {
                    let up = try await pair.curl.call(
                        "\(pair.base)/files/\(name)", options, upload: content, put: true)
                    expect(up, pair, "upload of \(name)", status: 201)
                    #expect(try api.takeUploaded(name) == content, "\(pair.name): \(name) arrived otherwise")
                }
            }
            let large = api.files[3].content
            let head = try await pair.curl.call("\(pair.base)/static/large", ["--head"])
            expect(head, pair, "HEAD", status: 200)
            #expect(head.field("content-length") == "\(large.count)" && head.body.isEmpty, "\(pair.name)")
            for (range, part) in [("0-0", large.prefix(1)), ("1000000-2999999", large[1_000_000..<3_000_000])] {
                let reply = try await pair.curl.call("\(pair.base)/static/large", ["-r", range])
                expect(reply, pair, "range", status: 206)
                #expect(reply.body == part, "\(pair.name): range \(range)")
            }
            expect(try await pair.curl.call("\(pair.base)/static/missing"), pair, "not found", status: 404)
            try await many(pair, api)
        }

        /// Many transfers at once, over TLS as many as can on one connection. Without TLS each has its own: curl 7.88
        /// breaks off when it uses an HTTP/2 connection again that it has by prior knowledge, with any server.
        private func many(_ pair: Pair, _ api: StaticAPI) async throws {
            let urls = (0..<60).map { "\(pair.base)/static/some?many\($0)" }
            let outcomes = try await pair.curl.parallel(urls, maximum: pair.caller == .h2c ? 60 : 30)
            #expect(outcomes == ["200": 60], "\(pair.name): \(outcomes)")
            let version = pair.upstream == "h1" ? "HTTP/1.1" : "HTTP/2.0"
            #expect(try api.calls(by: version, containing: "?many") >= 60, "\(pair.name)")
        }

        private func expect(_ reply: Reply, _ pair: Pair, _ what: String, status: Int) {
            #expect(reply.exitCode == 0, "\(pair.name), \(what): \(reply.errors)")
            #expect(reply.status == status, "\(pair.name), \(what): \(reply.text.prefix(300))")
            #expect(reply.version == pair.caller.version, "\(pair.name), \(what)")
        }

        // MARK: h2load and nghttp

        private func load(_ url: String, _ options: [String], _ count: Int) async throws {
            let result = try await run(["h2load"] + options + [url], within: .seconds(60))
            #expect(result.status == .exited(0), "\(url) \(options): \(result.errors)")
            #expect(
                result.text.contains("\(count) succeeded, 0 failed, 0 errored, 0 timeout"),
                "\(url) \(options): \(result.text)")
            #expect(result.text.contains("status codes: \(count) 2xx, 0 3xx, 0 4xx, 0 5xx"), "\(url): \(result.text)")
        }

        private func nghttp(_ base: String, _ api: StaticAPI) async throws {
            let plain = try await run(["nghttp", "--no-verify-peer", "-W", "14", "-w", "12", "\(base)/static/some"])
            #expect(plain.output == api.files[2].content, "\(base): \(plain.output.count) octets, \(plain.errors)")

            let several = try await run(
                ["nghttp", "--no-verify-peer", "-n", "-s", "-m", "20", "-p", "3", "-b", "100", "\(base)/static/some"])
            #expect(several.text.components(separatedBy: " 200 ").count == 21, "\(base): \(several.text)")

            for options in [[], ["--expect-continue"], ["--trailer", "x-check: abc"], ["-b", "200"]] {
                let up = try await run(
                    ["nghttp", "--no-verify-peer", "-v", "-d", api.file("some"), "-H", ":method: PUT"] + options
                        + ["\(base)/files/nghttp"])
                #expect(up.text.contains(":status: 201"), "\(base) \(options): \(up.text.suffix(1500))")
                #expect(try api.takeUploaded("nghttp") == api.files[2].content, "\(base) \(options)")
            }
        }
    }
}

/// A gateway with nginx behind it.
private func clients(_ name: String, _ body: (Stage, StaticAPI) async throws -> Void) async throws {
    let stage = try await Stage.start(name, workers: 2)
    let api = try await StaticAPI.start(stage.certificates, ports: stage.apiPorts)
    try await body(stage, api)
    try await stage.end()
    withExtendedLifetime(api) {}
}
