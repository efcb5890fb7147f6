import Foundation
import Glibc

/// A TCP connection on which a test writes and reads bytes as they are. Calls block, at most `patience` seconds each.
final class RawSocket: Sendable {
    private let descriptor: Int32

    /// A small `receiveBuffer` makes the peer wait for us; it has to be set before connecting.
    init(port: UInt16, patience: Int = 20, receiveBuffer: Int32? = nil) throws {
        descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | O_CLOEXEC, 0)
        if var size = receiveBuffer {
            setsockopt(descriptor, SOL_SOCKET, SO_RCVBUF, &size, socklen_t(MemoryLayout<Int32>.size))
        }
        guard withLoopback(port, { connect(descriptor, $0, $1) }) == 0 else {
            close(descriptor)
            throw HarnessError("cannot connect to port \(port): \(String(cString: strerror(errno)))")
        }
        var limit = timeval(tv_sec: patience, tv_usec: 0)
        for option in [SO_RCVTIMEO, SO_SNDTIMEO] {
            setsockopt(descriptor, SOL_SOCKET, option, &limit, socklen_t(MemoryLayout<timeval>.size))
        }
    }

    deinit { close(descriptor) }

    static func accepts(_ port: UInt16) -> Bool { (try? RawSocket(port: port)) != nil }

    func send(_ text: String) throws { try send(Data(text.utf8)) }

    func send(_ data: Data) throws {
        var rest = data
        while !rest.isEmpty {
            let sent = rest.withUnsafeBytes { Glibc.send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL)) }
            guard sent > 0 else { throw HarnessError("send: \(String(cString: strerror(errno)))") }
            rest = rest.dropFirst(sent)
        }
    }

    /// No more is sent; the peer may still answer.
    func finishSending() { shutdown(descriptor, Int32(SHUT_WR)) }

    /// What has come by the time that `enough` says so or the peer closes.
    func receive(until enough: (Data) -> Bool = { _ in false }) throws -> Data {
        var received = Data()
        var buffer = [UInt8](repeating: 0, count: 65536)
        while !enough(received) {
            let count = recv(descriptor, &buffer, buffer.count, 0)
            guard count >= 0 else { throw HarnessError("receive: \(String(cString: strerror(errno)))") }
            if count == 0 { break }
            received.append(contentsOf: buffer[..<count])
        }
        return received
    }
}
