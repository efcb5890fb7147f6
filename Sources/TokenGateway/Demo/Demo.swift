import ArgumentParser
import Reactor

struct Demo: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Show the gateway at work against a provider and an API of its own.",
        discussion: """
            Starts an authorization server and an API over TLS on loopback, runs the gateway against them, and tells the \
            whole story step by step: consent, a call, expiry, a rejected token, kill -9, revocation. Then everything is \
            left running until Ctrl-C. Needs curl. Leaves nothing behind.
            """)

    @Flag(help: "Consent without a browser, and end after the story.")
    var auto = false

    @Option(
        help: ArgumentHelp(
            "Use this port for callers and the next three for the console, the provider and the API. Default: free ports.",
            valueName: "port"))
    var port: UInt16?

    func validate() throws {
        if let port, !(1...65_532).contains(port) { throw ValidationError("--port must be from 1 to 65532.") }
    }

    func run() throws {
        // The reader may leave, as in `demo | head`; cleaning up comes first.
        ProcessHardening.ignoreBrokenPipes()
        let narrator = Narrator(terminal: .output)
        do throws(DemoFailure) {
            // First of all, so that every thread to come leaves these signals alone.
            let interruption = try Interruption()
            let place = try DemoPlace(port: port)
            defer { place.remove() }
            let stage = try DemoStage(place: place, interruption: interruption)
            defer { stage.end() }
            do throws(DemoFailure) {
                try DemoStory(stage: stage, narrator: narrator, isAutomatic: auto).tell()
            } catch {
                // The log goes with the folder.
                throw error.with(log: place.logTail())
            }
        } catch {
            switch error {
            case .ended: return
            case .interrupted:
                narrator.failed(narrator.step.map { "interrupted during step \($0)" } ?? "interrupted")
                throw ExitCode(CommandStatus.failed.rawValue)
            case .cannotStart(let reason):
                narrator.failed(reason)
                throw ExitCode(CommandStatus.unavailable.rawValue)
            case .stepFailed(let reason, let log):
                narrator.failed(narrator.step.map { "step \($0) failed: \(reason)" } ?? reason, log: log)
                throw ExitCode(CommandStatus.failed.rawValue)
            }
        }
    }
}

/// Why the demo does not go on.
enum DemoFailure: Error {
    /// Ctrl-C after the story: as it should be.
    case ended
    case interrupted
    case cannotStart(String)
    /// `log`: the end of the gateway's log.
    case stepFailed(String, log: String = "")

    func with(log: String) -> DemoFailure {
        switch self {
        case .ended, .interrupted, .cannotStart: self
        case .stepFailed(let reason, _): .stepFailed(reason, log: log)
        }
    }
}
