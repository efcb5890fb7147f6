import HTTP

/// The HTTP/1 codec: octets to heads and content.
func codecBenchmarks() -> [Benchmark] {
    [
        scan("find the end of a request head, 7 fields", Sample.request),
        parseRequest("parse a request head, 2 fields", Sample.smallRequest),
        parseRequest("parse a request head, 7 fields", Sample.request),
        parseRequest("parse a request head, 17 fields", Sample.largeRequest),
        parseResponse("parse a response head, 7 fields", Sample.response),
        decode("decode 16 KiB of content by length", [UInt8](repeating: 0x61, count: 16384), .length(16384)),
        decode("decode 16 KiB of content in 16 chunks", Sample.chunked, .chunked),
        writeChunks("write 16 KiB of content in 16 chunks"),
        canonicalPath("judge a plain path, 40 octets", "/api/v1/customers/12345/orders/678/items"),
        canonicalPath("judge an encoded path, 40 octets", "/api/v1/customers/caf%C3%A9/orders/678/"),
    ]
}

private func scan(_ name: String, _ bytes: [UInt8]) -> Benchmark {
    Benchmark(name, bytes: bytes.count) { count in
        let limits = HeadLimits()
        bytes.withUnsafeBytes { bytes in
            for _ in 0..<count {
                var scanner = HeadScanner()
                expect(scanner.search(bytes, limits: limits) == .complete(length: bytes.count), "a whole head")
            }
        }
    }
}

private func parseRequest(_ name: String, _ bytes: [UInt8]) -> Benchmark {
    Benchmark(name, bytes: bytes.count) { count in
        let limits = HeadLimits()
        var head = MessageHead()
        bytes.withUnsafeBytes { bytes in
            for _ in 0..<count {
                expect(HTTP1RequestParser.parse(bytes, into: &head, limits: limits) == nil, "the request parses")
            }
        }
    }
}

private func parseResponse(_ name: String, _ bytes: [UInt8]) -> Benchmark {
    Benchmark(name, bytes: bytes.count) { count in
        let limits = HeadLimits()
        var head = MessageHead()
        bytes.withUnsafeBytes { bytes in
            for _ in 0..<count {
                let rejection = HTTP1ResponseParser.parse(bytes, answering: .get, into: &head, limits: limits)
                expect(rejection == nil, "the response parses")
            }
        }
    }
}

private func decode(_ name: String, _ bytes: [UInt8], _ framing: BodyFraming) -> Benchmark {
    Benchmark(name, bytes: 16384) { count in
        var decoder = BodyDecoder()
        var trailers = MessageHead()
        bytes.withUnsafeBytes { bytes in
            for _ in 0..<count {
                decoder.begin(framing)
                var taken = 0
                var content = 0
                while !decoder.isDone {
                    let rest = UnsafeRawBufferPointer(rebasing: bytes[taken...])
                    if case .content(_, let length) = decoder.decode(rest, trailers: &trailers) { content += length }
                    taken += decoder.consumed
                }
                expect(content == 16384, "all content is decoded")
            }
        }
    }
}

private func writeChunks(_ name: String) -> Benchmark {
    let content = [UInt8](repeating: 0x61, count: 1024)
    return Benchmark(name, bytes: 16384) { count in
        var out = ByteBuffer()
        let trailers = MessageHead()
        content.withUnsafeBytes { content in
            for _ in 0..<count {
                out.removeAll()
                for _ in 0..<16 { HTTP1Writer.chunk(content, to: &out) }
                HTTP1Writer.lastChunk(trailers: trailers, to: &out)
            }
        }
        expect(out.count > 16384, "all content is written")
    }
}

private func canonicalPath(_ name: String, _ path: String) -> Benchmark {
    let path = Sample.octets(path)
    return Benchmark(name, bytes: path.count) { count in
        var out = ByteBuffer(capacity: 256)
        path.withUnsafeBytes { path in
            for _ in 0..<count {
                if case .refused = CanonicalPath.decode(path, into: &out) { expect(false, "the path is taken") }
            }
        }
    }
}
