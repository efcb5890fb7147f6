/// How many frames that do no work the peer may still send. There is no clock in here: work done for the peer fills it
/// up, and the driver may say that time has passed.
struct HTTP2Budget {
    static let frameLimit = 1000
    static let resetLimit = 500

    /// Frames without use for a message.
    private(set) var frames = Self.frameLimit
    /// Streams that ended before their time (servers).
    private(set) var resets = Self.resetLimit
    /// What the last reset was.
    private var resetWasProvoked = false

    var isExceeded: Bool { frames < 0 || resets < 0 }

    mutating func spend(_ cost: Int) {
        frames -= cost
    }

    /// - Parameter provoked: by us, for a fault of the peer.
    mutating func spendReset(provoked: Bool) {
        resets -= 1
        resetWasProvoked = provoked
    }

    mutating func earn(_ gain: Int) {
        frames = min(frames + gain, Self.frameLimit)
    }

    mutating func streamCompleted() {
        resets = min(resets + 1, Self.resetLimit)
        earn(4)
    }

    mutating func passed(seconds: Int) {
        let gain = 10 * min(max(seconds, 0), Self.frameLimit)
        resets = min(resets + 3 * gain, Self.resetLimit)
        earn(gain)
    }

    /// The failure that a spent budget is; `type` is that of the last frame.
    func failure(type: UInt8) -> HTTP2Failure {
        if resets < 0 {
            return HTTP2Failure(
                abuse: resetWasProvoked ? .provokedReset : .rapidReset,
                reason: resetWasProvoked ? "too many of its streams were malformed" : "it resets too many streams",
                code: HTTP2Code.enhanceYourCalm)
        }
        let (abuse, reason): (HTTP2Abuse, StaticString) =
            switch type {
            case HTTP2Frame.data: (.emptyFrames, "it sends too many DATA frames without content")
            case HTTP2Frame.settings: (.settingsFlood, "it sends too many SETTINGS frames")
            case HTTP2Frame.ping: (.pingFlood, "it sends too many PING frames")
            case HTTP2Frame.windowUpdate: (.windowFlood, "it sends too many WINDOW_UPDATE frames")
            case HTTP2Frame.continuation: (.continuationFlood, "it sends too many CONTINUATION frames")
            default: (.frameFlood, "it sends too many frames that serve nothing")
            }
        return HTTP2Failure(abuse: abuse, reason: reason, code: HTTP2Code.enhanceYourCalm)
    }
}

/// The streams that were closed last, so that a frame on one of them can be judged (RFC 9113 5.1).
struct HTTP2ClosedStreams {
    enum Memory {
        /// The peer had ended or reset it: nothing more may come.
        case endedByPeer
        /// We have ended it: the peer may not have known.
        case endedByUs
        /// It was never opened.
        case skipped
        /// Too long ago.
        case unknown
    }

    private static let capacity = 128
    /// Stream numbers, negative where we ended the stream.
    private var recent: [Int32] = []
    private var next = 0

    mutating func closed(_ id: Int32, byPeer: Bool) {
        let entry = byPeer ? id : -id
        if recent.count < Self.capacity {
            if recent.isEmpty { recent.reserveCapacity(Self.capacity) }
            recent.append(entry)
        } else {
            recent[next] = entry
            next = (next + 1) % Self.capacity
        }
    }

    /// - Parameter id: of a stream that is not open, and not above the highest one that was.
    func memory(of id: Int32) -> Memory {
        var lowest = Int32.max
        for index in recent.indices {
            let entry = recent[index]
            if entry == id { return .endedByPeer }
            if entry == -id { return .endedByUs }
            let other = entry < 0 ? -entry : entry
            if other < lowest { lowest = other }
        }
        return recent.count < Self.capacity || id > lowest ? .skipped : .unknown
    }
}
