import Foundation
import Glibc
import Synchronization

/// What to start. Standard input is `/dev/null` unless a file is named; both outputs are appended to files.
struct SpawnRequest: Sendable {
    var arguments: [String]
    var environment: [String: String]
    var directory: String
    var input = "/dev/null"
    var output: String
    var errors: String
}

/// Starts programs from one thread that lives as long as the process.
///
/// Each program asks the kernel for a SIGKILL when its parent ends (`setpriv --pdeathsig`), so nothing is left behind
/// even when the tests are killed. The kernel's "parent" is the thread that started it, and the threads of Swift's and
/// Dispatch's pools come and go: hence a thread of our own.
final class Spawner: Sendable {
    static let shared = Spawner()

    private typealias Job = (request: SpawnRequest, answer: CheckedContinuation<pid_t, any Error>)
    private let jobs = Mutex<[Job]>([])
    private let wakeUp = DispatchSemaphore(value: 0)

    private init() {
        Thread.detachNewThread { [jobs = self] in jobs.serve() }
    }

    /// The id of the new process, which leads a process group of its own.
    func spawn(_ request: SpawnRequest) async throws -> pid_t {
        try await withCheckedThrowingContinuation { answer in
            jobs.withLock { $0.append((request, answer)) }
            wakeUp.signal()
        }
    }

    private func serve() {
        while true {
            wakeUp.wait()
            guard let job = jobs.withLock({ $0.isEmpty ? nil : $0.removeFirst() }) else { continue }
            job.answer.resume(with: Result { try Self.start(job.request) })
        }
    }

    private static func start(_ request: SpawnRequest) throws -> pid_t {
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        let appending = O_WRONLY | O_CREAT | O_APPEND
        posix_spawn_file_actions_addopen(&actions, 0, request.input, O_RDONLY, 0)
        posix_spawn_file_actions_addopen(&actions, 1, request.output, appending, 0o600)
        posix_spawn_file_actions_addopen(&actions, 2, request.errors, appending, 0o600)
        // Pipes that other tests have just made: a program that holds one open keeps its reader waiting.
        for descriptor: Int32 in 3..<512 { posix_spawn_file_actions_addclose(&actions, descriptor) }

        var attributes = posix_spawnattr_t()
        posix_spawnattr_init(&attributes)
        defer { posix_spawnattr_destroy(&attributes) }
        posix_spawnattr_setflags(
            &attributes, Int16(POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK))
        posix_spawnattr_setpgroup(&attributes, 0)
        var all = sigset_t()
        sigfillset(&all)
        posix_spawnattr_setsigdefault(&attributes, &all)
        var none = sigset_t()
        sigemptyset(&none)
        posix_spawnattr_setsigmask(&attributes, &none)

        let arguments =
            ["env", "-C", request.directory, "setpriv", "--pdeathsig", "KILL", "--"] + request.arguments
        let environment = request.environment.map { "\($0.key)=\($0.value)" }
        var pid = pid_t()
        let error = withCStrings(arguments) { argv in
            withCStrings(environment) { envp in
                posix_spawn(&pid, "/usr/bin/env", &actions, &attributes, argv, envp)
            }
        }
        guard error == 0 else {
            throw HarnessError("cannot start \(request.arguments): \(String(cString: strerror(error)))")
        }
        return pid
    }

    /// A null-terminated array of C strings, valid inside `body`.
    private static func withCStrings<R>(
        _ strings: [String], _ body: ([UnsafeMutablePointer<CChar>?]) -> R
    ) -> R {
        let copies = strings.map { strdup($0) } + [nil]
        defer { for copy in copies { free(copy) } }
        return body(copies)
    }
}

/// A failure of the harness or of a peer, not of what is tested.
struct HarnessError: Error, CustomStringConvertible {
    let description: String
    init(_ description: String) { self.description = description }
}
