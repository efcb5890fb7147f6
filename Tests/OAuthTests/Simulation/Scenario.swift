@testable import OAuth

/// SplitMix64: the only source of chance in a simulation.
struct Dice {
    private var state: UInt64

    init(_ seed: UInt64) { state = seed &* 0x9E37_79B9_7F4A_7C15 }

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var word = state
        word = (word ^ (word >> 30)) &* 0xBF58_476D_1CE4_E5B9
        word = (word ^ (word >> 27)) &* 0x94D0_49BB_1331_11EB
        return word ^ (word >> 31)
    }

    mutating func roll(_ sides: Int) -> Int { Int(next() % UInt64(sides)) }
    /// True once in `sides`; never for 0.
    mutating func once(in sides: Int) -> Bool { sides > 0 && roll(sides) == 0 }
    mutating func between(_ low: Int64, _ high: Int64) -> Int64 { low + Int64(next() % UInt64(high - low + 1)) }
    mutating func pick<T>(_ list: [T]) -> T { list[roll(list.count)] }
}

/// What an operator may do to a grant, at any replica.
enum OperatorCommand: CaseIterable {
    case revoke, forget, refresh, importGood
    /// A refresh token that the server does not take.
    case importBad
    case consent
}

/// Everything that a seed decides beforehand.
struct Scenario {
    enum Grace: Equatable {
        /// A used token is good for nothing.
        case none
        /// It is good for so long after its first use.
        case milliseconds(Int64)
        /// It is good until what it brought is used.
        case untilSuccessorUsed
    }

    enum Kind: Equatable {
        /// Single-use refresh tokens.
        case rotating
        /// One refresh token that stays.
        case reusable
        /// No refresh token at all.
        case unattended
    }

    let seed: UInt64
    let replicas: Int
    let kind: Kind
    let grace: Grace
    /// A used token that comes again outside its grace ends the whole family.
    let endsFamilyOnReuse: Bool
    /// A refresh in grace gives the same successor again; else a further one.
    let graceRepeatsSuccessor: Bool
    /// A further successor replaces the one before it.
    let graceReplacesSuccessor: Bool
    let lifetime: Int64
    let provider: ProviderSettings
    let settings: GrantSettings
    let isExclusive: Bool
    let keepsInstanceName: Bool
    let hasPresence: Bool
    /// Living replicas are reported dead.
    let presenceErrs: Bool
    let polls: Bool
    /// Once in so many: 0 is never.
    let newsLoss: Int
    let storeFault: Int
    let callFault: Int
    let crashAtStep: Int
    let stepsClocks: Bool
    let clockErrors: [Int64]
    let roughFor: Int64
    let callGap: Int64
    /// Records go through their coding.
    let encodes: Bool
    /// How often an operator does something.
    let orders: Int
    let commands: [OperatorCommand]
    /// A revoked refresh token takes its whole family with it.
    let revokesFamily: Bool
    let revocationFault: Int
    /// false: a consent brings an access token and no more, and the grant ends with it.
    let givesRefreshTokens: Bool
    /// An operator ends the grant and brings it back once all is calm.
    let endsWithOrders: Bool

    init(seed: UInt64) {
        var dice = Dice(seed)
        self.seed = seed
        replicas = dice.pick([1, 2, 2, 3, 4])
        kind = dice.pick([.rotating, .rotating, .rotating, .rotating, .reusable, .unattended])
        graceRepeatsSuccessor = dice.roll(2) == 0
        graceReplacesSuccessor = dice.roll(2) == 0
        lifetime = dice.pick([30_000, 60_000, 300_000, 600_000])
        isExclusive = replicas == 1 && dice.roll(2) == 0
        keepsInstanceName = dice.roll(3) == 0
        hasPresence = dice.roll(3) > 0
        presenceErrs = dice.roll(4) == 0 && replicas > 1 && hasPresence && !keepsInstanceName
        // The strictest server that does not end the grant with a refusal: who is refused must look before giving up.
        let isStrict = presenceErrs && dice.roll(2) == 0
        grace =
            isStrict
            ? .none
            : dice.pick([
                .none, .milliseconds(30_000), .milliseconds(60_000), .milliseconds(50_000_000), .untilSuccessorUsed,
                .untilSuccessorUsed,
            ])
        endsFamilyOnReuse = dice.roll(3) > 0 && !isStrict
        polls = dice.roll(4) > 0
        newsLoss = dice.pick([0, 0, 3, 10, 1])
        storeFault = dice.pick([0, 8, 20])
        callFault = dice.pick([0, 2, 4, 8])
        crashAtStep = dice.pick([0, 40, 150])
        stepsClocks = dice.roll(6) == 0
        let spread = dice.pick([0, 500, 120_000])
        clockErrors = (0..<replicas).map { _ in spread == 0 ? 0 : dice.between(-Int64(spread), Int64(spread)) }
        roughFor = min(lifetime * 8, 1_200_000)
        callGap = max(lifetime * Int64(replicas) / 3, 5000)
        encodes = dice.roll(8) == 0
        var provider = GrantDriver.provider
        provider.refreshSkew = dice.pick([20_000, 300_000])
        provider.replayWindow = dice.pick([25_000, 25_000, 10_000, 0])
        provider.callDeadline = dice.pick([30_000, 10_000])
        if dice.roll(5) == 0 { provider.keepaliveInterval = lifetime / 3 }
        if kind == .reusable { provider.rotation = .reusable }
        if kind == .rotating { provider.rotation = dice.pick([.singleUse, .unknown]) }
        self.provider = provider
        var settings = GrantSettings(name: "crm", provider: "zoho", scopes: ["read"])
        if kind == .unattended { settings.acquisition = .unattended(.clientCredentials) }
        orders = dice.pick([0, 0, 0, 1, 2, 5])
        let commands = dice.pick([
            OperatorCommand.allCases, [.revoke, .refresh], [.importGood, .importBad, .consent, .refresh],
            [.forget, .consent, .importGood, .revoke],
        ])
        self.commands = kind == .unattended ? [.revoke, .forget, .refresh] : commands
        revokesFamily = dice.roll(2) == 0
        revocationFault = dice.pick([0, 2, 4])
        endsWithOrders = dice.roll(3) == 0
        givesRefreshTokens = dice.roll(4) > 0 || kind != .reusable
        if !givesRefreshTokens { settings.refreshTokenRequired = false }
        self.settings = settings
    }

    /// Whatever is lost, the server takes the token that is stored: the grant must live.
    var isForgiving: Bool {
        kind != .rotating || grace == .untilSuccessorUsed || grace == .milliseconds(50_000_000)
    }

    /// The store is away: what is fetched then is used all the same.
    var usesTokensBeforeStored: Bool { kind != .rotating }

    /// The first record is written by a clock that is right.
    var clockSpread: Int64 { max(clockErrors.max() ?? 0, 0) - min(clockErrors.min() ?? 0, 0) }
}
