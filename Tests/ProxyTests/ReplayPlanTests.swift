import Proxy
import Testing

@Suite struct ReplayPlanTests {
    typealias Mode = ReplayPlan.Mode

    @Test(arguments: [
        (UInt64(10), UInt64?.none, Mode.keeping), (10, 10, .keeping), (10, 11, .streaming), (10, 0, .keeping),
        (0, 0, .keeping), (0, 1, .streaming), (0, nil, .streaming),
    ])
    func `content is kept where it can fit`(limit: UInt64, expected: UInt64?, mode: Mode) {
        let plan = ReplayPlan(limit: limit, expected: expected)
        #expect(plan.mode == mode)
        #expect(plan.isReplayable, "nothing has been received")
    }

    @Test func `content of exactly the limit is replayable, one octet more is not`() {
        var plan = ReplayPlan(limit: 4, expected: nil)
        #expect(plan.room == 4)
        plan.took(4)
        #expect(plan.isReplayable && plan.room == 0 && plan.pending == 4)
        plan.took(1)
        #expect(plan.room == 0, "past the limit and not yet said")
        plan.overflowed()
        #expect(plan.mode == .draining && !plan.isReplayable && plan.pending == 5)
        let isEmptyAfterFour = plan.gave(4)
        #expect(!isEmptyAfterFour && plan.mode == .draining)
        let isEmptyAfterFive = plan.gave(1)
        #expect(isEmptyAfterFive && plan.mode == .streaming && plan.pending == 0)
    }

    @Test func `a stream that has begun is never replayable`() {
        var plan = ReplayPlan(limit: 4, expected: 5)
        #expect(plan.isReplayable)
        plan.took(1)
        #expect(!plan.isReplayable && plan.room == 0 && plan.pending == 0 && plan.sent == 1)
        plan.overflowed()
        #expect(plan.mode == .streaming)
    }

    @Test func `content that was sent already streams on at once when it outgrows the limit`() {
        var plan = ReplayPlan(limit: 2, expected: nil)
        plan.took(3)
        let isEmpty = plan.gave(3)
        #expect(!isEmpty)
        plan.overflowed()
        #expect(plan.mode == .streaming)
    }

    @Test func `what is said to be given beyond what is there does not count`() {
        var plan = ReplayPlan(limit: 10, expected: nil)
        plan.took(3)
        let isEmpty = plan.gave(5)
        #expect(!isEmpty && plan.sent == 3 && plan.pending == 0)
    }

    @Test(arguments: UInt64(0)..<300)
    func `each attempt is given every octet once and in order`(seed: UInt64) {
        var driver = ReplayDriver(seed: seed)
        driver.run()
    }
}

/// Moves real octets as the plan says, with a caller, an upstream and a rejection that come at random.
private struct ReplayDriver {
    private var random: SeededRandom
    private let content: [UInt8]
    private var plan: ReplayPlan
    private var taken = 0
    private var kept: [UInt8] = []
    private var given: [UInt8] = []
    private var isHolding = false
    private var attempts = 1

    init(seed: UInt64) {
        random = SeededRandom(seed: seed)
        let length = Int.random(in: 0...60, using: &random)
        content = (0..<length).map { UInt8($0) }
        let isDeclared = Bool.random(using: &random)
        plan = ReplayPlan(
            limit: UInt64.random(in: 0...60, using: &random), expected: isDeclared ? UInt64(length) : nil)
    }

    mutating func run() {
        for _ in 0..<1000 {
            switch Int.random(in: 0..<8, using: &random) {
            case 0, 1, 2: take()
            case 3, 4, 5: give()
            case 6: reject()
            default: if isHolding { retry() }
            }
            check()
        }
        if isHolding { retry() }
        while given.count < content.count {
            let before = (taken, given.count)
            take()
            give()
            check()
            guard (taken, given.count) != before else { break }
        }
        #expect(given == content)
        #expect(plan.sent == UInt64(content.count) && plan.received == plan.sent)
    }

    private mutating func take() {
        guard taken < content.count else { return }
        let piece = content[taken...].prefix(Int.random(in: 1...20, using: &random))
        switch plan.mode {
        case .draining:
            return
        case .streaming:
            guard !isHolding else { return }
            given += piece
            plan.took(UInt64(piece.count))
        case .keeping:
            kept += piece
            plan.took(UInt64(piece.count))
            if plan.received > plan.limit { plan.overflowed() }
            if plan.mode == .streaming { kept = [] }
        }
        taken += piece.count
    }

    private mutating func give() {
        guard !isHolding, plan.pending > 0 else { return }
        let count = min(Int.random(in: 1...20, using: &random), Int(plan.pending))
        let start = Int(plan.sent)
        #expect(start + count <= kept.count)
        given += kept[start..<(start + count)]
        if plan.gave(UInt64(count)) { kept = [] }
    }

    private mutating func reject() {
        guard attempts == 1, !isHolding, plan.isReplayable else { return }
        isHolding = true
    }

    private mutating func retry() {
        isHolding = false
        attempts = 2
        given = []
        plan.restarted()
    }

    private func check() {
        #expect(given == Array(content.prefix(given.count)))
        #expect(plan.received == UInt64(taken))
        #expect(plan.sent == UInt64(given.count))
        #expect(plan.pending <= UInt64(kept.count))
        #expect(!plan.isReplayable || kept.count == taken)
        #expect(plan.mode != .keeping || plan.room == plan.limit - plan.received)
    }
}
