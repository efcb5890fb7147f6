import Foundation
import HTTP
import OpenSSLKit
import Reactor
import Testing
import TokenStore

@testable import OAuth

/// The release build with the counter inside, between callers and an upstream of the test's own.
final class CountedGateway {
    /// What one thread has done so far.
    struct Counts: CustomStringConvertible {
        var allocations = 0
        var receives = 0
        var sends = 0
        var waits = 0
        var registrations = 0
        var others = 0

        var description: String {
            "allocations \(allocations), receives \(receives), sends \(sends), waits \(waits), "
                + "registrations \(registrations), others \(others)"
        }

        static func - (one: Counts, other: Counts) -> Counts {
            Counts(
                allocations: one.allocations - other.allocations, receives: one.receives - other.receives,
                sends: one.sends - other.sends, waits: one.waits - other.waits,
                registrations: one.registrations - other.registrations, others: one.others - other.others)
        }
    }

    let pairing: Pairing
    private let process = Process()
    private let folder: String
    private let upstream: ScriptedUpstream
    private let port: UInt16
    private let certificate: IssuedCertificate
    private var callers: [CountedPeer] = []
    private var servers: [CountedPeer] = []

    /// `struct slot` of counting.c, in words: the thread, its allocations, five kinds of calls, traces.
    private static let slotWords = 8
    private static let slots = 64

    /// Set: allocations that a test forbids print where they come from (addresses for `addr2line`).
    private static let traces = ProcessInfo.processInfo.environment["ALLOCATION_TRACES"].flatMap { Int($0) } ?? 0
    private static let root = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent().path(percentEncoded: false)
    /// The release build: `script/test` makes it and names it here.
    private static let program =
        ProcessInfo.processInfo.environment["TOKEN_GATEWAY_BINARY"] ?? "\(root)/.build/release/token-gateway"

