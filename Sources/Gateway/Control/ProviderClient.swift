import HTTP
import OAuth
import OpenSSLKit
import Reactor

/// Performs requests to providers over HTTP/1.1, one connection for each. Loop only.
///
/// TLS is always verified. Plain http goes to loopback addresses only, whatever the name in the URL. Redirects are
/// handed back and never followed. What makes it more than a client: a failure says for certain whether the provider may
/// have acted on the request (``ProviderFailure``), because a refresh token may have been used up by it.
final class ProviderClient {
    typealias Completion = (ProviderOutcome) -> Void

    struct Limits {
        /// Calls that are under way; more wait for their turn, and their deadlines run meanwhile.
        var calls = 256
        /// …of one provider, so that one that hangs leaves the others their turns.
        var callsPerProvider = 32
        /// Addresses of a host that are tried.
        var addresses = 8
    }

    /// An answer of the resolver on its way back to the loop's thread.
    private struct Resolved: Sendable {
        let call: UInt64
        let result: Resolver.Answer
    }

    let loop: ControlLoop
    let limits: Limits
    private let resolver: Resolver
    private let mailbox: Mailbox<Resolved>
    private var mailboxToken: ControlLoop.Token?
    private var messages: [Resolved] = []

    private var calls: [UInt64: ProviderCall] = [:]
    private var lanes = ProviderLanes()
    private var running = 0
    private var nextID: UInt64 = 1
    private var isStartScheduled = false
    private var contexts: [TLSClientConfiguration: TLSClientContext] = [:]

    let scratch = UnsafeMutableRawBufferPointer.allocate(byteCount: 16 * 1024, alignment: 16)
    let plaintext = UnsafeMutableRawBufferPointer.allocate(byteCount: 17 * 1024, alignment: 16)
    let tlsOutput = TLSOutputBuffer(capacity: 4 * 1024)

    /// Opens connections; tests put their own in its place.
    var connect: (SocketAddress) -> Socket.ConnectResult = { Socket.connect(to: $0) }
    /// Is told of each failure in words for the operator's log, without secrets, before the completion is called. The
    /// request's description is fit for a log too.
    var failureNoted: ((_ request: ProviderRequest, _ detail: String) -> Void)?

    init(loop: ControlLoop, resolver: Resolver, limits: Limits = Limits()) throws(Errno) {
        self.loop = loop
        self.resolver = resolver
        self.limits = limits
        mailbox = try Mailbox()
        mailboxToken = try loop.addListener(mailbox.descriptor) { [weak self] in self?.resolverAnswered() }
    }

    deinit {
        if let mailboxToken { loop.remove(mailboxToken) }
        for call in calls.values { closeConnection(of: call) }
        scratch.deallocate()
        plaintext.deallocate()
    }

    /// Calls under way or waiting.
    var callCount: Int { calls.count }

    /// Sends a request and hands its outcome to `completion`: once, on the loop's thread, never before this returns.
    ///
    /// - Parameters:
    ///   - provider: what shares its bound of calls.
    ///   - tls: the provider's authorities and our certificate; ALPN is set here.
    ///   - deadlineMilliseconds: for the whole call, from now to the last byte of the reply.
    func send(
        _ request: ProviderRequest, of provider: String = "",
        tls: TLSClientConfiguration = TLSClientConfiguration(), deadlineMilliseconds: Int64,
        completion: @escaping Completion
    ) {
        let id = nextID
        nextID += 1
        let patience = UInt64(max(0, deadlineMilliseconds))
        var tls = tls
        tls.alpn = ["http/1.1"]
        let call = ProviderCall(
            id: id, provider: provider, request: request, tls: tls, deadline: MonotonicClock.milliseconds() &+ patience,
            completion: completion)
        calls[id] = call
        lanes.callCame(id, of: provider)
        call.deadlineTimer = loop.schedule(after: patience) { [weak self] in self?.deadlinePassed(id) }
        scheduleStart()
    }

    /// Ends every call with `stopped`; the completions are called before this returns. Calls that they make are new.
    func cancelAll() {
        for call in calls.values.sorted(by: { $0.id < $1.id }) {
            finish(call, .failure(call.failure(.stopped)), detail: "the gateway stops")
        }
    }

