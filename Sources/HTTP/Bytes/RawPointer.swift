extension UnsafeRawPointer {
    /// The octet at `offset`, which the caller knows to be readable.
    @inlinable @inline(__always)
    subscript(offset: Int) -> UInt8 {
        unsafe load(fromByteOffset: offset, as: UInt8.self)
    }
}
