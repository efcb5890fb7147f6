import HTTP
import OpenSSLKit
import Proxy
import Reactor
import Telemetry

/// A thread with an event loop, its own listeners' sockets, pools and counters.
///
/// Not Sendable: it is made inside its thread and only ``WorkerMessage``s reach it. A tick handles all ready events
/// first and then flushes each touched connection once, so that what belongs together leaves in one system call.
final class Worker {
    enum Slot {
        case free
        case mailbox
        case listener(Listener)
        case caller(CallerConnection)
        case upstream(UpstreamConnection)
        /// For its timers; an exchange keeps its slot from request to request.
        case exchange(Exchange)
    }

    let index: Int
    let services: WorkerServices
    let mailbox: Mailbox<WorkerMessage>
    let poller: Poller
    var configuration: WorkerConfiguration
    let counters: WorkerCounters
    var wheel: TimerWheel
    /// Monotonic milliseconds and nanoseconds at the start of this tick.
    var now: UInt64
    var nowNanoseconds: UInt64
    /// What 64 connections need that are read and written in one tick, without a call of malloc: 4 MiB.
    let buffers = BufferPool(blockBytes: Worker.blockBytes, limit: 128)
    /// For plaintext of TLS: one read's worth of records.
    let records = BufferPool(blockBytes: Worker.readBytes + 20 * 1024, limit: 16)
    /// For streams whose content goes on as fast as it comes.
    let windowBudget = HTTP2WindowBudget(octets: Worker.grownWindowBytes)
    let tlsOutput = TLSOutputBuffer()
    let scratch = UnsafeMutableRawBufferPointer.allocate(byteCount: Worker.readBytes, alignment: 16)
    var pathScratch = ByteBuffer(capacity: 1024)
    var slots: [Slot] = []
    var slotGenerations: [UInt32] = []
    /// When the wheel will next look at the slot.
    var slotTimers: [UInt64] = []
    var freeSlots: [Int] = []
    var listenerSlots: [Int] = []
    var exchanges: [Exchange] = []
    var freeExchanges: [Int] = []
    var places: [UpstreamPlace] = []
    /// Runtimes of hosts that came with credentials.
    var capturedHosts = 0
    var capturedHostLimit = Worker.capturedHostLimit
    /// When those that nobody uses are next looked for; monotonic milliseconds.
    var capturedSweepAt: UInt64 = 0
    /// Upstreams whose names are being looked up, by the number of the question: a name may mean another upstream
    /// when the answer comes.
    var lookups: [UInt64: UpstreamRuntime] = [:]
    var nextLookup: UInt64 = 0
    var grants = KnownGrants()
    /// The id of the grant that a request names is put together here.
    var grantScratch = ByteBuffer(capacity: 512)
    /// By user id; nil where the user has no name.
    var userNames: [UInt32: [UInt8]?] = [:]
    /// Exchanges that wait for control, by serial.
    var waiters: [UInt64: Int] = [:]
    var nextSerial: UInt64 = 1
    var dirtyCallers: [CallerConnection] = []
    var dirtyUpstreams: [UpstreamConnection] = []
    /// Connections that stopped at the fairness limit with input left.
    var readyAgain: [Int] = []
    private var readyNow: [Int] = []
    /// The exchange whose response is being pumped: what it forwards is read on without a detour.
    var pumped: Exchange?
    var callerCount = 0
    var activeExchanges = 0
    var listenersPaused = false
    /// When a caller's broken handshake or session was last told of.
    var handshakeNotedAt: UInt64 = 0
    var isDraining = false
    var isStopped = false
    var drainDeadline: UInt64 = .max
    var requestSerial: UInt64
    var date: [UInt8] = []
    var dateSecond: Int64 = 0
    /// Lines about exchanges, and lines for the operator.
    var accessLog: LineWriter
    var log: LineWriter

    /// What one read takes at most, and the size of a pooled buffer.
    static let readBytes = 64 * 1024
    static let blockBytes = 32 * 1024
    /// Above this much unwritten data the other side's reading stops.
    static let highWater = 32 * 1024
    /// Content of at least this size is written past the buffer.
    static let directWriteBytes = 4 * 1024
    /// Above this much unwritten data an HTTP/2 caller's frames are not read.
    static let unreadBytes = 256 * 1024
    /// What the windows of all HTTP/2 streams together may grow by.
    static let grownWindowBytes = 24 * 1024 * 1024
    /// What is gathered of HTTP/2 frames before it is written.
    static let frameBytes = 64 * 1024
    /// Reads of one connection per tick, so that none starves the others.
    static let readsPerTick = 8

    init(
        index: Int, configuration: WorkerConfiguration, services: WorkerServices, mailbox: Mailbox<WorkerMessage>
    ) throws {
        self.index = index
        self.services = services
        self.mailbox = mailbox
        self.configuration = configuration
        poller = try Poller()
        counters = WorkerCounters(names: configuration.names)
        now = MonotonicClock.milliseconds()
        nowNanoseconds = MonotonicClock.nanoseconds()
        wheel = TimerWheel(now: now)
        requestSerial = SystemRandom.uint64() & ~0xFF_FFFF
        accessLog = LineWriter(format: services.log.format, capacity: services.log.isEnabled ? 64 * 1024 : 0)
        log = LineWriter(format: services.messages.format, capacity: 256)
        let slot = allocateSlot(.mailbox)
        try poller.addListener(mailbox.descriptor, token: token(slot))
        try adopt(configuration)
    }

