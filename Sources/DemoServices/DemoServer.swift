import Glibc
import OpenSSLKit
import Reactor
import Synchronization

/// A request, whole.
struct DemoRequest: Sendable {
    let method: String
    /// As it came, without the query.
    let path: String
    let query: String
    let head: MessageHead
    var body: [UInt8]

    /// `nil` also when the field is there twice.
    func field(_ name: String) -> String? {
        let values = head.values(name)
        return values.count == 1 ? values[0] : nil
    }
}

/// What a service makes of a request.
enum DemoAnswer: Sendable {
    case respond(DemoResponse)
    /// Answers when the time is over.
    case late(milliseconds: Int, DemoResponse)
    /// Ends the connection without an answer.
    case cut
    /// Never answers; ends when the requester goes.
    case hang
}

struct DemoResponse: Sendable {
    enum Body: Sendable {
        case bytes([UInt8])
        /// The first bytes of `DemoServices.pattern`, made on the way.
        case pattern(count: Int)
    }

    var status: Int
    var fields: [(name: String, value: String)] = []
    var body: Body = .bytes([])
    /// Sends the body in chunks instead of with its length.
    var isChunked = false
    var closes = false

    static func json(_ value: DemoJSON, status: Int = 200, fields: [(String, String)] = []) -> DemoResponse {
        DemoResponse(
            status: status, fields: [("Content-Type", "application/json"), ("Cache-Control", "no-store")] + fields,
            body: .bytes(Array(value.text.utf8) + [UInt8(ascii: "\n")]))
    }
}

/// A blocking HTTPS server on loopback, one thread for each connection: for demonstrations and tests, not for load.
final class DemoServer: Sendable {
    typealias Handler = @Sendable (DemoRequest) -> DemoAnswer
    /// Looks at a request whose body waits for `100 Continue`; an answer means that the body is not wanted.
    typealias Doorman = @Sendable (DemoRequest) -> DemoResponse?

    private static let connectionLimit = 1024
    private static let bodyLimit = 256 << 20

    private struct Threads {
        var next = 0
        var running: [Int: WorkerThread] = [:]
        var ended: Set<Int> = []
    }

    let port: UInt16
    private let listener: Descriptor
    private let certificate: IssuedCertificate
    private let stopSignal: StopSignal
    private let handler: Handler
    private let doorman: Doorman
    private let threads = Mutex(Threads())
    private let acceptor = Mutex<WorkerThread?>(nil)

    init(
        name: String, port: UInt16, certificate: IssuedCertificate, handler: @escaping Handler,
        doorman: @escaping Doorman = { _ in nil }
    ) throws {
        // A certificate that cannot be used is found here and not at the first connection.
        _ = try TLSServerContext(
            certificateChainPEM: certificate.certificatePEM, privateKeyPEM: certificate.privateKeyPEM.exposed())
        listener = try Socket.listen(on: .loopback(port: port))
        self.port = Socket.localAddress(of: listener)?.port ?? port
        self.certificate = certificate
        self.handler = handler
        self.doorman = doorman
        stopSignal = try StopSignal()
        let thread = try WorkerThread.start(name: name) { [self] in acceptUntilStopped() }
        acceptor.withLock { $0 = thread }
    }

    /// Ends all connections and returns when every thread is gone.
    func stop() {
        stopSignal.raise()
        let thread = acceptor.withLock { acceptor in
            defer { acceptor = nil }
            return acceptor
        }
        guard let thread else { return }
        thread.join()
        let rest = threads.withLock { threads in
            defer { threads.running = [:] }
            return Array(threads.running.values)
        }
        for thread in rest { thread.join() }
    }

    // MARK: Threads

    private func acceptUntilStopped() {
        let wire = Wire(socket: listener, engine: nil, stop: stopSignal, patienceMilliseconds: -1)
        defer { wire.abandon() }
        while true {
            switch Socket.accept(listener) {
            case .accepted(let socket, _): serve(socket)
            case .wouldBlock:
                guard (try? wire.wait(for: Int16(POLLIN), milliseconds: -1)) != nil else { return }
            case .descriptorsExhausted:
                do throws(WireError) { try wire.wait(for: 0, milliseconds: 50) } catch {
                    guard case .timedOut = error else { return }
                }
            case .failed: return
            }
        }
    }

    private func serve(_ socket: Descriptor) {
        let id = threads.withLock { threads -> Int? in
            for id in threads.ended where threads.running.removeValue(forKey: id) != nil { threads.ended.remove(id) }
            guard threads.running.count < Self.connectionLimit else { return nil }
            threads.next += 1
            return threads.next
        }
        guard let id else { return socket.close() }
        let thread = try? WorkerThread.start(name: "demo-connection") { [self] in
            converse(socket)
            threads.withLock { _ = $0.ended.insert(id) }
        }
        guard let thread else { return socket.close() }
        // Only the acceptor adds and removes, so `stop`, which waits for it first, misses none.
        threads.withLock { $0.running[id] = thread }
    }

    // MARK: A connection

