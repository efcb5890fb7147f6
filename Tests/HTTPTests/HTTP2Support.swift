import HTTP

/// What a session told, in a form that can be compared.
enum Told: Equatable, CustomStringConvertible {
    case head(Int32, HeadCopy, ends: Bool, rejection: Rejection?)
    case content(Int32, String, ends: Bool)
    case trailers(Int32, [TextField])
    case reset(Int32, code: UInt32, isRefused: Bool, isLocal: Bool)
    case settings
    case goAway(Int32, code: UInt32)
    case pong

    var description: String {
        switch self {
        case .head(let id, let head, let ends, let rejection):
            "head(\(id) \(head.methodText)\(head.status) \(head.target) \(head.kept) ends \(ends) \(rejection?.reason.description ?? ""))"
        case .content(let id, let text, let ends): "content(\(id) \(text.count) \(text.prefix(20)) ends \(ends))"
        case .trailers(let id, let fields): "trailers(\(id) \(fields))"
        case .reset(let id, let code, let isRefused, let isLocal):
            "reset(\(id) \(code) refused \(isRefused) local \(isLocal))"
        case .settings: "settings"
        case .goAway(let id, let code): "goAway(\(id) \(code))"
        case .pong: "pong"
        }
    }

    var head: HeadCopy? {
        if case .head(_, let head, _, _) = self { return head }
        return nil
    }

    var rejection: Rejection? {
        if case .head(_, _, _, let rejection) = self { return rejection }
        return nil
    }
}

/// One end of a connection, with a driver that keeps a record and consumes content as it comes.
final class Peer {
    let session: HTTP2Session
    var told: [Told] = []
    var streams: [Int32: HTTP2Stream] = [:]
    var output = ByteBuffer()
    /// Content is consumed as it comes.
    var consumes = true
    private var input: [UInt8] = []

    init(_ role: HTTP2Session.Role, settings: HTTP2Settings = HTTP2Settings()) {
        session = HTTP2Session(role: role, settings: settings)!
    }

    /// Takes octets, `chunk` of them at a time.
    func receive(_ octets: [UInt8], chunk: Int = .max) {
        var start = 0
        repeat {
            let end = octets.count - start > chunk ? start + chunk : octets.count
            input += octets[start..<end]
            start = end
            run()
        } while start < octets.count
    }

    private func run() {
        var used = 0
        while true {
            let consumed = input[used...].withUnsafeBytes { bytes in
                let step = session.step(bytes)
                note(step.event, bytes)
                return step.consumed
            }
            while let reset = session.takeReset() { note(reset, UnsafeRawBufferPointer(start: nil, count: 0)) }
            if consumed == 0 { break }
            used += consumed
        }
        input.removeFirst(used)
    }

    private func note(_ event: HTTP2Event, _ bytes: UnsafeRawBufferPointer) {
        switch event {
        case .none: break
        case .head(let stream, let ends, let rejection):
            streams[stream.id] = stream
            told.append(.head(stream.id, HeadCopy(stream.head), ends: ends, rejection: rejection))
        case .content(let stream, let offset, let length, let ends):
            let text = latin1(UnsafeRawBufferPointer(rebasing: bytes[offset..<(offset + length)]))
            if consumes { session.consume(length, on: stream) }
            if case .content(stream.id, let before, false) = told.last {
                told[told.count - 1] = .content(stream.id, before + text, ends: ends)
            } else {
                told.append(.content(stream.id, text, ends: ends))
            }
        case .trailers(let stream): told.append(.trailers(stream.id, HeadCopy(stream.head).kept))
        case .reset(let stream, let code, let isRefused, let isLocal):
            streams[stream.id] = stream
            told.append(.reset(stream.id, code: code, isRefused: isRefused, isLocal: isLocal))
        case .settings: told.append(.settings)
        case .goAway(let last, let code): told.append(.goAway(last, code: code))
        case .pong: told.append(.pong)
        }
    }

    /// What is due for the other end.
    func collect(limit: Int = .max) -> [UInt8] {
        session.collect(into: &output, limit: limit)
        while let reset = session.takeReset() { note(reset, UnsafeRawBufferPointer(start: nil, count: 0)) }
        let octets = output.array()
        output.removeAll()
        return octets
    }

