import GRDB
import Glibc

/// Which files were opened: what the store's path must go on leading to.
struct OpenFiles: Sendable, Equatable {
    struct Identity: Sendable, Equatable {
        let device: UInt64
        let inode: UInt64
    }

    let directory: Identity
    let database: Identity
    /// SQLite keeps its log open from the first transaction on; nil: it was not there yet.
    let log: Identity?
}

/// What became of the files under an open store. Linux goes on writing into a file that has lost its name, and SQLite
/// does not look: what is "durable" there is gone with the process.
enum FileFate: Sendable, Equatable {
    case unchanged
    /// The database or its log has no name any more; the folder is the same.
    case deleted
    /// The path leads to another database.
    case replaced
    /// The whole folder is another one, or is gone: moved, or no longer mounted.
    case moved
}

extension StoreFiles {
    /// - Returns: nil where folder or database is not there.
    func identities() throws(StoreError) -> OpenFiles? {
        guard let directory = try Self.identity(directory, followingLink: true), let database = try Self.identity(path)
        else { return nil }
        return OpenFiles(directory: directory, database: database, log: try Self.identity(logPath))
    }

    func fate(of opened: OpenFiles) throws(StoreError) -> FileFate {
        guard try Self.identity(directory, followingLink: true) == opened.directory else { return .moved }
        guard let database = try Self.identity(path) else { return .deleted }
        guard database == opened.database else { return .replaced }
        guard let log = opened.log else { return .unchanged }
        return try Self.identity(logPath) == log ? .unchanged : .deleted
    }

    private static func identity(_ path: String, followingLink: Bool = false) throws(StoreError) -> OpenFiles.Identity?
    {
        guard let found = try status(path, followingLink: followingLink) else { return nil }
        return OpenFiles.Identity(device: UInt64(found.st_dev), inode: UInt64(found.st_ino))
    }
}

extension SQLiteStore {
    /// Looks whether the open files still have their names, before each transaction: three system calls.
    ///
    /// What was deleted is written again, whole, from what is open, and the call fails all the same, so that it is told;
    /// the next one works. A file that somebody put in the place of ours is left alone.
    func keepFiles(_ state: inout State) throws(StoreError) {
        guard let lock = state.lock else { throw Self.closed(path) }
        if state.database == nil { try reopen(&state, lock) }
        guard let opened = state.files, let database = state.database else { return }
        switch try StoreFiles(path: path).fate(of: opened) {
        case .unchanged:
            return
        case .deleted:
            try writeAgain(database, &state, lock)
            throw StoreError(
                .inputOutput,
                "\(path) or its log was deleted while the gateway runs. Nothing is lost: it has been written again from "
                    + "what was open. To begin with an empty store, stop the gateway first")
        case .replaced:
            throw StoreError(
                .inputOutput,
                "\(path) was replaced by another file while the gateway runs, and is not the store that is open. Put the "
                    + "old one back (which heals this), or restart the gateway to begin with the new one; what was "
                    + "rotated since it was made is then lost")
        case .moved:
            throw StoreError(
                .inputOutput,
                "\(StoreFiles(path: path).directory), the folder of the store \(path), was moved or deleted, or is not "
                    + "mounted any more. Put it back, which heals this; a restart would begin with what is there now")
        }
    }

    private func writeAgain(_ database: DatabaseQueue, _ state: inout State, _ lock: StoreLock) throws(StoreError) {
        let files = StoreFiles(path: path)
        try files.createUnfinished()
        do {
            try database.writeWithoutTransaction { db in
                try db.execute(sql: "VACUUM INTO ?", arguments: [files.unfinishedPath])
            }
            // A log that is left belongs to the old file, and must not be taken for the new one's.
            try files.removeLog()
            try files.publishUnfinished()
            // Before the new one is opened: at its end SQLite removes the log by its name.
            try database.close()
        } catch {
            throw SQLiteFailure(path: path).translate(error)
        }
        state.database = nil
        try reopen(&state, lock)
    }

    private func reopen(_ state: inout State, _ lock: StoreLock) throws(StoreError) {
        do {
            let database = try Self.connect(path)
            // The first transaction opens the log.
            try database.read { db in _ = try SQLiteSchema.version(db) }
            state.database = database
            state.files = try StoreFiles(path: path).identities()
        } catch {
            throw SQLiteFailure(path: path).translate(error)
        }
    }
}
