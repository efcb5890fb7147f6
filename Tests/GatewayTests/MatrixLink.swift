import HTTP
import OpenSSLKit
import Reactor
import Testing

@testable import Gateway

/// A frame as it came, where a test wants to look at it.
struct PeerFrame: Sendable {
    var type: UInt8
    var flags: UInt8
    var stream: Int32
    var payload: [UInt8]

    /// A number of 32 bits in the payload.
    func number(at offset: Int) -> UInt32 { payload[offset..<(offset + 4)].reduce(0) { $0 << 8 | UInt32($1) } }
}

/// One connection of a peer that the test plays: of a caller to the gateway, or of the gateway to an upstream. It never
/// blocks: ``Scene`` lets all links of a test go on together.
final class PeerLink {
    let descriptor: Descriptor
    let isCaller: Bool
    private(set) var version: PeerVersion?
    private(set) var session: HTTP2Session?
    private let settings: HTTP2Settings
    /// Requests in the order in which they came, or were made.
    private(set) var streams: [PeerStream] = []
    /// Frames that are not about content.
    private(set) var frames: [PeerFrame] = []
    var inbound = ByteBuffer()
    var outbound = ByteBuffer()
    private var ciphertext = ByteBuffer()
    /// The socket is read; else its buffers fill.
    var reads = true
    /// Our side is shut when all is written.
    var endsOutput = false
    private var hasEndedOutput = false
    private(set) var inputEnded = false
    private(set) var isClosed = false
    var canRead = true
    var canWrite = true
    /// What the TLS handshake came to.
    private(set) var tlsFailure: String?
    private(set) var isSecure = false
    private(set) var engine: TLSEngine?
    private let tlsOutput = TLSOutputBuffer()
    /// Of an HTTP/1 message that is being read.
    private var expected = Expected.head
    /// The stream that HTTP/1 octets belong to now.
    private var current = 0
    private var prefaceIsTaken = false
    private var settingsAcknowledged = 0
    private let space = UnsafeMutableRawBufferPointer.allocate(byteCount: 64 * 1024, alignment: 16)

    private enum Expected: Equatable {
        case head, length(Int), chunkLine, chunk(Int), chunkEnd, trailers, tunnel
    }

    init(
        _ descriptor: Descriptor, isCaller: Bool, engine: TLSEngine?, version: PeerVersion?,
        settings: HTTP2Settings = HTTP2Settings()
    ) {
        self.descriptor = descriptor
        self.settings = settings
        self.isCaller = isCaller
        self.engine = engine
        if engine == nil, let version { begin(version) }
    }

    deinit {
        close()
        space.deallocate()
    }

    func close() {
        guard !isClosed else { return }
        isClosed = true
        descriptor.close()
    }

    func breakOff() {
        Socket.setLinger0(descriptor)
        close()
    }

    /// Ends the connection when all is written.
    func finish() { endsOutput = true }

    private func begin(_ version: PeerVersion) {
        self.version = version
        guard version == .http2 else { return }
        session = HTTP2Session(role: isCaller ? .client : .server, settings: settings)
    }

    // MARK: Requests

    /// Sends a request's head.
    @discardableResult
    func request(
        _ method: String = "GET", _ path: String = "/", _ fields: PeerHead.Fields = [], framing: PeerFraming = .none,
        tunnel: Bool = false
    ) -> PeerStream {
        let stream = PeerStream(self, isCaller: true)
        stream.method = method
        stream.framing = framing
        streams.append(stream)
        var fields = fields
        if case .length(let length) = framing { fields.append(("content-length", "\(length)")) }
        if framing == .none { stream.end() }
        if let session {
            let kind = Array(method.utf8).withUnsafeBytes { Method.find($0) }
            stream.stream = session.request(method: kind, ends: framing == .none, into: &outbound) { encoder, out in
                encoder.begin(to: &out)
                Array(method.utf8).withUnsafeBytes { encoder.method(kind, text: $0, to: &out) }
                encoder.scheme(isTLS: engine != nil, to: &out)
                Array(path.utf8).withUnsafeBytes { encoder.path($0, to: &out) }
                Array("gateway.test".utf8).withUnsafeBytes { encoder.authority($0, to: &out) }
                if tunnel { encoder.protocolName("websocket", to: &out) }
                Self.encode(fields, &encoder, &out)
            }
            stream.id = stream.stream?.id ?? 0
            stream.stream?.owner = streams.count - 1
        } else {
            if framing == .open, !tunnel { fields.append(("transfer-encoding", "chunked")) }
            writeHead("\(method) \(path) HTTP/1.1", [("host", "gateway.test")] + fields)
        }
        return stream
    }