    deinit {
        scratch.deallocate()
    }

    /// Adds a listening socket; the worker owns it from now on.
    func listen(_ descriptor: Descriptor, shared: Bool, settings: ListenerSettings = .plain) throws {
        let listener = try Listener(descriptor: descriptor, isShared: shared, settings: settings)
        let slot = allocateSlot(.listener(listener))
        listenerSlots.append(slot)
        try poller.addListener(descriptor, token: token(slot), shared: shared)
    }

    /// Runs until drained.
    func run() {
        var fired: [UInt32] = []
        fired.reserveCapacity(256)
        var messages: [WorkerMessage] = []
        while !isStopped {
            let wait = readyAgain.isEmpty ? wheel.millisecondsUntilNext(now: now) : 0
            let count = poller.wait(timeoutMilliseconds: wait)
            nowNanoseconds = MonotonicClock.nanoseconds()
            now = nowNanoseconds / 1_000_000
            for position in 0..<count { handle(poller.event(at: position), messages: &messages) }
            resumeReady()
            fired.removeAll(keepingCapacity: true)
            wheel.advance(to: now, into: &fired)
            for token in fired { timerFired(slot: Int(token)) }
            flushAll()
            flushLog()
            if isDraining { checkDrained() }
        }
        closeUpstreams()
        services.stopped(index)
    }

    private func handle(_ event: PollEvent, messages: inout [WorkerMessage]) {
        let slot = Int(truncatingIfNeeded: event.token & 0xFFFF_FFFF)
        guard slot < slots.count, slotGenerations[slot] == UInt32(truncatingIfNeeded: event.token >> 32) else { return }
        switch slots[slot] {
        case .free: break
        case .mailbox:
            mailbox.drain(into: &messages)
            for message in messages { receive(message) }
            messages.removeAll(keepingCapacity: true)
        case .listener(let listener): acceptCallers(listener)
        case .caller(let connection): callerReady(connection, event.readiness)
        case .upstream(let connection): upstreamReady(connection, event.readiness)
        case .exchange: break
        }
    }

    private func resumeReady() {
        guard !readyAgain.isEmpty else { return }
        // Two lists that change places: a copy would be an allocation in every tick.
        swap(&readyAgain, &readyNow)
        defer { readyNow.removeAll(keepingCapacity: true) }
        for index in readyNow.indices {
            let slot = readyNow[index]
            switch slots[slot] {
            case .caller(let connection): callerReady(connection, [])
            case .upstream(let connection): upstreamReady(connection, [], again: true)
            case .exchange(let exchange): resume(exchange)
            case .free, .mailbox, .listener: break
            }
        }
    }

    /// Has the exchange go on in the next turn: two fast peers must not keep a tick from ending.
    func queue(_ exchange: Exchange) {
        guard !exchange.isQueued else { return }
        exchange.isQueued = true
        readyAgain.append(exchange.slot)
    }

    private func resume(_ exchange: Exchange) {
        exchange.isQueued = false
        guard exchange.caller != nil else { return }
        if exchange.upstreamStream != nil { feedUpstream(exchange) }
        pumpRequest(exchange)
        guard exchange.caller != nil else { return }
        pumpResponse(exchange)
    }

    // MARK: Slots

    func token(_ slot: Int) -> UInt64 {
        UInt64(slotGenerations[slot]) << 32 | UInt64(slot)
    }

    func allocateSlot(_ content: Slot) -> Int {
        if let slot = freeSlots.popLast() {
            slots[slot] = content
            return slot
        }
        slots.append(content)
        slotGenerations.append(1)
        slotTimers.append(.max)
        return slots.count - 1
    }

    /// Stale events and timers of the slot are harmless from now on.
    func freeSlot(_ slot: Int) {
        slots[slot] = .free
        slotGenerations[slot] &+= 1
        freeSlots.append(slot)
    }

    // MARK: Exchanges

    func takeExchange() -> Exchange {
        if let id = freeExchanges.popLast() {
            let exchange = exchanges[id]
            // Not when it ended: whoever ended it still looks at how.
            exchange.machine = ExchangeMachine(needsCredential: false, isIdempotent: false)
            exchange.replay = ReplayPlan(limit: 0, expected: 0)
            return exchange
        }
        let exchange = Exchange(id: exchanges.count, slot: allocateSlot(.free))
        slots[exchange.slot] = .exchange(exchange)
        exchanges.append(exchange)
        return exchange
    }

    // MARK: Time

    /// Makes the wheel look at `slot` at `deadline` at the latest.
    func arm(slot: Int, at deadline: UInt64) {
        guard deadline < slotTimers[slot] else { return }
        slotTimers[slot] = deadline
        wheel.schedule(UInt32(truncatingIfNeeded: slot), at: deadline)
    }
}
