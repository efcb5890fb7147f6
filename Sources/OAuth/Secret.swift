/// Text that must never be printed: a token, a client secret, a code, a verifier.
///
/// Its description, debug description and mirror are redacted, so that a leak needs an explicit `reveal()`.
package struct Secret: Sendable, Hashable {
    private let text: String

    package init(_ text: String) {
        self.text = text
    }

    /// The secret itself. Each call is a place where a secret leaves its type: header, request body, sealed store.
    package func reveal() -> String {
        text
    }

    package var bytes: [UInt8] {
        Array(text.utf8)
    }

    package var isEmpty: Bool {
        text.isEmpty
    }

    /// Compares in time that depends on the lengths only.
    package static func == (left: Secret, right: Secret) -> Bool {
        Crypto.constantTimeEquals(Array(left.text.utf8), Array(right.text.utf8))
    }
}

extension Secret: CustomStringConvertible, CustomDebugStringConvertible, CustomReflectable {
    package var description: String { "<redacted>" }
    package var debugDescription: String { "<redacted>" }
    package var customMirror: Mirror { Mirror(self, children: [:]) }
}
