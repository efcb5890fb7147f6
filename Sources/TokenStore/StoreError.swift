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
        /// The database server cannot be reached, or its answer did not come: the call was not made, or its outcome
        /// is unknown, as the message says.
        case unavailable
        /// A row is sealed under a key that is not on our ring: the row is fine, this replica's configuration is not.
        case unknownKey
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
        case .diskFull, .inputOutput, .busy, .unavailable: true
        case .inUse, .permissions, .key, .foreign, .newerSchema, .corrupt, .readOnly, .closed, .invalid, .unknownKey:
            false
        }
    }

    package var description: String { message }
}
