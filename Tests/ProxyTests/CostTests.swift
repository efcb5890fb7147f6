import CAllocationCounter
import HTTP
import Proxy
import Testing

/// The pure part of an exchange: parsed, routed, filtered, written, answered.
private struct Steady: ~Copyable {
    var request = MessageHead()
    var response = MessageHead()
    var scratch = ByteBuffer(capacity: 4096)
    var upstreamBytes = ByteBuffer(capacity: 4096)
    var callerBytes = ByteBuffer(capacity: 4096)
    var pool = UpstreamPool(limits: .init(connections: 4, idle: 4, waiting: 4))
    var isOpen = false
    var failures = 0
    let table = RouteTable(RouteTableTests.rules)
    let identity = upstream(base: "/v1")
    let caller = CallerIdentity(address: octets("10.0.0.9"), isIPv6: false)
    let date = octets(someDate)
    let blocks = [AddressBlock(high: 0, low: 0x0A00_0000, isIPv4: true, prefixLength: 8)]

    mutating func run(_ asked: [UInt8], _ answered: [UInt8], rejected: Bool) {
        scratch.removeAll()
        upstreamBytes.removeAll()
        callerBytes.removeAll()
        let isWrong = asked.withUnsafeBytes {
            HTTP1RequestParser.parse($0, into: &request, limits: HeadLimits()) != nil
        }
        guard !isWrong, case .route(let index) = table.match(request, scratch: &scratch),
            blocks[0].contains(high: 0, low: 0x0A00_0009, isIPv4: true)
        else {
            failures += 1
            return
        }
        RequestTransform.filter(&request, rule: table.rules[index])
        var machine = ExchangeMachine(needsCredential: true, isIdempotent: true)
        var replay = ReplayPlan(limit: 100, expected: 5)
        _ = machine.requestRouted()
        _ = machine.credentialReady(generation: 7)
        attempt(&machine, table.rules[index])
        replay.took(5)
        _ = replay.gave(5)
        if rejected {
            let action = machine.responseHeadReceived(
                isRejection: true, challenge: true, replayable: replay.isReplayable)
            if action != .hold(rejected: 7) || machine.credentialReady(generation: 8) != .retry { failures += 1 }
            replay.restarted()
            upstreamBytes.removeAll()
            attempt(&machine, table.rules[index])
            _ = replay.gave(5)
        }
        answer(&machine, answered, table.rules[index])
    }

    private mutating func attempt(_ machine: inout ExchangeMachine, _ rule: RouteRule) {
        switch pool.lease(exchange: 1, newConnection: false) {
        case .open: if isOpen { failures += 1 }
        case .reuse: break
        case .wait, .refuse: failures += 1
        }
        isOpen = true
        if machine.connectionReady(reused: true) != .sendRequest { failures += 1 }
        RequestTransform.writeHTTP1(
            request, rule: rule, upstream: identity, caller: caller, credential: bearer, upgrade: false,
            expectContinue: false, to: &upstreamBytes)
        if !pool.connectionFreed(3) { failures += 1 }
        if pool.nextWaiting() != nil { failures += 1 }
    }

    private mutating func answer(_ machine: inout ExchangeMachine, _ answered: [UInt8], _ rule: RouteRule) {
        let isWrong = answered.withUnsafeBytes {
            HTTP1ResponseParser.parse($0, answering: .post, into: &response, limits: HeadLimits()) != nil
        }
        if isWrong { failures += 1 }
        let action = machine.responseHeadReceived(isRejection: false, challenge: true, replayable: true)
        if action != .forwardResponse(report: nil) { failures += 1 }
        let framing = ResponseTransform.framing(response, requestMethod: .post, callerMinorVersion: 1)
        ResponseTransform.filter(&response)
        ResponseTransform.rewriteLocation(&response, rule: rule, upstream: identity)
        ResponseTransform.writeHTTP1(
            response, framing: framing, callerMinorVersion: 1, keepAlive: true, date: date, retrySkipped: false,
            to: &callerBytes)
        machine.responseCompleted()
    }
}

@Suite struct CostTests {
    static let countsAllocations = allocations_of_this_thread() >= 0
    /// Where the optimizer is off, a closure of the search for a route or of a target may be on the heap: at most one
    /// for each rule that is looked at. With it, none is.
    #if DEBUG
    static let closuresOnHeap = 12
    #else
    static let closuresOnHeap = 0
    #endif

    @Test(.enabled(if: countsAllocations), arguments: [false, true])
    func `an exchange in the steady state allocates nothing`(rejected: Bool) {
        let asked = octets(
            "POST /crm/v2/items?a=b HTTP/1.1\r\nHost: gateway.test:8080\r\nUser-Agent: x/1\r\nAccept: */*\r\n"
                + "Authorization: Basic own\r\nConnection: keep-alive, X-Hop\r\nX-Hop: 1\r\nVia: 1.1 a\r\n"
                + "TE: trailers\r\nX_Api_Key: y\r\nContent-Length: 5\r\n\r\n")
        let answered = octets(
            "HTTP/1.1 200 OK\r\nSet-Cookie: a=b\r\nConnection: keep-alive\r\nSet-Cookie: c=d\r\nContent-Length: 5\r\n\r\n"
        )
        var steady = Steady()
        for _ in 0..<10 { steady.run(asked, answered, rejected: rejected) }
        let before = allocations_of_this_thread()
        for _ in 0..<1000 { steady.run(asked, answered, rejected: rejected) }
        let allocations = allocations_of_this_thread() - before
        let failures = steady.failures
        #expect(allocations <= 1000 * Self.closuresOnHeap)
        #expect(failures == 0)
    }

    @Test(.enabled(if: countsAllocations))
    func `errors that a hostile caller can cause without end cost a few allocations`() {
        var out = ByteBuffer(capacity: 4096)
        let date = octets(someDate)
        func answer() {
            out.removeAll()
            ProblemResponse.writeHTTP1(
                .malformedRequest, reason: "the request line is wrong", requestID: 1, grant: nil, retryAfter: 0,
                date: date, keepAlive: false, withBody: true, to: &out)
        }
        answer()
        let before = allocations_of_this_thread()
        for _ in 0..<100 { answer() }
        #expect(allocations_of_this_thread() - before <= 200)
    }
}
