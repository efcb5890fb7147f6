import Foundation
import Glibc
import Synchronization

/// How a process ended.
enum ExitStatus: Equatable, Sendable {
    case exited(Int32)
    case signalled(Int32)
}

/// A program that runs beside the test: it cannot outlive this handle, nor the test process.
final class ProcessHandle: Sendable {
    let name: String
    let pid: pid_t
    private let status = Mutex<ExitStatus?>(nil)

    /// Starts `arguments[0]`, found in PATH. `output` and `errors` may be the same file; both are appended to.
    init(
        _ arguments: [String], environment: [String: String] = [:], directory: String = Workspace.path,
        input: String = "/dev/null", output: String, errors: String? = nil
    ) async throws {
        name = arguments[0].split(separator: "/").last.map(String.init) ?? arguments[0]
        pid = try await Spawner.shared.spawn(
            SpawnRequest(
                arguments: arguments, environment: Self.plainEnvironment.merging(environment) { $1 },
                directory: directory, input: input, output: output, errors: errors ?? output))
        Workspace.children.withLock { [pid] in _ = $0.insert(pid) }
    }

    deinit { kill() }

    /// Nothing of the developer's own settings reaches the programs: no proxies, no configuration files at home.
    private static let plainEnvironment = [
        // Debian has nginx in /usr/sbin, which an ordinary user's PATH does not name.
        "PATH": (ProcessInfo.processInfo.environment["PATH"] ?? "/usr/bin:/bin") + ":/usr/sbin:/sbin",
        "HOME": Workspace.path, "TMPDIR": Workspace.path, "LC_ALL": "C.UTF-8", "TZ": "UTC",
    ]

    /// nil while it runs.
    func poll() -> ExitStatus? {
        status.withLock { known in
            if known != nil { return known }
            var raw: Int32 = 0
            guard waitpid(pid, &raw, WNOHANG) == pid else { return nil }
            known = raw & 0x7f == 0 ? .exited((raw >> 8) & 0xff) : .signalled(raw & 0x7f)
            Workspace.children.withLock { [pid] in _ = $0.remove(pid) }
            return known
        }
    }

    /// Sends a signal to the process and its group.
    func signal(_ number: Int32) {
        if poll() == nil { _ = Glibc.kill(-pid, number) }
    }

    func wait(within limit: Duration) async throws -> ExitStatus {
        var status: ExitStatus?
        try await eventually("\(name) ends", within: limit) {
            status = poll()
            return status != nil
        }
        guard let status else { throw HarnessError("\(name) did not end") }
        return status
    }

    /// SIGKILL, and the process is gone when this returns.
    func kill() {
        guard poll() == nil else { return }
        _ = Glibc.kill(-pid, SIGKILL)
        var raw: Int32 = 0
        status.withLock { known in
            guard known == nil, waitpid(pid, &raw, 0) == pid else { return }
            known = .signalled(SIGKILL)
        }
        Workspace.children.withLock { [pid] in _ = $0.remove(pid) }
    }
}

/// A finished command.
struct CommandResult: Sendable {
    let status: ExitStatus
    let output: Data
    let errors: String

    var text: String { String(decoding: output, as: UTF8.self) }
}

/// Runs a command to its end; its outputs pass through files of the workspace.
func run(
    _ arguments: [String], environment: [String: String] = [:], directory: String = Workspace.path,
    input: String = "/dev/null", within limit: Duration = .seconds(60)
) async throws -> CommandResult {
    let output = Workspace.newFile("out")
    let errors = Workspace.newFile("err")
    defer { for file in [output, errors] { unlink(file) } }
    let process = try await ProcessHandle(
        arguments, environment: environment, directory: directory, input: input, output: output, errors: errors)
    let status = try await process.wait(within: limit)
    return CommandResult(
        status: status, output: try Data(contentsOf: URL(filePath: output)),
        errors: String(decoding: try Data(contentsOf: URL(filePath: errors)), as: UTF8.self))
}

/// As `run`, for commands that must succeed.
@discardableResult
func mustRun(
    _ arguments: [String], environment: [String: String] = [:], directory: String = Workspace.path,
    input: String = "/dev/null"
) async throws -> CommandResult {
    let result = try await run(arguments, environment: environment, directory: directory, input: input)
    guard result.status == .exited(0) else {
        throw HarnessError("\(arguments.prefix(3)) ended with \(result.status): \(result.errors.suffix(2000))")
    }
    return result
}
