import Foundation
import Testing

/// A request that is made twice: directly with the token, and through the gateway without.
struct SampleCall: Sendable {
    let name: String
    let path: String
    var options: [String] = []
    var upload: Data?

    static let all = [
        SampleCall(name: "GET", path: "/echo?a=1&b=%20%2F;x//y"),
        SampleCall(name: "a target with odd characters", path: "/echo/%7Euser/a:b@c;d=e,f/'(g)*!$?q=a?b/c"),
        SampleCall(name: "HEAD", path: "/static/large", options: ["--head"]),
        SampleCall(name: "OPTIONS", path: "/echo", options: ["-X", "OPTIONS"]),
        SampleCall(name: "DELETE", path: "/echo", options: ["-X", "DELETE"]),
        SampleCall(name: "POST of a form", path: "/echo", options: ["-d", "a=1&b=2"]),
        SampleCall(name: "POST of nothing", path: "/echo", options: ["-d", ""]),
        SampleCall(name: "POST of a mebibyte", path: "/echo", upload: randomBytes(1 << 20)),
        SampleCall(
            name: "POST in chunks", path: "/echo", options: ["-H", "Transfer-Encoding: chunked"],
            upload: randomBytes(300_000)),
        SampleCall(
            name: "fields of the caller", path: "/echo",
            options: ["-H", "X-Custom: a, b;c=\"d\"", "-H", "Accept-Language: de", "-A", "Old Service/1.0"]),
        SampleCall(name: "a large download", path: "/static/large"),
        SampleCall(name: "a range", path: "/static/large", options: ["-r", "1000000-1999999"]),
        SampleCall(
            name: "not modified", path: "/static/small.txt",
            options: ["-H", "If-Modified-Since: Fri, 01 Jan 2100 00:00:00 GMT"]),
        SampleCall(name: "a chunked answer", path: "/chunked"),
        SampleCall(name: "not found", path: "/static/missing"),
    ]
}

extension Site {
    /// The call as one who has a token makes it.
    func direct(_ call: SampleCall, token: String) async throws -> Reply {
        try await curl.call(
            nginx.apiURL + call.path, ["-H", "Authorization: Bearer \(token)"] + call.options, upload: call.upload)
    }
}

/// Status, body and fields are the same, but for the fields that belong to a connection or tell the time.
func expectEqual(_ direct: Reply, _ through: Reply, _ name: String) {
    let apart = ["date", "connection", "keep-alive", "via", "transfer-encoding"]
    let fields = { (reply: Reply) in
        reply.fields.filter { !apart.contains($0.name) }.map { "\($0.name): \($0.value)" }.sorted()
    }
    #expect(direct.exitCode == 0 && through.exitCode == 0, "\(name): \(direct.errors) \(through.errors)")
    #expect(direct.status == through.status, "\(name)")
    #expect(fields(direct) == fields(through), "\(name)")
    #expect(direct.body == through.body, "\(name): \(direct.body.count) and \(through.body.count) bytes")
}
