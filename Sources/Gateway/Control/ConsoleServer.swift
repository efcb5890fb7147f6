import Console
import HTTP
import Proxy
import Reactor

/// The console's listener: HTTP/1.1 over TCP or a unix socket, for a few people and programs. Loop only.
///
/// Whatever peers do, memory and time are bounded: one request of a connection is held at a time, each phase of it has
/// its time as a whole, and a connection that waits longest for a request makes room for a new one.
final class ConsoleServer {
    /// Takes a request and answers it with `respond`, at once or later, on the loop's thread. Only the first answer
    /// counts; one for a peer that has left is dropped.
    typealias Handler = (_ request: ConsoleRequest, _ respond: @escaping (ConsoleResponse) -> Void) -> Void

    struct Limits {
        var connections = 256
        var head = HeadLimits(targetBytes: 12 * 1024, headBytes: 16 * 1024, fieldCount: 100)
        var bodyBytes = ConsoleLimits.bodyBytes
        // Milliseconds.
        var headTime: UInt64 = 10_000
        var idleTime: UInt64 = 30_000
        var bodyTime: UInt64 = 10_000
        var writeTime: UInt64 = 30_000
        /// For the handler. Its commands have deadlines of their own; this is for one that is forgotten.
        var answerTime: UInt64 = 120_000
        var lingerTime: UInt64 = 2_000
    }

    let loop: ControlLoop
    let limits: Limits
    let handler: Handler
    let buffers = BufferPool(blockBytes: 16 * 1024, limit: 16)
    private var listeners: [Descriptor: ControlLoop.Token?] = [:]
    private var isPaused = false
    private var connections: [UInt64: ConsoleConnection] = [:]
    private var nextID: UInt64 = 1
    private var nextWait: UInt64 = 1
    private(set) var isDraining = false
    private var drained: (() -> Void)?

    init(loop: ControlLoop, limits: Limits = Limits(), handler: @escaping Handler) {
        self.loop = loop
        self.limits = limits
        self.handler = handler
    }

    deinit {
        for token in listeners.values { if let token { loop.remove(token) } }
        for connection in connections.values { release(connection) }
    }

    var connectionCount: Int { connections.count }

    // MARK: Listeners

    /// Begins to accept. The descriptor stays its owner's, to close after ``ignore(_:)``, ``drain(_:)`` or ``stop()``.
    func listen(on listener: Descriptor) throws(Errno) {
        guard !isDraining else { return }
        listeners[listener] = try register(listener)
    }

    /// Ends accepting on one listener; connections that it brought stay.
    func ignore(_ listener: Descriptor) {
        if let token = listeners.removeValue(forKey: listener) ?? nil { loop.remove(token) }
    }

    /// Accepts no more, closes idle connections, and lets the requests that are there end. `whenEmpty` is called at a
    /// later turn of the loop, once no connection is left.
    func drain(_ whenEmpty: @escaping () -> Void) {
        isDraining = true
        drained = whenEmpty
        for listener in Array(listeners.keys) { ignore(listener) }
        for connection in connections.values {
            // A request may be there that no event has told of yet.
            pump(connection)
            if isIdle(connection) { close(connection) }
        }
        if connections.isEmpty { tellDrained() }
    }

    /// Closes everything now; answers that still come are dropped.
    func stop() {
        isDraining = true
        for listener in Array(listeners.keys) { ignore(listener) }
        for connection in connections.values { close(connection) }
    }

    private func register(_ listener: Descriptor) throws(Errno) -> ControlLoop.Token {
        try loop.addListener(listener) { [weak self] in self?.acceptWaiting(listener) }
    }

    private func acceptWaiting(_ listener: Descriptor) {
        // A handler may end the listening from within.
        for _ in 0..<64 where listeners[listener] != nil {
            guard connections.count < limits.connections || leastNeeded != nil else {
                pause()
                return
            }
            switch Socket.accept(listener) {
            case .accepted(let descriptor, let peer):
                if connections.count >= limits.connections { makeRoom() }
                accepted(descriptor, peer)
            case .wouldBlock:
                return
            case .descriptorsExhausted, .failed:
                // A level-triggered listener would report it at once again.
                makeRoom()
                pause()
                return
            }
        }
    }

