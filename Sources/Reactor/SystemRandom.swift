import CLinux

/// The kernel's generator: for keys, nonces, `state` and PKCE verifiers.
package enum SystemRandom {
    /// Fills the buffer. A kernel without random bytes ends the process: nothing safe could follow.
    package static func fill(_ buffer: UnsafeMutableRawBufferPointer) {
        var filled = 0
        while filled < buffer.count {
            let rest = unsafe UnsafeMutableRawBufferPointer(rebasing: buffer[filled...])
            let count = unsafe tg_random(rest.baseAddress, rest.count)
            precondition(
                count > 0, "the kernel gives no random bytes: \(Errno(code: Int32(truncatingIfNeeded: -count)))")
            filled += Int(count)
        }
    }

    package static func bytes(_ count: Int) -> [UInt8] {
        unsafe [UInt8](unsafeUninitializedCapacity: count) { buffer, initialized in
            unsafe fill(UnsafeMutableRawBufferPointer(buffer))
            initialized = count
        }
    }

    package static func uint64() -> UInt64 {
        var value: UInt64 = 0
        unsafe withUnsafeMutableBytes(of: &value) { unsafe fill($0) }
        return value
    }
}
