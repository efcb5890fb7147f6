import OpenSSLKit
import Reactor
import Testing

/// The other end of a connection, driven by a test or a scripted peer: waits for readiness, never for time.
final class WireEnd {
    let descriptor: Descriptor
    private let poller: Poller
    private var isClosed = false
    /// Encrypts, once ``acceptTLS(_:)`` went well.
    private var engine: TLSEngine?
    private let output = TLSOutputBuffer(capacity: 4096)
    /// Read and not asked for yet: as it came, and decrypted.
    private var unreadRaw: [UInt8] = []
    private var unread: [UInt8] = []

    /// Patience for what must happen; only a failing test waits so long.
    static let patience: Int32 = 10_000

    init(_ descriptor: Descriptor) throws {
        self.descriptor = descriptor
        poller = try Poller(eventCapacity: 1)
        try poller.add(descriptor, token: 1)
    }

    deinit { close() }

    func close() {
        guard !isClosed else { return }
        isClosed = true
        descriptor.close()
    }

    /// Cuts the connection with a reset.
    func reset() {
        Socket.setLinger0(descriptor)
        close()
    }

    /// Hands the descriptor over, open.
    func giveAway() -> Descriptor {
        isClosed = true
        poller.remove(descriptor)
        return descriptor
    }

    /// Waits until the peer's end, by close or reset, has arrived, and takes nothing.
    func waitForEnd() {
        while poller.wait(timeoutMilliseconds: Self.patience) > 0 {
            let readiness = poller.event(at: 0).readiness
            if !readiness.isDisjoint(with: [.peerClosed, .hangUp, .error]) { return }
        }
    }

    /// Whether there is something to read now.
    var hasInput: Bool {
        guard let look = try? Poller(eventCapacity: 1), (try? look.add(descriptor, token: 0)) != nil,
            look.wait(timeoutMilliseconds: 0) > 0
        else { return false }
        return look.event(at: 0).readiness.contains(.readable)
    }

    /// Waits until there is something to read, and takes nothing.
    func waitForInput() {
        while poller.wait(timeoutMilliseconds: Self.patience) > 0 {
            if poller.event(at: 0).readiness.contains(.readable) { return }
        }
    }

    func shutdownWriting() {
        Socket.shutdownWriting(descriptor)
    }

    /// Waits for an event at most so long; for peers that drip.
    func pause(milliseconds: Int32) {
        _ = poller.wait(timeoutMilliseconds: milliseconds)
    }

    // MARK: Bytes

    /// False when the connection is broken.
    @discardableResult
    func write(_ text: String) -> Bool {
        write(Array(text.utf8))
    }

    @discardableResult
    func write(_ bytes: [UInt8]) -> Bool {
        guard let engine else { return writeRaw(bytes) }
        _ = bytes.withUnsafeBytes { engine.send($0, output: output) }
        return flush()
    }

    private func writeRaw(_ bytes: [UInt8]) -> Bool {
        var rest = bytes[...]
        while !rest.isEmpty {
            switch rest.withUnsafeBytes({ Socket.write(descriptor, $0) }) {
            case .bytes(let count): rest = rest.dropFirst(count)
            case .wouldBlock: guard poller.wait(timeoutMilliseconds: Self.patience) > 0 else { return false }
            case .endOfFile, .failed: return false
            }
        }
        return true
    }

    private func flush() -> Bool {
        let bytes = Array(output.bytes)
        output.removeAll()
        return writeRaw(bytes)
    }

    private func readConnection() -> [UInt8]? {
        guard let engine else { return readRaw() }
        while true {
            guard let bytes = readRaw() else { return nil }
            guard !bytes.isEmpty else { return [] }
            var plaintext = [UInt8](repeating: 0, count: 64 * 1024)
            let step = bytes.withUnsafeBytes { input in
                plaintext.withUnsafeMutableBytes { engine.receive(input, into: $0, output: output) }
            }
            unreadRaw = Array(bytes[step.consumed...])
            _ = flush()
            if step.produced > 0 { return Array(plaintext[..<step.produced]) }
            switch step.state {
            case .open, .needsInput: continue
            case .closed: return []
            case .failed: return nil
            }
        }
    }

    private func readRaw() -> [UInt8]? {
        if !unreadRaw.isEmpty {
            defer { unreadRaw = [] }
            return unreadRaw
        }
        var buffer = [UInt8](repeating: 0, count: 16 * 1024)
        while true {
            switch buffer.withUnsafeMutableBytes({ Socket.read(descriptor, into: $0) }) {
            case .bytes(let count): return Array(buffer[..<count])
            case .endOfFile: return []
            case .failed: return nil
            case .wouldBlock: guard poller.wait(timeoutMilliseconds: Self.patience) > 0 else { return nil }
            }
        }
    }

