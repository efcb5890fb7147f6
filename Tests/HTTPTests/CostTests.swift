import CAllocationCounter
import HTTP
import Testing

/// What hostile and ordinary input may cost: steps that grow with the input only, and no allocations.
@Suite struct CostTests {
    static let countsAllocations = allocations_of_this_thread() >= 0

    @Test(.enabled(if: countsAllocations))
    func `reading and writing the same heads a thousand times allocates nothing`() {
        let asked = octets(
            "POST /a/b?c=d HTTP/1.1\r\nHost: example.org\r\nUser-Agent: x/1\r\nAccept: */*\r\nX_Odd_Name: y\r\n"
                + "Connection: keep-alive, X-Hop\r\nX-Hop: 1\r\nTE: trailers\r\nAuthorization: Basic eDp5\r\n"
                + "Content-Length: 5\r\n\r\n")
        let answered = octets(
            "HTTP/1.1 401 Unauthorized\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\nWWW-Authenticate: Basic realm=\"x\", Bearer\r\n"
                + "Set-Cookie: a=b\r\nSet-Cookie: c=d\r\nTransfer-Encoding: chunked\r\n\r\n")
        let content = octets("5;x=y\r\nhello\r\n6\r\n world\r\n0\r\nX-Sum: 7\r\nHost: x\r\n\r\n")
        var exchange = Exchange()
        for _ in 0..<10 { exchange.run(asked, answered, content) }
        let before = allocations_of_this_thread()
        for _ in 0..<1000 { exchange.run(asked, answered, content) }
        let allocations = allocations_of_this_thread() - before
        #expect(allocations == 0)
        #expect(exchange.failures == 0)
    }

    @Test(.enabled(if: countsAllocations))
    func `the counter of allocations counts`() {
        let before = allocations_of_this_thread()
        var buffer = ByteBuffer()
        for _ in 0..<10 {
            buffer = ByteBuffer(capacity: 100)
            buffer.append("x")
        }
        let allocations = allocations_of_this_thread() - before
        #expect(allocations >= 10)
    }

    @Test(.enabled(if: countsAllocations))
    func `a plain path is judged without allocating`() {
        let path = octets("/a/b.c/d-e")
        var out = ByteBuffer(capacity: 256)
        let before = allocations_of_this_thread()
        for _ in 0..<100 { path.withUnsafeBytes { _ = CanonicalPath.decode($0, into: &out) } }
        let allocations = allocations_of_this_thread() - before
        #expect(allocations == 0)
    }

    @Test(.enabled(if: countsAllocations))
    func `blocks of a pool go round without allocating`() {
        let pool = BufferPool(blockBytes: 4096, limit: 4)
        var buffer = ByteBuffer()
        buffer.acquire(from: pool)
        buffer.release(to: pool)
        let before = allocations_of_this_thread()
        for _ in 0..<100 {
            buffer.acquire(from: pool)
            buffer.append("x")
            buffer.consume(1)
            buffer.releaseIfEmpty(to: pool)
        }
        let allocations = allocations_of_this_thread() - before
        #expect(allocations == 0)
    }

    @Test(arguments: ["GET /", "GET / HTTP/1.1\r\nX: "])
    func `the scanner looks at no octet twice however slowly they come`(start: String) {
        // Octets that have been searched are changed to LF behind the scanner's back: it must not notice.
        var bytes = octets(start)
        let first = bytes.count
        var scanner = HeadScanner()
        for _ in 0..<1000 {
            bytes.append(0x61)
            let outcome = bytes.withUnsafeBytes { scanner.search($0, limits: HeadLimits()) }
            #expect(outcome == .incomplete)
            if bytes.count > first + 1 { bytes[bytes.count - 2] = 0x0A }
        }
    }

    /// 64 KiB of what makes careless parsers quadratic.
    static let probes: [(String, String)] = {
        let size = 64 * 1024
        func filled(_ piece: String) -> String { String(repeating: piece, count: size / piece.utf8.count) }
        let start = "GET / HTTP/1.1\r\nHost: a\r\n"
        return [
            ("commas in Connection", start + "Connection: \(filled(","))\r\n\r\n"),
            ("options in Connection", start + "Connection: \(filled("a,"))\r\n\r\n"),
            ("commas in TE", start + "TE: \(filled(","))\r\n\r\n"),
            ("white space", start + "X: \(filled(" "))\r\n\r\n"),
            ("white space and tabs before the end", start + "X: y\(filled(" \t"))\r\n\r\n"),
            ("fields", start + filled("A: b\r\n") + "\r\n"),
            ("Content-Length fields", start + filled("Content-Length: 1\r\n") + "\r\n"),
            ("Connection fields", start + filled("Connection: a\r\n") + "\r\n"),
            ("fields and nominations", start + filled("a:\r\n") + "Connection: \(filled("b,"))\r\n\r\n"),
            ("underscores", start + filled("_") + ": x\r\n\r\n"),
            ("a target of dots", "GET \(filled("/..")) HTTP/1.1\r\nHost: a\r\n\r\n"),
            ("a host of colons", "GET / HTTP/1.1\r\nHost: \(filled(":"))\r\n\r\n"),
            ("empty lines", filled("\r\n")),
            ("carriage returns", filled("\r")),
        ]
    }()

