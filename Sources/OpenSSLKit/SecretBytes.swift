import COpenSSL

/// Octets that must not appear in any log: every description is redacted, comparison takes constant time, and the
/// memory is overwritten when the last copy goes.
package struct SecretBytes: Sendable, Hashable {
    private let owner: SecretStorage

    /// Copies; the caller's own array is the caller's business.
    package init(_ bytes: some Collection<UInt8>) { owner = SecretStorage(bytes) }

    package var count: Int { owner.bytes.count }
    package var isEmpty: Bool { owner.bytes.isEmpty }

    /// Lends the octets for the length of `body`.
    package func withUnsafeBytes<Result, Failure: Error>(
        _ body: (UnsafeRawBufferPointer) throws(Failure) -> Result
    ) throws(Failure) -> Result {
        try unsafe owner.bytes.withUnsafeBufferPointer { buffer throws(Failure) in
            try unsafe body(UnsafeRawBufferPointer(buffer))
        }
    }

    /// A copy that is not protected any more. Asking for it is the explicit step.
    package func exposed() -> [UInt8] { unsafe withUnsafeBytes { unsafe Array($0) } }

    package static func == (left: SecretBytes, right: SecretBytes) -> Bool {
        constantTimeEquals(left.owner.bytes, right.owner.bytes)
    }

    package func hash(into hasher: inout Hasher) { hasher.combine(owner.bytes) }
}

/// Text that must not appear in any log, for example a token or a password. See `SecretBytes`.
package struct SecretString: Sendable, Hashable {
    private let utf8: SecretBytes

    package init(_ text: String) { utf8 = SecretBytes(text.utf8) }

    /// Octets, not characters.
    package var count: Int { utf8.count }
    package var isEmpty: Bool { utf8.isEmpty }

    /// Lends the UTF-8 octets for the length of `body`.
    package func withUnsafeBytes<Result, Failure: Error>(
        _ body: (UnsafeRawBufferPointer) throws(Failure) -> Result
    ) throws(Failure) -> Result {
        try unsafe utf8.withUnsafeBytes(body)
    }

    /// A copy that is not protected any more. Asking for it is the explicit step.
    package func exposed() -> String {
        unsafe utf8.withUnsafeBytes { unsafe String(decoding: $0, as: UTF8.self) }
    }
}

/// The only holder of its array's memory: the array is made here and never handed out, so that it can be overwritten.
private final class SecretStorage: Sendable {
    let bytes: [UInt8]

    init(_ source: some Collection<UInt8>) {
        bytes = unsafe [UInt8](unsafeUninitializedCapacity: source.count) { buffer, count in
            (_, count) = unsafe buffer.initialize(from: source)
        }
    }

    deinit {
        guard !bytes.isEmpty else { return }
        unsafe bytes.withUnsafeBytes { buffer in
            unsafe OPENSSL_cleanse(UnsafeMutableRawPointer(mutating: buffer.baseAddress), buffer.count)
        }
    }
}

private let redacted = "[redacted]"

extension SecretBytes: CustomStringConvertible, CustomDebugStringConvertible, CustomReflectable {
    package var description: String { redacted }
    package var debugDescription: String { redacted }
    package var customMirror: Mirror { Mirror(self, children: []) }
}

extension SecretString: CustomStringConvertible, CustomDebugStringConvertible, CustomReflectable {
    package var description: String { redacted }
    package var debugDescription: String { redacted }
    package var customMirror: Mirror { Mirror(self, children: []) }
}
