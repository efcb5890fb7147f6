@testable import OAuth

/// One process: its machine, its clocks, and what it has under way.
final class Replica {
    struct Flight {
        var call: TokenCall
        var sentAt: Moment
        var trueTime: Int64
        /// The family of what comes without a refresh token.
        var family: Int
        /// What was known of the store when it was sent.
        var revision: UInt64 = 0
        /// Its sender has forgotten the grant since, and waits for nothing.
        var isAbandoned = false
    }

    struct Wait {
        var rejected: UInt64?
        var since: Int64
    }

    /// What an operator has asked of it.
    struct Order {
        var command: OperatorCommand
        var since: Int64
        /// Whose tokens the store had then.
        var family: Int?
        /// It was given where what the store held was known, and nothing was under way.
        var isInformed: Bool
        /// It came before the record was read: it waits for the store, too.
        var isEarly: Bool
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
    var isWriting = false
    var isReading = false
    var waiting: [WaiterID: Wait] = [:]
    var published: Credential?
    /// The last one that the server gave it.
    var got: Int?
    /// Access tokens that it fetched itself.
    var own: Set<String> = []
    var orders: [Ticket: Order] = [:]
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