    /// Asks for a WebSocket as the version has it.
    func webSocket(_ path: String = "/ws") -> PeerStream {
        if session != nil {
            return request("CONNECT", path, [("sec-websocket-version", "13")], framing: .open, tunnel: true)
        }
        return request(
            "GET", path,
            [
                ("connection", "Upgrade"), ("upgrade", "websocket"), ("sec-websocket-version", "13"),
                ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
            ], framing: .open, tunnel: true)
    }

    static func encode(_ fields: PeerHead.Fields, _ encoder: inout HPACKEncoder, _ out: inout ByteBuffer) {
        for field in fields {
            Array(field.name.utf8).withUnsafeBytes { name in
                Array(field.value.utf8).withUnsafeBytes { value in
                    encoder.field(FieldID.find(name), name: name, value: value, to: &out)
                }
            }
        }
    }

    func writeHead(_ first: String, _ fields: PeerHead.Fields) {
        outbound.append(Array(first.utf8))
        outbound.append("\r\n")
        for field in fields { outbound.append(Array("\(field.name): \(field.value)\r\n".utf8)) }
        outbound.append("\r\n")
    }

    /// A frame that the session knows nothing of.
    func write(frame type: UInt8, flags: UInt8 = 0, stream: Int32 = 0, _ payload: [UInt8] = []) {
        let id = UInt32(bitPattern: stream)
        // What the session has made before goes before it.
        session?.collect(into: &outbound, limit: .max)
        outbound.append(
            [UInt8(payload.count >> 16), UInt8(payload.count >> 8 & 255), UInt8(payload.count & 255), type, flags]
                + Self.big(id) + payload)
    }

    func write(_ text: String) { outbound.append(Array(text.utf8)) }

    static func big(_ number: UInt32) -> [UInt8] {
        [24, 16, 8, 0].map { UInt8(truncatingIfNeeded: number >> $0) }
    }

    // MARK: Going on

    /// Reads, understands and writes as far as that goes now. True when something happened.
    func pump() -> Bool {
        guard !isClosed else { return false }
        var didMove = false
        for _ in 0..<16 {
            if receive() { didMove = true } else { break }
        }
        take()
        if flush() { didMove = true }
        return didMove
    }

    private func receive() -> Bool {
        guard reads, canRead, !inputEnded, !isClosed else { return false }
        switch Socket.read(descriptor, into: space) {
        case .bytes(let count):
            if let engine {
                decrypt(engine, UnsafeRawBufferPointer(rebasing: space[..<count]))
            } else {
                inbound.append(UnsafeRawBufferPointer(rebasing: space[..<count]))
            }
            return true
        case .wouldBlock:
            canRead = false
            return false
        case .endOfFile, .failed:
            inputEnded = true
            return true
        }
    }

