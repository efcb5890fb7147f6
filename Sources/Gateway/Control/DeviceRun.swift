import Console
import OAuth

/// One consent on another device, under way or ended. Confined to the control thread.
final class DeviceRun {
    let number: UInt64
    let grant: String
    let providerName: String
    var machine: DeviceMachine
    var timer: ControlLoop.Token?
    /// The request that began it, until there is a code to show.
    var whenShown: ((ConsoleOutcome) -> Void)?
    var prompt: DeviceReply?
    /// nil: not yet.
    var end: DeviceStatus?
    /// The last poll; it may bring tokens after the run has ended.
    var poll: Poll?
    /// Its answer is still to come.
    var isPolling = false

    /// Where it went, and what filled the URL: a reload may take both away.
    struct Poll {
        var provider: Control.Provider
        var variables: [String: String]
    }

    init(number: UInt64, grant: String, providerName: String, aliases: [String: String]) {
        self.number = number
        self.grant = grant
        self.providerName = providerName
        machine = DeviceMachine(number: number, aliases: aliases)
    }

    var status: DeviceStatus { end ?? DeviceStatus(.waiting, prompt: prompt) }
}

/// The consents on other devices that this process knows of: at most one of each grant, and a bounded number in all. No
/// other replica knows them: a device code is good for minutes, and whoever waits asks the replica that gave it.
struct DeviceRuns {
    static let limit = 200

    private(set) var runs: [UInt64: DeviceRun] = [:]
    private var newest: [String: UInt64] = [:]
    private var nextNumber: UInt64 = 1

    subscript(grant: String) -> DeviceRun? { newest[grant].flatMap { runs[$0] } }

    func run(_ number: UInt64) -> DeviceRun? { runs[number] }

    /// nil: too many are under way. What has ended makes room, the oldest first.
    mutating func begin(grant: String, providerName: String, aliases: [String: String]) -> DeviceRun? {
        if runs.count >= Self.limit {
            guard let oldest = runs.values.filter({ $0.end != nil }).min(by: { $0.number < $1.number }) else {
                return nil
            }
            drop(oldest)
        }
        let run = DeviceRun(number: nextNumber, grant: grant, providerName: providerName, aliases: aliases)
        nextNumber += 1
        runs[run.number] = run
        newest[grant] = run.number
        return run
    }

    /// Takes out what has ended, unless its last poll is to be answered yet.
    mutating func remove(_ run: DeviceRun) {
        if !run.isPolling { drop(run) }
    }

    private mutating func drop(_ run: DeviceRun) {
        runs[run.number] = nil
        if newest[run.grant] == run.number { newest[run.grant] = nil }
    }
}
