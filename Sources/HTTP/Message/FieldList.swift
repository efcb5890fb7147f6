/// The fields of a ``MessageHead``, dropped ones included, in the order in which they came.
///
/// A view of memory that the head owns, and not an array: reading, changing and appending a field counts no
/// references and asks for no owner, and each is done for every field of every message. A copy shows the same fields
/// and, like a pointer into the arena, is valid until the head is changed.
@safe @usableFromInline
package struct FieldList: RandomAccessCollection, MutableCollection {
    @usableFromInline var base: UnsafeMutablePointer<Field>?
    @usableFromInline package internal(set) var count = 0
    @usableFromInline package internal(set) var capacity = 0

    @usableFromInline
    init() {
        unsafe base = nil
    }

    @inlinable package var startIndex: Int { 0 }
    @inlinable package var endIndex: Int { count }
    @inlinable package var indices: Range<Int> { 0..<count }
    @inlinable package var isEmpty: Bool { count == 0 }
    @inlinable package func index(after index: Int) -> Int { index &+ 1 }
    @inlinable package func index(before index: Int) -> Int { index &- 1 }

    @inlinable
    package subscript(index: Int) -> Field {
        unsafeAddress { unsafe UnsafePointer(place(index)) }
        unsafeMutableAddress { unsafe place(index) }
    }

    @inlinable @inline(__always)
    func place(_ index: Int) -> UnsafeMutablePointer<Field> {
        // One comparison: a negative index is a very large one.
        precondition(UInt(bitPattern: index) < UInt(bitPattern: count), "no such field")
        return unsafe base! + index
    }

    /// For loops over all of them: no bound is compared in release builds.
    @inlinable @inline(__always)
    var buffer: UnsafeBufferPointer<Field> { unsafe UnsafeBufferPointer(start: base, count: count) }

    @inlinable
    package mutating func append(_ field: Field) {
        if count == capacity { grow() }
        unsafe (base! + count).initialize(to: field)
        count &+= 1
    }

    package mutating func insert(_ field: Field, at index: Int) {
        precondition(index >= 0 && index <= count)
        append(field)
        var position = count - 1
        while position > index {
            swapAt(position, position - 1)
            position -= 1
        }
    }

    @discardableResult
    package mutating func remove(at index: Int) -> Field {
        let removed = self[index]
        for position in index..<(count - 1) { self[position] = self[position + 1] }
        count -= 1
        return removed
    }

    /// - Parameter keepingCapacity: is always done; the memory is the head's.
    @inlinable
    package mutating func removeAll(keepingCapacity: Bool = true) {
        count = 0
    }

    @usableFromInline @inline(never)
    mutating func grow() {
        let wanted = Swift.max(capacity * 2, 32)
        let memory = UnsafeMutablePointer<Field>.allocate(capacity: wanted)
        if let base = unsafe base {
            unsafe memory.moveInitialize(from: base, count: count)
            unsafe base.deallocate()
        }
        unsafe base = memory
        capacity = wanted
    }

    /// Gives the memory back; the fields are gone. For the head that owns it.
    mutating func giveBack() {
        unsafe base?.deallocate()
        unsafe base = nil
        count = 0
        capacity = 0
    }
}
