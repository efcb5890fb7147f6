import Glibc
import HTTP
import OpenSSLKit
import Reactor
import Testing

@testable import Gateway

enum PeerVersion: String, Sendable, CaseIterable {
    case http1 = "h1"
    case http2 = "h2"
}

/// What the caller and the upstream speak.
struct PeerPair: Sendable, CustomTestStringConvertible {
    var caller: PeerVersion
    var upstream: PeerVersion
    /// On both sides, with ALPN; else plain, HTTP/2 by prior knowledge.
    var isTLS = false

    var testDescription: String { "\(caller.rawValue)→\(upstream.rawValue)\(isTLS ? " TLS" : "")" }

    static let plain = PeerVersion.allCases.flatMap { caller in
        PeerVersion.allCases.map { PeerPair(caller: caller, upstream: $0) }
    }
    static let secure = plain.map { PeerPair(caller: $0.caller, upstream: $0.upstream, isTLS: true) }
    static let all = plain + secure
    /// Where the upstream speaks HTTP/2.
    static let toHTTP2 = all.filter { $0.upstream == .http2 }
    static let fromHTTP2 = all.filter { $0.caller == .http2 }
}

/// Content of any length of which every octet is known by where it stands.
enum Pattern {
    static let period = 65_521
    static let octets: [UInt8] = (0..<(2 * period)).map {
        let place = $0 % period
        return UInt8(truncatingIfNeeded: place &* 31 &+ place >> 8)
    }

    /// The next octets from `offset`, at most so many.
    static func with<Result>(_ offset: Int, _ count: Int, _ body: (UnsafeRawBufferPointer) -> Result) -> Result {
        octets.withUnsafeBytes {
            body(UnsafeRawBufferPointer(rebasing: $0[(offset % period)...].prefix(min(count, period))))
        }
    }
}

/// Content as it has come, each octet compared with the pattern's.
struct PeerContent {
    private(set) var count = 0
    private(set) var isPattern = true
    /// The beginning of it.
    private(set) var beginning: [UInt8] = []

    var text: String { String(decoding: beginning, as: UTF8.self) }

    mutating func append(_ octets: UnsafeRawBufferPointer) {
        if beginning.count < 4096 { beginning += octets.prefix(4096 - beginning.count) }
        var offset = 0
        while offset < octets.count, isPattern {
            let rest = UnsafeRawBufferPointer(rebasing: octets[offset...])
            offset += Pattern.with(count + offset, rest.count) { wanted in
                isPattern = memcmp(wanted.baseAddress!, rest.baseAddress!, wanted.count) == 0
                return wanted.count
            }
        }
        count += octets.count
    }

    /// All of the pattern's first octets, and no others.
    func isPattern(of length: Int) -> Bool { isPattern && count == length }
}

struct PeerHead: Sendable {
    typealias Fields = [(name: String, value: String)]

    var method = ""
    var target = ""
    var authority = ""
    var scheme = ""
    var status = 0
    /// Names in lower case.
    var fields: Fields = []

    func values(_ name: String) -> [String] { fields.filter { $0.name == name }.map(\.value) }
    subscript(name: String) -> String? { values(name).first }
}

/// How a message that a peer sends says where its content ends.
enum PeerFraming: Sendable, Equatable {
    /// There is none.
    case none
    case length(Int)
    /// Chunks, or the end of the stream.
    case open
}

/// One request and its response as one of the two peers sees it, whatever the version.
final class PeerStream {
    unowned let link: PeerLink
    let isCaller: Bool
    /// Over HTTP/2.
    var stream: HTTP2Stream?
    var id: Int32 = 0

    // MARK: What came
    var informational: [PeerHead] = []
    var head: PeerHead?
    var content = PeerContent()
    var trailers: PeerHead.Fields = []
    /// All of the message has come.
    var isEnded = false
    /// It broke off: a reset of the stream, or the end of the connection.
    var isCut = false
    var resetCode: UInt32?
    /// What comes is taken at once; else windows stay closed, or the socket is not read.
    var takes = true { didSet { if takes { takeHeld() } } }
    private var held = 0

    // MARK: What goes
    /// Of the request; the answer to HEAD has no content.
    var method = ""
    var framing = PeerFraming.none
    var isTunnel = false
    private var sent = 0
    private var rest = 0
    /// Content that has not been handed to the connection yet.
    var queued: Int { rest }
    private var isEnding = false
    private var sentTrailers: PeerHead.Fields = []
    private(set) var isSent = false

    init(_ link: PeerLink, isCaller: Bool) {
        self.link = link
        self.isCaller = isCaller
    }

    /// Nothing more will come.
    var isOver: Bool { isEnded || isCut }
    /// We have reset it.
    private(set) var isReset = false
    private var isReleased = false

    /// Lets go of a stream of which nothing more is wanted.
    func releaseIfDone() {
        guard let stream, !isReleased, isReset || isCut || resetCode != nil || isEnded && isSent else { return }
        isReleased = true
        link.session?.release(stream)
        self.stream = nil
    }

