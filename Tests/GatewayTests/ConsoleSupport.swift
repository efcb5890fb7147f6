import Console
import Reactor
import Synchronization
import Testing

@testable import Gateway

/// A console's server on a thread of its own. Requests to paths with `/later` are answered when the test says so, all
/// others at once with what was asked.
final class ServerHarness: Sendable {
    enum Command: Sendable {
        case answer(path: String, ConsoleResponse)
        case drain
        case stop
        case finish
    }

    let address: SocketAddress
    private let listener: Descriptor
    private let commands: Mailbox<Command>
    private let events: Mailbox<String>
    private let seen = Mutex<[String]>([])
    private let thread: WorkerThread

    init(
        on address: SocketAddress = .loopback(port: 0),
        limits: ConsoleServer.Limits = ConsoleServer.Limits(),
        answer: @escaping @Sendable (ConsoleRequest) -> ConsoleResponse = ServerHarness.echo
    ) throws {
        let listener = try Socket.listen(on: address)
        self.listener = listener
        self.address = try #require(Socket.localAddress(of: listener))
        let commands = try Mailbox<Command>()
        let events = try Mailbox<String>()
        (self.commands, self.events) = (commands, events)
        thread = try WorkerThread.start(name: "console") {
            do {
                try Self.run(listener, limits, commands, events, answer)
            } catch {
                Issue.record(error)
            }
        }
    }

    deinit {
        commands.post(.finish)
        thread.join()
        listener.close()
    }

    private static func run(
        _ listener: Descriptor, _ limits: ConsoleServer.Limits, _ commands: Mailbox<Command>, _ events: Mailbox<String>,
        _ answer: @escaping @Sendable (ConsoleRequest) -> ConsoleResponse
    ) throws {
        let loop = try ControlLoop()
        var waiting: [String: (ConsoleResponse) -> Void] = [:]
        let server = ConsoleServer(loop: loop, limits: limits) { request, respond in
            if request.path.hasPrefix("/later") {
                waiting[request.path] = respond
                events.post("asked \(request.path)")
            } else {
                respond(answer(request))
            }
        }
        try server.listen(on: listener)
        var list: [Command] = []
        let token = try loop.addListener(commands.descriptor) {
            commands.drain(into: &list)
            for command in list {
                switch command {
                case .answer(let path, let response):
                    waiting[path]?(response)
                    events.post("answered \(path) with \(server.connectionCount) connections")
                case .drain: server.drain { events.post("drained") }
                case .stop: server.stop()
                case .finish: loop.stop()
                }
            }
            list.removeAll()
        }
        loop.run()
        server.stop()
        loop.remove(token)
    }

    func post(_ command: Command) {
        commands.post(command)
    }

    /// Waits until the server's thread has said so.
    func waitFor(_ event: String) throws {
        let poller = try Poller(eventCapacity: 1)
        try poller.addListener(events.descriptor, token: 0)
        while !seen.withLock({ $0.contains(event) }) {
            try #require(poller.wait(timeoutMilliseconds: WireEnd.patience) > 0, "waited for \(event)")
            var list: [String] = []
            events.drain(into: &list)
            seen.withLock { $0 += list }
        }
    }

    func connect() throws -> WireEnd {
        try WireEnd(connectingTo: address)
    }

    static func text(_ text: String, status: Int = 200, fields: [ConsoleField] = []) -> ConsoleResponse {
        let own = [ConsoleField("Content-Type", "text/plain"), ConsoleField("Content-Length", "\(text.utf8.count)")]
        return ConsoleResponse(status: status, fields: own + fields, body: Array(text.utf8))
    }

    @Sendable static func echo(_ request: ConsoleRequest) -> ConsoleResponse {
        var response = text("\(request.method) \(request.path) \(request.query ?? "-") \(request.body.count)")
        if request.method == "HEAD" { response.body = [] }
        return response
    }
}

extension String {
    /// A response's status code.
    var status: Int { Int(dropFirst(9).prefix(3)) ?? 0 }

    var head: String { range(of: "\r\n\r\n").map { String(self[..<$0.lowerBound]) } ?? "" }

    var content: String { range(of: "\r\n\r\n").map { String(self[$0.upperBound...]) } ?? "" }

    func field(_ name: String) -> String? {
        for line in head.split(separator: "\r\n").dropFirst() {
            let parts = line.split(separator: ":", maxSplits: 1)
            if parts.count == 2, parts[0].lowercased() == name { return String(parts[1].drop { $0 == " " }) }
        }
        return nil
    }
}

func get(_ path: String, fields: String = "") -> String {
    "GET \(path) HTTP/1.1\r\nHost: localhost\r\n\(fields)\r\n"
}
