/// Secret bytes read from their source. Its descriptions never show them; `bytes` is the only way out.
package struct LoadedSecret: Sendable, Hashable, CustomStringConvertible, CustomDebugStringConvertible,
    CustomReflectable
{
    /// Without the line end that editors leave. Never empty when it comes from `SecretLoader`.
    package let bytes: [UInt8]

    package init(bytes: [UInt8]) { self.bytes = bytes }

    package var description: String { "[redacted]" }
    package var debugDescription: String { description }
    package var customMirror: Mirror { Mirror(self, children: []) }
}
