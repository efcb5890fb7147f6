internal import Glibc

/// A queue of bytes: written at the tail, read at the head, in one contiguous piece of memory.
///
/// It owns its memory or none at all: an idle connection gives its block back to the ``BufferPool`` and costs nothing.
/// Thread-confined. Pointers that it hands out are valid until the next mutating call.
///
/// What is done once per field or per piece of a head is inlined into the other modules; what is rare is a call.
@safe @usableFromInline
package struct ByteBuffer: ~Copyable {
    @usableFromInline var storage: UnsafeMutableRawPointer?
    /// Bytes of memory owned, read and unread and free.
    @usableFromInline package internal(set) var capacity: Int = 0
    @usableFromInline var head = 0
    @usableFromInline var tail = 0

    @inlinable
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
    @inlinable package var count: Int { tail &- head }
    @inlinable package var isEmpty: Bool { tail == head }
    @inlinable package var ownsMemory: Bool { capacity > 0 }

    /// The bytes that are waiting to be read.
    @inlinable
    package var readable: UnsafeRawBufferPointer {
        guard let storage = unsafe storage else { return unsafe UnsafeRawBufferPointer(start: nil, count: 0) }
        return unsafe UnsafeRawBufferPointer(start: storage + head, count: tail &- head)
    }

    /// The byte at `offset` of the readable bytes.
    @inlinable
    package subscript(offset: Int) -> UInt8 {
        precondition(offset >= 0 && offset < count)
        return unsafe storage!.load(fromByteOffset: head + offset, as: UInt8.self)
    }

    /// Drops the first `bytes` readable bytes.
    @inlinable
    package mutating func consume(_ bytes: Int) {
        precondition(bytes >= 0 && bytes <= count)
        head &+= bytes
        if head == tail {
            head = 0
            tail = 0
        }
    }

    /// Drops everything and keeps the memory.
    @inlinable
    package mutating func removeAll() {
        head = 0
        tail = 0
    }

    /// Drops what was written after the first `bytes` readable bytes.
    @inlinable
    package mutating func truncate(to bytes: Int) {
        precondition(bytes >= 0 && bytes <= count)
        tail = head &+ bytes
    }

    /// Makes room for at least `bytes` more bytes at the tail.
    @inlinable
    package mutating func reserve(_ bytes: Int) {
        if capacity &- tail < bytes { makeRoom(bytes) }
    }

    @usableFromInline @inline(never)
    mutating func makeRoom(_ bytes: Int) {
        let used = count
        if capacity - used >= bytes && head >= used {
            if used > 0 { unsafe memcpy(storage!, storage! + head, used) }
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
    @inlinable
    package mutating func writable(minimum: Int) -> UnsafeMutableRawBufferPointer {
        reserve(max(minimum, 1))
        return unsafe UnsafeMutableRawBufferPointer(start: storage! + tail, count: capacity &- tail)
    }

    /// Makes the first `bytes` bytes of what ``writable(minimum:)`` gave readable.
    @inlinable
    package mutating func commit(_ bytes: Int) {
        precondition(bytes >= 0 && bytes <= capacity &- tail)
        tail &+= bytes
    }

    /// - Parameter bytes: of other memory, or of this buffer's after a ``reserve(_:)`` that has room for them.
    @inlinable
    package mutating func append(_ bytes: UnsafeRawBufferPointer) {
        guard let base = bytes.baseAddress else { return }
        unsafe append(base, bytes.count)
    }

    @inlinable
    mutating func append(_ base: UnsafeRawPointer, _ length: Int) {
        guard length > 0 else { return }
        reserve(length)
        unsafe (storage! + tail).copyMemory(from: base, byteCount: length)
        tail &+= length
    }

    /// Appends `bytes` and writes ``OctetScan/padding`` zeros behind them, which are not part of the content: a search
    /// that looks at 16 octets in one step stays in this buffer's memory and ends at the first of them.
    mutating func appendPadded(_ bytes: UnsafeRawBufferPointer) {
        reserve(bytes.count &+ OctetScan.padding)
        unsafe append(bytes)
        unsafe (storage! + tail).storeBytes(of: SIMD16<UInt8>(repeating: 0), as: SIMD16<UInt8>.self)
    }

    @inlinable
    package mutating func append(_ byte: UInt8) {
        reserve(1)
        unsafe storage!.storeBytes(of: byte, toByteOffset: tail, as: UInt8.self)
        tail &+= 1
    }

    /// A literal: its length is known where it is compiled, so that short ones are a store or two.
    @inlinable @inline(__always)
    package mutating func append(_ text: StaticString) {
        unsafe append(UnsafeRawPointer(text.utf8Start), text.utf8CodeUnitCount)
    }

    @inlinable
    package mutating func append(_ bytes: [UInt8]) {
        unsafe bytes.withUnsafeBytes { unsafe append($0) }
    }

    // Disfavoured: a literal would be a String otherwise, with its own way to its bytes.
    @_disfavoredOverload
    package mutating func append(_ text: String) {
        var text = text
        text.withUTF8 { unsafe append(UnsafeRawBufferPointer($0)) }
    }

    /// Appends `number` in decimal digits.
    @usableFromInline
    package mutating func appendDecimal(_ number: UInt64) {
        var digits = 1
        var limit: UInt64 = 10
        while digits < 20 && number >= limit {
            digits &+= 1
            limit = limit &* 10
        }
        reserve(digits)
        var end = unsafe storage! + tail + digits
        var rest = number
        while rest >= 10 {
            let pair = UInt16(truncatingIfNeeded: rest % 100)
            rest /= 100
            unsafe end -= 2
            unsafe end.storeBytes(of: (0x3030 &+ pair / 10 &+ (pair % 10) << 8).littleEndian, as: UInt16.self)
        }
        // An odd number of digits leaves one; an even number was all pairs.
        if digits & 1 == 1 {
            unsafe (end - 1).storeBytes(of: 0x30 &+ UInt8(truncatingIfNeeded: rest), as: UInt8.self)
        }
        tail &+= digits
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
    @inlinable
    package mutating func acquire(from pool: BufferPool) {
        if capacity == 0 { take(from: pool) }
    }

    @usableFromInline
    mutating func take(from pool: BufferPool) {
        unsafe storage = pool.take()
        capacity = pool.blockBytes
        head = 0
        tail = 0
    }

    /// Gives the memory back (to the pool where it is one of its blocks), readable bytes included.
    @usableFromInline
    package mutating func release(to pool: BufferPool) {
        guard let memory = unsafe storage else { return }
        if capacity == pool.blockBytes { unsafe pool.put(memory) } else { unsafe free(memory) }
        unsafe storage = nil
        capacity = 0
        head = 0
        tail = 0
    }

    /// Gives the memory back when nothing is waiting to be read.
    @inlinable
    package mutating func releaseIfEmpty(to pool: BufferPool) {
        if head == tail && capacity > 0 { release(to: pool) }
    }

    /// A copy of the readable bytes.
    package func array() -> [UInt8] {
        unsafe [UInt8](readable)
    }
}

/// Blocks of memory of one size, kept for reuse by one worker. Thread-confined.
@safe @usableFromInline
package final class BufferPool {
    package let blockBytes: Int
    private let limit: Int
    /// The free block that came back last; the first word of each is the address of the next, so that keeping them
    /// needs no list that would have to be counted and grown.
    private var first: UnsafeMutableRawPointer?
    private var count = 0

    /// - Parameters:
    ///   - blockBytes: at least 16.
    ///   - limit: how many free blocks are kept; more are given back to the system.
    package init(blockBytes: Int, limit: Int) {
        self.blockBytes = max(blockBytes, 16)
        self.limit = limit
        unsafe first = nil
    }

    deinit {
        while count > 0 { unsafe free(take()) }
    }

    fileprivate func take() -> UnsafeMutableRawPointer {
        guard let block = unsafe first else { return unsafe malloc(blockBytes)! }
        unsafe first = block.load(as: UnsafeMutableRawPointer?.self)
        count &-= 1
        return unsafe block
    }

    fileprivate func put(_ block: UnsafeMutableRawPointer) {
        guard count < limit else {
            unsafe free(block)
            return
        }
        unsafe block.storeBytes(of: first, as: UnsafeMutableRawPointer?.self)
        unsafe first = block
        count &+= 1
    }
}
