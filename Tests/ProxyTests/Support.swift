import HTTP
import Proxy
import Testing

/// A small generator with a seed, so that a failure can be had again.
struct SeededRandom: RandomNumberGenerator {
    private var state: UInt64

    init(seed: UInt64) {
        state = seed
    }

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
        return mixed ^ (mixed >> 31)
    }
}

func octets(_ text: String) -> [UInt8] { Array(text.utf8) }

/// The lines of a head, the last empty one included, so that what follows the head would show.
func lines(_ buffer: borrowing ByteBuffer) -> [String] {
    String(decoding: buffer.array(), as: UTF8.self).split(separator: "\r\n", omittingEmptySubsequences: false)
        .map { String($0) }
}

/// The values of the fields with `name`, in lower case, in order.
func values(_ name: String, in lines: [String]) -> [String] {
    lines.compactMap { line in
        guard let colon = line.firstIndex(of: ":"), line[..<colon].lowercased() == name else { return nil }
        return line[line.index(after: colon)...].trimmingPrefix { $0 == " " }.description
    }
}

func parseRequest(_ text: String, into head: inout MessageHead) {
    let rejection = octets(text).withUnsafeBytes {
        HTTP1RequestParser.parse($0, into: &head, limits: HeadLimits())
    }
    #expect(rejection == nil, "\(text)")
}

func parseResponse(_ text: String, to method: HTTP.Method = .get, into head: inout MessageHead) {
    let rejection = octets(text).withUnsafeBytes {
        HTTP1ResponseParser.parse($0, answering: method, into: &head, limits: HeadLimits())
    }
    #expect(rejection == nil, "\(text)")
}

/// A rule for everything below `path`, or for exactly `path` where it does not end in "/".
func rule(_ path: String = "/", grant: Int? = 0, _ change: (inout RouteRule) -> Void = { _ in }) -> RouteRule {
    let bytes = octets(path)
    var rule = RouteRule(
        name: path, path: bytes.last == 0x2F ? .prefix(bytes) : .exact(bytes), upstream: 0, grant: grant)
    change(&rule)
    return rule
}

func upstream(_ authority: String = "api.example.com", base: String = "", plaintext: Bool = false) -> UpstreamIdentity {
    UpstreamIdentity(isPlaintext: plaintext, authority: octets(authority), basePath: octets(base))
}

let bearer = Credential(
    headerName: "Authorization", headerValue: octets("Bearer seeded-secret"), generation: 7, expiry: .max)
