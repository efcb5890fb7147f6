internal import CNghttp2

/// What the callbacks noted in a step.
enum Happened {
    case nothing
    case content(index: Int, offset: Int, length: Int, ends: Bool)
    case head(index: Int, ends: Bool, rejection: Rejection?)
    case trailers(index: Int)
    case reset(index: Int)
    case settings
    case goAway(lastStream: Int32, code: UInt32)
    case pong
}

extension HTTP2Session {
    /// Takes one frame, or a piece of one, from the input.
    ///
    /// Call it until `consumed` is 0: then the octets that are left stay where they are until more have come, or the
    /// session has failed. There is at most one event; of a stream that the driver has released there is none.
    package func step(_ input: UnsafeRawBufferPointer) -> HTTP2Step {
        guard failure == nil, input.count > 0 else { return HTTP2Step(consumed: 0, event: .none) }
        if prefaceLeft > 0 { return unsafe takePreface(input) }
        if frameLeft == 0, unsafe !beginFrame(input) { return HTTP2Step(consumed: 0, event: .none) }
        let count = min(frameLeft, input.count)
        frameLeft -= count
        happened = .nothing
        isFrameTaken = false
        guard unsafe feed(UnsafeRawBufferPointer(rebasing: input[..<count])) else {
            return HTTP2Step(consumed: 0, event: .none)
        }
        if frameLeft == 0 {
            endFrame()
        } else if case .nothing = happened {
            // What is wrong with a frame may be found before its end, which may never come.
            settle()
        }
        if !detached.isEmpty { reapDetached() }
        if budget.isExceeded { fail(budget.failure(type: frameType)) }
        if failure != nil { return HTTP2Step(consumed: 0, event: .none) }
        return HTTP2Step(consumed: count, event: takeEvent())
    }

    private func takePreface(_ input: UnsafeRawBufferPointer) -> HTTP2Step {
        let count = min(prefaceLeft, input.count)
        prefaceLeft -= count
        guard unsafe feed(UnsafeRawBufferPointer(rebasing: input[..<count])) else {
            return HTTP2Step(consumed: 0, event: .none)
        }
        return HTTP2Step(consumed: count, event: .none)
    }

    /// Reads a frame's header. False when it is not there yet, or ends the connection.
    private func beginFrame(_ input: UnsafeRawBufferPointer) -> Bool {
        guard input.count >= HTTP2Frame.headerBytes else { return false }
        let length = unsafe Int(input[0]) << 16 | Int(input[1]) << 8 | Int(input[2])
        let type = unsafe input[3]
        // What it depends on must be judged here: nghttp2 does not look at priorities any more.
        if type == HTTP2Frame.priority && length == 5 && input.count < 14 { return false }
        frameType = type
        frameFlags = unsafe input[4]
        frameStream = unsafe HTTP2Frame.number(input, at: 5)
        frameContent = 0
        if type > HTTP2Frame.headers || isInFieldBlock {
            guard unsafe judge(input, length: length) else { return false }
        } else if find(frameStream) < 0 {
            guard judgeClosed() else { return false }
        }
        if type == HTTP2Frame.headers || type == HTTP2Frame.continuation {
            isInFieldBlock = frameFlags & HTTP2Frame.endHeaders == 0
        }
        frameLeft = HTTP2Frame.headerBytes + length
        return true
    }

    /// Counts a frame that is neither DATA nor HEADERS, and finds what nghttp2 would let pass.
    private func judge(_ input: UnsafeRawBufferPointer, length: Int) -> Bool {
        switch frameType {
        case HTTP2Frame.settings, HTTP2Frame.goAway:
            budget.spend(4)
        case HTTP2Frame.data, HTTP2Frame.headers, HTTP2Frame.reset:
            break
        case HTTP2Frame.pushPromise:
            fail(protocolError("it pushes, which is switched off"))
        case HTTP2Frame.priority:
            budget.spend(1)
            if isInFieldBlock { break }
            if frameStream == 0 {
                fail(protocolError("a PRIORITY frame is on stream 0"))
            } else if length == 5 {
                if unsafe HTTP2Frame.number(input, at: 9) == frameStream {
                    fail(protocolError("a stream depends on itself"))
                }
            }
        default:
            budget.spend(1)
        }
        return failure == nil
    }

