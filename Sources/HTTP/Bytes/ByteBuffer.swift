internal import Glibc

/// A queue of bytes: written at the tail, read at the head, in one contiguous piece of memory.
///
/// It owns its memory or none at all: an idle connection gives its block back to the ``BufferPool`` and costs nothing.
/// Thread-confined. Pointers that it hands out are valid until the next mutating call.
@safe
package struct ByteBuffer: ~Copyable {
    private var storage: UnsafeMutableRawPointer?
    /// Bytes of memory owned, read and unread and free.
    package private(set) var capacity: Int = 0
    private var head = 0
    private var tail = 0

    package init() {
        unsafe storage = nil
    }

    package init(capacity: Int) {
        unsafe storage = nil
        reserve(capacity)
    }

    deinit {
        unsafe free(storage)
    }

    /// Bytes that are waiting to be read.
    package var count: Int { tail - head }
    package var isEmpty: Bool { tail == head }
    package var ownsMemory: Bool { capacity > 0 }

    /// The bytes that are waiting to be read.
    package var readable: UnsafeRawBufferPointer {
        guard let storage = unsafe storage else { return unsafe UnsafeRawBufferPointer(start: nil, count: 0) }
        return unsafe UnsafeRawBufferPointer(start: storage + head, count: tail - head)
    }

    /// The byte at `offset` of the readable bytes.
    package subscript(offset: Int) -> UInt8 {
        precondition(offset >= 0 && offset < count)
        return unsafe storage!.load(fromByteOffset: head + offset, as: UInt8.self)
    }

    /// Drops the first `bytes` readable bytes.
    package mutating func consume(_ bytes: Int) {
        precondition(bytes >= 0 && bytes <= count)
        head += bytes
        if head == tail {
            head = 0
            tail = 0
        }
    }

    /// Drops everything and keeps the memory.
    package mutating func removeAll() {
        head = 0
        tail = 0
    }

    /// Drops what was written after the first `bytes` readable bytes.
    package mutating func truncate(to bytes: Int) {
        precondition(bytes >= 0 && bytes <= count)
        tail = head + bytes
    }

    /// Makes room for at least `bytes` more bytes at the tail.
    package mutating func reserve(_ bytes: Int) {
        if capacity - tail >= bytes { return }
        let used = count
        if capacity - used >= bytes && head >= used {
            unsafe memcpy(storage!, storage! + head, used)
        } else {
            let wanted = max(used + bytes, capacity * 2, 256)
            let memory = unsafe malloc(wanted)!
            if used > 0 { unsafe memcpy(memory, storage! + head, used) }
            unsafe free(storage)
            unsafe storage = memory
            capacity = wanted
        }
        head = 0
        tail = used
    }

    /// Free memory at the tail, at least `minimum` bytes; write to it, then call ``commit(_:)``.
    package mutating func writable(minimum: Int) -> UnsafeMutableRawBufferPointer {
        reserve(max(minimum, 1))
        return unsafe UnsafeMutableRawBufferPointer(start: storage! + tail, count: capacity - tail)
    }

    /// Makes the first `bytes` bytes of what ``writable(minimum:)`` gave readable.
    package mutating func commit(_ bytes: Int) {
        precondition(bytes >= 0 && bytes <= capacity - tail)
        tail += bytes
    }

    /// - Parameter bytes: of other memory, or of this buffer's after a ``reserve(_:)`` that has room for them.
    package mutating func append(_ bytes: UnsafeRawBufferPointer) {
        guard let base = bytes.baseAddress, bytes.count > 0 else { return }
        let length = bytes.count
        reserve(length)
        unsafe memcpy(storage! + tail, base, length)
        tail += length
    }

    package mutating func append(_ byte: UInt8) {
        reserve(1)
        unsafe storage!.storeBytes(of: byte, toByteOffset: tail, as: UInt8.self)
        tail += 1
    }

    package mutating func append(_ text: StaticString) {
        unsafe append(UnsafeRawBufferPointer(start: text.utf8Start, count: text.utf8CodeUnitCount))
    }

    package mutating func append(_ bytes: [UInt8]) {
        unsafe bytes.withUnsafeBytes { unsafe append($0) }
    }

    package mutating func append(_ text: String) {
        var text = text
        text.withUTF8 { unsafe append(UnsafeRawBufferPointer($0)) }
    }

    /// Appends `number` in decimal digits.
    package mutating func appendDecimal(_ number: UInt64) {
        var divisor: UInt64 = 1
        while number / divisor >= 10 { divisor *= 10 }
        while divisor > 0 {
            append(UInt8(truncatingIfNeeded: 0x30 + (number / divisor) % 10))
            divisor /= 10
        }
    }

    /// Appends `number` in lower-case hexadecimal digits.
    package mutating func appendHexadecimal(_ number: UInt64) {
        var shift = number == 0 ? 0 : (63 - number.leadingZeroBitCount) / 4 * 4
        while shift >= 0 {
            let digit = UInt8(truncatingIfNeeded: (number >> UInt64(shift)) & 15)
            append(digit < 10 ? 0x30 + digit : 0x57 + digit)
            shift -= 4
        }
    }

    /// Takes a block of the pool if it owns no memory yet.
    package mutating func acquire(from pool: BufferPool) {
        guard capacity == 0 else { return }
        unsafe storage = pool.take()
        capacity = pool.blockBytes
        head = 0
        tail = 0
    }

    /// Gives the memory back (to the pool where it is one of its blocks), readable bytes included.
    package mutating func release(to pool: BufferPool) {
        guard let memory = unsafe storage else { return }
        if capacity == pool.blockBytes { unsafe pool.put(memory) } else { unsafe free(memory) }
        unsafe storage = nil
        capacity = 0
        head = 0
        tail = 0
    }

    /// Gives the memory back when nothing is waiting to be read.
    package mutating func releaseIfEmpty(to pool: BufferPool) {
        if head == tail && capacity > 0 { release(to: pool) }
    }

    /// A copy of the readable bytes.
    package func array() -> [UInt8] {
        unsafe [UInt8](readable)
    }
}

/// Blocks of memory of one size, kept for reuse by one worker. Thread-confined.
@safe
package final class BufferPool {
    package let blockBytes: Int
    private let limit: Int
    private var blocks: [UnsafeMutableRawPointer] = unsafe []

    /// - Parameter limit: how many free blocks are kept; more are given back to the system.
    package init(blockBytes: Int, limit: Int) {
        self.blockBytes = blockBytes
        self.limit = limit
        unsafe blocks.reserveCapacity(limit)
    }

    deinit {
        while let block = unsafe blocks.popLast() { unsafe free(block) }
    }

    fileprivate func take() -> UnsafeMutableRawPointer {
        if let block = unsafe blocks.popLast() { return unsafe block }
        return unsafe malloc(blockBytes)!
    }

    fileprivate func put(_ block: UnsafeMutableRawPointer) {
        if unsafe blocks.count < limit { unsafe blocks.append(block) } else { unsafe free(block) }
    }
}