    func release(_ id: Int32) {
        if let stream = streams.removeValue(forKey: id) { session.release(stream) }
    }

    /// What was told since the last time.
    func news() -> [Told] {
        defer { told = [] }
        return told
    }

    // MARK: A driver's calls, short

    func request(
        _ method: HTTP.Method = .get, _ path: String = "/", fields: [(String, String)] = [], ends: Bool = true
    ) -> HTTP2Stream? {
        let texts: [HTTP.Method: String] = [.get: "GET", .head: "HEAD", .post: "POST", .connect: "CONNECT"]
        let stream = session.request(method: method, ends: ends, into: &output) { encoder, out in
            octets(texts[method]!).withUnsafeBytes { encoder.method(method, text: $0, to: &out) }
            encoder.scheme(isTLS: true, to: &out)
            octets(path).withUnsafeBytes { encoder.path($0, to: &out) }
            octets("example.org").withUnsafeBytes { encoder.authority($0, to: &out) }
            for (name, value) in fields { encode(name, value, &encoder, &out) }
        }
        if let stream { streams[stream.id] = stream }
        return stream
    }

    func respond(_ id: Int32, _ status: UInt16 = 200, fields: [(String, String)] = [], ends: Bool = false) {
        session.respond(streams[id]!, ends: ends, into: &output) { encoder, out in
            encoder.status(status, to: &out)
            for (name, value) in fields { encode(name, value, &encoder, &out) }
        }
    }

    func inform(_ id: Int32, _ status: UInt16, fields: [(String, String)] = []) {
        session.informational(streams[id]!, into: &output) { encoder, out in
            encoder.status(status, to: &out)
            for (name, value) in fields { encode(name, value, &encoder, &out) }
        }
    }

    func send(_ text: String, on id: Int32) {
        octets(text).withUnsafeBytes { session.send($0, on: streams[id]!) }
    }

    func finish(_ id: Int32) {
        session.finish(streams[id]!)
    }
}

private func encode(_ name: String, _ value: String, _ encoder: inout HPACKEncoder, _ out: inout ByteBuffer) {
    octets(name).withUnsafeBytes { name in
        octets(value).withUnsafeBytes { value in
            encoder.field(FieldID.find(name), name: name, value: value, to: &out)
        }
    }
}

/// A frame made by hand.
struct RawFrame: Equatable {
    var type: UInt8
    var flags: UInt8 = 0
    var stream: Int32 = 0
    var payload: [UInt8] = []

    var octets: [UInt8] {
        let count = payload.count
        let id = UInt32(bitPattern: stream)
        return [
            UInt8(truncatingIfNeeded: count >> 16), UInt8(truncatingIfNeeded: count >> 8),
            UInt8(truncatingIfNeeded: count), type, flags, UInt8(truncatingIfNeeded: id >> 24),
            UInt8(truncatingIfNeeded: id >> 16), UInt8(truncatingIfNeeded: id >> 8), UInt8(truncatingIfNeeded: id),
        ] + payload
    }

    /// A number of 32 bits at an offset of the payload.
    func number(at offset: Int) -> UInt32 {
        payload[offset..<(offset + 4)].reduce(0) { $0 << 8 | UInt32($1) }
    }

    static func all(in octets: [UInt8]) -> [RawFrame] {
        var frames: [RawFrame] = []
        var start = octets.starts(with: Self.preface) ? Self.preface.count : 0
        while start + 9 <= octets.count {
            let length = Int(octets[start]) << 16 | Int(octets[start + 1]) << 8 | Int(octets[start + 2])
            let id = octets[(start + 5)..<(start + 9)].reduce(0) { $0 << 8 | Int32($1) }
            frames.append(
                RawFrame(
                    type: octets[start + 3], flags: octets[start + 4], stream: id,
                    payload: Array(octets[(start + 9)..<(start + 9 + length)])))
            start += 9 + length
        }
        return frames
    }

    static let preface = Array(HTTP2Session.preface.description.utf8)

