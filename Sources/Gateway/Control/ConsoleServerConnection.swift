import HTTP
import Reactor

/// One connection to the console's listener. Loop only.
final class ConsoleConnection {
    enum Phase {
        /// A request's head, or nothing, is coming. To `body`, `answering`, `closing`.
        case head
        /// To `answering`, `closing`.
        case body
        /// The handler has the request; nothing is read meanwhile. To `head`, `closing`.
        case answering
        /// What is in `outbound` is the last. To `lingering`, `closed`.
        case closing
        /// Our side is shut; what still comes is thrown away, so that the answer is not lost by a reset. To `closed`.
        case lingering
        case closed
    }

    /// What the connection's timer waits for. The time counts as a whole and does not begin anew with each byte.
    enum Wait {
        case nothing
        case idle
        case head
        case body
        case answer
        case write
        case linger
    }

    let id: UInt64
    let descriptor: Descriptor
    let peer: SocketAddress
    var registration: ControlLoop.Token?
    var phase = Phase.head
    private(set) var wait = Wait.nothing
    var timer: ControlLoop.Token?
    /// A number that grows with each wait: the smallest one has waited longest.
    private(set) var waitNumber: UInt64 = 0

    var inbound = ByteBuffer()
    var outbound = ByteBuffer()
    /// The peer will send no more.
    var inputEnded = false
    /// There may be input that nobody took: closing at once would reset the connection.
    var lingers = false

    // MARK: The request
    var scanner = HeadScanner()
    var head = MessageHead()
    var decoder = BodyDecoder()
    var trailers = MessageHead()
    var body: [UInt8] = []
    var keepAlive = false
    var isHead = false
    var requestID = ""
    /// Tells the answer of this request from a late one of an earlier.
    var requestNumber: UInt64 = 0

    /// Someone further up the stack is at work here.
    var isPumping = false
    var lingeredBytes = 0

    init(id: UInt64, descriptor: Descriptor, peer: SocketAddress) {
        self.id = id
        self.descriptor = descriptor
        self.peer = peer
    }

    func noteWait(_ wait: Wait, number: UInt64) {
        self.wait = wait
        waitNumber = number
    }
}