    private func decrypt(_ engine: TLSEngine, _ octets: UnsafeRawBufferPointer) {
        var rest = octets
        if !isSecure {
            let step = engine.handshake(rest, output: tlsOutput)
            rest = UnsafeRawBufferPointer(rebasing: rest[step.consumed...])
            takeCiphertext()
            switch step.state {
            case .needsInput: return
            case .failed(let error):
                tlsFailure = error.reason
                inputEnded = true
                return
            case .complete: secured(engine)
            }
        }
        while true {
            let room = inbound.writable(minimum: 17 * 1024)
            let step = engine.receive(rest, into: room, output: tlsOutput)
            inbound.commit(step.produced)
            rest = UnsafeRawBufferPointer(rebasing: rest[step.consumed...])
            takeCiphertext()
            switch step.state {
            case .open: continue
            case .needsInput: return
            case .closed:
                inputEnded = true
                return
            case .failed(let error):
                tlsFailure = error.reason
                inputEnded = true
                return
            }
        }
    }

    private func secured(_ engine: TLSEngine) {
        isSecure = true
        begin(engine.negotiatedProtocol == .h2 ? .http2 : .http1)
    }

    /// A client's first flight.
    func startHandshake() {
        guard let engine else { return }
        _ = engine.handshake(UnsafeRawBufferPointer(start: nil, count: 0), output: tlsOutput)
        takeCiphertext()
    }

    private func takeCiphertext() {
        ciphertext.append(tlsOutput.bytes)
        tlsOutput.removeAll()
    }

    private func flush() -> Bool {
        for stream in streams where !stream.isSent { stream.fill() }
        var didMove = false
        while !isClosed {
            if let session, session.hasOutput, outbound.count < 64 * 1024 {
                session.collect(into: &outbound, limit: 64 * 1024)
                takeResets(session)
                for stream in streams where !stream.isSent { stream.fill() }
            }
            if let engine {
                guard isSecure || !ciphertext.isEmpty else { break }
                if isSecure, ciphertext.isEmpty, !outbound.isEmpty {
                    _ = engine.send(outbound.readable, output: tlsOutput)
                    outbound.removeAll()
                    takeCiphertext()
                }
                guard write(&ciphertext) else { break }
            } else {
                guard write(&outbound) else { break }
            }
            didMove = true
        }
        if session != nil { for stream in streams { stream.releaseIfDone() } }
        if endsOutput, !hasEndedOutput, outbound.isEmpty, ciphertext.isEmpty, !isClosed { endOutput() }
        return didMove
    }

    private func endOutput() {
        hasEndedOutput = true
        if let engine, isSecure {
            engine.close(output: tlsOutput)
            takeCiphertext()
            _ = write(&ciphertext)
        }
        Socket.shutdownWriting(descriptor)
    }

    private func write(_ buffer: inout ByteBuffer) -> Bool {
        guard canWrite, !buffer.isEmpty else { return false }
        switch Socket.write(descriptor, buffer.readable) {
        case .bytes(let count):
            buffer.consume(count)
            return true
        case .wouldBlock:
            canWrite = false
        case .endOfFile, .failed:
            buffer.removeAll()
            canWrite = false
        }
        return false
    }

    // MARK: Understanding

    private func take() {
        if version == nil, engine == nil, !inbound.isEmpty {
            begin(inbound[0] == 0x50 && inbound.count > 1 && inbound[1] == 0x52 ? .http2 : .http1)
        }
        switch version {
        case .http1: takeHTTP1()
        case .http2: takeHTTP2()
        case nil: break
        }
        guard inputEnded else { return }
        for stream in streams where !stream.isOver {
            if stream.isTunnel, stream.stream == nil { stream.isEnded = true } else { stream.isCut = true }
        }
    }

