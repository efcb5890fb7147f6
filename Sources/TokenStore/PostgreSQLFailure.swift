/// Turns what the server reports into errors that name the store and the remedy.
struct PostgreSQLFailure: Sendable {
    /// What messages call the store.
    let name: String

    func corrupt(_ detail: String) -> StoreError {
        StoreError(
            .corrupt,
            "\(name) is damaged: \(detail). Restore the database from a backup; a grant that cannot be read can be "
                + "forgotten and connected anew")
    }

    /// The schema or its tables are not there, although they were made.
    func gone() -> StoreError {
        StoreError(
            .foreign,
            "\(name) has no tables of a store any more: the schema token_gateway was dropped, or another database "
                + "answers. They are not made anew while gateways run, because an empty store would end every grant. "
                + "Restore the database from a backup; or restart the gateways to begin with an empty store")
    }

    /// `wrote`: whether the call may have changed something before it failed.
    func translate(_ failure: ServerFailure, wrote: Bool) -> StoreError {
        switch failure {
        case .store(let error): return error
        case .woken: return StoreError(.closed, "\(name): the store is closed")
        case .lost(let text):
            let outcome = wrote ? "; whether the change was made is unknown" : ""
            return StoreError(.unavailable, "\(name): the connection was lost\(outcome). \(text)")
        case .unreachable(nil, let text):
            return StoreError(.unavailable, "\(name) cannot be reached; nothing was sent. \(text)")
        case .unreachable(let state?, let text):
            let error = refused(state, text)
            return StoreError(error.kind == .inputOutput ? .unavailable : error.kind, error.message)
        case .refused(let state, let text): return refused(state, text)
        }
    }

    private func refused(_ state: String, _ text: String) -> StoreError {
        let detail = "PostgreSQL says: \(text) (\(state))"
        switch state {
        case "28000", "28P01", "3D000", "42501":
            return StoreError(.permissions, "\(name) does not let us in, or lacks a right for us. \(detail)")
        case "3F000", "42P01": return gone()
        case "42703", "42883", "42704":
            return StoreError(.foreign, "\(name): the tables are not those of a store. \(detail)")
        case "53100": return StoreError(.diskFull, "\(name): the server's disk is full. \(detail)")
        case "25006":
            return StoreError(.unavailable, "\(name): this server takes no changes (a standby?). \(detail)")
        case "55P03", "57014", "40001", "40P01":
            return StoreError(.busy, "\(name) was too busy for this; nothing was changed. \(detail)")
        case "23503":
            return StoreError(
                .key,
                "\(name): the key that we seal with was retired; nothing was changed. Put the store's new key in front "
                    + "of this replica's keys")
        case "54000", "22021": return StoreError(.invalid, "\(name) cannot store this. \(detail)")
        case _ where state.hasPrefix("XX"): return corrupt(detail)
        case _ where state.hasPrefix("53") || state.hasPrefix("08") || state.hasPrefix("57"):
            return StoreError(.unavailable, "\(name) is not ready for us. \(detail)")
        default: return StoreError(.inputOutput, "\(name): a statement failed. \(detail)")
        }
    }

    /// Whether the statement may simply be run again: the server gave it up for another one's sake.
    static func mayBeRepeated(_ state: String) -> Bool { state == "40001" || state == "40P01" }

    /// Whether the session is of no more use, although the server still talks to us.
    static func spoilsSession(_ state: String) -> Bool { state == "25006" || state.hasPrefix("XX") }

    /// Whether what is there is perhaps not our store: tables that were gone may be another's when they are back.
    static func castsDoubt(_ failure: ServerFailure) -> Bool {
        switch failure {
        case .refused(let state, _): state == "3F000" || state == "42P01"
        case .store(let error): error.kind == .foreign || error.kind == .newerSchema
        case .unreachable, .lost, .woken: false
        }
    }
}
