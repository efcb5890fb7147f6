import HTTP
import OAuth
import OpenSSLKit
import Reactor
import Synchronization
import Testing

@testable import Gateway

/// A provider on loopback that follows a script: one connection after the other, on a thread of its own.
final class ScriptedProvider: Sendable {
    let port: UInt16
    private let listener: Descriptor
    private let thread: WorkerThread
    let received: Notes

    init(connections: Int = 1, _ script: @escaping @Sendable (WireEnd, ScriptedProvider.Notes) -> Void) throws {
        let listener = try Socket.listen(on: .loopback(port: 0))
        self.listener = listener
        port = try #require(Socket.localAddress(of: listener)?.port)
        let notes = Notes()
        self.received = notes
        thread = try WorkerThread.start(name: "provider") {
            for _ in 0..<connections {
                guard let end = Self.accept(listener) else { return }
                script(end, notes)
                end.close()
            }
        }
    }

    /// What the script has noted.
    final class Notes: Sendable {
        private let texts = Mutex<[String]>([])
        func add(_ text: String) { texts.withLock { $0.append(text) } }
        var all: [String] { texts.withLock { $0 } }
    }

    /// Waits for the script's end.
    func notesAtTheEnd() -> [String] {
        thread.join()
        return received.all
    }

    deinit {
        thread.join()
        listener.close()
    }

    private static func accept(_ listener: Descriptor) -> WireEnd? {
        guard let poller = try? Poller(eventCapacity: 1),
            (try? poller.addListener(listener, token: 0)) != nil,
            poller.wait(timeoutMilliseconds: WireEnd.patience) > 0,
            case .accepted(let descriptor, _) = Socket.accept(listener)
        else { return nil }
        return try? WireEnd(descriptor)
    }
}

/// A control loop with a client, run by the test's own thread.
final class ClientHarness {
    let loop: ControlLoop
    let client: ProviderClient
    private(set) var failures: [String] = []

    /// - Parameter names: what the resolver knows, without ports.
    init(
        names: [String: [SocketAddress]] = ["provider.test": [.loopback(port: 0)]],
        limits: ProviderClient.Limits = ProviderClient.Limits()
    ) throws {
        let resolver = try Resolver(lookup: { host in
            names[host].map { .success($0) }
                ?? .failure(ResolveError(kind: .notFound, host: host, detail: "no such name"))
        })
        (loop, client) = try Self.make(resolver, limits)
        client.failureNoted = { [unowned self] request, detail in failures.append("\(request): \(detail)") }
    }

    init(lookup: @escaping Resolver.Lookup) throws {
        (loop, client) = try Self.make(try Resolver(lookup: lookup), ProviderClient.Limits())
    }

    private static func make(
        _ resolver: Resolver, _ limits: ProviderClient.Limits
    ) throws -> (ControlLoop, ProviderClient) {
        let loop = try ControlLoop()
        return (loop, try ProviderClient(loop: loop, resolver: resolver, limits: limits))
    }

    /// Sends and runs the loop until the outcome is there.
    func outcome(
        of request: ProviderRequest, tls: TLSClientConfiguration = trusted, deadline: Int64 = 10_000
    ) throws -> ProviderOutcome {
        var outcomes: [ProviderOutcome] = []
        client.send(request, tls: tls, deadlineMilliseconds: deadline) { [loop] outcome in
            outcomes.append(outcome)
            loop.stop()
        }
        #expect(outcomes.isEmpty, "the completion came before send returned")
        loop.run()
        #expect(outcomes.count == 1)
        #expect(client.callCount == 0)
        return try #require(outcomes.first)
    }

    static let trusted = TLSClientConfiguration(caPEM: Certificates.authority.certificatePEM)
}

enum Certificates {
    /// 2000 to 2100.
    static let validity = Validity(notBefore: 946_684_800, notAfter: 4_102_444_800)
    static let authority = try! CertificateAuthority(commonName: "Provider Authority", validity: validity)
    static let stranger = try! CertificateAuthority(commonName: "Strange Authority", validity: validity)
    static let provider = try! authority.issue(LeafRequest(dnsNames: ["provider.test"], validity: validity))
    static let otherName = try! authority.issue(LeafRequest(dnsNames: ["other.test"], validity: validity))
    static let strange = try! stranger.issue(LeafRequest(dnsNames: ["provider.test"], validity: validity))
}

/// A token request with a body that must never show in a log.
func tokenRequest(_ scheme: String = "http", host: String = "provider.test", port: UInt16) -> ProviderRequest {
    ProviderRequest(
        purpose: .refresh, method: .post, url: ProviderURL("\(scheme)://\(host):\(port)/token?a=b")!,
        headers: [
            HeaderField("Accept", "application/json"), HeaderField("User-Agent", "test/1"),
            HeaderField("Content-Type", "application/x-www-form-urlencoded"),
        ], body: Array("refresh_token=hidden-secret".utf8))
}

/// A socket that never becomes writable: its buffers are full, and nobody reads.
final class StuckConnection {
    private let listener: Descriptor
    private let far: Descriptor
    let near: Descriptor

    /// A unix socket: its room is what the reader has not read, and nothing moves by itself.
    init() throws {
        let path = "/tmp/tg-stuck-\(SystemRandom.uint64())"
        listener = try Socket.listen(on: .unix(path: path))
        defer { Socket.removeSocketFile(at: path) }
        guard case .connected(let near) = Socket.connect(to: .unix(path: path)),
            case .accepted(let far, _) = Socket.accept(listener)
        else { throw Errno.connectionAborted }
        (self.near, self.far) = (near, far)
        let filling = [UInt8](repeating: 0, count: 64 * 1024)
        while case .bytes = filling.withUnsafeBytes({ Socket.write(near, $0) }) {}
    }

    deinit {
        far.close()
        listener.close()
    }
}
