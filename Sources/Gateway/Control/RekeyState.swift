import Console

/// How far the store is sealed again; what the admin API shows of it.
struct RekeyState {
    var isRunning = false
    var resealed = 0
    var failure: String?
    var hasRun = false
    /// Pages in a row in which others wrote faster than we sealed.
    var idlePages = 0

    var view: KeysReply.Progress? {
        guard hasRun || isRunning else { return nil }
        if isRunning { return KeysReply.Progress(state: .running, resealed: resealed) }
        if let failure { return KeysReply.Progress(state: .failed, resealed: resealed, reason: failure) }
        return KeysReply.Progress(state: .done, resealed: resealed)
    }
}
