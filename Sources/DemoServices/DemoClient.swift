import Glibc
import OpenSSLKit
import Reactor

/// An absolute http or https URL with a host that is an IP address or "localhost".
struct DemoURL {
    let isTLS: Bool
    let host: String
    let port: UInt16
    /// Path and query.
    let target: String

    init?(_ text: String) {
        guard let scheme = ["http://", "https://"].first(where: { text.hasPrefix($0) }) else { return nil }
        isTLS = scheme == "https://"
        let rest = text.dropFirst(scheme.count)
        let end = rest.firstIndex { "/?#".contains($0) } ?? rest.endIndex
        let authority = rest[..<end]
        let path = rest[end...].prefix { $0 != "#" }
        target = path.hasPrefix("/") ? String(path) : "/" + path
        let colon = authority.lastIndex(of: ":").flatMap { authority[$0...].contains("]") ? nil : $0 }
        host = String(authority[..<(colon ?? authority.endIndex)])
        guard !host.isEmpty, !host.contains("@") else { return nil }
        let digits = colon.map { String(authority[authority.index(after: $0)...]) }
        guard let number = digits.map({ UInt16($0) }) ?? (isTLS ? 443 : 80) else { return nil }
        port = number
    }

    var address: SocketAddress? {
        host == "localhost" ? .loopback(port: port) : SocketAddress(numericHost: host, port: port)
    }
}

/// Why a request of `DemoClient` got no answer, or a consent did not come to its end.
package struct DemoClientError: Error, Sendable, CustomStringConvertible {
    package let description: String
}

/// An answer that `DemoClient` got.
package struct DemoReply: Sendable {
    package let status: Int
    /// Names in lower case.
    package let fields: [(name: String, value: String)]
    package let body: [UInt8]

    package var text: String { String(decoding: body, as: UTF8.self) }

    /// The first field of this name (lower case).
    package func field(_ name: String) -> String? { fields.first { $0.name == name }?.value }
}

/// A blocking HTTP/1.1 client for addresses on this machine: one request, one connection, no redirects followed.
package struct DemoClient: Sendable {
    private static let bodyLimit = 1 << 30
    /// What is trusted for https.
    package let caPEM: String
    package var timeoutMilliseconds: Int32 = 30_000

    package init(caPEM: String) { self.caPEM = caPEM }

    /// Sends one request and returns its answer whatever the status. `isChunked` sends the body in chunks.
    package func request(
        _ method: String, _ url: String, fields: [(String, String)] = [], body: [UInt8]? = nil, isChunked: Bool = false
    ) throws(DemoClientError) -> DemoReply {
        guard let parsed = DemoURL(url) else { throw DemoClientError(description: "not an http(s) URL: \(url)") }
        do throws(WireError) {
            let wire = try connect(parsed)
            defer { wire.close() }
            try wire.write(Self.head(method, parsed, fields, body, isChunked: isChunked))
            if let body { try wire.write(isChunked ? Self.chunks(body) : body) }
            return try Self.reply(MessageReader(wire), method)
        } catch {
            throw DemoClientError(description: "\(method) \(parsed.host):\(parsed.port): \(error)")
        }
    }

    private func connect(_ url: DemoURL) throws(WireError) -> Wire {
        guard let address = url.address else { throw .malformed("the host is not an address") }
        let socket: Descriptor
        switch Socket.connect(to: address) {
        case .connected(let descriptor), .inProgress(let descriptor): socket = descriptor
        case .failed(let error): throw .system(error)
        }
        let wire = Wire(
            socket: socket, engine: try engine(url), stop: nil, patienceMilliseconds: timeoutMilliseconds)
        try wire.wait(for: Int16(POLLOUT), milliseconds: timeoutMilliseconds)
        if let error = Socket.pendingError(of: socket) { throw .system(error) }
        try wire.handshake()
        return wire
    }

    private func engine(_ url: DemoURL) throws(WireError) -> TLSEngine? {
        guard url.isTLS else { return nil }
        do throws(TLSConfigurationError) {
            return TLSEngine(
                client: try TLSClientContext(TLSClientConfiguration(caPEM: caPEM, alpn: ["http/1.1"])), host: url.host)
        } catch {
            throw .malformed(error.reason)
        }
    }

    private static func head(
        _ method: String, _ url: DemoURL, _ fields: [(String, String)], _ body: [UInt8]?, isChunked: Bool
    ) -> [UInt8] {
        var text = "\(method) \(url.target) HTTP/1.1\r\nHost: \(url.host):\(url.port)\r\nConnection: close\r\n"
        for (name, value) in fields { text += "\(name): \(value)\r\n" }
        if let body { text += isChunked ? "Transfer-Encoding: chunked\r\n" : "Content-Length: \(body.count)\r\n" }
        return Array((text + "\r\n").utf8)
    }

    private static func chunks(_ body: [UInt8]) -> [UInt8] {
        var text: [UInt8] = []
        for start in stride(from: 0, to: body.count, by: 8000) {
            let piece = body[start..<min(body.count, start + 8000)]
            text += Array((String(piece.count, radix: 16) + "\r\n").utf8) + piece + Array("\r\n".utf8)
        }
        return text + Array("0\r\n\r\n".utf8)
    }

    private static func reply(_ reader: MessageReader, _ method: String) throws(WireError) -> DemoReply {
        while true {
            guard let head = try reader.head() else { throw .ended }
            guard head.startLine.count >= 2, head.startLine[0].hasPrefix("HTTP/1."), let status = Int(head.startLine[1])
            else { throw .malformed("the answer is not HTTP/1") }
            guard status >= 200 else { continue }
            let framing: Framing =
                if method == "HEAD" || status == 204 || status == 304 {
                    .none
                } else if head.tokens("transfer-encoding") == ["chunked"] {
                    .chunked
                } else if let length = head.values("content-length").first.flatMap({ Int($0) }), length >= 0 {
                    .length(length)
                } else {
                    .untilEnd
                }
            let body = try reader.body(framing, limit: bodyLimit)
            return DemoReply(status: status, fields: head.fields, body: body)
        }
    }
}