    private func takeHTTP2() {
        guard let session else { return }
        if !isCaller, !prefaceIsTaken {
            let preface = HTTP2Session.preface.utf8CodeUnitCount
            guard inbound.count >= preface else { return }
            prefaceIsTaken = true
            let bytes = inbound.array()
            bytes[..<preface].withUnsafeBytes { _ = session.step($0) }
            inbound.consume(preface)
        }
        while inbound.count >= 9 {
            let length = Int(inbound[0]) << 16 | Int(inbound[1]) << 8 | Int(inbound[2])
            guard inbound.count >= 9 + length else { break }
            let type = inbound[3]
            if type != 0 { frames.append(frame(length)) }
            if type == 4, inbound[4] & 1 == 1 {
                settingsAcknowledged += 1
                // The answer to one of ours that the session knows nothing of.
                if settingsAcknowledged > 1 {
                    inbound.consume(9 + length)
                    continue
                }
            }
            step(session, 9 + length)
            inbound.consume(9 + length)
        }
        takeResets(session)
    }

    private func frame(_ length: Int) -> PeerFrame {
        let bytes = inbound.readable
        let id = bytes[5..<9].reduce(UInt32(0)) { $0 << 8 | UInt32($1) }
        return PeerFrame(
            type: bytes[3], flags: bytes[4], stream: Int32(id & 0x7FFF_FFFF), payload: Array(bytes[9..<(9 + length)]))
    }

    private func step(_ session: HTTP2Session, _ count: Int) {
        var offset = 0
        while offset < count {
            let bytes = UnsafeRawBufferPointer(rebasing: inbound.readable[offset..<count])
            let step = session.step(bytes)
            note(step.event, session, bytes)
            guard step.consumed > 0 else { return }
            offset += step.consumed
        }
    }

    private func takeResets(_ session: HTTP2Session) {
        while let event = session.takeReset() { note(event, session, UnsafeRawBufferPointer(start: nil, count: 0)) }
    }

    private func owner(_ stream: HTTP2Stream) -> PeerStream? {
        streams.indices.contains(stream.owner) ? streams[stream.owner] : nil
    }

    private func note(_ event: HTTP2Event, _ session: HTTP2Session, _ bytes: UnsafeRawBufferPointer) {
        switch event {
        case .head(let stream, let ends, let rejection):
            if let rejection { Issue.record("the peer refuses a head of the gateway: \(rejection)") }
            headCame(stream, ends)
        case .content(let stream, let offset, let length, let ends):
            guard let owner = owner(stream) else { return }
            owner.took(UnsafeRawBufferPointer(rebasing: bytes[offset..<(offset + length)]))
            if ends { owner.isEnded = true }
        case .trailers(let stream):
            guard let owner = owner(stream) else { return }
            owner.trailers = Self.lowered(stream.head.textFields)
            owner.isEnded = true
        case .reset(let stream, let code, _, let isLocal):
            if isLocal { Issue.record("the gateway's stream breaks a rule of HTTP/2: \(code)") }
            guard let owner = owner(stream) else {
                session.release(stream)
                return
            }
            owner.resetCode = code
            if !owner.isEnded { owner.isCut = true }
        case .none, .settings, .goAway, .pong: break
        }
        if let failure = session.failure { Issue.record("the gateway breaks a rule of HTTP/2: \(failure.reason)") }
    }

    private func headCame(_ stream: HTTP2Stream, _ ends: Bool) {
        var head = PeerHead()
        head.method = stream.head.text(stream.head.methodText)
        head.target = stream.head.text(stream.head.target)
        head.authority = stream.head.text(stream.head.authority)
        head.status = Int(stream.head.status)
        head.fields = Self.lowered(stream.head.textFields)
        let owner: PeerStream
        if isCaller {
            guard let known = self.owner(stream) else { return }
            owner = known
            if head.status < 200 {
                owner.informational.append(head)
                return
            }
        } else {
            owner = PeerStream(self, isCaller: false)
            owner.stream = stream
            owner.id = stream.id
            owner.method = head.method
            stream.owner = streams.count
            streams.append(owner)
        }
        owner.head = head
        if ends { owner.isEnded = true }
    }

    private static func lowered(_ fields: PeerHead.Fields) -> PeerHead.Fields {
        fields.map { ($0.name.lowercased(), $0.value) }
    }

    // MARK: HTTP/1

