import COpenSSL

/// Where engines put the ciphertext that must go to the peer. Owned by one worker and shared by all its connections:
/// calls append, the driver writes `bytes` to the socket, then calls `removeAll()`.
///
/// Not Sendable: it stays on the thread that made it.
@safe package final class TLSOutputBuffer {
    /// Handed to the C side. Owned; lives as long as `self`.
    let storage: UnsafeMutablePointer<tg_buffer>
    private let usualCapacity: Int
    /// Above this capacity the memory is given back when the buffer is emptied.
    private static let keptCapacityBytes = 1 << 20

    /// - Parameter capacity: bytes to reserve at once; the buffer grows as needed.
    package init(capacity: Int = 128 * 1024) {
        usualCapacity = max(capacity, 0)
        unsafe storage = .allocate(capacity: 1)
        unsafe storage.initialize(to: tg_buffer())
        _ = unsafe tg_buffer_reserve(storage, usualCapacity)
    }

    deinit {
        unsafe tg_buffer_free(storage)
        unsafe storage.deallocate()
    }

    /// What is waiting to be written. Valid until the next call that gets this buffer.
    package var bytes: UnsafeRawBufferPointer {
        unsafe UnsafeRawBufferPointer(start: storage.pointee.bytes, count: storage.pointee.count)
    }

    package var count: Int { unsafe storage.pointee.count }

    package var isEmpty: Bool { unsafe storage.pointee.count == 0 }

    /// Forgets the bytes and keeps the memory, unless one burst has made it very large.
    package func removeAll() {
        unsafe storage.pointee.count = 0
        guard unsafe storage.pointee.capacity > max(Self.keptCapacityBytes, usualCapacity) else { return }
        unsafe tg_buffer_free(storage)
        _ = unsafe tg_buffer_reserve(storage, usualCapacity)
    }
}
