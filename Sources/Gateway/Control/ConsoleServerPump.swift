import Console
import HTTP
import Proxy
import Reactor

/// Reading, answering and writing on one connection.
extension ConsoleServer {
    /// Steps in one turn of the loop; a peer that sends faster waits for the next.
    private static var stepsPerTurn: Int { 64 }
    /// The most that is read and thrown away behind a refusal.
    private static var lingerBytes: Int { 1 << 20 }

    /// Does what can be done now.
    func pump(_ connection: ConsoleConnection) {
        guard !connection.isPumping else { return }
        connection.isPumping = true
        defer { connection.isPumping = false }
        for _ in 0..<Self.stepsPerTurn {
            guard step(connection) else { return }
        }
        let id = connection.id
        loop.schedule(after: 0) { [weak self] in
            guard let self, let connection = self.connection(id) else { return }
            pump(connection)
        }
    }

    /// False when the peer or the handler has to move first.
    private func step(_ connection: ConsoleConnection) -> Bool {
        guard connection.phase != .closed, flush(connection) else { return false }
        switch connection.phase {
        case .head: return readHead(connection)
        case .body: return readBody(connection)
        case .answering, .closed: return false
        case .closing: return finishClosing(connection)
        case .lingering: return linger(connection)
        }
    }

    // MARK: Reading

    private enum Received {
        case bytes
        case nothing
        case ended
    }

    private func receive(_ connection: ConsoleConnection) -> Received {
        guard !connection.inputEnded else { return .ended }
        connection.inbound.acquire(from: buffers)
        defer { connection.inbound.releaseIfEmpty(to: buffers) }
        let result = Socket.read(connection.descriptor, into: connection.inbound.writable(minimum: 4096))
        switch result {
        case .bytes(let count):
            connection.inbound.commit(count)
            return .bytes
        case .wouldBlock:
            return .nothing
        case .endOfFile:
            connection.inputEnded = true
            return .ended
        case .failed:
            close(connection)
            return .nothing
        }
    }

    private func readHead(_ connection: ConsoleConnection) -> Bool {
        if !connection.inbound.isEmpty {
            guard let empty = HTTP1RequestParser.leadingEmptyLines(connection.inbound.readable) else {
                return refuse(
                    connection, .malformedRequest, detail: "There are too many empty lines before the request.")
            }
            if empty > 0 {
                connection.inbound.consume(empty)
                connection.scanner.reset()
            }
        }
        guard !connection.inbound.isEmpty else { return readMore(connection) }
        guard HTTP1RequestParser.canBegin(with: connection.inbound[0]) else {
            return refuse(
                connection, .malformedRequest, detail: "This is not HTTP; the console's listener takes no TLS.")
        }
        switch connection.scanner.search(connection.inbound.readable, limits: limits.head) {
        case .incomplete: return readMore(connection)
        case .rejected(let rejection): return refuse(connection, rejection)
        case .complete(let length):
            connection.scanner.reset()
            let section = UnsafeRawBufferPointer(rebasing: connection.inbound.readable[..<length])
            let rejection = HTTP1RequestParser.parse(section, into: &connection.head, limits: limits.head)
            connection.inbound.consume(length)
            if let rejection { return refuse(connection, rejection) }
            return headComplete(connection)
        }
    }

    /// More of a head; or the first of one, for which there is another patience.
    private func readMore(_ connection: ConsoleConnection) -> Bool {
        switch receive(connection) {
        case .bytes:
            setWait(connection, .head)
            return true
        case .nothing:
            if connection.wait == .nothing { setWait(connection, connection.inbound.isEmpty ? .idle : .head) }
            return false
        case .ended:
            // An incomplete head is never completed (RFC 9112 section 8).
            close(connection)
            return false
        }
    }

    private func headComplete(_ connection: ConsoleConnection) -> Bool {
        setWait(connection, .nothing)
        connection.keepAlive = connection.head.flags.contains(.keepAlive)
        connection.isHead = connection.head.method == .head
        connection.requestID = Self.newRequestID()
        guard !connection.head.flags.contains(.unknownExpectation) else {
            return refuse(connection, .expectationFailed, detail: "\(GatewayError.expectationFailed.detail)")
        }
        switch connection.head.framing {
        case .none, .untilClose, .length(0): return dispatch(connection)
        case .length(let length) where length > UInt64(limits.bodyBytes): return refuseBody(connection)
        case .length, .chunked: break
        }
        if connection.head.flags.contains(.expectsContinue), connection.inbound.isEmpty {
            connection.outbound.append("HTTP/1.1 100 Continue\r\n\r\n")
        }
        connection.decoder.begin(connection.head.framing)
        connection.phase = .body
        setWait(connection, .body)
        return true
    }

