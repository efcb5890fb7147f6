/// Why a store call failed, in words for the operator. Never holds a payload, a consent id or key bytes.
package struct StoreError: Error, Sendable, Equatable, CustomStringConvertible {
    package enum Kind: String, Sendable, Equatable, CaseIterable {
        /// Another process has the store.
        case inUse
        /// A file or directory is open to others, or closed to us.
        case permissions
        /// A key is malformed, missing or not the store's.
        case key
        /// The file is not a store of Token Gateway's.
        case foreign
        /// A newer version of Token Gateway wrote the store.
        case newerSchema
        /// The file is damaged or was tampered with.
        case corrupt
        /// The disk or quota is full.
        case diskFull
        /// Reading, writing or syncing failed.
        case inputOutput
        /// Someone else kept the file locked for longer than we wait.
        case busy
        /// The file system or file is read-only.
        case readOnly
        /// The store was closed.
        case closed
        /// The call's arguments cannot be stored.
        case invalid
    }

    package let kind: Kind
    /// One or two sentences: what is wrong with which file, and what to do.
    package let message: String

    package init(_ kind: Kind, _ message: String) {
        self.kind = kind
        self.message = message
    }

    /// Whether the same call may succeed later without anyone changing the configuration or the files.
    package var isTransient: Bool {
        switch kind {
        case .diskFull, .inputOutput, .busy: true
        case .inUse, .permissions, .key, .foreign, .newerSchema, .corrupt, .readOnly, .closed, .invalid: false
        }
    }

    package var description: String { message }
}