    private func converse(_ socket: Descriptor) {
        // A context belongs to one thread, so each connection has its own; sessions are not resumed.
        guard
            let context = try? TLSServerContext(
                certificateChainPEM: certificate.certificatePEM, privateKeyPEM: certificate.privateKeyPEM.exposed(),
                alpn: ["http/1.1"])
        else { return socket.close() }
        let wire = Wire(socket: socket, engine: TLSEngine(server: context), stop: stopSignal)
        do throws(WireError) {
            try wire.handshake()
            wire.patienceMilliseconds = 120_000
            let reader = MessageReader(wire)
            while try exchange(reader, wire) {}
            wire.closeAfterDraining()
        } catch {
            refuse(error, wire)
        }
    }

    /// One request and its answer; `false` when the connection is done.
    private func exchange(_ reader: MessageReader, _ wire: Wire) throws(WireError) -> Bool {
        guard let head = try reader.head() else { return false }
        var (request, framing) = try Self.request(head)
        if head.tokens("expect").contains("100-continue"), framing != .none {
            if var refusal = doorman(request) {
                // Whether the body comes all the same cannot be known, so this connection ends.
                refusal.closes = true
                return try send(refusal, to: request, wire)
            }
            try wire.write(Array("HTTP/1.1 100 Continue\r\n\r\n".utf8))
        }
        request.body = try reader.body(framing, limit: Self.bodyLimit)
        switch handler(request) {
        case .respond(let response): return try send(response, to: request, wire)
        case .late(let milliseconds, let response):
            guard try wire.pause(milliseconds: milliseconds) else { return false }
            return try send(response, to: request, wire)
        case .cut:
            wire.abandon()
            return false
        case .hang:
            _ = try wire.pause(milliseconds: 3_600_000)
            return false
        }
    }

    private static func request(_ head: MessageHead) throws(WireError) -> (DemoRequest, Framing) {
        guard head.startLine.count == 3, head.startLine[2] == "HTTP/1.1" else { throw .malformed("not HTTP/1.1") }
        let (method, target) = (head.startLine[0], head.startLine[1])
        guard !method.isEmpty, method.utf8.allSatisfy(isTokenByte), target.hasPrefix("/"),
            target.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7F })
        else { throw .malformed("the request line is not METHOD /path HTTP/1.1") }
        guard head.values("host").count == 1 else { throw .malformed("there must be one Host field") }
        let parts = target.split(separator: "?", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
        let request = DemoRequest(
            method: method, path: parts[0], query: parts.count > 1 ? parts[1] : "", head: head, body: [])
        return (request, try framing(head))
    }

    private static func framing(_ head: MessageHead) throws(WireError) -> Framing {
        let lengths = head.values("content-length")
        let codings = head.tokens("transfer-encoding")
        if !codings.isEmpty {
            guard codings == ["chunked"], lengths.isEmpty else { throw .malformed("the framing is ambiguous") }
            return .chunked
        }
        guard let length = lengths.first else { return .none }
        guard lengths.count == 1, (1...15).contains(length.utf8.count),
            length.utf8.allSatisfy({ (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }), let count = Int(length)
        else { throw .malformed("the length is not a number") }
        return count == 0 ? .none : .length(count)
    }

    /// `false` when the connection is to be closed.
    private func send(_ response: DemoResponse, to request: DemoRequest, _ wire: Wire) throws(WireError) -> Bool {
        let closes = response.closes || request.head.tokens("connection").contains("close")
        try wire.write(Self.head(response, closes: closes))
        if request.method != "HEAD" { try Self.sendBody(response, wire) }
        return !closes
    }

    private static func head(_ response: DemoResponse, closes: Bool) -> [UInt8] {
        var text = "HTTP/1.1 \(response.status) \(reason(response.status))\r\n"
        for (name, value) in response.fields { text += "\(name): \(value)\r\n" }
        switch response.body {
        case _ where response.isChunked: text += "Transfer-Encoding: chunked\r\n"
        case .bytes(let bytes) where bytes.isEmpty && response.status == 204: break
        case .bytes(let bytes): text += "Content-Length: \(bytes.count)\r\n"
        case .pattern(let count): text += "Content-Length: \(count)\r\n"
        }
        if closes { text += "Connection: close\r\n" }
        return Array((text + "\r\n").utf8)
    }

    private static func sendBody(_ response: DemoResponse, _ wire: Wire) throws(WireError) {
        func piece(_ bytes: [UInt8]) throws(WireError) {
            guard response.isChunked else { return try wire.write(bytes) }
            guard !bytes.isEmpty else { return }
            let size = Array((String(bytes.count, radix: 16) + "\r\n").utf8)
            try wire.write(size + bytes + Array("\r\n".utf8))
        }
        switch response.body {
        case .bytes(let bytes): try piece(bytes)
        case .pattern(let count):
            for offset in stride(from: 0, to: count, by: 64 * 1024) {
                try piece(DemoServices.pattern(from: offset, count: min(64 * 1024, count - offset)))
            }
        }
        if response.isChunked { try wire.write(Array("0\r\n\r\n".utf8)) }
    }

    private func refuse(_ error: WireError, _ wire: Wire) {
        let (status, words): (Int, String)
        switch error {
        case .malformed(let detail): (status, words) = (400, detail)
        case .tooLarge: (status, words) = (413, "too large")
        case .timedOut, .stopped, .ended, .tls, .system: return wire.abandon()
        }
        let response = DemoResponse(
            status: status, fields: [("Content-Type", "text/plain")], body: .bytes(Array((words + "\n").utf8)))
        try? wire.write(Self.head(response, closes: true))
        try? Self.sendBody(response, wire)
        wire.closeAfterDraining()
    }
}