    private func accepted(_ descriptor: Descriptor, _ peer: SocketAddress) {
        let id = nextID
        nextID += 1
        let connection = ConsoleConnection(id: id, descriptor: descriptor, peer: peer)
        do throws(Errno) {
            connection.registration = try loop.add(descriptor) { [weak self] readiness in
                self?.ready(id, readiness)
            }
        } catch {
            descriptor.close()
            return
        }
        connections[id] = connection
        setWait(connection, .head)
        // Callers speak first, so that a request is often there already.
        pump(connection)
    }

    /// The connection that has waited longest for a request: silent ones first, then those in the middle of a head.
    private var leastNeeded: ConsoleConnection? {
        connections.values.filter { $0.phase == .head && $0.outbound.isEmpty }.min {
            ($0.inbound.isEmpty ? 0 : 1, $0.waitNumber) < ($1.inbound.isEmpty ? 0 : 1, $1.waitNumber)
        }
    }

    private func makeRoom() {
        if let leastNeeded { close(leastNeeded) }
    }

    /// Stops accepting until a connection is closed or a second has passed. New ones wait in the kernel.
    private func pause() {
        guard !isPaused else { return }
        isPaused = true
        for (listener, token) in listeners {
            if let token { loop.remove(token) }
            listeners[listener] = .some(nil)
        }
        loop.schedule(after: 1_000) { [weak self] in self?.resume() }
    }

    private func resume() {
        guard isPaused else { return }
        isPaused = false
        for (listener, token) in listeners where token == nil {
            guard let token = try? register(listener) else {
                pause()
                return
            }
            listeners[listener] = token
        }
    }

    // MARK: Connections

    func connection(_ id: UInt64) -> ConsoleConnection? {
        connections[id]
    }

    private func ready(_ id: UInt64, _ readiness: Reactor.Readiness) {
        guard let connection = connections[id] else { return }
        // Nobody is left to answer. What the handler still does is its own business.
        guard readiness.isDisjoint(with: [.error, .hangUp]) else {
            close(connection)
            return
        }
        pump(connection)
    }

    private func isIdle(_ connection: ConsoleConnection) -> Bool {
        connection.phase == .head && connection.inbound.isEmpty && connection.outbound.isEmpty
    }

    func close(_ connection: ConsoleConnection) {
        guard connections.removeValue(forKey: connection.id) != nil else { return }
        release(connection)
        if isDraining {
            if connections.isEmpty { tellDrained() }
        } else if isPaused {
            loop.schedule(after: 0) { [weak self] in self?.resume() }
        }
    }

    private func release(_ connection: ConsoleConnection) {
        connection.phase = .closed
        if let timer = connection.timer { loop.cancel(timer) }
        if let registration = connection.registration { loop.remove(registration) }
        connection.descriptor.close()
        connection.inbound.release(to: buffers)
        connection.outbound.release(to: buffers)
        connection.body = []
    }

    private func tellDrained() {
        guard let drained else { return }
        self.drained = nil
        loop.schedule(after: 0, drained)
    }

    // MARK: Time

    /// Waits for something else than before; the same wait goes on with the time that it has left.
    func setWait(_ connection: ConsoleConnection, _ wait: ConsoleConnection.Wait) {
        guard connection.wait != wait else { return }
        if let timer = connection.timer { loop.cancel(timer) }
        connection.timer = nil
        connection.noteWait(wait, number: nextWait)
        nextWait += 1
        guard let time = time(of: wait) else { return }
        let id = connection.id
        connection.timer = loop.schedule(after: time) { [weak self] in self?.timeEnded(id) }
    }

    private func time(of wait: ConsoleConnection.Wait) -> UInt64? {
        switch wait {
        case .nothing: nil
        case .idle: limits.idleTime
        case .head: limits.headTime
        case .body: limits.bodyTime
        case .answer: limits.answerTime
        case .write: limits.writeTime
        case .linger: limits.lingerTime
        }
    }

    private func timeEnded(_ id: UInt64) {
        guard let connection = connections[id] else { return }
        connection.timer = nil
        switch connection.wait {
        case .nothing: break
        case .idle, .linger: close(connection)
        case .write:
            // What the peer does not take would stay in the kernel, and the end behind it.
            Socket.setLinger0(connection.descriptor)
            close(connection)
        case .head:
            if connection.inbound.isEmpty {
                close(connection)
            } else {
                refuse(connection, .requestTimeout, detail: "The header section did not arrive in time.")
            }
        case .body: refuse(connection, .requestTimeout, detail: "The content did not arrive in time.")
        case .answer: refuse(connection, .internalError, detail: "The console did not answer in time.")
        }
        pump(connection)
    }
}
