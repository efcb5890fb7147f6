import Foundation
import OpenSSLKit
import Reactor
import Testing

@testable import Gateway

/// The release build's budget of heap allocations, counted by a library that is preloaded into the real program.
@Suite(.serialized) struct AllocationTests {
    /// The release build: `script/test` makes it and names it here.
    static var program: String {
        ProcessInfo.processInfo.environment["TOKEN_GATEWAY_BINARY"] ?? "\(root)/.build/release/token-gateway"
    }
    static let root = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent().path(percentEncoded: false)

    @Test(arguments: [true, false])
    func `a proxied keep-alive request allocates nothing on the worker's thread`(isTLS: Bool) throws {
        try #require(
            FileManager.default.isExecutableFile(atPath: Self.program),
            "there is no release build at \(Self.program): run script/test")
        let counted = try CountedGateway(program: Self.program, isTLS: isTLS)
        defer { counted.stop() }
        let caller = try counted.connect()
        for _ in 0..<200 { try counted.exchange(caller) }
        let before = try counted.workerAllocations()
        try #require(before > 0, "the counter does not count")
        for _ in 0..<500 { try counted.exchange(caller) }
        #expect(try counted.workerAllocations() - before == 0)
    }
}

/// The program with the counter inside, in front of an upstream of the test's own.
private final class CountedGateway {
    private let process = Process()
    private let folder: String
    private let upstream: ScriptedUpstream
    private let port: UInt16

    init(program: String, isTLS: Bool) throws {
        folder = NSTemporaryDirectory() + "tg-allocations-\(SystemRandom.uint64())"
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        upstream = try ScriptedUpstream()
        let probe = try Socket.listen(on: .loopback(port: 0))
        port = try #require(Socket.localAddress(of: probe)?.port)
        probe.close()
        try writeFiles(isTLS: isTLS)
        try compileCounter()
        answer(isTLS: isTLS)
        process.executableURL = URL(filePath: program)
        process.arguments = ["run", "--config", folder + "/gateway.conf"]
        process.environment = ["LD_PRELOAD": folder + "/counting.so", "ALLOCATION_COUNT_FILE": folder + "/counts"]
        process.standardError = FileHandle(forWritingAtPath: "/dev/null")
        try process.run()
    }

    private func writeFiles(isTLS: Bool) throws {
        let text = """
            workers = 1
            [listener.internal]
            address = "127.0.0.1:\(port)"
            [grant.fixed]
            token_file = "\(folder)/token"
            [upstream.api]
            url = "\(isTLS ? "https://localhost" : "http://127.0.0.1"):\(upstream.port)"
            \(isTLS ? "ca_file = \"\(folder)/ca.pem\"" : "allow_plaintext = true")
            [route.all]
            path = "/*"
            upstream = "api"
            grant = "fixed"
            """
        try write(text, "gateway.conf")
        try write("token-of-the-test", "token")
        try write(PlaneCertificates.authority.certificatePEM, "ca.pem")
        try write(String(repeating: "\0", count: 64 * 16), "counts")
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
            AllocationTests.root + "/Tests/CAllocationCounter/preload/counting.c",
        ]
        try compiler.run()
        compiler.waitUntilExit()
        try #require(compiler.terminationStatus == 0, "the counter could not be compiled")
    }

    /// Answers every request of one connection, on a thread that ends with the connection.
    private func answer(isTLS: Bool) {
        let upstream = upstream
        Thread.detachNewThread {
            let certificate = try? PlaneCertificates.authority.issue(
                LeafRequest(dnsNames: ["localhost"], validity: Certificates.validity))
            guard let certificate, let end = try? isTLS ? upstream.acceptTLS(certificate) : upstream.accept() else {
                return
            }
            while !end.read(until: "\r\n\r\n").isEmpty {
                end.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            }
        }
    }

    /// Waits until the gateway listens.
    func connect() throws -> WireEnd {
        let deadline = MonotonicClock.milliseconds() + 20_000
        while true {
            if let end = try? WireEnd(connectingTo: .loopback(port: port)) { return end }
            try #require(MonotonicClock.milliseconds() < deadline && process.isRunning, "the gateway does not listen")
            _ = pause(5)
        }
    }

    func exchange(_ caller: WireEnd) throws {
        caller.write("GET /a HTTP/1.1\r\nHost: a\r\nUser-Agent: test\r\nAccept: */*\r\n\r\n")
        let response = caller.readMessage()
        try #require(response.status == 200, "\(response)")
    }

    /// What the only worker's thread has allocated so far.
    func workerAllocations() throws -> Int {
        let table = try Data(contentsOf: URL(filePath: folder + "/counts"))
        for slot in 0..<64 {
            let entry = table.dropFirst(slot * 16).prefix(16)
            let numbers = entry.withUnsafeBytes {
                ($0.loadUnaligned(as: Int.self), $0.loadUnaligned(fromByteOffset: 8, as: Int.self))
            }
            let path = "/proc/\(process.processIdentifier)/task/\(numbers.0)/comm"
            guard numbers.0 != 0, let name = try? String(contentsOfFile: path, encoding: .utf8) else { continue }
            if name.hasPrefix("worker-0") { return numbers.1 }
        }
        throw Errno.noSuchFile
    }

    func stop() {
        process.terminate()
        process.waitUntilExit()
        try? FileManager.default.removeItem(atPath: folder)
    }
}
