internal import CNghttp2

/// Content: what is sent, in turns and as far as the windows go, and what is consumed.
extension HTTP2Session {
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

    func activate(_ stream: HTTP2Stream) {
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
        let grown = min(stream.window &* 2, settings.maximumStreamWindow)
        let octets = Int(grown - stream.window)
        guard windowBudget?.take(octets) ?? true else { return }
        stream.grownBy += octets
        stream.window = grown
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
        contentSent &+= UInt64(count)
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
        budget.earn(count >= 1024 ? 4 : 2)
        return out.count >= limit
    }
}
