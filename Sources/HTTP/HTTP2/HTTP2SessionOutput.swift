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
    private func begin(_ output: inout ByteBuffer, limit: Int) {
        if !pending.isEmpty {
            unsafe output.append(pending.readable)
            pending.removeAll()
        }
        swap(&out, &output)
        self.limit = limit
    }

    private func end(_ output: inout ByteBuffer) {
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

    private func canSend(on stream: HTTP2Stream) -> Bool {
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

    // MARK: - Content

    /// Accepts content; ``collect(into:limit:)`` frames it.
    package func send(_ content: UnsafeRawBufferPointer, on stream: HTTP2Stream) {
        guard content.count > 0, canSend(on: stream) else { return }
        unsafe stream.outbound.append(content)
        schedule(stream)
    }

    /// Frames content from where it stands as far as the windows go, and accepts the rest as ``send(_:on:)`` does.
    /// Where something else waits already it has its turn first.
    package func sendDirectly(
        _ content: UnsafeRawBufferPointer, on stream: HTTP2Stream, into output: inout ByteBuffer
    ) {
        guard content.count > 0, canSend(on: stream) else { return }
        let othersWait = activeCount > (stream.isActive ? 1 : 0) || !yielding.isEmpty
        if othersWait || !stream.outbound.isEmpty || stream.isYielding {
            unsafe send(content, on: stream)
            return
        }
        unsafe direct = content
        directIndex = stream.index
        schedule(stream)
        begin(&output, limit: Int.max)
        drain()
        end(&output)
        directIndex = -1
        let rest = unsafe direct
        unsafe direct = UnsafeRawBufferPointer(start: nil, count: 0)
        if rest.count > 0 && canSend(on: stream) { unsafe stream.outbound.append(rest) }
    }

    /// END_STREAM with the last content that waits, or after it.
    package func finish(_ stream: HTTP2Stream) {
        guard canSend(on: stream) else { return }
        stream.isFinishing = true
        if stream.outbound.isEmpty { submitEnd(stream) } else { schedule(stream) }
    }

    /// The trailer fields that are not dropped, after the last content. They are copied, and encoded when they leave.
    package func finish(_ stream: HTTP2Stream, trailers: borrowing MessageHead) {
        guard canSend(on: stream) else { return }
        for index in trailers.fields.indices where !trailers.fields[index].isDropped {
            if !stream.hasTrailers {
                stream.hasTrailers = true
                stream.trailers.reset()
            }
            let field = trailers.fields[index]
            let name = unsafe stream.trailers.store(trailers.bytes(field.name))
            let value = unsafe stream.trailers.store(trailers.bytes(field.value))
            stream.trailers.fields.append(Field(id: field.id, name: name, value: value))
        }
        finish(stream)
    }

    /// END_STREAM without content: as a HEADERS frame, which no window holds back. What comes out is for
    /// ``writeEnd(_:_:)`` to say.
    private func submitEnd(_ stream: HTTP2Stream) {
        deactivate(stream)
        check(unsafe nghttp2_submit_trailer(raw, stream.id, nil, 0))
    }

    /// Sees to it that nghttp2 asks for the stream's content.
    private func schedule(_ stream: HTTP2Stream) {
        if !stream.hasItem {
            stream.hasItem = check(
                unsafe tg_nghttp2_submit_data(raw, stream.id, Int32(stream.index), HTTP2Callbacks.read))
            if stream.hasItem { activate(stream) }
        } else if stream.isWaiting {
            stream.isWaiting = false
            activate(stream)
            check(unsafe nghttp2_session_resume_data(raw, stream.id))
        }
    }

    private func activate(_ stream: HTTP2Stream) {
        if stream.isActive { return }
        stream.isActive = true
        activeCount += 1
    }

    func deactivate(_ stream: HTTP2Stream) {
        guard stream.isActive else { return }
        stream.isActive = false
        activeCount -= 1
    }

    /// RST_STREAM; what waits is dropped.
    package func reset(_ stream: HTTP2Stream, code: UInt32) {
        guard stream.isUsed, !stream.isClosed, !stream.isLocalReset, failure == nil else { return }
        stream.isLocalReset = true
        stream.isResetQueued = false
        stream.outbound.removeAll()
        deactivate(stream)
        check(unsafe nghttp2_submit_rst_stream(raw, 0, stream.id, code))
    }

    /// Gives `count` octets of the stream's window back. A WINDOW_UPDATE is due when half of the window is used; a
    /// window that is used up while its content is consumed at once is doubled.
    package func consume(_ count: Int, on stream: HTTP2Stream) {
        let count = min(count, stream.unconsumed)
        guard count > 0 else { return }
        stream.unconsumed -= count
        guard !stream.isClosed, !stream.isPeerDone, !stream.isLocalReset, failure == nil else { return }
        check(unsafe nghttp2_session_consume_stream(raw, stream.id, count))
        guard stream.received > Int(stream.window) else { return }
        stream.received = 0
        guard stream.unconsumed < Int(stream.window) / 4, stream.window < settings.maximumStreamWindow else { return }
        stream.window = min(stream.window &* 2, settings.maximumStreamWindow)
        check(unsafe nghttp2_session_set_local_window_size(raw, 0, stream.id, stream.window))
    }

    /// A stream that the driver had stopped and that has room for content again.
    package func takeRoomy() -> HTTP2Stream? {
        while let index = roomy.popLast() {
            let stream = streams[index]
            guard stream.isRoomy else { continue }
            stream.isRoomy = false
            guard stream.wantsRoom, !stream.isClosed else { continue }
            stream.wantsRoom = false
            return stream
        }
        return nil
    }

    // MARK: - Called back

    /// How many octets of content the next frame of a stream has; or an error code.
    func contentIsDue(_ index: Int, _ id: Int32, room: Int, _ flags: inout UInt32) -> Int {
        guard index >= 0, index < streams.count, streams[index].id == id, streams[index].isUsed else {
            return Int(NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE.rawValue)
        }
        if holdsData || out.count >= limit { return Int(NGHTTP2_ERR_PAUSE.rawValue) }
        let stream = streams[index]
        let available = unsafe directIndex == index ? direct.count : stream.outbound.count
        if available == 0 {
            deactivate(stream)
            stream.isWaiting = true
            return Int(NGHTTP2_ERR_DEFERRED.rawValue)
        }
        if stream.round == round && (activeCount > 1 || !yielding.isEmpty) {
            deactivate(stream)
            stream.isYielding = true
            yielding.append(index)
            return Int(NGHTTP2_ERR_DEFERRED.rawValue)
        }
        stream.round = round
        let count = min(available, room)
        flags |= NGHTTP2_DATA_FLAG_NO_COPY.rawValue
        if count == available && stream.isFinishing {
            flags |= NGHTTP2_DATA_FLAG_EOF.rawValue
            deactivate(stream)
            if stream.hasTrailers {
                flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM.rawValue
                guard unsafe nghttp2_submit_trailer(raw, id, nil, 0) == 0 else {
                    return Int(NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE.rawValue)
                }
            }
        }
        return count
    }

    /// Writes a DATA frame. True when the limit is reached.
    func contentWent(_ index: Int, header: UnsafeRawPointer, count: Int, ends: Bool) -> Bool {
        out.reserve(HTTP2Frame.headerBytes + count)
        unsafe out.append(UnsafeRawBufferPointer(start: header, count: HTTP2Frame.headerBytes))
        guard index >= 0, index < streams.count else { return out.count >= limit }
        let stream = streams[index]
        if directIndex == index {
            unsafe out.append(UnsafeRawBufferPointer(rebasing: direct[..<count]))
            unsafe direct = UnsafeRawBufferPointer(rebasing: direct[count...])
        } else {
            unsafe out.append(UnsafeRawBufferPointer(rebasing: stream.outbound.readable[..<count]))
            stream.outbound.consume(count)
        }
        if ends {
            stream.isLocalDone = true
            detachedEnded(stream)
        }
        if stream.wantsRoom && !stream.isRoomy && stream.outbound.count < Self.roomyBytes {
            stream.isRoomy = true
            roomy.append(index)
        }
        // What a peer that reads this may answer with: WINDOW_UPDATE frames.
        if count >= 1024 { budget.earn(4) } else if count >= 32 { budget.earn(2) }
        return out.count >= limit
    }

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
