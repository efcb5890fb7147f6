@safe package final class HTTP2Session {
    package enum Role { case server, client }
    package init?(role: Role, settings: HTTP2Settings) { return nil }
    package static let preface: StaticString = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    package func step(_ input: UnsafeRawBufferPointer) -> HTTP2Step { HTTP2Step(consumed: 0, event: .none) }
    package var failure: HTTP2Failure? { nil }
    package func takeReset() -> HTTP2Event? { nil }
    package var hasOutput: Bool { false }
    package func collect(into output: inout ByteBuffer, limit: Int) {}
    package func takeRoomy() -> HTTP2Stream? { nil }
    package var canRequest: Bool { false }
    package var maxPeerStreams: Int { 0 }
    package var peerAllowsConnectProtocol: Bool { false }
    package var openStreams: Int { 0 }
    package func request(method: Method, ends: Bool, into output: inout ByteBuffer,
                         _ write: (inout HPACKEncoder, inout ByteBuffer) -> Void) -> HTTP2Stream? { nil }
    package func informational(_ stream: HTTP2Stream, into output: inout ByteBuffer, _ write: (inout HPACKEncoder, inout ByteBuffer) -> Void) {}
    package func respond(_ stream: HTTP2Stream, ends: Bool, into output: inout ByteBuffer, _ write: (inout HPACKEncoder, inout ByteBuffer) -> Void) {}
    package func send(_ content: UnsafeRawBufferPointer, on stream: HTTP2Stream) {}
    package func sendDirectly(_ content: UnsafeRawBufferPointer, on stream: HTTP2Stream, into output: inout ByteBuffer) {}
    package func finish(_ stream: HTTP2Stream) {}
    package func finish(_ stream: HTTP2Stream, trailers: borrowing MessageHead) {}
    package func reset(_ stream: HTTP2Stream, code: UInt32) {}
    package func consume(_ count: Int, on stream: HTTP2Stream) {}
    package func release(_ stream: HTTP2Stream) {}
    package func ping() {}
    package func announceEnd() {}
    package func end(code: UInt32) {}
    package var isFinished: Bool { false }
}