    /// Judges DATA or HEADERS on a stream that is not open (RFC 9113 5.1).
    private func judgeClosed() -> Bool {
        guard frameStream & 1 == 1, !isEnding else { return true }
        // Released, and what resets it has not left yet.
        if unsafe nghttp2_session_find_stream(raw, frameStream) != nil { return true }
        if role == .server {
            let isNew = frameStream > highestStream
            if isNew {
                if frameType == HTTP2Frame.headers { highestStream = frameStream }
                return true
            }
        } else if unsafe UInt32(frameStream) >= nghttp2_session_get_next_stream_id(raw) {
            return true
        }
        switch closed.memory(of: frameStream) {
        case .endedByPeer:
            fail(
                HTTP2Failure(
                    abuse: .protocolError, reason: "it sends on a stream that it has ended",
                    code: HTTP2Code.streamClosed))
        case .skipped where frameType == HTTP2Frame.headers:
            fail(protocolError("a stream's number is lower than that of one before"))
        case .endedByUs, .skipped, .unknown:
            budget.spend(1)
        }
        return failure == nil
    }

    private func protocolError(_ reason: StaticString) -> HTTP2Failure {
        HTTP2Failure(abuse: .protocolError, reason: reason, code: HTTP2Code.protocolError)
    }

    /// Hands octets to nghttp2. False when the session has failed.
    private func feed(_ piece: UnsafeRawBufferPointer) -> Bool {
        unsafe input = piece.baseAddress
        isBomb = false
        let result = unsafe nghttp2_session_mem_recv(
            raw, piece.baseAddress!.assumingMemoryBound(to: UInt8.self), piece.count)
        unsafe input = nil
        if result < 0 { fail(failure(of: Int32(truncatingIfNeeded: result))) }
        if isBomb {
            fail(
                HTTP2Failure(
                    abuse: .headerBomb, reason: "a field block is far above the limit",
                    code: HTTP2Code.enhanceYourCalm))
        }
        if case .content(_, _, let length, _) = happened {
            check(unsafe nghttp2_session_consume_connection(raw, length))
        } else if strayContent > 0 {
            check(unsafe nghttp2_session_consume_connection(raw, strayContent))
        }
        strayContent = 0
        return failure == nil
    }

    /// What a fatal result of nghttp2's input means.
    private func failure(of result: Int32) -> HTTP2Failure {
        switch result {
        case NGHTTP2_ERR_BAD_CLIENT_MAGIC.rawValue:
            protocolError("it does not begin with the connection preface")
        case NGHTTP2_ERR_TOO_MANY_CONTINUATIONS.rawValue:
            HTTP2Failure(
                abuse: .continuationFlood, reason: "a field block is in too many frames",
                code: HTTP2Code.enhanceYourCalm)
        case NGHTTP2_ERR_FLOODED.rawValue:
            HTTP2Failure(
                abuse: frameType == HTTP2Frame.ping ? .pingFlood : .settingsFlood,
                reason: "it provokes frames and does not read them", code: HTTP2Code.enhanceYourCalm)
        default:
            HTTP2Failure(abuse: .internalError, reason: "nghttp2 has failed", code: HTTP2Code.internalError)
        }
    }

    /// The frame is complete.
    private func endFrame() {
        if frameType == HTTP2Frame.data {
            if frameContent > 0 {
                budget.earn(1)
            } else if frameFlags & HTTP2Frame.endStream == 0 {
                budget.spend(1)
            }
        }
        if isFrameTaken { return }
        // nghttp2 has ignored or refused it. Which of the two, and with what code, is known by what it sends.
        let resets = budget.resets
        settle()
        if frameType == HTTP2Frame.headers && !isInFieldBlock && budget.resets == resets { budget.spend(4) }
    }

