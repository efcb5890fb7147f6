// Fuzz targets of the HTTP codec, built by script/fuzz into one module with Sources/HTTP and the helpers of its tests.
import Glibc

/// Called by libFuzzer for each input; FUZZ_TARGET says what to feed.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzOneInput(_ data: UnsafePointer<UInt8>?, _ size: Int) -> CInt {
    var bytes = unsafe [UInt8](UnsafeBufferPointer(start: data, count: size))
    switch FuzzTarget.chosen {
    case .request: fuzzRequest(takeCut(&bytes), bytes)
    case .response: fuzzResponse(takeCut(&bytes), bytes)
    case .chunked: fuzzChunked(takeCut(&bytes), bytes)
    case .path: fuzzPath(bytes)
    case .session: fuzzSession(takeCut(&bytes), bytes)
    }
    return 0
}

private enum FuzzTarget: String {
    case request, response, chunked, path, session

    static let chosen: FuzzTarget = {
        guard let name = unsafe getenv("FUZZ_TARGET"), let target = unsafe FuzzTarget(rawValue: String(cString: name))
        else { fatalError("FUZZ_TARGET is not request, response, chunked, path or session") }
        return target
    }()
}

/// The first two octets say where the rest is cut.
private func takeCut(_ bytes: inout [UInt8]) -> [Int] {
    guard bytes.count >= 2 else { return [] }
    let cut = Int(bytes[0]) << 8 | Int(bytes[1])
    bytes.removeFirst(2)
    return [cut % (bytes.count + 1)]
}

private let limits = HeadLimits(targetBytes: 256, headBytes: 1024, fieldCount: 16)

private func fuzzRequest(_ cuts: [Int], _ bytes: [UInt8]) {
    let whole = readHead(bytes, limits: limits)
    precondition(readHead(bytes, cuts: cuts, limits: limits) == whole, "a cut changes the request")
    if bytes.count < 300 {
        precondition(readHead(bytes, cuts: Array(bytes.indices), limits: limits) == whole, "cuts change the request")
    }
    guard case .parsed(let head, let length) = whole else { return }
    var start = 0
    while bytes[start] == 13 { start += 2 }
    let text = unsafe bytes[start..<length].withUnsafeBytes { unsafe latin1($0) }
    guard let strict = StrictParser.request(text) else { fatalError("accepted, but not strict") }
    precondition(strict.fields == head.fields, "the fields differ")
    precondition(strict.framing == head.framing, "the framing differs")
    precondition(strict.method == head.methodText, "the method differs")
    precondition(Int(head.minorVersion) == strict.minorVersion, "the version differs")
    precondition(strict.target == head.target || head.flags.contains(.absoluteForm), "the target differs")
    expectWritten(Array(bytes[start..<length]), .request)
}

private func fuzzResponse(_ cuts: [Int], _ bytes: [UInt8]) {
    let methods = [HTTP.Method.get, .head, .post]
    let kind = MessageKind.response(to: methods[bytes.count % methods.count])
    let whole = readHead(bytes, kind, limits: limits)
    precondition(readHead(bytes, cuts: cuts, kind, limits: limits) == whole, "a cut changes the response")
    if bytes.count < 300 {
        precondition(readHead(bytes, cuts: Array(bytes.indices), kind, limits: limits) == whole, "cuts change it")
    }
    guard case .parsed(let head, let length) = whole else { return }
    precondition((100...599).contains(head.status), "a status out of range")
    // Each line is one field, beside the status line and the empty one: none was read by no one.
    precondition(bytes[..<length].count { $0 == 10 } == head.fields.count + 2, "a line is not a field")
    precondition(bytes[..<length].count { $0 == 13 } == head.fields.count + 2, "a CR that ends no line")
    expectWritten(Array(bytes[..<length]), kind)
}

/// What is written of a head, some fields dropped, parses back to the fields that were kept.
private func expectWritten(_ bytes: [UInt8], _ kind: MessageKind) {
    var head = MessageHead()
    let rejection = unsafe bytes.withUnsafeBytes { raw in
        switch kind {
        case .request: unsafe HTTP1RequestParser.parse(raw, into: &head, limits: limits)
        case .response(let method):
            unsafe HTTP1ResponseParser.parse(raw, answering: method, into: &head, limits: limits)
        }
    }
    precondition(rejection == nil, "parsed once and refused the second time")
    for index in head.fields.indices where head.fields[index].value.start & 1 == 0 {
        head.fields[index].isDropped = true
    }
    head.drop(.contentLength)
    head.drop(.transferEncoding)
    head.drop(.host)
    head.drop(.connection)
    var out = ByteBuffer()
    out.append("HTTP/1.1 200 OK\r\n" as StaticString)
    HTTP1Writer.fields(of: head, to: &out)
    out.append("\r\n" as StaticString)
    guard let read = readHead(out.array(), .response(to: .get)).head else { fatalError("what is written is refused") }
    precondition(read.fields == HeadCopy(head).kept, "what is written differs")
}

