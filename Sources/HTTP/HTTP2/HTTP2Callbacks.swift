internal import CNghttp2

/// The functions that nghttp2 calls. Each finds the session and notes there what happened.
enum HTTP2Callbacks {
    /// Owned by the caller; nil when there is no memory.
    static func make() -> OpaquePointer? {
        var made: OpaquePointer?
        guard unsafe nghttp2_session_callbacks_new(&made) == 0, let callbacks = unsafe made else { return nil }
        unsafe setInput(callbacks)
        unsafe setOutput(callbacks)
        return unsafe callbacks
    }

    private static func setInput(_ callbacks: OpaquePointer) {
        unsafe nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks) { _, frame, user in
            guard let frame = unsafe frame else { return 0 }
            unsafe with(user) { unsafe $0.fieldBlockBegan(frame.pointee.hd.stream_id, isRequest: isRequest(frame)) }
            return 0
        }
        unsafe nghttp2_session_callbacks_set_on_header_callback(callbacks) {
            _, _, name, nameCount, value, valueCount, _, user in
            let name = unsafe UnsafeRawBufferPointer(start: name, count: nameCount)
            let value = unsafe UnsafeRawBufferPointer(start: value, count: valueCount)
            return unsafe with(user) { unsafe $0.fieldCame(name, value) }
                ? 0 : NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE.rawValue
        }
        // Without a callback for invalid fields they make the stream malformed.
        unsafe nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks) { _, frame, user in
            guard let frame = unsafe frame else { return 0 }
            unsafe with(user) { unsafe $0.frameCame(frame) }
            return 0
        }
        unsafe nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(callbacks) { _, frame, code, user in
            guard let frame = unsafe frame else { return 0 }
            unsafe with(user) { unsafe $0.frameWasInvalid(frame.pointee.hd.stream_id, code) }
            return 0
        }
        unsafe nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks) { _, _, id, data, count, user in
            unsafe with(user) { unsafe $0.contentCame(id, UnsafeRawPointer(data), count) }
            return 0
        }
        unsafe nghttp2_session_callbacks_set_on_stream_close_callback(callbacks) { _, id, code, user in
            unsafe with(user) { $0.streamClosed(id, code) }
            return 0
        }
    }

    private static func setOutput(_ callbacks: OpaquePointer) {
        unsafe nghttp2_session_callbacks_set_on_frame_send_callback(callbacks) { _, frame, user in
            guard let frame = unsafe frame else { return 0 }
            unsafe with(user) { unsafe $0.frameWent(frame) }
            return 0
        }
        unsafe nghttp2_session_callbacks_set_send_data_callback(callbacks) {
            _, frame, header, count, source, user in
            guard let frame = unsafe frame, let header = unsafe header, let source = unsafe source else {
                return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE.rawValue
            }
            let ends = unsafe frame.pointee.hd.flags & HTTP2Frame.endStream != 0
            let index = unsafe Int(source.pointee.fd)
            let isFull = unsafe with(user) {
                unsafe $0.contentWent(index, header: UnsafeRawPointer(header), count: count, ends: ends)
            }
            return isFull ? NGHTTP2_ERR_PAUSE.rawValue : 0
        }
    }

    /// What `tg_nghttp2_submit_data` is given.
    static let read: nghttp2_data_source_read_callback = { _, id, _, room, flags, source, user in
        guard let flags = unsafe flags, let source = unsafe source else {
            return Int(NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE.rawValue)
        }
        let index = unsafe Int(source.pointee.fd)
        return unsafe with(user) { unsafe $0.contentIsDue(index, id, room: room, &flags.pointee) }
    }
}

// Not methods: a closure that named their type would capture it, and be no function of C.

@inline(__always)
private func with<Result>(_ user: UnsafeMutableRawPointer?, _ body: (HTTP2Session) -> Result) -> Result {
    // The session owns what calls: it lives.
    unsafe Unmanaged<HTTP2Session>.fromOpaque(user!)._withUnsafeGuaranteedRef(body)
}

private func isRequest(_ frame: UnsafePointer<nghttp2_frame>) -> Bool {
    unsafe frame.pointee.headers.cat == NGHTTP2_HCAT_REQUEST
}