    private func takeEvent() -> HTTP2Event {
        switch happened {
        case .nothing: takeReset() ?? .none
        case .content(let index, let offset, let length, let ends):
            .content(streams[index], offset: offset, length: length, ends: ends)
        case .head(let index, let ends, let rejection):
            .head(streams[index], ends: ends, rejection: rejection)
        case .trailers(let index): .trailers(streams[index])
        case .reset(let index): reset(of: streams[index])
        case .settings: .settings
        case .goAway(let lastStream, let code): .goAway(lastStream: lastStream, code: code)
        case .pong: .pong
        }
    }

    private func reset(of stream: HTTP2Stream) -> HTTP2Event {
        .reset(stream, code: stream.resetCode, isRefused: stream.isRefused, isLocal: stream.isFaulty)
    }

    /// The next stream that ended by itself and that no event has told of; call it until nil after each run of
    /// ``step(_:)`` and ``collect(into:limit:)``.
    package func takeReset() -> HTTP2Event? {
        while let index = resetQueue.popLast() {
            let stream = streams[index]
            guard stream.isResetQueued else { continue }
            stream.isResetQueued = false
            return reset(of: stream)
        }
        return nil
    }

    // MARK: - Called back

    func fieldBlockBegan(_ id: Int32, isRequest: Bool) {
        reading = -1
        if isRequest {
            openStreams += 1
            // Streams count until they are released, that is until their upstream work has ended (CVE-2023-44487).
            guard streams.count - free.count < Int(settings.maxConcurrentStreams) else {
                _ = unsafe nghttp2_submit_rst_stream(raw, 0, id, HTTP2Code.refusedStream)
                return
            }
            let stream = take(id: id)
            guard unsafe nghttp2_session_set_stream_user_data(raw, id, Self.mark(stream.index)) == 0 else {
                give(back: stream)
                return
            }
            reading = stream.index
            foundIndex = stream.index
            reader.begin(.request, limits: settings.head, into: &stream.head)
        } else {
            let index = find(id)
            guard index >= 0, !streams[index].isLocalReset else { return }
            reading = index
            reader.begin(
                role == .client && !streams[index].hasFinalHead ? .response : .trailers, limits: settings.head,
                into: &streams[index].head)
        }
    }

    /// False: the rest of the block is not worth decoding.
    func fieldCame(_ name: UnsafeRawBufferPointer, _ value: UnsafeRawBufferPointer) -> Bool {
        guard reading >= 0 else { return true }
        if unsafe reader.take(name, value, into: &streams[reading].head) { return true }
        isBomb = true
        return false
    }

    func contentCame(_ id: Int32, _ data: UnsafeRawPointer?, _ count: Int) {
        frameContent += count
        let index = find(id)
        guard let data = unsafe data, let input = unsafe input, index >= 0, !streams[index].isLocalReset else {
            strayContent += count
            return
        }
        streams[index].unconsumed += count
        streams[index].received += count
        happened = unsafe .content(index: index, offset: data - input, length: count, ends: false)
    }

    func frameCame(_ frame: UnsafePointer<nghttp2_frame>) {
        isFrameTaken = true
        let id = unsafe frame.pointee.hd.stream_id
        let flags = unsafe frame.pointee.hd.flags
        switch unsafe frame.pointee.hd.type {
        case HTTP2Frame.data:
            if flags & HTTP2Frame.endStream != 0 { contentEnded(id) }
        case HTTP2Frame.headers:
            fieldBlockEnded(ends: flags & HTTP2Frame.endStream != 0)
        case HTTP2Frame.reset:
            unsafe resetCame(id, frame.pointee.rst_stream.error_code)
        case HTTP2Frame.settings:
            if flags & HTTP2Frame.acknowledged == 0 { unsafe settingsCame(frame) }
        case HTTP2Frame.ping:
            if flags & HTTP2Frame.acknowledged != 0 && pings > 0 {
                pings -= 1
                budget.earn(1)
                happened = .pong
            }
        case HTTP2Frame.goAway:
            happened = unsafe .goAway(
                lastStream: frame.pointee.goaway.last_stream_id, code: frame.pointee.goaway.error_code)
        default:
            break
        }
    }

