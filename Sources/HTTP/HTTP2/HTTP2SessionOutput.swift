internal import CNghttp2

/// What came of asking nghttp2 for output.
enum HTTP2Made {
    /// Nothing more is due.
    case nothing
    /// The limit was reached.
    case full
    /// A HEADERS frame is to be written, with the stream's number and the flags that it has.
    case headers(Int32, flags: UInt8)
    case failed
}

extension HTTP2Session {
    /// Frames may be due.
    package var hasOutput: Bool {
        if !pending.isEmpty { return true }
        if unsafe nghttp2_session_want_write(raw) != 0 { return true }
        return !yielding.isEmpty && failure == nil
    }

    /// Appends frames until `limit` octets are in the output or nothing is due.
    package func collect(into output: inout ByteBuffer, limit: Int) {
        begin(&output, limit: limit)
        drain()
        end(&output)
    }

    /// Takes the driver's output over for a call.
    func begin(_ output: inout ByteBuffer, limit: Int) {
        if !pending.isEmpty {
            unsafe output.append(pending.readable)
            pending.removeAll()
        }
        swap(&out, &output)
        self.limit = limit
    }

    func end(_ output: inout ByteBuffer) {
        swap(&out, &output)
        if !detached.isEmpty { reapDetached() }
    }

    /// Makes what is due, round by round, so that each stream has its turn.
    func drain() {
        while true {
            switch make() {
            case .headers(let id, let flags):
                writeEnd(id, flags)
            case .nothing:
                if yielding.isEmpty || holdsData { return }
                round &+= 1
                resumeYielding()
            case .full, .failed:
                return
            }
        }
    }

    private func resumeYielding() {
        while let index = yielding.popLast() {
            let stream = streams[index]
            guard stream.isYielding else { continue }
            stream.isYielding = false
            activate(stream)
            _ = unsafe nghttp2_session_resume_data(raw, stream.id)
        }
    }

    private func make() -> HTTP2Made {
        while true {
            var data: UnsafePointer<UInt8>?
            let count = unsafe nghttp2_session_mem_send(raw, &data)
            guard count > 0, let data = unsafe data else {
                if count < 0 {
                    check(Int32(truncatingIfNeeded: count))
                    return .failed
                }
                return out.count >= limit ? .full : .nothing
            }
            if unsafe count >= HTTP2Frame.headerBytes && data[3] == HTTP2Frame.headers {
                let frame = unsafe UnsafeRawBufferPointer(start: data, count: count)
                return unsafe .headers(HTTP2Frame.number(frame, at: 5), flags: data[4])
            }
            unsafe out.append(UnsafeRawBufferPointer(start: data, count: count))
        }
    }

    // MARK: - Heads

    /// Submits a request and writes its HEADERS (clients).
    ///
    /// - Parameters:
    ///   - ends: there is no content.
    ///   - write: encodes the fields; is called when the frame comes out, or not at all.
    /// - Returns: nil when no stream may be opened now.
    package func request(
        method: Method, ends: Bool, into output: inout ByteBuffer,
        _ write: (inout HPACKEncoder, inout ByteBuffer) -> Void
    ) -> HTTP2Stream? {
        guard canRequest else { return nil }
        let stream = take(id: 0)
        let kind = method == .head ? TG_METHOD_HEAD : method == .connect ? TG_METHOD_CONNECT : TG_METHOD_ANY
        let id = unsafe tg_nghttp2_submit_request(raw, Int32(kind), ends, Self.mark(stream.index))
        guard id > 0 else {
            check(id)
            give(back: stream)
            return nil
        }
        stream.id = id
        stream.method = method
        foundIndex = stream.index
        openStreams += 1
        // Until it has come out the driver does not know the stream.
        stream.isTold = true
        guard writeHead(id, into: &output, write) else {
            // Nothing of it may come out later.
            if !stream.isClosed { _ = unsafe nghttp2_submit_rst_stream(raw, 0, id, HTTP2Code.cancel) }
            _ = unsafe nghttp2_session_set_stream_user_data(raw, id, nil)
            give(back: stream)
            return nil
        }
        stream.isTold = false
        return stream
    }

    /// A response head with a 1xx status (servers).
    package func informational(
        _ stream: HTTP2Stream, into output: inout ByteBuffer,
        _ write: (inout HPACKEncoder, inout ByteBuffer) -> Void
    ) {
        sendHead(stream, ends: false, into: &output, write)
    }

    /// The response head (servers). Nothing is written when the stream is gone.
    package func respond(
        _ stream: HTTP2Stream, ends: Bool, into output: inout ByteBuffer,
        _ write: (inout HPACKEncoder, inout ByteBuffer) -> Void
    ) {
        sendHead(stream, ends: ends, into: &output, write)
    }

    private func sendHead(
        _ stream: HTTP2Stream, ends: Bool, into output: inout ByteBuffer,
        _ write: (inout HPACKEncoder, inout ByteBuffer) -> Void
    ) {
        guard canSend(on: stream), check(unsafe tg_nghttp2_submit_headers(raw, stream.id, ends)) else { return }
        if ends { stream.isFinishing = true }
        foundIndex = stream.index
        _ = writeHead(stream.id, into: &output, write)
    }