    init(_ pairing: Pairing) throws {
        try #require(
            FileManager.default.isExecutableFile(atPath: Self.program),
            "there is no release build at \(Self.program): run script/test")
        self.pairing = pairing
        folder = NSTemporaryDirectory() + "tg-allocations-\(SystemRandom.uint64())"
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        upstream = try ScriptedUpstream()
        certificate = try PlaneCertificates.authority.issue(
            LeafRequest(dnsNames: ["localhost"], validity: Certificates.validity))
        port = try Self.freePort()
        try writeFiles()
        try compileCounter()
        process.executableURL = URL(filePath: Self.program)
        process.arguments = ["run", "--config", folder + "/gateway.conf"]
        process.environment = ["LD_PRELOAD": folder + "/counting.so", "ALLOCATION_COUNT_FILE": folder + "/counts"]
        if Self.traces == 0 { process.standardError = FileHandle(forWritingAtPath: "/dev/null") }
        try process.run()
    }

    private static func freePort() throws -> UInt16 {
        let probe = try Socket.listen(on: .loopback(port: 0))
        defer { probe.close() }
        return try #require(Socket.localAddress(of: probe)?.port)
    }

    private func writeFiles() throws {
        let host =
            switch (pairing.grant, pairing.isTLS) {
            case (.captured, _): "{zone}"
            case (_, true): "localhost"
            case (_, false): "127.0.0.1"
            }
        let text = """
            workers = 1
            [listener.internal]
            address = "127.0.0.1:\(port)"
            [upstream.api]
            url = "\(pairing.isTLS ? "https" : "http")://\(host):\(upstream.port)"
            \(pairing.isTLS ? "ca_file = \"\(folder)/ca.pem\"" : "allow_plaintext = true")
            \(pairing.grant == .captured ? "allowed_hosts = [\"localhost\"]" : "")
            [route.all]
            path = "/*"
            upstream = "api"
            \(pairing.grant == .fixed ? "grant = \"fixed\"" : "grant_template = \"t\"\ngrant_from = \"header:X-Tenant\"")
            \(try pairing.grant == .fixed ? "[grant.fixed]\ntoken_file = \"\(folder)/token\"" : template())
            """
        if pairing.grant != .fixed { try fillStore() }
        try write(text, "gateway.conf")
        try write("token-of-the-test", "token")
        try write(PlaneCertificates.authority.certificatePEM, "ca.pem")
        try write(String(repeating: "\0", count: Self.slots * Self.slotWords * 8), "counts")
    }

    /// The provider is never asked: the grants' tokens are good for days.
    private func template() throws -> String {
        """
        [console]
        address = "127.0.0.1:\(try Self.freePort())"
        public_url = "http://127.0.0.1:9"
        [store]
        path = "\(folder)/store/grants.db"
        key_file = "\(folder)/key"
        [provider.p]
        client_id = "client"
        client_auth = "none"
        authorize_url = "http://127.0.0.1:9/authorize"
        token_url = "http://127.0.0.1:9/token"
        allow_plaintext = true
        response_capture = { zone = "zone" }
        [grant_template.t]
        provider = "p"
        """
    }

    /// Connected grants, as consents would have left them.
    private func fillStore() throws {
        let key = (0..<32).map { UInt8($0 * 7) }
        try #require(
            FileManager.default.createFile(
                atPath: folder + "/key", contents: Data(key), attributes: [.posixPermissions: 0o600]))
        let store = try SQLiteStore(
            path: folder + "/store/grants.db", keys: KeyRing(active: try StoreKey(content: key, source: "key")))
        defer { store.close() }
        let now = Int64(Date().timeIntervalSince1970 * 1000)
        var record = GrantRecord()
        record.state = .active
        record.generation = 1
        record.template = "t"
        record.provider = "p"
        record.captured = ["zone": "localhost"]
        record.tokens = GrantRecord.Tokens(
            accessToken: Secret("token-of-the-test"), refreshToken: Secret("refresh"), obtainedAt: now,
            expiresAt: now + 86_400_000, refreshTokenExpiresAt: nil, scopes: [])
        for tenant in 0..<Pairing.tenants {
            _ = try store.commit(
                grant: "t:tenant-\(tenant)", payload: record.encoded(), ifGeneration: 0, dueAt: now + 86_000_000)
        }
    }

    private func write(_ text: String, _ name: String) throws {
        let done = FileManager.default.createFile(
            atPath: "\(folder)/\(name)", contents: Data(text.utf8), attributes: [.posixPermissions: 0o600])
        try #require(done)
    }

    private func compileCounter() throws {
        let compiler = Process()
        compiler.executableURL = URL(filePath: "/usr/bin/env")
        compiler.arguments = [
            "clang", "-shared", "-fPIC", "-O1", "-o", folder + "/counting.so",
            Self.root + "/Tests/CAllocationCounter/preload/counting.c",
        ]
        try compiler.run()
        compiler.waitUntilExit()
        try #require(compiler.terminationStatus == 0, "the counter could not be compiled")
    }

    func stop() {
        process.terminate()
        process.waitUntilExit()
        try? FileManager.default.removeItem(atPath: folder)
    }

    // MARK: Requests

    /// Connects all callers, once the gateway listens.
    func connect() throws {
        let deadline = MonotonicClock.milliseconds() + 20_000
        while callers.count < pairing.connections {
            if let end = try? WireEnd(connectingTo: .loopback(port: port)) {
                callers.append(try CountedPeer(end, pairing.callers, .client))
                continue
            }
            try #require(MonotonicClock.milliseconds() < deadline && process.isRunning, "the gateway does not listen")
            _ = pause(5)
        }
    }

    /// One request on each stream of each caller, all at once, answered all at once.
    func batch() throws {
        try whileStopped { try ask() }
        try answerBatch()
    }

    private func ask() throws {
        for (index, caller) in callers.enumerated() {
            try caller.ask(
                pairing.streams, tenant: pairing.grant == .fixed ? nil : "tenant-\(index % Pairing.tenants)")
        }
    }

    private func answerBatch() throws {
        // The first time the gateway connects now.
        while servers.count < pairing.upstreamConnections { servers.append(try acceptServer()) }
        let each = pairing.requests / pairing.upstreamConnections
        for server in servers { try server.awaitMessages(each) }
        try whileStopped { try servers.forEach { try $0.answer() } }
        for caller in callers { try caller.awaitMessages(pairing.streams) }
        callers.forEach { $0.releaseAll() }
    }

    /// A batch whose callers have connections of their own, which come all at once and which they close.
    func renewedBatch() throws {
        callers.forEach { $0.close() }
        callers.removeAll()
        try whileStopped {
            try connect()
            try ask()
        }
        try answerBatch()
    }

    private func acceptServer() throws -> CountedPeer {
        let end = try upstream.accept()
        if pairing.isTLS {
            try #require(end.acceptTLS(certificate, alpn: [pairing.upstream == .http1 ? "http/1.1" : "h2"]))
        }
        return try CountedPeer(end, pairing.upstream, .server)
    }

    /// Runs `body` while no thread of the gateway does.
    private func whileStopped(_ body: () throws -> Void) throws {
        kill(process.processIdentifier, SIGSTOP)
        var information = siginfo_t()
        try #require(waitid(P_PID, id_t(process.processIdentifier), &information, WSTOPPED) == 0)
        defer { kill(process.processIdentifier, SIGCONT) }
        try body()
    }

    // MARK: Counts

    /// What the only worker's thread has done so far.
    func workerCounts() throws -> Counts {
        let words = try words()
        let at = try workerSlot(words)
        return Counts(
            allocations: words[at + 1], receives: words[at + 2], sends: words[at + 3], waits: words[at + 4],
            registrations: words[at + 5], others: words[at + 6])
    }

    /// From now on allocations print where they come from, if that is wished.
    func traceAllocations() throws {
        guard Self.traces > 0 else { return }
        let at = try workerSlot(try words())
        let file = try FileHandle(forWritingTo: URL(filePath: folder + "/counts"))
        try file.seek(toOffset: UInt64((at + 7) * 8))
        try file.write(contentsOf: withUnsafeBytes(of: Self.traces) { Data($0) })
        try file.close()
    }

    private func words() throws -> [Int] {
        let table = try Data(contentsOf: URL(filePath: folder + "/counts"))
        return table.withUnsafeBytes { bytes in
            (0..<(bytes.count / 8)).map { bytes.loadUnaligned(fromByteOffset: $0 * 8, as: Int.self) }
        }
    }

    private func workerSlot(_ words: [Int]) throws -> Int {
        for at in stride(from: 0, to: Self.slots * Self.slotWords, by: Self.slotWords) where words[at] != 0 {
            let path = "/proc/\(process.processIdentifier)/task/\(words[at])/comm"
            guard let name = try? String(contentsOfFile: path, encoding: .utf8) else { continue }
            if name.hasPrefix("worker-0") { return at }
        }
        throw Errno.noSuchFile
    }
}