private func fuzzChunked(_ cuts: [Int], _ bytes: [UInt8]) {
    let whole = readBody(bytes)
    precondition(readBody(bytes, cuts: cuts) == whole, "a cut changes the content")
    if bytes.count < 300 {
        precondition(readBody(bytes, cuts: Array(bytes.indices)) == whole, "cuts change the content")
    }
    guard case .ended = whole.end else { return }
    var out = ByteBuffer()
    unsafe whole.content.withUnsafeBytes { unsafe HTTP1Writer.chunk($0, to: &out) }
    HTTP1Writer.lastChunk(trailers: MessageHead(), to: &out)
    precondition(readBody(out.array()).content == whole.content, "what is written differs")
}

private func fuzzPath(_ bytes: [UInt8]) {
    let path = [0x2F] + bytes.filter { $0 > 0x20 && $0 < 0x7F && $0 != 0x23 && $0 != 0x3F }
    var out = ByteBuffer()
    let result = unsafe path.withUnsafeBytes { unsafe CanonicalPath.decode($0, into: &out) }
    let read: [UInt8]
    switch result {
    case .refused: return
    case .plain: read = path
    case .decoded: read = out.array()
    }
    precondition(read.first == 0x2F, "a path that does not begin with a slash")
    precondition(!read.contains { $0 < 0x20 || $0 == 0x7F }, "a control octet")
    let segments = read.dropFirst().split(separator: 0x2F, omittingEmptySubsequences: false)
    for (index, segment) in segments.enumerated() {
        precondition(!segment.elementsEqual([0x2E]) && !segment.elementsEqual([0x2E, 0x2E]), "a dot segment")
        precondition(!segment.isEmpty || index == segments.count - 1, "an empty segment")
        precondition(!segment.contains(0x5C), "a backslash")
    }
}

/// The first octet says which role the session has; the rest are frames after the opening of the connection.
private func fuzzSession(_ cuts: [Int], _ bytes: [UInt8]) {
    guard let first = bytes.first else { return }
    let blocks = HTTP2Session.libraryBlocks
    do {
        let whole = fuzzPeer(isServer: first & 1 == 0)
        whole.receive(Array(bytes.dropFirst()))
        let cut = fuzzPeer(isServer: first & 1 == 0)
        cut.receive(Array(bytes.dropFirst()), chunk: max(1, (cuts.first ?? 0) % 40))
        precondition(whole.session.failure?.code == cut.session.failure?.code, "a cut changes the failure")
        if whole.session.failure == nil {
            precondition(fuzzTold(whole) == fuzzTold(cut), "a cut changes what is told")
        }
        fuzzAnswer(whole)
        fuzzAnswer(cut)
        precondition(RawFrame.all(in: whole.collect()).count < 3000, "the session does not come to rest")
    }
    precondition(HTTP2Session.libraryBlocks == blocks, "the session leaves memory behind")
}

private func fuzzPeer(isServer: Bool) -> Peer {
    var settings = HTTP2Settings()
    settings.head = limits
    settings.allowsConnectProtocol = true
    settings.streamWindow = 1000
    if isServer { return serverWithRawClient(settings) }
    let client = clientWithRawServer([], settings)
    for _ in 0..<4 { _ = client.request(.get, ends: false) }
    _ = client.collect()
    return client
}

/// What was told, without the content of messages that turned out malformed: how much of it is told before depends on
/// where it is cut.
private func fuzzTold(_ peer: Peer) -> [Told] {
    var malformed: Set<Int32> = []
    for case .reset(let id, _, _, true) in peer.told { malformed.insert(id) }
    return peer.told.filter {
        if case .content(let id, _, _) = $0 { return !malformed.contains(id) }
        return true
    }
}

private func fuzzAnswer(_ peer: Peer) {
    let ids = peer.streams.keys.sorted()
    for id in ids where id % 4 == 1 && peer.session.role == .server { peer.respond(id, ends: id % 8 == 1) }
    for id in ids { peer.send("hello", on: id) }
    _ = peer.collect(limit: 100)
    for id in ids where id % 3 == 1 { peer.finish(id) }
    for id in ids where id % 3 == 2 { peer.release(id) }
    _ = peer.collect()
}
