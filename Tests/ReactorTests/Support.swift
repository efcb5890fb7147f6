import Foundation
import Reactor
import Testing

/// Some build machines have no IPv6 at all.
let hasIPv6: Bool = {
    guard let descriptor = try? Socket.listen(on: .ipv6(high: 0, low: 1, port: 0, scope: 0)) else { return false }
    descriptor.close()
    return true
}()

/// A directory that lives as long as the value.
final class TemporaryDirectory {
    let path: String

    init() throws {
        let url = FileManager.default.temporaryDirectory.appendingPathComponent("tg-\(UUID().uuidString.prefix(8))")
        try FileManager.default.createDirectory(at: url, withIntermediateDirectories: true)
        path = url.path
    }

    deinit {
        try? FileManager.default.removeItem(atPath: path)
    }

    func write(_ text: String, to name: String, mode: Int = 0o600) throws -> String {
        let file = path + "/" + name
        try Data(text.utf8).write(to: URL(fileURLWithPath: file))
        try FileManager.default.setAttributes([.posixPermissions: mode], ofItemAtPath: file)
        return file
    }

    var entries: [String] { (try? FileManager.default.contentsOfDirectory(atPath: path)) ?? [] }
}

/// Two connected sockets and the listener between them. Closes what it opened.
final class Connection {
    let listener: Descriptor
    let near: Descriptor
    let far: Descriptor
    let nearAddress: SocketAddress
    private var closed: Set<Descriptor> = []

    init(over address: SocketAddress = .loopback(port: 0)) throws {
        listener = try Socket.listen(on: address)
        let bound = try #require(Socket.localAddress(of: listener))
        near = try connected(to: bound)
        (far, nearAddress) = try accepted(listener)
    }

    func close(_ descriptor: Descriptor) {
        descriptor.close()
        closed.insert(descriptor)
    }

    deinit {
        for descriptor in [listener, near, far] where !closed.contains(descriptor) { descriptor.close() }
    }
}

func connected(to address: SocketAddress) throws -> Descriptor {
    switch Socket.connect(to: address) {
    case .connected(let descriptor):
        return descriptor
    case .inProgress(let descriptor):
        _ = try waitFor([.writable], on: descriptor)
        #expect(Socket.pendingError(of: descriptor) == nil)
        return descriptor
    case .failed(let error):
        throw error
    }
}

func accepted(_ listener: Descriptor) throws -> (Descriptor, SocketAddress) {
    let poller = try Poller(eventCapacity: 1)
    try poller.addListener(listener, token: 0)
    try #require(poller.wait(timeoutMilliseconds: 10_000) == 1, "nobody connected")
    guard case .accepted(let descriptor, let peer) = Socket.accept(listener) else {
        throw Errno.connectionAborted
    }
    return (descriptor, peer)
}

/// Waits until all of the readiness has been seen; returns everything that was.
@discardableResult
func waitFor(_ wanted: Readiness, on descriptor: Descriptor) throws -> Readiness {
    let poller = try Poller(eventCapacity: 1)
    try poller.add(descriptor, token: 1)
    return try waitFor(wanted, in: poller)
}

@discardableResult
func waitFor(_ wanted: Readiness, in poller: Poller) throws -> Readiness {
    var seen: Readiness = []
    while !seen.isSuperset(of: wanted) {
        try #require(poller.wait(timeoutMilliseconds: 10_000) > 0, "waited for \(wanted), saw \(seen)")
        seen.formUnion(poller.event(at: 0).readiness)
    }
    return seen
}

func send(_ text: String, to descriptor: Descriptor) -> IOResult {
    var text = text
    return text.withUTF8 { Socket.write(descriptor, UnsafeRawBufferPointer($0)) }
}

func receive(_ count: Int, from descriptor: Descriptor) -> (IOResult, String) {
    var buffer = [UInt8](repeating: 0, count: count)
    let result = buffer.withUnsafeMutableBytes { Socket.read(descriptor, into: $0) }
    guard case .bytes(let received) = result else { return (result, "") }
    return (result, String(decoding: buffer[..<received], as: UTF8.self))
}

/// A clock that tests turn by hand.
final class ManualClock: Sendable {
    private let now = Guarded<UInt64>(1_000_000)

    func milliseconds() -> UInt64 { now.value }
    func advance(by milliseconds: UInt64) { now.update { $0 += milliseconds } }
}