    /// Forgets the authorities that were read, so that the next calls read their files again. For a reload.
    func forgetContexts() {
        contexts.removeAll()
    }

    // MARK: Beginning

    private func scheduleStart() {
        guard !isStartScheduled else { return }
        isStartScheduled = true
        loop.schedule(after: 0) { [weak self] in self?.startWaiting() }
    }

    private func startWaiting() {
        isStartScheduled = false
        while running < limits.calls, let id = lanes.next(limit: limits.callsPerProvider) {
            // One that has ended in the queue leaves its turn to the next.
            guard let call = calls[id] else { continue }
            lanes.callBegan(of: call.provider)
            begin(call)
        }
    }

    private func begin(_ call: ProviderCall) {
        running += 1
        call.phase = .resolving
        switch call.request.url.scheme {
        case .http: break
        case .https:
            do throws(TLSConfigurationError) {
                call.context = try context(for: call.tls)
            } catch {
                finish(call, .failure(.tls(error.reason)), detail: error.reason)
                return
            }
        }
        let (id, mailbox) = (call.id, mailbox)
        resolver.resolve(host: call.request.url.host, port: call.request.url.port) { result in
            mailbox.post(Resolved(call: id, result: result))
        }
    }

    /// Reads files the first time. A provider's own file is small; the system's authorities take some milliseconds.
    private func context(for configuration: TLSClientConfiguration) throws(TLSConfigurationError) -> TLSClientContext {
        if let known = contexts[configuration] { return known }
        let context = try TLSClientContext(configuration)
        contexts[configuration] = context
        return context
    }

    // MARK: Addresses

    private func resolverAnswered() {
        mailbox.drain(into: &messages)
        let answers = messages
        messages.removeAll()
        for answer in answers {
            guard let call = calls[answer.call], call.phase == .resolving else { continue }
            addressesFound(call, answer.result)
        }
    }

    private func addressesFound(_ call: ProviderCall, _ result: Resolver.Answer) {
        switch result {
        case .failure(let error):
            finish(call, .failure(.notSent(.resolution)), detail: error.description)
        case .success(let found):
            switch call.request.url.scheme {
            case .https where call.request.mustBePublic:
                let open = found.filter(\.isPublic)
                guard !open.isEmpty else {
                    let place = found.first.map { "\($0.ipText)" } ?? "nowhere"
                    let reason =
                        "\(call.request.url.host), which only a pattern allows, is at \(place): see allow_private"
                    finish(call, .failure(.notSent(.unreachable)), detail: reason)
                    return
                }
                call.addressesFound(open, limit: limits.addresses)
            case .https: call.addressesFound(found, limit: limits.addresses)
            case .http:
                let local = found.filter(\.isLoopback)
                guard !local.isEmpty else {
                    refusePlaintext(call, at: found.first)
                    return
                }
                call.addressesFound(local, limit: limits.addresses)
            }
            connectNext(call)
        }
    }

    func refusePlaintext(_ call: ProviderCall, at address: SocketAddress?) {
        let place = address.map { "\($0)" } ?? "nowhere"
        let reason = "plain http goes to loopback addresses only, and \(call.request.url.host) is at \(place)"
        finish(call, .failure(.tls(reason)), detail: reason)
    }

    /// Tries the next address, or gives up. Nothing of the request may have been sent.
    func connectNext(_ call: ProviderCall) {
        closeConnection(of: call)
        call.reader = ProviderReplyReader(answering: call.request.method)
        call.phase = .connecting
        while let address = call.takeAddress() {
            switch connect(address) {
            case .connected(let descriptor), .inProgress(let descriptor):
                if watch(call, descriptor, address) { return }
            case .failed(let error):
                call.lastReason = ProviderFailure.Reason(error)
                call.lastDetail = "no connection to \(address): \(error)"
            }
        }
        finish(call, .failure(.notSent(call.lastReason)), detail: call.lastDetail)
    }

