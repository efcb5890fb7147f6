import Foundation
import Testing

@testable import Reactor

@Suite struct ProcessTests {
    @Test func `a thread runs to its end, has its name and takes no signals`() throws {
        let seen = Guarded<(name: String, blocked: Bool, faults: Bool)>(("", false, true))
        let thread = try WorkerThread.start(name: "a name that is too long") {
            let name = (try? Files.read(path: "/proc/thread-self/comm", limit: 32)) ?? []
            var mask = sigset_t()
            pthread_sigmask(SIG_BLOCK, nil, &mask)
            let blocked = [SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGPIPE, SIGCHLD].allSatisfy {
                sigismember(&mask, $0) == 1
            }
            seen.update { $0 = (String(decoding: name, as: UTF8.self), blocked, sigismember(&mask, SIGSEGV) == 1) }
        }
        thread.join()
        thread.join()
        #expect(seen.value.name == "a name that is \n")
        #expect(seen.value.blocked)
        #expect(!seen.value.faults, "a fault must still end the process")
    }

    @Test func `starting a thread leaves the starter's signals alone`() throws {
        func blocksTermination() -> Bool {
            var mask = sigset_t()
            pthread_sigmask(SIG_BLOCK, nil, &mask)
            return sigismember(&mask, SIGTERM) == 1
        }
        let before = blocksTermination()
        try WorkerThread.start(name: "x") {}.join()
        #expect(blocksTermination() == before)
    }

    @Test func `a signal becomes an event`() throws {
        // In a thread of its own: the signals stay blocked in it, and raise() sends to the calling thread only.
        let result = Guarded<[Int32?]>([])
        try WorkerThread.start(name: "signals") {
            guard let receiver = try? SignalReceiver(signals: [SignalReceiver.hangUp, SignalReceiver.user1]),
                let poller = try? Poller(), (try? poller.addListener(receiver.descriptor, token: 1)) != nil
            else { return }
            let quiet = receiver.next()
            raise(SIGHUP)
            raise(SIGHUP)
            let told = Int32(poller.wait(timeoutMilliseconds: 1000))
            let first = receiver.next()
            let second = receiver.next()
            raise(SIGUSR1)
            result.update { $0 = [quiet, told, first, second, receiver.next()] }
        }.join()
        #expect(result.value == [nil, 1, SIGHUP, nil, SIGUSR1])
    }

    @Test func `a signal that does not exist is refused`() {
        #expect(throws: Errno.invalidArgument) { try SignalReceiver(signals: [9_999]) }
    }

    @Test func `no core is dumped`() throws {
        let symbol = try #require(dlsym(nil, "prctl"))
        let control = unsafeBitCast(symbol, to: (@convention(c) (Int32, UInt) -> Int32).self)
        let (getDumpable, setDumpable) = (Int32(3), Int32(4))
        ProcessHardening.forbidCoreDumps()
        #expect(control(getDumpable, 0) == 0)
        // A leak checker looks into this process at its end.
        #expect(control(setDumpable, 1) == 0)
        let limits = String(decoding: try Files.read(path: "/proc/self/limits", limit: 100_000), as: UTF8.self)
        let core = limits.split(separator: "\n").first { $0.hasPrefix("Max core file size") }
        #expect(core?.split(separator: " ").dropFirst(4).prefix(2) == ["0", "0"])
    }

    @Test func `the limit of descriptors is raised to what the system allows`() {
        let limit = ProcessHardening.raiseDescriptorLimit()
        #expect(limit >= 64)
        #expect(ProcessHardening.raiseDescriptorLimit() == limit)
    }

    @Test func `clocks agree with the system's`() {
        let before = MonotonicClock.nanoseconds()
        #expect(MonotonicClock.milliseconds() >= before / 1_000_000)
        #expect(MonotonicClock.nanoseconds() >= before)
        #expect(abs(WallClock.seconds() - Int64(Date().timeIntervalSince1970)) <= 1)
        #expect(abs(WallClock.milliseconds() - Int64(Date().timeIntervalSince1970 * 1000)) < 10_000)
    }

    @Test func `random bytes fill all of a buffer and differ`() {
        let bytes = SystemRandom.bytes(100_000)
        #expect(bytes.count == 100_000)
        #expect(Set(bytes).count == 256)
        #expect(bytes.suffix(64).contains { $0 != 0 })
        #expect(SystemRandom.bytes(32) != SystemRandom.bytes(32))
        #expect(SystemRandom.uint64() != SystemRandom.uint64())
        #expect(SystemRandom.bytes(0).isEmpty)
    }
}

@Suite struct ServiceManagerTests {
    /// A datagram socket as systemd has one.
    private func receiver(path: String, abstract: Bool) -> Int32 {
        let descriptor = socket(AF_UNIX, Int32(SOCK_DGRAM.rawValue), 0)
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        let bytes = Array(path.utf8)
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: bytes) }
        if abstract { address.sun_path.0 = 0 }
        let length = socklen_t(2 + bytes.count + (abstract ? 0 : 1))
        let result = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { bind(descriptor, $0, length) }
        }
        #expect(result == 0)
        return descriptor
    }

    private func message(_ descriptor: Int32) -> String {
        var buffer = [UInt8](repeating: 0, count: 512)
        let count = recv(descriptor, &buffer, buffer.count, Int32(MSG_DONTWAIT))
        return String(decoding: buffer.prefix(max(0, count)), as: UTF8.self)
    }

    @Test(arguments: [false, true])
    func `a state reaches the service manager`(abstract: Bool) throws {
        let directory = try TemporaryDirectory()
        let path = abstract ? "@token-gateway-test-\(directory.path)" : directory.path + "/notify"
        let descriptor = receiver(path: path, abstract: abstract)
        defer { close(descriptor) }
        #expect(ServiceManager.send("READY=1", to: path, now: 0) == nil)
        #expect(message(descriptor) == "READY=1")
        #expect(ServiceManager.send("RELOADING=1\nSTATUS=x", to: path, now: 7_000_999) == nil)
        #expect(message(descriptor) == "RELOADING=1\nSTATUS=x\nMONOTONIC_USEC=7000")
    }

    @Test(arguments: [
        ("", Errno.invalidArgument), ("relative", .invalidArgument), ("/nonexistent/notify", .noSuchFile),
        ("/" + String(repeating: "x", count: 107), .invalidArgument),
    ])
    func `a manager that is not there harms nothing`(path: String, error: Errno) {
        #expect(ServiceManager.send("READY=1", to: path, now: 0) == error)
    }
}
