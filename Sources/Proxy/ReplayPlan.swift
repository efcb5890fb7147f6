/// Whether a request's content is kept so that it can be sent again, and how far each copy of it has come.
///
/// Offsets count content octets from the request's first. While content is kept, an attempt is fed from the kept copy;
/// content that outgrows the limit is sent on from it and then streams past, and the request cannot be repeated.
package struct ReplayPlan: Sendable, Equatable {
    package enum Mode: Sendable, Equatable {
        /// All content so far is kept.
        case keeping
        /// The limit was passed: what is kept is being sent, nothing is taken from the caller until it is.
        case draining
        /// Nothing is kept: content goes from the caller to the upstream as it comes.
        case streaming
    }

    package private(set) var mode: Mode
    package let limit: UInt64
    /// Content octets taken from the caller.
    package private(set) var received: UInt64 = 0
    /// Content octets given to the current attempt.
    package private(set) var sent: UInt64 = 0

    /// - Parameter expected: the declared length of the content, if there is one.
    package init(limit: UInt64, expected: UInt64?) {
        self.limit = limit
        mode = limit == 0 && expected != 0 || (expected ?? 0) > limit ? .streaming : .keeping
    }

    /// All content that has been received can be sent again.
    package var isReplayable: Bool { mode == .keeping || received == 0 }

    /// How many more octets may be taken from the caller and kept.
    package var room: UInt64 { mode == .keeping && received < limit ? limit - received : 0 }

    /// Octets that are kept and not yet given to the attempt.
    package var pending: UInt64 { mode == .streaming ? 0 : received - sent }

    /// `octets` were taken from the caller and kept (``Mode/keeping``) or passed straight on (``Mode/streaming``).
    package mutating func took(_ octets: UInt64) {
        received += octets
        if mode == .streaming { sent = received }
    }

    /// More content is there than may be kept.
    package mutating func overflowed() {
        guard mode == .keeping else { return }
        mode = pending == 0 ? .streaming : .draining
    }

    /// `octets` of the kept content were given to the attempt.
    ///
    /// - Parameter octets: at most ``pending``; more do not count.
    /// - Returns: true when the kept copy is not needed any more.
    package mutating func gave(_ octets: UInt64) -> Bool {
        sent += min(octets, pending)
        guard mode == .draining, sent == received else { return false }
        mode = .streaming
        return true
    }

    /// A new attempt starts from the first octet. Only if ``isReplayable`` was true when nothing more was given to the
    /// attempt before: what has been received since then is kept even where it passes the limit.
    package mutating func restarted() {
        sent = 0
    }
}