    private func takeHTTP1() {
        while !inbound.isEmpty, takeStep() {}
    }

    private var receiving: PeerStream? { streams.indices.contains(current) ? streams[current] : nil }

    private func takeStep() -> Bool {
        switch expected {
        case .head:
            guard let lines = takeLines("\r\n\r\n") else { return false }
            headCame(lines)
        case .length(let left), .chunk(let left):
            let count = min(left, inbound.count)
            receiving?.took(UnsafeRawBufferPointer(rebasing: inbound.readable[..<count]))
            inbound.consume(count)
            if case .chunk = expected {
                expected = left == count ? .chunkEnd : .chunk(left - count)
            } else if left == count {
                ended()
            } else {
                expected = .length(left - count)
            }
        case .chunkLine:
            guard let line = takeLines("\r\n")?.first else { return false }
            let length = Int(line, radix: 16) ?? -1
            if length < 0 { Issue.record("the chunk's size is \(line)") }
            expected = length > 0 ? .chunk(length) : .trailers
        case .chunkEnd:
            guard let line = takeLines("\r\n") else { return false }
            if line != [""] { Issue.record("after a chunk there is \(line)") }
            expected = .chunkLine
        case .trailers:
            guard let line = takeLines("\r\n")?.first else { return false }
            if line.isEmpty { ended() } else { receiving?.trailers.append(Self.field(line)) }
        case .tunnel:
            receiving?.took(inbound.readable)
            inbound.removeAll()
        }
        return true
    }

    private func takeLines(_ end: StaticString) -> [String]? {
        let bytes = inbound.readable
        let count = end.utf8CodeUnitCount
        guard bytes.count >= count,
            let found = (0...(bytes.count - count)).first(where: { start in
                (0..<count).allSatisfy { bytes[start + $0] == end.utf8Start[$0] }
            })
        else { return nil }
        let text = String(decoding: bytes[..<found], as: UTF8.self)
        inbound.consume(found + count)
        return text.split(separator: "\r\n", omittingEmptySubsequences: false).map(String.init)
    }

    private static func field(_ line: String) -> (name: String, value: String) {
        let parts = line.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
        return (parts[0].lowercased(), parts.count > 1 ? String(parts[1].drop { $0 == " " }) : "")
    }

    private func headCame(_ lines: [String]) {
        var head = PeerHead()
        head.fields = lines.dropFirst().map(Self.field)
        let first = lines[0].split(separator: " ", omittingEmptySubsequences: false).map(String.init)
        if isCaller {
            head.status = Int(first.count > 1 ? first[1] : "") ?? 0
            responseCame(head)
        } else {
            head.method = first[0]
            head.target = first.count > 1 ? first[1] : ""
            head.authority = head["host"] ?? ""
            let stream = PeerStream(self, isCaller: false)
            stream.head = head
            stream.method = head.method
            streams.append(stream)
            if head["upgrade"] == "websocket" { expected = .tunnel } else { beginContent(head) }
        }
    }

    private func responseCame(_ head: PeerHead) {
        guard let stream = receiving else {
            Issue.record("a response to nothing: \(head.status)")
            return
        }
        if head.status == 101 {
            stream.head = head
            stream.isTunnel = true
            expected = .tunnel
        } else if head.status < 200 {
            stream.informational.append(head)
        } else {
            stream.head = head
            if stream.method == "HEAD" || head.status == 204 || head.status == 304 {
                ended()
            } else {
                beginContent(head)
            }
        }
    }

    private func beginContent(_ head: PeerHead) {
        if head["transfer-encoding"]?.lowercased() == "chunked" {
            expected = .chunkLine
        } else if let length = head["content-length"].flatMap({ Int($0) }), length > 0 {
            expected = .length(length)
        } else {
            ended()
        }
    }

    private func ended() {
        receiving?.isEnded = true
        current += 1
        expected = .head
    }
}
