package import HTTP
extension RequestTransform {
    package static func writeHTTP2(
        _ head: borrowing MessageHead, rule: borrowing RouteRule, upstream: borrowing UpstreamIdentity,
        caller: borrowing CallerIdentity, credential: Credential?, upgrade: Bool, expectContinue: Bool,
        encoder: inout HPACKEncoder, to out: inout ByteBuffer) {}
    package static func writeHTTP1(
        _ head: borrowing MessageHead, rule: borrowing RouteRule, upstream: borrowing UpstreamIdentity,
        caller: borrowing CallerIdentity, credential: Credential?, upgrade: Bool, expectContinue: Bool, webSocketKey: [UInt8]?,
        to out: inout ByteBuffer) { writeHTTP1(head, rule: rule, upstream: upstream, caller: caller, credential: credential, upgrade: upgrade, expectContinue: expectContinue, to: &out) }
}
extension CallerIdentity { package init(address: [UInt8], isIPv6: Bool, isTLS: Bool) { self.init(address: address, isIPv6: isIPv6) } }
extension ExchangeMachine {
    package mutating func upstreamLost(_ error: GatewayError, untouched: Bool, replayable: Bool, refused: Bool) -> Action { upstreamLost(error, untouched: untouched, replayable: replayable) }
}
extension UpstreamPool { package mutating func adopt(_ connection: Int) -> Bool { false } }
extension ResponseTransform {
    package static func writeHTTP2(_ head: borrowing MessageHead, date: [UInt8], retrySkipped: Bool, contentLength: UInt64?, encoder: inout HPACKEncoder, to out: inout ByteBuffer) {}
    package static func writeInformationalHTTP2(_ head: borrowing MessageHead, encoder: inout HPACKEncoder, to out: inout ByteBuffer) {}
}
extension ProblemResponse {
    package static func writeHTTP2(
        _ error: GatewayError, reason: StaticString?, requestID: UInt64, grant: String?, retryAfter: UInt32,
        date: [UInt8], encoder: inout HPACKEncoder, to out: inout ByteBuffer, body: inout ByteBuffer) {}
}
package struct StreamPool: Sendable {
    package struct Limits: Sendable { package init(connections: Int, streams: Int, waiting: Int) {} }
    package enum Lease: Equatable { case share(connection: Int), open, wait, refuse }
    package init(limits: Limits) {}
    package mutating func lease(exchange: Int, newConnection: Bool) -> Lease { .refuse }
    package mutating func opened(connection: Int, capacity: Int) {}
    package mutating func openFailed() {}
    package mutating func capacityChanged(connection: Int, to: Int) {}
    package mutating func streamEnded(connection: Int) -> Bool { false }
    package mutating func draining(connection: Int) {}
    package mutating func closed(connection: Int) {}
    package mutating func nextWaiting() -> Int? { nil }
    package mutating func stopWaiting(_ exchange: Int) {}
    package mutating func takeWaiting() -> [Int] { [] }
    package mutating func drainAll() -> [Int] { [] }
    package var waitingCount: Int { 0 }
    package var openCount: Int { 0 }
    package var hasReady: Bool { false }
}