    /// Far above what linear work takes in a debug build on a slow machine, far below 64 Ki x 64 Ki steps.
    static let processorLimit = 400_000_000 as Int64

    @Test(arguments: probes)
    func `64 KiB of a hostile head cost linear work`(name: String, text: String) {
        let bytes = octets(text)
        let limits = HeadLimits(targetBytes: 1 << 20, headBytes: 1 << 20, fieldCount: 100_000)
        var head = MessageHead()
        let before = processor_nanoseconds_of_this_thread()
        bytes.withUnsafeBytes { all in
            var scanner = HeadScanner()
            _ = HTTP1RequestParser.leadingEmptyLines(all)
            guard case .complete(let length) = scanner.search(all, limits: limits) else { return }
            _ = HTTP1RequestParser.parse(UnsafeRawBufferPointer(rebasing: all[..<length]), into: &head, limits: limits)
        }
        #expect(processor_nanoseconds_of_this_thread() - before < Self.processorLimit, "\(name)")
    }

    @Test(arguments: ["/..", "/.", "%2e", "%25", "//", ";", "\\", "/a;", "%2f%2e", "/%C3%A9", "%2525", "a%2F"])
    func `64 KiB of a hostile path cost linear work`(piece: String) {
        let path = octets("/" + String(repeating: piece, count: 64 * 1024 / piece.utf8.count))
        var out = ByteBuffer()
        let before = processor_nanoseconds_of_this_thread()
        path.withUnsafeBytes { _ = CanonicalPath.decode($0, into: &out) }
        #expect(processor_nanoseconds_of_this_thread() - before < Self.processorLimit)
    }

    @Test func `64 KiB of single-octet chunks that come one octet at a time cost linear work`() {
        let bytes = octets(String(repeating: "1\r\nx\r\n", count: 64 * 1024 / 6) + "0\r\n\r\n")
        let before = processor_nanoseconds_of_this_thread()
        let outcome = readBody(bytes, cuts: Array(bytes.indices))
        #expect(outcome.content.count == 64 * 1024 / 6)
        #expect(outcome.end == .ended(leftover: []))
        #expect(processor_nanoseconds_of_this_thread() - before < Self.processorLimit)
    }
}

/// The codec's part of one exchange, with everything that is used again from one to the next.
private struct Exchange: ~Copyable {
    var requestHead = MessageHead()
    var responseHead = MessageHead()
    var trailers = MessageHead()
    var out = ByteBuffer(capacity: 4096)
    var failures = 0

    mutating func run(_ asked: [UInt8], _ answered: [UInt8], _ content: [UInt8]) {
        out.removeAll()
        asked.withUnsafeBytes { bytes in
            var scanner = HeadScanner()
            guard scanner.search(bytes, limits: HeadLimits()) == .complete(length: bytes.count),
                HTTP1RequestParser.parse(bytes, into: &requestHead, limits: HeadLimits()) == nil
            else {
                failures += 1
                return
            }
            requestHead.drop(.authorization)
            HTTP1Writer.fields(of: requestHead, to: &out)
        }
        answered.withUnsafeBytes { bytes in
            var scanner = HeadScanner()
            guard scanner.search(bytes, limits: HeadLimits()) == .complete(length: bytes.count),
                HTTP1ResponseParser.parse(bytes, answering: .get, into: &responseHead, limits: HeadLimits()) == nil
            else {
                failures += 1
                return
            }
            HTTP1Writer.statusLine(responseHead.status, reason: responseHead.bytes(responseHead.reason), to: &out)
            HTTP1Writer.fields(of: responseHead, to: &out)
        }
        content.withUnsafeBytes { decode($0) }
    }

    private mutating func decode(_ content: UnsafeRawBufferPointer) {
        var decoder = BodyDecoder()
        decoder.begin(.chunked)
        var start = 0
        while true {
            let rest = UnsafeRawBufferPointer(rebasing: content[start...])
            switch decoder.decode(rest, trailers: &trailers) {
            case .content(let offset, let length):
                HTTP1Writer.chunk(UnsafeRawBufferPointer(rebasing: rest[offset..<(offset + length)]), to: &out)
            case .ended:
                HTTP1Writer.lastChunk(trailers: trailers, to: &out)
                return
            case .needsInput, .rejected:
                failures += 1
                return
            }
            start += decoder.consumed
        }
    }
}
