import HTTP
import OAuth
import OpenSSLKit
import Reactor

/// One request to a provider on its way. Loop only.
final class ProviderCall {
    enum Phase {
        /// To `resolving`, `finished`.
        case waiting
        /// To `connecting`, `finished`.
        case resolving
        /// To `handshaking`, `exchanging`, itself with the next address, `finished`.
        case connecting
        /// To `exchanging`, `connecting` with the next address, `finished`.
        case handshaking
        /// To `connecting` with the next address while nothing is sent, `finished`.
        case exchanging
        case finished
    }

    let id: UInt64
    /// Whose bound of calls it counts for.
    let provider: String
    let request: ProviderRequest
    let tls: TLSClientConfiguration
    /// Monotonic milliseconds.
    let deadline: UInt64
    let completion: ProviderClient.Completion
    var phase = Phase.waiting
    var context: TLSClientContext?
    var deadlineTimer: ControlLoop.Token?

    // MARK: Addresses
    private(set) var addresses: ArraySlice<SocketAddress> = []
    /// How the last address failed.
    var lastReason = ProviderFailure.Reason.unreachable
    /// …in words for the operator.
    var lastDetail = "there is no address to connect to"

    // MARK: The connection
    var address: SocketAddress?
    var descriptor: Descriptor?
    var registration: ControlLoop.Token?
    /// Ends the patience with one address where there are others.
    var attemptTimer: ControlLoop.Token?
    var engine: TLSEngine?
    /// Bytes for the socket, encrypted where the connection is.
    var outgoing = ByteBuffer()
    /// Bytes of `outgoing` before the request's first; nil until the request is queued.
    var bytesBeforeRequest: Int?
    /// A byte of the request was handed to the socket: from here on the provider may act on it.
    private(set) var isSent = false
    /// The peer takes no more; what it has said may still be there to read.
    var writeFailure: ProviderFailure.Reason?
    var reader: ProviderReplyReader

    init(
        id: UInt64, provider: String, request: ProviderRequest, tls: TLSClientConfiguration, deadline: UInt64,
        completion: @escaping ProviderClient.Completion
    ) {
        self.id = id
        self.provider = provider
        self.request = request
        self.tls = tls
        self.deadline = deadline
        self.completion = completion
        reader = ProviderReplyReader(answering: request.method)
    }

    func addressesFound(_ found: some Sequence<SocketAddress>, limit: Int) {
        addresses = Array(found.prefix(limit))[...]
    }

    func takeAddress() -> SocketAddress? {
        addresses.popFirst()
    }

    /// What the end of the connection, or of patience, means now.
    func failure(_ reason: ProviderFailure.Reason) -> ProviderFailure {
        isSent ? .replyLost(reason) : .notSent(reason)
    }

    /// The socket has taken the first `count` bytes of `outgoing`.
    func wrote(_ count: Int) {
        outgoing.consume(count)
        guard let before = bytesBeforeRequest else { return }
        if count > before { isSent = true }
        bytesBeforeRequest = max(0, before - count)
    }
}

/// Turns a request into bytes.
enum ProviderRequestWriter {
    /// Fields that the driver itself is answerable for.
    private static let ownFields: Set<String> = [
        "host", "content-length", "connection", "transfer-encoding", "expect", "upgrade", "te", "trailer", "keep-alive",
        "proxy-connection",
    ]

    /// Appends head and body. False, with nothing written, when a field or the target would break the message
    /// (checklist D19).
    static func write(_ request: ProviderRequest, to out: inout ByteBuffer) -> Bool {
        let fields = request.headers.filter { !ownFields.contains($0.name.lowercased()) }
        var target = request.url.target
        guard fields.allSatisfy(isSafe), target.withUTF8({ Octet.isLenientTarget(UnsafeRawBufferPointer($0)) }) else {
            return false
        }
        out.append(request.method.rawValue)
        out.append(" ")
        out.append(target)
        out.append(" HTTP/1.1\r\nHost: ")
        out.append(request.url.hostField)
        out.append("\r\n")
        for field in fields {
            out.append(field.name)
            out.append(": ")
            out.append(field.value)
            out.append("\r\n")
        }
        switch request.method {
        case .post: HTTP1Writer.field("Content-Length", UInt64(request.body.count), to: &out)
        case .get, .delete:
            if !request.body.isEmpty { HTTP1Writer.field("Content-Length", UInt64(request.body.count), to: &out) }
        }
        out.append("Connection: close\r\n\r\n")
        out.append(request.body)
        return true
    }

    private static func isSafe(_ field: HeaderField) -> Bool {
        var (name, value) = (field.name, field.value)
        return name.withUTF8 { Octet.isToken(UnsafeRawBufferPointer($0)) }
            && value.withUTF8 { Octet.isFieldValue(UnsafeRawBufferPointer($0)) }
    }
}

extension ProviderFailure.Reason {
    init(_ error: Errno) {
        self =
            switch error {
            case .connectionRefused: .refused
            case .timedOut: .timeout
            case .connectionReset, .connectionAborted, .brokenPipe: .reset
            default: .unreachable
            }
    }
}