    private func readBody(_ connection: ConsoleConnection) -> Bool {
        let step = connection.decoder.decode(connection.inbound.readable, trailers: &connection.trailers)
        switch step {
        case .content(let offset, let length):
            guard length <= limits.bodyBytes - connection.body.count else { return refuseBody(connection) }
            connection.body.append(contentsOf: connection.inbound.readable[offset..<(offset + length)])
            connection.inbound.consume(connection.decoder.consumed)
            return true
        case .ended:
            connection.inbound.consume(connection.decoder.consumed)
            return dispatch(connection)
        case .rejected(let rejection):
            return refuse(connection, rejection)
        case .needsInput:
            connection.inbound.consume(connection.decoder.consumed)
            switch receive(connection) {
            case .bytes: return true
            case .nothing: return false
            case .ended:
                close(connection)
                return false
            }
        }
    }

    // MARK: Answering

    private func dispatch(_ connection: ConsoleConnection) -> Bool {
        connection.phase = .answering
        connection.requestNumber += 1
        setWait(connection, .answer)
        connection.inbound.releaseIfEmpty(to: buffers)
        let request = ConsoleMessageCoding.request(
            head: connection.head, body: connection.body, peer: connection.peer, requestID: connection.requestID)
        connection.body = []
        let (id, number) = (connection.id, connection.requestNumber)
        handler(request) { [weak self] response in self?.answer(id, number, response) }
        return connection.phase != .answering
    }

    private func answer(_ id: UInt64, _ number: UInt64, _ response: ConsoleResponse) {
        guard let connection = connection(id), connection.phase == .answering, connection.requestNumber == number else {
            return
        }
        let keepAlive = connection.keepAlive && !isDraining
        write(response, to: connection, keepAlive: keepAlive)
        connection.phase = keepAlive ? .head : .closing
        connection.isHead = false
        connection.requestID = ""
        connection.lingers = !connection.inbound.isEmpty
        pump(connection)
    }

    private func write(_ response: ConsoleResponse, to connection: ConsoleConnection, keepAlive: Bool) {
        setWait(connection, .nothing)
        let isWritten = ConsoleMessageCoding.write(
            response, answersHead: connection.isHead, keepAlive: keepAlive, to: &connection.outbound)
        guard !isWritten else { return }
        let problem = ConsoleMessageCoding.problem(
            .internalError, detail: "The console's answer could not be sent.", requestID: connection.requestID)
        _ = ConsoleMessageCoding.write(
            problem, answersHead: connection.isHead, keepAlive: keepAlive, to: &connection.outbound)
    }

    /// Answers with an error and ends the connection. True: there is something to write.
    @discardableResult
    func refuse(_ connection: ConsoleConnection, _ error: GatewayError, detail: String) -> Bool {
        if connection.requestID.isEmpty { connection.requestID = Self.newRequestID() }
        let problem = ConsoleMessageCoding.problem(error, detail: detail, requestID: connection.requestID)
        write(problem, to: connection, keepAlive: false)
        connection.phase = .closing
        connection.lingers = true
        connection.inbound.release(to: buffers)
        connection.body = []
        return true
    }

    private func refuse(_ connection: ConsoleConnection, _ rejection: Rejection) -> Bool {
        refuse(connection, GatewayError(rejection), detail: "\(rejection.reason)")
    }

    private func refuseBody(_ connection: ConsoleConnection) -> Bool {
        refuse(connection, .bodyTooLarge, detail: "The console takes at most \(limits.bodyBytes) bytes.")
    }

    private static func newRequestID() -> String {
        let digits = String(SystemRandom.uint64(), radix: 16)
        return String(repeating: "0", count: 16 - digits.count) + digits
    }

    // MARK: Writing and closing

    /// True when nothing waits to be written.
    private func flush(_ connection: ConsoleConnection) -> Bool {
        while !connection.outbound.isEmpty {
            switch Socket.write(connection.descriptor, connection.outbound.readable) {
            case .bytes(let count):
                connection.outbound.consume(count)
            case .wouldBlock:
                if connection.phase != .answering { setWait(connection, .write) }
                return false
            case .endOfFile, .failed:
                close(connection)
                return false
            }
        }
        connection.outbound.release(to: buffers)
        if connection.wait == .write { setWait(connection, connection.phase == .body ? .body : .nothing) }
        return true
    }

    private func finishClosing(_ connection: ConsoleConnection) -> Bool {
        guard connection.lingers, !connection.inputEnded else {
            close(connection)
            return false
        }
        Socket.shutdownWriting(connection.descriptor)
        connection.phase = .lingering
        connection.inbound.release(to: buffers)
        setWait(connection, .linger)
        return true
    }

    private func linger(_ connection: ConsoleConnection) -> Bool {
        switch receive(connection) {
        case .bytes:
            connection.lingeredBytes += connection.inbound.count
            connection.inbound.release(to: buffers)
            guard connection.lingeredBytes <= Self.lingerBytes else {
                close(connection)
                return false
            }
            return true
        case .nothing:
            return false
        case .ended:
            close(connection)
            return false
        }
    }
}