    func frameWasInvalid(_ id: Int32, _ code: Int32) {
        // Not opened, because there are too many: what was under way on it may still come.
        if code == NGHTTP2_ERR_REFUSED_STREAM.rawValue { closed.closed(id, byPeer: false) }
    }

    private func contentEnded(_ id: Int32) {
        let index = find(id)
        guard index >= 0, !streams[index].isLocalReset else { return }
        streams[index].isPeerDone = true
        if case .content(let index, let offset, let length, _) = happened {
            happened = .content(index: index, offset: offset, length: length, ends: true)
        } else {
            happened = .content(index: index, offset: 0, length: 0, ends: true)
        }
    }

    private func fieldBlockEnded(ends: Bool) {
        guard reading >= 0 else { return }
        let stream = streams[reading]
        reading = -1
        if ends { stream.isPeerDone = true }
        let isHead = !stream.hasFinalHead
        let rejection = reader.finish(ends: ends, answering: stream.method, &stream.head)
        if isHead {
            stream.hasFinalHead = role == .server || stream.head.status < 100 || stream.head.status >= 200
            happened = .head(index: stream.index, ends: ends, rejection: rejection)
            // Informational ones may come in any number.
            if stream.hasFinalHead { budget.earn(8) } else { budget.spend(1) }
        } else if rejection == nil {
            happened = .trailers(index: stream.index)
        } else {
            // No answer is possible here: the message is malformed (RFC 9113 8.1.1).
            _ = unsafe nghttp2_submit_rst_stream(raw, 0, stream.id, HTTP2Code.protocolError)
            stream.isTold = true
            stream.isFaulty = true
            stream.resetCode = HTTP2Code.protocolError
            happened = .reset(index: stream.index)
        }
    }

    private func resetCame(_ id: Int32, _ code: UInt32) {
        let index = find(id)
        guard index >= 0 else {
            budget.spend(1)
            return
        }
        let stream = streams[index]
        if role == .server && !stream.isLocalDone { budget.spendReset(provoked: false) }
        stream.isPeerDone = true
        if stream.isLocalReset || stream.isTold { return }
        stream.isTold = true
        stream.resetCode = code
        stream.isRefused = code == HTTP2Code.refusedStream
        happened = .reset(index: stream.index)
    }

    private func settingsCame(_ frame: UnsafePointer<nghttp2_frame>) {
        let entries = unsafe UnsafeBufferPointer(start: frame.pointee.settings.iv, count: frame.pointee.settings.niv)
        // In order: a table that was smaller for a moment must be told (RFC 7541 4.2).
        for index in 0..<entries.count
        where unsafe entries[index].settings_id == Int32(NGHTTP2_SETTINGS_HEADER_TABLE_SIZE.rawValue) {
            unsafe encoder.setPeerTableSize(Int(entries[index].value))
        }
        peerStreamLimit = unsafe Int(
            nghttp2_session_get_remote_settings(raw, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS))
        peerAllowsConnectProtocol =
            unsafe nghttp2_session_get_remote_settings(raw, NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL) == 1
        happened = .settings
    }

    func streamClosed(_ id: Int32, _ code: UInt32) {
        openStreams -= 1
        let index = find(id)
        guard index >= 0 else {
            closed.closed(id, byPeer: false)
            return
        }
        let stream = streams[index]
        closed.closed(id, byPeer: stream.isPeerDone)
        stream.isClosed = true
        deactivate(stream)
        stream.outbound.removeAll()
        detachedEnded(stream)
        if stream.isPeerDone && stream.isLocalDone && !stream.isTold && !stream.isFaulty {
            budget.streamCompleted()
            return
        }
        if stream.isTold || stream.isLocalReset { return }
        stream.isTold = true
        if !stream.isFaulty { stream.resetCode = code }
        stream.isRefused = code == HTTP2Code.refusedStream && !stream.isFaulty
        stream.isResetQueued = true
        resetQueue.append(stream.index)
    }
}
