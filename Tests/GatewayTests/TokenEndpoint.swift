import Console
import Foundation
import Proxy
import Reactor
import Synchronization
import Testing

@testable import Gateway
@testable import OAuth
@testable import TokenStore

/// A provider on loopback whose every answer is the test's, one call after the other.
final class TokenEndpoint: Sendable {
    struct Call: Sendable {
        var path: String
        var head: String
        var form: [String: String]

        func has(_ field: String) -> Bool { head.lowercased().contains("\r\n\(field.lowercased())\r\n") }
    }

    enum Reply: Sendable {
        /// Status, content type, content and further fields, each with its line break.
        case content(Int, String, String, fields: String = "")
        /// The request is read, and the connection cut.
        case lost

        static func json(_ status: Int, _ text: String, fields: String = "") -> Reply {
            .content(status, "application/json", text, fields: fields)
        }

        static func page(_ status: Int) -> Reply {
            .content(status, "text/html; charset=utf-8", "<!DOCTYPE html><html><h1>Access denied</h1></html>")
        }

        static func tokens(_ access: String, _ refresh: String? = nil, lifetime: Int = 3600, scope: String? = nil)
            -> Reply
        {
            let rotated = refresh.map { #","refresh_token":"\#($0)""# } ?? ""
            let granted = scope.map { #","scope":"\#($0)""# } ?? ""
            return .json(
                200,
                #"{"access_token":"\#(access)","token_type":"Bearer","expires_in":\#(lifetime)\#(rotated)\#(granted)}"#)
        }
    }

    typealias Script = @Sendable (Call, _ number: Int) -> Reply

    let port: UInt16
    private let listener: Descriptor
    private let stop: Mailbox<Void>
    private let thread: WorkerThread
    private let state: State

    private final class State: Sendable {
        let calls = Mutex<[Call]>([])
        let script: Mutex<Script>
        init(_ script: @escaping Script) { self.script = Mutex(script) }
    }

    init(_ script: @escaping Script) throws {
        let listener = try Socket.listen(on: .loopback(port: 0))
        let stop = try Mailbox<Void>()
        let state = State(script)
        (self.listener, self.stop, self.state) = (listener, stop, state)
        port = try #require(Socket.localAddress(of: listener)?.port)
        thread = try WorkerThread.start(name: "provider") {
            guard let poller = try? Poller(eventCapacity: 2), (try? poller.addListener(listener, token: 0)) != nil,
                (try? poller.addListener(stop.descriptor, token: 1)) != nil
            else { return }
            while true {
                let ready = poller.wait(timeoutMilliseconds: -1)
                for index in 0..<ready where poller.event(at: index).token == 1 { return }
                guard case .accepted(let socket, _) = Socket.accept(listener), let end = try? WireEnd(socket) else {
                    continue
                }
                Self.serve(end, state)
            }
        }
    }

    private static func serve(_ end: WireEnd, _ state: State) {
        let call = Call(end.readMessage())
        let number = state.calls.withLock { calls in
            calls.append(call)
            return calls.count
        }
        switch state.script.withLock({ $0 })(call, number) {
        case .lost: end.reset()
        case .content(let status, let type, let content, let fields):
            end.write(
                "HTTP/1.1 \(status) X\r\nContent-Type: \(type)\r\nContent-Length: \(content.utf8.count)\r\n\(fields)Connection: close\r\n\r\n\(content)"
            )
            end.close()
        }
    }

    var calls: [Call] { state.calls.withLock { $0 } }

    /// From the next call on.
    func answer(_ script: @escaping Script) {
        state.script.withLock { $0 = script }
    }

    deinit {
        stop.post(())
        thread.join()
        listener.close()
    }
}

extension TokenEndpoint.Call {
    fileprivate init(_ message: String) {
        let end = message.range(of: "\r\n\r\n")
        head = end.map { String(message[..<$0.upperBound]) } ?? message
        path = head.split(separator: " ").dropFirst().first.map(String.init) ?? ""
        let content = end.map { message[$0.upperBound...] } ?? ""
        form = [:]
        for pair in content.split(separator: "&") {
            let parts = pair.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            form[String(parts[0])] = parts.count > 1 ? String(parts[1]).removingPercentEncoding : ""
        }
    }
}

/// One grant of the file, `crm`, whose provider is the endpoint.
enum FileGrant {
    static func configuration(_ endpoint: TokenEndpoint, provider: String = "", grant: String = "") -> String {
        """
        \(ControlHarness.preamble)
        [provider.zoho]
        client_id = "client"
        client_auth = "none"
        authorize_url = "http://127.0.0.1:\(endpoint.port)/authorize"
        token_url = "http://127.0.0.1:\(endpoint.port)/token"
        allow_plaintext = true
        \(provider)
        [grant.crm]
        provider = "zoho"
        \(grant)
        [upstream.api]
        url = "http://127.0.0.1:1"
        allow_plaintext = true
        [route.all]
        path = "/*"
        upstream = "api"
        grant = "crm"
        """
    }

    /// Its access token has expired: whoever needs it makes a refresh.
    static func expired(scopes: [String] = []) -> GrantRecord {
        record(expiresIn: -1000, age: 3_601_000, scopes: scopes)
    }

    /// - Parameter expiresIn: nil: nobody knows.
    static func record(expiresIn: Int64?, age: Int64, scopes: [String] = []) -> GrantRecord {
        var record = ManyGrantsTests.record(age: age)
        record.template = nil
        record.tokens?.expiresAt = expiresIn.map { WallClock.milliseconds() + $0 }
        record.tokens?.scopes = scopes
        return record
    }

    static func stored(_ name: String = "crm", in database: FakeDatabase) -> GrantRecord? {
        database.with { state in
            state.rows[name].flatMap { row in
                row.payload.flatMap { GrantRecord(payload: $0, revision: row.generation) }
            }
        }
    }
}

extension ControlHarness {
    /// The lines of the metrics page that begin with this name; without labels and value where there is one only.
    func metric(_ name: String, _ labels: String = "") throws -> String? {
        let page: String = try call { control, done in
            control.metrics { outcome in
                if case .metrics(let bytes) = outcome { done(String(decoding: bytes, as: UTF8.self)) } else { done("") }
            }
        }
        let head = labels.isEmpty ? name + " " : "\(name){\(labels)} "
        return page.split(separator: "\n").first { $0.hasPrefix(head) }.map { String($0.dropFirst(head.count)) }
    }

    func refreshes(_ outcome: String, of grant: String = "crm") throws -> String? {
        try metric("token_gateway_refreshes_total", "grant=\"\(grant)\",outcome=\"\(outcome)\"")
    }

    /// Why a request gets no credential; nil where it gets one.
    func refusal(_ grant: String = "crm", rejected: UInt64? = nil) throws -> CredentialRefusal? {
        switch try ask(grant, rejected: rejected) {
        case .success: nil
        case .failure(let answer): answer.refusal
        }
    }

    func token(_ grant: String = "crm", rejected: UInt64? = nil) throws -> String? {
        try ManyGrantsTests.value(ask(grant, rejected: rejected).get())
    }

    /// As an operator says it.
    func refreshNow(_ grant: String = "crm") throws -> Bool {
        try call { control, done in
            control.refresh(grant) { outcome in
                if case .refreshed = outcome { done(true) } else { done(false) }
            }
        }
    }

    func revoke(_ grant: String = "crm") throws -> String {
        try call { control, done in
            control.revoke(grant) { outcome in
                if case .revoked(_, let result, _) = outcome { done(result.rawValue) } else { done("\(outcome)") }
            }
        }
    }
}
