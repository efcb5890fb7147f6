import Dispatch
import HTTP
import OAuth
import Reactor
import Synchronization
import Testing

@testable import Gateway

/// A provider on loopback that answers as the test says, request by request, also while it keeps one waiting.
final class ControlProvider: Sendable {
    struct Request: Sendable {
        var path: String
        var head: String
        var form: [String: String]

        /// What it is about: the grant type's last word, or the path's.
        var kind: String {
            let word = form["grant_type"].map { $0.split(separator: ":").last ?? "" }
            return String(word ?? path.split(separator: "/").last ?? "")
        }
    }

    enum Answer: Sendable {
        case reply(Int, String)
        /// The connection is closed without a word: what became of the request is unknown.
        case cut
        /// By `release`, later.
        case hold

        static func tokens(_ access: String, _ refresh: String?, more: String = "") -> Answer {
            let refresh = refresh.map { #","refresh_token":"\#($0)""# } ?? ""
            return .reply(
                200, #"{"access_token":"\#(access)","token_type":"Bearer","expires_in":3600\#(refresh)\#(more)}"#)
        }

        static func error(_ code: String, _ status: Int = 400) -> Answer { .reply(status, #"{"error":"\#(code)"}"#) }
    }

    private enum Command: Sendable {
        case stop
        case release(Answer)
        case goAway(DispatchSemaphore)
        case comeBack(DispatchSemaphore)
    }

    /// What the provider's thread and the test both touch.
    private final class Shared: Sendable {
        let seen = Mutex<[Request]>([])
        let script: Mutex<@Sendable (Request) -> Answer>

        init(_ script: @escaping @Sendable (Request) -> Answer) {
            self.script = Mutex(script)
        }
    }

    let port: UInt16
    private let commands: Mailbox<Command>
    private let thread: WorkerThread
    private let shared: Shared

    init(_ script: @escaping @Sendable (Request) -> Answer = { _ in .tokens("new", "r") }) throws {
        let listener = try Socket.listen(on: .loopback(port: 0), reusePort: true)
        let port = try #require(Socket.localAddress(of: listener)?.port)
        let commands = try Mailbox<Command>()
        let shared = Shared(script)
        (self.port, self.commands, self.shared) = (port, commands, shared)
        thread = try WorkerThread.start(name: "provider") {
            do {
                try Self.run(listener, port, commands, shared)
            } catch {
                Issue.record(error)
            }
        }
    }

    deinit {
        commands.post(.stop)
        thread.join()
    }

    var url: String { "http://127.0.0.1:\(port)" }

    /// All requests so far.
    var requests: [Request] { shared.seen.withLock { $0 } }

    func requests(_ kind: String) -> [Request] { requests.filter { $0.kind == kind } }

    /// From the next request on.
    func answer(_ script: @escaping @Sendable (Request) -> Answer) {
        shared.script.withLock { $0 = script }
    }

    /// Answers the request that was held first.
    func release(_ answer: Answer) {
        commands.post(.release(answer))
    }

    /// Refuses connections until `comeBack`.
    func goAway() {
        let done = DispatchSemaphore(value: 0)
        commands.post(.goAway(done))
        done.wait()
    }

    func comeBack() {
        let done = DispatchSemaphore(value: 0)
        commands.post(.comeBack(done))
        done.wait()
    }

    // MARK: The provider's thread

    private static func run(
        _ first: Descriptor, _ port: UInt16, _ commands: Mailbox<Command>, _ shared: Shared
    ) throws {
        var listener: Descriptor? = first
        defer { listener?.close() }
        let poller = try Poller(eventCapacity: 2)
        try poller.addListener(first, token: 0)
        try poller.addListener(commands.descriptor, token: 1)
        var held: [WireEnd] = []
        var list: [Command] = []
        while true {
            for index in 0..<poller.wait(timeoutMilliseconds: -1) {
                guard poller.event(at: index).token == 1 else {
                    if let listener { serve(listener, shared, &held) }
                    continue
                }
                commands.drain(into: &list)
                for command in list {
                    switch command {
                    case .stop: return
                    case .release(let answer): if !held.isEmpty { send(answer, to: held.removeFirst(), &held) }
                    case .goAway(let done):
                        if let open = listener {
                            poller.remove(open)
                            open.close()
                        }
                        listener = nil
                        done.signal()
                    case .comeBack(let done):
                        let new = try Socket.listen(on: .loopback(port: port), reusePort: true)
                        try poller.addListener(new, token: 0)
                        listener = new
                        done.signal()
                    }
                }
                list.removeAll()
            }
        }
    }

    private static func serve(_ listener: Descriptor, _ shared: Shared, _ held: inout [WireEnd]) {
        guard case .accepted(let socket, _) = Socket.accept(listener), let end = try? WireEnd(socket) else { return }
        let message = end.readMessage()
        let words = message.prefix { $0 != "\r\n" }.split(separator: " ")
        guard words.count > 1 else { return }
        let form = FormEncoding.decode(message.content) ?? []
        let request = Request(
            path: String(words[1]), head: message.head,
            form: Dictionary(form.map { ($0.name, $0.value) }) { "\($0) and \($1)" })
        let answer = shared.script.withLock { $0 }(request)
        // Seen before it is answered; and who sees that it is held may release it at once.
        if case .hold = answer { held.append(end) }
        shared.seen.withLock { $0.append(request) }
        if case .hold = answer { return }
        send(answer, to: end, &held)
    }

    private static func send(_ answer: Answer, to end: WireEnd, _ held: inout [WireEnd]) {
        switch answer {
        case .reply(let status, let body):
            end.write(
                "HTTP/1.1 \(status) Word\r\nContent-Type: application/json\r\nContent-Length: \(body.utf8.count)\r\n"
                    + "Connection: close\r\n\r\n\(body)")
            end.close()
        case .cut: end.close()
        case .hold: held.append(end)
        }
    }
}
