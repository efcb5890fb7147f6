import Foundation
import OAuth
import Reactor
import Synchronization
import Testing

@testable import Gateway

/// A provider whose replies the test gives one by one, when it wants to, in the order of the requests.
final class GatedProvider: Sendable {
    private enum Command: Sendable {
        case answer(status: Int, body: String)
        /// Ends the connection without a word.
        case drop
        /// Waits until the gateway has ended the connection.
        case awaitEnd
        case stop
    }

    let port: UInt16
    private let listener: Descriptor
    private let commands: Mailbox<Command>
    private let thread: WorkerThread
    private let requests: Requests

    private final class Requests: Sendable {
        let texts = Mutex<[String]>([])
        let arrived = DispatchSemaphore(value: 0)
        let ended = DispatchSemaphore(value: 0)
    }

    init() throws {
        let listener = try Socket.listen(on: .loopback(port: 0))
        let commands = try Mailbox<Command>()
        let requests = Requests()
        (self.listener, self.commands, self.requests) = (listener, commands, requests)
        port = try #require(Socket.localAddress(of: listener)?.port)
        thread = try WorkerThread.start(name: "provider") {
            try? Self.serve(listener, commands, requests)
        }
    }

    private static func serve(_ listener: Descriptor, _ commands: Mailbox<Command>, _ requests: Requests) throws {
        let poller = try Poller(eventCapacity: 2)
        try poller.addListener(listener, token: 0)
        try poller.addListener(commands.descriptor, token: 1)
        var held: [WireEnd] = []
        var list: [Command] = []
        while true {
            let count = poller.wait(timeoutMilliseconds: -1)
            for index in 0..<count where poller.event(at: index).token == 0 {
                guard case .accepted(let socket, _) = Socket.accept(listener) else { continue }
                let end = try WireEnd(socket)
                let text = end.readMessage()
                held.append(end)
                requests.texts.withLock { $0.append(text) }
                requests.arrived.signal()
            }
            commands.drain(into: &list)
            for command in list {
                guard !perform(command, &held, requests) else { return }
            }
            list.removeAll()
        }
    }

    /// True for the end.
    private static func perform(_ command: Command, _ held: inout [WireEnd], _ requests: Requests) -> Bool {
        if case .stop = command { return true }
        guard !held.isEmpty else { return false }
        let end = held.removeFirst()
        switch command {
        case .answer(let status, let body):
            end.write(
                "HTTP/1.1 \(status) X\r\nContent-Type: application/json\r\nContent-Length: \(body.utf8.count)\r\nConnection: close\r\n\r\n\(body)"
            )
        case .drop, .stop: break
        case .awaitEnd:
            end.waitForEnd()
            requests.ended.signal()
        }
        end.close()
        return false
    }

    /// Waits for the next request.
    @discardableResult
    func nextCall() throws -> String {
        try #require(
            requests.arrived.wait(timeout: .now() + .seconds(10)) == .success, "the provider was not asked")
        return requests.texts.withLock { $0.last ?? "" }
    }

    var calls: Int { requests.texts.withLock { $0.count } }

    func answer(_ body: String, status: Int = 200) { commands.post(.answer(status: status, body: body)) }

    func answer(pair: String, lifetime: Int = 3600) {
        answer(
            #"{"access_token":"access-\#(pair)","refresh_token":"refresh-\#(pair)","token_type":"Bearer","expires_in":\#(lifetime)}"#
        )
    }

    func drop() { commands.post(.drop) }

    func waitForEnd() throws {
        commands.post(.awaitEnd)
        try #require(requests.ended.wait(timeout: .now() + .seconds(15)) == .success, "the call was not ended")
    }

    deinit {
        commands.post(.stop)
        thread.join()
        listener.close()
    }
}

/// Configurations of a few grants, for tests that reload.
struct LifeScene {
    var port: UInt16
    var grants = ["crm"]
    /// The name of the section.
    var provider = "zoho"
    var clientID = "client"
    var tokenPath = "/token"
    /// More directives of the provider.
    var directives = ""
    var hasProvider = true
    /// Another provider that grants may go to.
    var other: String?

    var text: String {
        var text = """
            \(ControlHarness.preamble)
            [upstream.api]
            url = "http://127.0.0.1:1"
            allow_plaintext = true
            [route.all]
            path = "/*"
            upstream = "api"

            """
        for name in [hasProvider ? provider : nil, other].compactMap({ $0 }) {
            text += """
                [provider.\(name)]
                client_id = "\(clientID)"
                client_auth = "none"
                authorize_url = "http://127.0.0.1:\(port)/authorize"
                token_url = "http://127.0.0.1:\(port)\(tokenPath)"
                revocation_url = "http://127.0.0.1:\(port)/revoke"
                allow_plaintext = true
                \(directives)

                """
        }
        for grant in grants where hasProvider || other != nil {
            text += "[grant.\(grant)]\nprovider = \"\(hasProvider ? provider : other ?? "")\"\nscopes = [\"a\"]\n"
        }
        return text
    }

    func with(_ change: (inout LifeScene) -> Void) -> LifeScene {
        var copy = self
        change(&copy)
        return copy
    }
}

extension ControlHarness {
    /// Takes another configuration into force, as a reload does.
    func reload(_ scene: LifeScene) throws {
        let text = scene.text
        let isTaken = try look { control -> Bool in
            guard let prepared = try? ControlHarness.prepared(text) else { return false }
            control.take(prepared)
            return true
        }
        try #require(isTaken, "the configuration has mistakes:\n\(text)")
    }

    func state(of grant: String) throws -> String? {
        try look { control in
            control.grants[grant].map { $0.machine.status(now: control.moment).state.rawValue }
        }
    }
}

extension FakeDatabase {
    func record(_ grant: String) -> GrantRecord? {
        with { state in
            state.rows[grant].flatMap { row in
                row.payload.flatMap { GrantRecord(payload: $0, revision: row.generation) }
            }
        }
    }

    /// Looks again and again until it is so; for when the control thread is at its end.
    func until(_ sentence: String, _ isSo: (FakeDatabase) -> Bool) {
        for _ in 0..<1_000 {
            if isSo(self) { return }
            usleep(10_000)
        }
        Issue.record("never: \(sentence)")
    }
}
