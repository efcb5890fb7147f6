import Glibc

/// The decoder of libnghttp2, where the library is there: a second judge of what the encoder writes, and one of those
/// that will read it.
final class HPACKInflater {
    private typealias New = @convention(c) (UnsafeMutablePointer<OpaquePointer?>) -> Int32
    private typealias Delete = @convention(c) (OpaquePointer) -> Void
    private typealias ChangeSize = @convention(c) (OpaquePointer, Int) -> Int32
    private typealias End = @convention(c) (OpaquePointer) -> Int32
    private typealias Inflate =
        @convention(c) (
            OpaquePointer, UnsafeMutableRawPointer, UnsafeMutablePointer<Int32>, UnsafePointer<UInt8>, Int, Int32
        ) -> Int

    private static func function<F>(_ name: String, as type: F.Type) -> F? {
        guard let library = dlopen("libnghttp2.so.14", RTLD_NOW), let symbol = dlsym(library, name) else { return nil }
        return unsafeBitCast(symbol, to: type)
    }

    static let isThere = function("nghttp2_hd_inflate_hd2", as: Inflate.self) != nil

    private let handle: OpaquePointer
    private let inflate: Inflate
    private let end: End
    private let changeSize: ChangeSize
    private let delete: Delete

    init?() {
        var handle: OpaquePointer?
        guard let new = Self.function("nghttp2_hd_inflate_new", as: New.self),
            let delete = Self.function("nghttp2_hd_inflate_del", as: Delete.self),
            let changeSize = Self.function("nghttp2_hd_inflate_change_table_size", as: ChangeSize.self),
            let end = Self.function("nghttp2_hd_inflate_end_headers", as: End.self),
            let inflate = Self.function("nghttp2_hd_inflate_hd2", as: Inflate.self), new(&handle) == 0,
            let handle
        else { return nil }
        self.handle = handle
        self.inflate = inflate
        self.end = end
        self.changeSize = changeSize
        self.delete = delete
    }

    deinit {
        delete(handle)
    }

    func allow(_ octets: Int) { _ = changeSize(handle, octets) }

    /// Names and values; nil when the block is not valid. `isSensitive` is nghttp2's flag for a never-indexed literal.
    func decode(_ block: [UInt8]) -> [(name: [UInt8], value: [UInt8], isSensitive: Bool)]? {
        var lines: [(name: [UInt8], value: [UInt8], isSensitive: Bool)] = []
        var position = 0
        while true {
            // nghttp2_nv: name, value, lengths of both, flags.
            var field = (UnsafePointer<UInt8>?.none, UnsafePointer<UInt8>?.none, 0, 0, UInt8(0))
            var flags: Int32 = 0
            let count = block.withUnsafeBufferPointer { bytes -> Int in
                guard let base = bytes.baseAddress else { return 0 }
                return inflate(handle, &field, &flags, base + position, bytes.count - position, 1)
            }
            guard count >= 0 else { return nil }
            position += count
            if flags & 2 != 0 {
                let name = Array(UnsafeBufferPointer(start: field.0, count: field.2))
                let value = Array(UnsafeBufferPointer(start: field.1, count: field.3))
                lines.append((name, value, field.4 & 1 != 0))
            }
            if flags & 1 != 0 {
                _ = end(handle)
                return lines
            }
            if flags & 2 == 0, position == block.count { return block.isEmpty ? [] : nil }
        }
    }
}
