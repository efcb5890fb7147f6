import CLinux

/// Settings of the whole process, made once at start.
package enum ProcessHardening {
    /// Keeps secrets in memory out of core files, and away from debuggers of the same user.
    package static func forbidCoreDumps() {
        _ = tg_forbid_core_dumps()
    }

    /// Raises the soft limit of descriptors to the hard one; returns the limit that is in force.
    @discardableResult
    package static func raiseDescriptorLimit() -> Int {
        max(0, Int(tg_raise_descriptor_limit()))
    }

    /// Makes a closed pipe on standard output or error an error of the write instead of the end of the process.
    /// Sockets do not need it.
    package static func ignoreBrokenPipes() {
        _ = tg_ignore_broken_pipes()
    }

    /// Has the kernel end this process at once when its parent, the process `parent`, ends. False when that is gone
    /// already. Counts for the thread that started us; to be called before anything else is done.
    package static func endWithParent(_ parent: Int32) -> Bool {
        tg_end_with_parent(parent) == 0
    }
}