    /// Reads up to and with a text, or to the end of the stream; what follows stays for the next call.
    func read(until end: String) -> String {
        var received: [UInt8] = []
        while true {
            if let found = Self.end(of: Array(end.utf8), in: received) {
                unread = Array(received[found...]) + unread
                return String(decoding: received[..<found], as: UTF8.self)
            }
            guard let bytes = readDecoded(), !bytes.isEmpty else { return String(decoding: received, as: UTF8.self) }
            received += bytes
        }
    }

    private static func end(of text: [UInt8], in bytes: [UInt8]) -> Int? {
        guard bytes.count >= text.count else { return nil }
        return (0...(bytes.count - text.count)).first { bytes[$0..<($0 + text.count)].elementsEqual(text) }
            .map { $0 + text.count }
    }

    /// The next bytes; empty at the end of the stream, nil when the connection broke or nothing came.
    func readSome() -> [UInt8]? { readDecoded() }

    private func readDecoded() -> [UInt8]? {
        if !unread.isEmpty {
            defer { unread = [] }
            return unread
        }
        return readConnection()
    }

    /// Everything to the end of the stream; nil when it does not end well.
    func readAll() -> String? {
        var received: [UInt8] = []
        while let bytes = readSome() {
            if bytes.isEmpty { return String(decoding: received, as: UTF8.self) }
            received += bytes
        }
        return nil
    }

    /// True when the connection ends, well or not.
    func readToEnd() -> Bool {
        while let bytes = readSome(), !bytes.isEmpty {}
        return true
    }

    /// Head and content of one message with Content-Length, as far as it comes.
    func readMessage(withoutContent: Bool = false) -> String {
        let head = read(until: "\r\n\r\n")
        let length = withoutContent ? 0 : Self.contentLength(in: head)
        var content: [UInt8] = []
        while content.count < length {
            guard let more = readSome(), !more.isEmpty else { break }
            content += more
        }
        if content.count > length {
            unread = Array(content[length...])
            content.removeSubrange(length...)
        }
        return head + String(decoding: content, as: UTF8.self)
    }

    private static func contentLength(in head: String) -> Int {
        for line in head.split(separator: "\r\n") {
            let parts = line.split(separator: ":", maxSplits: 1)
            guard parts.count == 2, parts[0].lowercased() == "content-length" else { continue }
            return Int(parts[1].drop { $0 == " " }) ?? 0
        }
        return 0
    }

    // MARK: TLS

    /// The server's side of a handshake. False when the client does not want it.
    func acceptTLS(_ certificate: IssuedCertificate, alpn: [String] = ["http/1.1"]) -> Bool {
        guard
            let context = try? TLSServerContext(
                certificateChainPEM: certificate.certificatePEM, privateKeyPEM: certificate.privateKeyPEM.exposed(),
                alpn: alpn)
        else { return false }
        let engine = TLSEngine(server: context)
        while true {
            guard let bytes = readRaw(), !bytes.isEmpty else { return false }
            let step = bytes.withUnsafeBytes { engine.handshake($0, output: output) }
            unreadRaw = Array(bytes[step.consumed...])
            guard flush() else { return false }
            switch step.state {
            case .needsInput: continue
            case .failed: return false
            case .complete:
                self.engine = engine
                return true
            }
        }
    }

    func sendCloseNotify() {
        engine?.close(output: output)
        _ = flush()
    }
}

extension WireEnd {
    /// Connects a test to a listener.
    convenience init(connectingTo address: SocketAddress) throws {
        switch Socket.connect(to: address) {
        case .connected(let descriptor):
            try self.init(descriptor)
        case .inProgress(let descriptor):
            let poller = try Poller(eventCapacity: 1)
            try poller.add(descriptor, token: 0)
            _ = poller.wait(timeoutMilliseconds: Self.patience)
            if let error = Socket.pendingError(of: descriptor) {
                descriptor.close()
                throw error
            }
            try self.init(descriptor)
        case .failed(let error):
            throw error
        }
    }
}

extension String {
    /// Where a text occurs, without Foundation.
    func range(of text: String) -> Range<Index>? {
        var start = startIndex
        while start < endIndex {
            if self[start...].hasPrefix(text) { return start..<index(start, offsetBy: text.count) }
            formIndex(after: &start)
        }
        return nil
    }
}
