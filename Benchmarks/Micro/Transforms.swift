import HTTP
import Proxy

/// What becomes of a head between caller and upstream. `filter` changes the head, so each round parses it again; the
/// parsing is measured alone among the codecs.
func transformBenchmarks() -> [Benchmark] {
    [
        request("request: parse, filter, write for HTTP/1.1, 2 fields", Sample.smallRequest),
        request("request: parse, filter, write for HTTP/1.1, 7 fields", Sample.request),
        request("request: parse, filter, write for HTTP/1.1, 17 fields", Sample.largeRequest),
        writeRequest("request: write for HTTP/1.1 alone, 7 fields", Sample.request),
        response("response: parse, filter, write for HTTP/1.1, 7 fields", Sample.response),
        problem("problem response: write"),
    ]
}

private func request(_ name: String, _ bytes: [UInt8]) -> Benchmark {
    let rule = Sample.rule()
    return Benchmark(name) { count in
        let limits = HeadLimits()
        var head = MessageHead()
        var out = ByteBuffer()
        bytes.withUnsafeBytes { bytes in
            for _ in 0..<count {
                expect(HTTP1RequestParser.parse(bytes, into: &head, limits: limits) == nil, "the request parses")
                RequestTransform.filter(&head, rule: rule)
                out.removeAll()
                write(head, rule, &out)
            }
        }
        expect(out.count > 1200, "the credential is written")
    }
}

private func write(_ head: borrowing MessageHead, _ rule: RouteRule, _ out: inout ByteBuffer) {
    RequestTransform.writeHTTP1(
        head, rule: rule, upstream: Sample.upstream, caller: Sample.caller, credential: Sample.credential,
        upgrade: false, expectContinue: false, to: &out)
}

private func writeRequest(_ name: String, _ bytes: [UInt8]) -> Benchmark {
    let rule = Sample.rule()
    return Benchmark(name) { count in
        var head = Sample.parsed(bytes)
        RequestTransform.filter(&head, rule: rule)
        var out = ByteBuffer()
        for _ in 0..<count {
            out.removeAll()
            write(head, rule, &out)
        }
        expect(out.count > 1200, "the credential is written")
    }
}

private func response(_ name: String, _ bytes: [UInt8]) -> Benchmark {
    let rule = Sample.rule()
    return Benchmark(name) { count in
        let limits = HeadLimits()
        var head = MessageHead()
        var out = ByteBuffer()
        bytes.withUnsafeBytes { bytes in
            for _ in 0..<count {
                let rejection = HTTP1ResponseParser.parse(bytes, answering: .get, into: &head, limits: limits)
                expect(rejection == nil, "the response parses")
                ResponseTransform.filter(&head)
                ResponseTransform.rewriteLocation(&head, rule: rule, upstream: Sample.upstream)
                let framing = ResponseTransform.framing(head, requestMethod: .get, callerMinorVersion: 1)
                out.removeAll()
                ResponseTransform.writeHTTP1(
                    head, framing: framing, callerMinorVersion: 1, keepAlive: true, date: Sample.date,
                    retrySkipped: false, to: &out)
            }
        }
        expect(out.count > 100, "the response is written")
    }
}

private func problem(_ name: String) -> Benchmark {
    Benchmark(name) { count in
        var out = ByteBuffer()
        for index in 0..<count {
            out.removeAll()
            ProblemResponse.writeHTTP1(
                .upstreamUnreachable, reason: nil, requestID: UInt64(index), grant: nil, retryAfter: 0,
                date: Sample.date, keepAlive: true, withBody: true, to: &out)
        }
        expect(out.count > 100, "the problem is written")
    }
}
