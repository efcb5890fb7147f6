import HTTP
import OAuth

/// Reads one reply of a provider from plaintext in pieces of any size. No socket, no clock.
///
/// Interim responses are skipped, nothing is followed, and a reply counts as complete only where its framing says so: by
/// length, by the last chunk, or by a clean end of the connection (RFC 9112 section 8).
struct ProviderReplyReader: ~Copyable {
    enum Step {
        case needsInput
        case complete(ProviderReply)
        case failed(ProviderFailure)
    }

    private enum State {
        case head
        case body
        case ended
    }

    /// More interim responses than this before the final one are nonsense.
    static let interimLimit = 16
    static let headLimits = HeadLimits(targetBytes: 8 * 1024, headBytes: 64 * 1024, fieldCount: 200)

    private let method: Method
    private let bodyLimit: Int
    private var state = State.head
    private var input = ByteBuffer()
    private var scanner = HeadScanner()
    private var head = MessageHead()
    private var trailers = MessageHead()
    private var decoder = BodyDecoder()
    private var reply = ProviderReply(status: 0)
    private var interimCount = 0

    init(answering method: ProviderRequest.Method, bodyLimit: Int = ProviderRequest.replyLimitBytes) {
        switch method {
        case .get: self.method = .get
        case .post: self.method = .post
        case .delete: self.method = .delete
        }
        self.bodyLimit = bodyLimit
    }

    /// The next bytes. After a step other than `needsInput` nothing more may be handed in.
    mutating func received(_ bytes: UnsafeRawBufferPointer) -> Step {
        input.append(bytes)
        if state == .head {
            let step = readHeads()
            guard case .needsInput = step, state == .body else { return step }
        }
        return readBody()
    }

    /// The end of the connection.
    ///
    /// - Parameter cleanly: by FIN, and with TLS by close_notify before it. A cut may look like any other end, so
    ///   content that only the end delimits is not complete by it (RFC 8446 section 6.1).
    mutating func ended(cleanly: Bool) -> Step {
        guard state == .body, cleanly, decoder.connectionEnded() else { return .failed(.replyLost(.closed)) }
        return complete()
    }

    private mutating func readHeads() -> Step {
        while true {
            switch scanner.search(input.readable, limits: Self.headLimits) {
            case .incomplete: return .needsInput
            case .rejected: return .failed(.malformed)
            case .complete(let length):
                let section = UnsafeRawBufferPointer(rebasing: input.readable[..<length])
                guard HTTP1ResponseParser.parse(section, answering: method, into: &head, limits: Self.headLimits) == nil
                else { return .failed(.malformed) }
                input.consume(length)
                guard head.status < 200 else { return begin() }
                interimCount += 1
                // Nobody asked for another protocol (RFC 9110 section 15.2.2).
                guard head.status != 101, interimCount <= Self.interimLimit else { return .failed(.malformed) }
                scanner.reset()
            }
        }
    }

    private mutating func begin() -> Step {
        reply.status = Int(head.status)
        reply.headers = head.textFields.map { HeaderField($0.name, $0.value) }
        if case .length(let length) = head.framing {
            guard length <= UInt64(bodyLimit) else { return .failed(.tooLarge) }
            reply.body.reserveCapacity(Int(length))
        }
        decoder.begin(head.framing)
        state = .body
        return .needsInput
    }

    private mutating func readBody() -> Step {
        while true {
            let step = decoder.decode(input.readable, trailers: &trailers)
            switch step {
            case .content(let offset, let length):
                guard length <= bodyLimit - reply.body.count else { return .failed(.tooLarge) }
                reply.body.append(contentsOf: input.readable[offset..<(offset + length)])
                input.consume(decoder.consumed)
            case .needsInput:
                input.consume(decoder.consumed)
                return .needsInput
            case .ended:
                // What follows is nobody's: there is one request on this connection.
                return complete()
            case .rejected:
                return .failed(.malformed)
            }
        }
    }

    private mutating func complete() -> Step {
        state = .ended
        return .complete(reply)
    }
}
