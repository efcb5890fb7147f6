/// How long the end is put off once no caller is left: for replies of providers as long as the longest of their calls may
/// take, for all else a few seconds. Times are monotonic milliseconds.
struct Settling {
    enum Step {
        case wait
        /// Nothing is left to wait for.
        case end
        /// Something is left, and its time is over.
        case cut
    }

    private let storePatience: UInt64
    /// Until then replies that may hold tokens put the end off.
    private var replyDeadline: UInt64
    /// Until then everything does. It moves while such replies are waited for: what they bring must be stored, too.
    private var deadline: UInt64
    private var isHurried = false

    /// - Parameter longestCall: how long a call to a provider may take, from now.
    init(now: UInt64, longestCall: UInt64, storePatience: UInt64) {
        self.storePatience = storePatience
        replyDeadline = now + longestCall
        deadline = now + storePatience
    }

    /// At the most, from `now` on.
    func remaining(now: UInt64) -> UInt64 {
        let end = isHurried ? deadline : max(deadline, replyDeadline + storePatience)
        return end > now ? end - now : 0
    }

    /// - Parameters:
    ///   - awaitsTokens: a reply is to come that may hold tokens.
    ///   - isBusy: anything else is under way.
    mutating func step(now: UInt64, awaitsTokens: Bool, isBusy: Bool) -> Step {
        guard awaitsTokens || isBusy else { return .end }
        if awaitsTokens, now < replyDeadline { deadline = max(deadline, now + storePatience) }
        return now < deadline ? .wait : .cut
    }

    /// The operator does not want to wait. The first time replies that are nearly there still have a few seconds, since
    /// an impatient second signal must not cost a grant; the second time nothing has.
    mutating func hurry(now: UInt64) {
        replyDeadline = min(replyDeadline, now)
        deadline = isHurried ? now : min(deadline, now + storePatience)
        isHurried = true
    }
}
