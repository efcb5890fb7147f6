import Glibc
import Reactor

/// A program that runs beside this one, in a process group of its own. Ends with its handle, at the latest.
final class ChildProcess {
    enum Destination {
        case null
        /// Appended.
        case file(String)
        /// Read with ``ChildProcess/readLine(_:)`` and ``ChildProcess/readAll(_:)``.
        case pipe
    }

    enum End: Equatable, CustomStringConvertible {
        case exited(Int32)
        case signalled(Int32)

        var description: String {
            switch self {
            case .exited(let status): "exit code \(status)"
            case .signalled(let number): "signal \(number)"
            }
        }
    }

    let pid: pid_t
    private(set) var end: End?
    /// The reading end of standard output's pipe; -1: none.
    private var output: Int32 = -1
    private var buffered: [UInt8] = []

    /// `arguments[0]` is looked for in PATH. The environment is ours.
    init(_ arguments: [String], output: Destination, errors: Destination) throws(DemoFailure) {
        var ends: [Int32] = [-1, -1]
        if case .pipe = output {
            guard Glibc.pipe(&ends) == 0 else { throw .cannotStart("no pipe: \(Errno(code: errno))") }
            for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
        }
        var (actions, attributes) = (posix_spawn_file_actions_t(), posix_spawnattr_t())
        posix_spawn_file_actions_init(&actions)
        posix_spawnattr_init(&attributes)
        defer {
            posix_spawn_file_actions_destroy(&actions)
            posix_spawnattr_destroy(&attributes)
            if ends[1] >= 0 { close(ends[1]) }
        }
        posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
        Self.connect(1, to: output, pipe: ends[1], &actions)
        // One pipe takes both.
        Self.connect(2, to: errors, pipe: ends[1], &actions)
        Self.setUp(&attributes)
        let result = Self.spawn(arguments, &actions, &attributes)
        guard result.code == 0 else {
            if ends[0] >= 0 { close(ends[0]) }
            let hint = result.code == ENOENT ? "it is not installed" : "\(Errno(code: result.code))"
            throw .cannotStart("\(arguments[0]) cannot be started: \(hint)")
        }
        pid = result.pid
        self.output = ends[0]
    }

    deinit {
        stop(within: 0)
        if output >= 0 { close(output) }
    }

    private static func connect(
        _ descriptor: Int32, to destination: Destination, pipe: Int32, _ actions: inout posix_spawn_file_actions_t
    ) {
        switch destination {
        case .null: posix_spawn_file_actions_addopen(&actions, descriptor, "/dev/null", O_WRONLY, 0)
        case .file(let path):
            posix_spawn_file_actions_addopen(&actions, descriptor, path, O_WRONLY | O_CREAT | O_APPEND, 0o600)
        case .pipe: posix_spawn_file_actions_adddup2(&actions, pipe, descriptor)
        }
    }

    /// Our blocked and ignored signals are not the program's.
    private static func setUp(_ attributes: inout posix_spawnattr_t) {
        var (none, all) = (sigset_t(), sigset_t())
        sigemptyset(&none)
        sigfillset(&all)
        posix_spawnattr_setsigmask(&attributes, &none)
        posix_spawnattr_setsigdefault(&attributes, &all)
        posix_spawnattr_setpgroup(&attributes, 0)
        posix_spawnattr_setflags(
            &attributes, Int16(POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK))
    }

    private static func spawn(
        _ arguments: [String], _ actions: inout posix_spawn_file_actions_t, _ attributes: inout posix_spawnattr_t
    ) -> (code: Int32, pid: pid_t) {
        // The variable `environ` belongs to C and is not safe to read; this is the same.
        let environment = (try? Files.read(path: "/proc/self/environ", limit: 4 << 20)) ?? []
        let variables = environment.split(separator: 0).map { String(decoding: $0, as: UTF8.self) }
        var argumentPointers = arguments.map { strdup($0) } + [nil]
        var variablePointers = variables.map { strdup($0) } + [nil]
        defer { for pointer in argumentPointers + variablePointers { free(pointer) } }
        var pid: pid_t = 0
        let code = posix_spawnp(&pid, arguments[0], &actions, &attributes, &argumentPointers, &variablePointers)
        return (code, pid)
    }

    // MARK: Life

    /// How it ended; nil while it runs.
    @discardableResult
    func poll() -> End? {
        if end != nil { return end }
        var raw: Int32 = 0
        guard waitpid(pid, &raw, WNOHANG) == pid else { return nil }
        end = raw & 0x7f == 0 ? .exited((raw >> 8) & 0xff) : .signalled(raw & 0x7f)
        return end
    }

    func send(_ signal: Int32) {
        if poll() == nil { kill(-pid, signal) }
    }

    /// SIGKILL; gone when this returns.
    func killNow() {
        guard poll() == nil else { return }
        kill(-pid, SIGKILL)
        var raw: Int32 = 0
        while waitpid(pid, &raw, 0) < 0, errno == EINTR {}
        end = .signalled(SIGKILL)
    }

    /// Asks it to end, and kills it when it has not after so long.
    func stop(within milliseconds: UInt64) {
        if milliseconds > 0 { send(SIGTERM) }
        let deadline = MonotonicClock.milliseconds() + milliseconds
        while poll() == nil, MonotonicClock.milliseconds() < deadline { usleep(10_000) }
        killNow()
    }

    func waitForEnd(_ interruption: Interruption, within milliseconds: UInt64) throws(DemoFailure) -> End {
        try interruption.until("the end of process \(pid)", within: milliseconds) { poll() }
    }

    // MARK: Output

    /// The next line, without its end; nil when there is none any more.
    func readLine(_ interruption: Interruption) throws(DemoFailure) -> String? {
        while true {
            if let end = buffered.firstIndex(of: UInt8(ascii: "\n")) {
                defer { buffered.removeSubrange(...end) }
                return String(decoding: buffered[..<end], as: UTF8.self)
            }
            guard try readSome(interruption) else { return nil }
        }
    }

    func readAll(_ interruption: Interruption) throws(DemoFailure) -> [UInt8] {
        while try readSome(interruption) {}
        defer { buffered = [] }
        return buffered
    }

    private func readSome(_ interruption: Interruption) throws(DemoFailure) -> Bool {
        guard try interruption.wait(milliseconds: 60_000, orInput: output) else {
            throw .stepFailed("process \(pid) says nothing")
        }
        var room = [UInt8](repeating: 0, count: 16_384)
        let count = read(output, &room, room.count)
        if count > 0 { buffered += room[..<count] }
        return count > 0 || (count < 0 && errno == EINTR)
    }
}