    static func data(_ stream: Int32, _ text: String, ends: Bool = false) -> RawFrame {
        RawFrame(type: 0, flags: ends ? 1 : 0, stream: stream, payload: payloadOctets(text))
    }

    /// HEADERS with literal fields that are never indexed.
    static func headers(_ stream: Int32, _ fields: [(String, String)], ends: Bool = true, complete: Bool = true)
        -> RawFrame
    {
        RawFrame(
            type: 1, flags: (ends ? 1 : 0) | (complete ? 4 : 0), stream: stream, payload: fieldBlock(fields))
    }

    static func reset(_ stream: Int32, _ code: UInt8 = 8) -> RawFrame {
        RawFrame(type: 3, stream: stream, payload: [0, 0, 0, code])
    }

    static func settings(_ entries: [(UInt8, UInt32)] = []) -> RawFrame {
        RawFrame(type: 4, payload: entries.flatMap { [0, $0.0] + big($0.1) })
    }

    static let settingsAcknowledged = RawFrame(type: 4, flags: 1)
    static let ping = RawFrame(type: 6, payload: [1, 2, 3, 4, 5, 6, 7, 8])

    static func windowUpdate(_ stream: Int32, _ increment: UInt32) -> RawFrame {
        RawFrame(type: 8, stream: stream, payload: big(increment))
    }

    static func goAway(_ last: UInt32, _ code: UInt32 = 0) -> RawFrame {
        RawFrame(type: 7, payload: big(last) + big(code))
    }

    static func continuation(_ stream: Int32, _ payload: [UInt8], complete: Bool) -> RawFrame {
        RawFrame(type: 9, flags: complete ? 4 : 0, stream: stream, payload: payload)
    }

    static func big(_ number: UInt32) -> [UInt8] {
        [24, 16, 8, 0].map { UInt8(truncatingIfNeeded: number >> $0) }
    }
}

/// Literal fields, names and values as they are (RFC 7541 6.2.2).
func fieldBlock(_ fields: [(String, String)]) -> [UInt8] {
    func text(_ text: String) -> [UInt8] {
        let bytes = octets(text)
        if bytes.count < 127 { return [UInt8(bytes.count)] + bytes }
        var length: [UInt8] = [127]
        var rest = bytes.count - 127
        while rest >= 128 {
            length.append(UInt8(rest & 127 | 128))
            rest >>= 7
        }
        return length + [UInt8(rest)] + bytes
    }
    return fields.flatMap { [0] + text($0.0) + text($0.1) }
}

let plainRequest = [(":method", "GET"), (":scheme", "https"), (":path", "/"), (":authority", "example.org")]

/// A server that has the preface and SETTINGS of a peer made by hand.
func serverWithRawClient(_ settings: HTTP2Settings = HTTP2Settings()) -> Peer {
    let server = Peer(.server, settings: settings)
    server.receive(RawFrame.preface + RawFrame.settings().octets + RawFrame.settingsAcknowledged.octets)
    _ = server.collect()
    _ = server.news()
    return server
}

/// A client whose server is made by hand.
func clientWithRawServer(_ entries: [(UInt8, UInt32)] = [], _ settings: HTTP2Settings = HTTP2Settings()) -> Peer {
    let client = Peer(.client, settings: settings)
    client.receive(RawFrame.settings(entries).octets + RawFrame.settingsAcknowledged.octets)
    _ = client.collect()
    _ = client.news()
    return client
}

extension Peer {
    func receive(_ frames: RawFrame...) {
        receive(frames.flatMap(\.octets))
    }

    func frames(limit: Int = .max) -> [RawFrame] {
        RawFrame.all(in: collect(limit: limit))
    }

    /// The code of the RST_STREAM that is due for a stream.
    static func resetCode(_ frames: [RawFrame], _ id: Int32) -> UInt32? {
        frames.first { $0.type == 3 && $0.stream == id }?.number(at: 0)
    }

    static func goAwayCode(_ frames: [RawFrame]) -> UInt32? {
        frames.last { $0.type == 7 }?.number(at: 4)
    }
}

/// ``octets(_:)`` where a property has that name.
private func payloadOctets(_ text: String) -> [UInt8] { octets(text) }