    /// A socket that is connected already is told of as one that becomes so: at the loop's next turn.
    private func watch(_ call: ProviderCall, _ descriptor: Descriptor, _ address: SocketAddress) -> Bool {
        let id = call.id
        do throws(Errno) {
            call.registration = try loop.add(descriptor) { [weak self] readiness in self?.ready(id, readiness) }
        } catch {
            descriptor.close()
            call.lastReason = .unreachable
            call.lastDetail = "no connection to \(address): \(error)"
            return false
        }
        call.descriptor = descriptor
        call.address = address
        guard !call.addresses.isEmpty else { return true }
        // An address that swallows packets must leave time for the others.
        let now = MonotonicClock.milliseconds()
        let rest = call.deadline > now ? call.deadline - now : 0
        call.attemptTimer = loop.schedule(after: rest / UInt64(call.addresses.count + 1)) { [weak self] in
            self?.attemptTimedOut(id)
        }
        return true
    }

    private func ready(_ id: UInt64, _ readiness: Readiness) {
        guard let call = calls[id] else { return }
        switch call.phase {
        case .connecting:
            if !readiness.isDisjoint(with: [.writable, .error, .hangUp]) { connected(call) }
        case .handshaking: handshake(call)
        case .exchanging: exchange(call)
        case .waiting, .resolving, .finished: break
        }
    }

    /// Goes on with a call at the loop's next turn, so that one fast peer does not hold up the others.
    func scheduleAgain(_ call: ProviderCall) {
        let id = call.id
        loop.schedule(after: 0) { [weak self] in self?.ready(id, []) }
    }

    // MARK: Ends

    /// This address did not do. Before anything is sent the next one may.
    func attemptFailed(_ call: ProviderCall, _ reason: ProviderFailure.Reason, detail: String) {
        let place = call.address.map { "\($0): " } ?? ""
        guard !call.isSent else {
            finish(call, .failure(.replyLost(reason)), detail: place + detail)
            return
        }
        call.lastReason = reason
        call.lastDetail = place + detail
        connectNext(call)
    }

    private func attemptTimedOut(_ id: UInt64) {
        guard let call = calls[id], call.phase == .connecting || call.phase == .handshaking else { return }
        attemptFailed(call, .timeout, detail: "no connection in time")
    }

    private func deadlinePassed(_ id: UInt64) {
        guard let call = calls[id] else { return }
        let doing =
            switch call.phase {
            case .waiting: "waiting for other calls"
            case .resolving: "resolving the name"
            case .connecting: "connecting"
            case .handshaking: "in the TLS handshake"
            case .exchanging, .finished: call.isSent ? "waiting for the reply" : "sending"
            }
        finish(call, .failure(call.failure(.timeout)), detail: "the call's time ended while \(doing)")
    }

    func finish(_ call: ProviderCall, _ outcome: ProviderOutcome, detail: @autoclosure () -> String) {
        guard calls.removeValue(forKey: call.id) != nil else { return }
        closeConnection(of: call)
        if let timer = call.deadlineTimer { loop.cancel(timer) }
        if call.phase != .waiting {
            running -= 1
            lanes.callEnded(of: call.provider)
        }
        call.phase = .finished
        if lanes.hasWaiting { scheduleStart() }
        if case .failure = outcome { failureNoted?(call.request, detail()) }
        call.completion(outcome)
    }

    /// Leaves nothing of a connection but what was learnt from it.
    private func closeConnection(of call: ProviderCall) {
        if let timer = call.attemptTimer { loop.cancel(timer) }
        if let registration = call.registration { loop.remove(registration) }
        if let descriptor = call.descriptor {
            sendCloseNotify(call, descriptor)
            descriptor.close()
        }
        call.attemptTimer = nil
        call.registration = nil
        call.descriptor = nil
        call.engine = nil
        call.outgoing = ByteBuffer()
        call.bytesBeforeRequest = nil
        call.writeFailure = nil
    }

    /// As far as the socket takes it: nobody waits for it.
    private func sendCloseNotify(_ call: ProviderCall, _ descriptor: Descriptor) {
        guard let engine = call.engine, call.phase == .exchanging, call.outgoing.isEmpty else { return }
        tlsOutput.removeAll()
        engine.close(output: tlsOutput)
        if !tlsOutput.isEmpty { _ = Socket.write(descriptor, tlsOutput.bytes) }
        tlsOutput.removeAll()
    }
}