    func canSend(on stream: HTTP2Stream) -> Bool {
        stream.isUsed && !stream.isClosed && !stream.isLocalReset && !stream.isFinishing && failure == nil
    }

    /// Makes frames until the HEADERS of that stream are out. False when they do not come.
    private func writeHead(
        _ id: Int32, into output: inout ByteBuffer, _ write: (inout HPACKEncoder, inout ByteBuffer) -> Void
    ) -> Bool {
        begin(&output, limit: Int.max)
        holdsData = true
        defer {
            holdsData = false
            end(&output)
        }
        while case .headers(let made, let flags) = make() {
            guard made == id else {
                writeEnd(made, flags)
                continue
            }
            block.removeAll()
            encoder.begin(to: &block)
            write(&encoder, &block)
            writeBlock(id, ends: flags & HTTP2Frame.endStream != 0)
            return true
        }
        return false
    }

    /// Writes a HEADERS frame that ends a stream: one with the trailer fields, or, where there are none, an empty DATA
    /// frame, which says the same.
    private func writeEnd(_ id: Int32, _ flags: UInt8) {
        guard sentIndex >= 0, streams[sentIndex].id == id, streams[sentIndex].hasTrailers else {
            HTTP2Frame.header(HTTP2Frame.data, flags: HTTP2Frame.endStream, stream: id, length: 0, to: &out)
            return
        }
        let stream = streams[sentIndex]
        block.removeAll()
        encoder.begin(to: &block)
        for index in stream.trailers.fields.indices {
            let field = stream.trailers.fields[index]
            unsafe encoder.field(
                field.id, name: stream.trailers.bytes(field.name), value: stream.trailers.bytes(field.value),
                to: &block)
        }
        writeBlock(id, ends: flags & HTTP2Frame.endStream != 0)
    }

    /// Cuts the block into one HEADERS frame and as many CONTINUATION frames as it needs. 16,384 octets are what every
    /// peer takes (RFC 9113 6.5.2).
    private func writeBlock(_ id: Int32, ends: Bool) {
        let all = unsafe block.readable
        var type = HTTP2Frame.headers
        var flags = ends ? HTTP2Frame.endStream : 0
        var start = 0
        repeat {
            let length = min(all.count - start, HTTP2Frame.payloadBytes)
            if start + length == all.count { flags |= HTTP2Frame.endHeaders }
            HTTP2Frame.header(type, flags: flags, stream: id, length: length, to: &out)
            unsafe out.append(UnsafeRawBufferPointer(rebasing: all[start..<(start + length)]))
            start += length
            type = HTTP2Frame.continuation
            flags = 0
        } while start < all.count
        if block.capacity > 32 * 1024 { block = ByteBuffer() }
    }

    // MARK: - Called back

    func frameWent(_ frame: UnsafePointer<nghttp2_frame>) {
        switch unsafe frame.pointee.hd.type {
        case HTTP2Frame.headers:
            sentIndex = unsafe find(frame.pointee.hd.stream_id)
            if sentIndex >= 0, unsafe frame.pointee.hd.flags & HTTP2Frame.endStream != 0 {
                streams[sentIndex].isLocalDone = true
                detachedEnded(streams[sentIndex])
            }
        case HTTP2Frame.reset:
            let index = unsafe find(frame.pointee.hd.stream_id)
            guard index >= 0 else { return }
            let stream = streams[index]
            stream.isLocalDone = true
            if stream.isLocalReset { return }
            if !stream.isTold {
                stream.isFaulty = true
                stream.resetCode = unsafe frame.pointee.rst_stream.error_code
            }
            if role == .server { budget.spendReset(provoked: true) }
        case HTTP2Frame.goAway:
            if ownGoAways > 0 {
                ownGoAways -= 1
            } else if failure == nil {
                unsafe goAwayWent(frame.pointee.goaway.error_code)
            }
        default:
            break
        }
    }

    /// nghttp2 has found a connection error.
    private func goAwayWent(_ code: UInt32) {
        let reason: StaticString =
            switch code {
            case HTTP2Code.flowControl: "it sends more than the window allows"
            case HTTP2Code.streamClosed: "it sends on a stream that it has ended"
            case HTTP2Code.frameSize: "a frame has a wrong size"
            case HTTP2Code.compression: "a field block cannot be decoded"
            case HTTP2Code.internalError: "it resets too many streams"
            case HTTP2Code.enhanceYourCalm: "it sends too many settings"
            default: "it breaks the rules of the protocol"
            }
        let abuse: HTTP2Abuse =
            switch code {
            case HTTP2Code.internalError: .rapidReset
            case HTTP2Code.enhanceYourCalm: .settingsFlood
            default: .protocolError
            }
        failure = HTTP2Failure(abuse: abuse, reason: reason, code: code)
    }
}