    // MARK: Sending

    func respond(_ status: Int = 200, _ fields: PeerHead.Fields = [], framing: PeerFraming = .none) {
        self.framing = framing
        var fields = fields
        if case .length(let length) = framing { fields.append(("content-length", "\(length)")) }
        if let stream, let session = link.session {
            let ends = framing == .none
            session.respond(stream, ends: ends, into: &link.outbound) { encoder, out in
                encoder.begin(to: &out)
                encoder.status(UInt16(status), to: &out)
                PeerLink.encode(fields, &encoder, &out)
            }
            isSent = ends
        } else {
            switch framing {
            case .none:
                isSent = true
                let says = fields.contains { $0.name == "content-length" } || status == 204 || status == 304
                if !says, method != "HEAD" { fields.append(("content-length", "0")) }
            case .length:
                break
            case .open: fields.append(("transfer-encoding", "chunked"))
            }
            link.writeHead("HTTP/1.1 \(status) Status", fields)
        }
    }

    func inform(_ status: Int, _ fields: PeerHead.Fields = []) {
        if let stream, let session = link.session {
            session.informational(stream, into: &link.outbound) { encoder, out in
                encoder.begin(to: &out)
                encoder.status(UInt16(status), to: &out)
                PeerLink.encode(fields, &encoder, &out)
            }
        } else {
            link.writeHead("HTTP/1.1 \(status) Status", fields)
        }
    }

    /// A whole answer.
    func answer(_ status: Int = 200, _ text: String = "ok", _ fields: PeerHead.Fields = []) {
        respond(status, fields, framing: .length(text.utf8.count))
        send(text)
        end()
    }

    /// So much more of the pattern, as fast as it is taken.
    func send(pattern count: Int) {
        rest += count
        fill()
    }

    func send(_ text: String) {
        Array(text.utf8).withUnsafeBytes { write($0) }
    }

    /// The end of the message when all content has gone.
    func end(trailers: PeerHead.Fields = []) {
        isEnding = true
        sentTrailers = trailers
        fill()
    }

    /// RST_STREAM, or the connection's reset.
    func reset(code: UInt32 = HTTP2Code.cancel) {
        isReset = true
        isSent = true
        if let session = link.session {
            if let stream { session.reset(stream, code: code) }
        } else {
            link.breakOff()
        }
    }

    private func write(_ octets: UnsafeRawBufferPointer) {
        if let session = link.session {
            if let stream { session.send(octets, on: stream) }
        } else if framing == .open, !isTunnel, octets.count > 0 {
            link.outbound.append(Array((String(octets.count, radix: 16) + "\r\n").utf8))
            link.outbound.append(octets)
            link.outbound.append("\r\n")
        } else {
            link.outbound.append(octets)
        }
    }

    /// Content for as much as is to be on its way.
    func fill() {
        while rest > 0, (stream?.backlog ?? link.outbound.count) < 128 * 1024 {
            let count = Pattern.with(sent, min(rest, 16_000)) {
                write($0)
                return $0.count
            }
            sent += count
            rest -= count
        }
        guard rest == 0, isEnding, !isSent else { return }
        isSent = true
        if let stream, let session = link.session {
            writeEnd(stream, session)
        } else if isTunnel {
            link.endsOutput = true
        } else if framing == .open {
            link.outbound.append("0\r\n")
            for field in sentTrailers { link.outbound.append(Array("\(field.name): \(field.value)\r\n".utf8)) }
            link.outbound.append("\r\n")
        }
    }

    private func writeEnd(_ stream: HTTP2Stream, _ session: HTTP2Session) {
        guard !sentTrailers.isEmpty else {
            session.finish(stream)
            return
        }
        var head = MessageHead()
        for field in sentTrailers {
            let name = Array(field.name.utf8).withUnsafeBytes { head.store($0) }
            let value = Array(field.value.utf8).withUnsafeBytes { head.store($0) }
            head.fields.append(Field(id: .other, name: name, value: value))
        }
        session.finish(stream, trailers: head)
    }

    // MARK: WebSocket

    /// Agrees to a tunnel.
    func agree() {
        if stream != nil {
            respond(200, framing: .open)
        } else {
            let key = head?["sec-websocket-key"] ?? ""
            let accept = WebSocketHandshake.accept(for: Array(key.utf8))
            link.writeHead(
                "HTTP/1.1 101 Switching Protocols",
                [
                    ("upgrade", "websocket"), ("connection", "Upgrade"),
                    ("sec-websocket-accept", String(decoding: accept, as: UTF8.self)),
                ])
        }
        isTunnel = true
    }

    // MARK: Receiving

    func took(_ octets: UnsafeRawBufferPointer) {
        content.append(octets)
        guard let stream else { return }
        if takes { link.session?.consume(octets.count, on: stream) } else { held += octets.count }
    }

    private func takeHeld() {
        guard let stream else { return }
        link.session?.consume(held, on: stream)
        held = 0
    }
}
