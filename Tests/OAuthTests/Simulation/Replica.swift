@testable import OAuth

/// One process: its machine, its clocks, and what it has under way.
final class Replica {
    struct Flight {
        var call: TokenCall
        var sentAt: Moment
        var trueTime: Int64
    }

    struct Wait {
        var rejected: UInt64?
        var since: Int64
    }

    var machine: GrantMachine
    /// Counts the process's lives over all replicas: what belongs to an earlier one is nobody's.
    var life: Int
    var instance: String
    var isAlive = true
    var stalledUntil: Int64 = .min
    /// True time to its clocks.
    var monotonicOffset: Int64
    var wallOffset: Int64
    var timer: Int64?
    var timerSerial = 0
    var flight: Flight?
    var commit: GrantCommit?
    var isReading = false
    var waiting: [WaiterID: Wait] = [:]
    var published: Credential?
    /// Access tokens that it fetched itself.
    var own: Set<String> = []
    var seenRevision: UInt64 = 0
    /// The server refused a token that was not the store's any more when the refusal came.
    var isRefusalStale = false

    init(machine: GrantMachine, life: Int, instance: String, monotonicOffset: Int64, wallOffset: Int64) {
        self.machine = machine
        self.life = life
        self.instance = instance
        self.monotonicOffset = monotonicOffset
        self.wallOffset = wallOffset
    }

    func moment(at time: Int64) -> Moment {
        Moment(monotonic: time + monotonicOffset, wall: time + wallOffset)
    }
}
