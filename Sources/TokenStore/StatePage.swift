/// Grants of a page that have the same state.
struct StateGroup {
    let state: String?
    let count: Int
    let last: String
}

extension StatePage {
    /// `nil`: some have no state, so that the rows themselves must be looked at.
    init?(_ groups: [StateGroup], limit: Int) {
        self.init()
        for group in groups {
            guard let state = group.state else { return nil }
            states[state] = group.count
            count += group.count
        }
        guard count >= limit else { return }
        // By bytes, as both stores order names.
        last = groups.map(\.last).max { $0.utf8.lexicographicallyPrecedes($1.utf8) }
    }

    init(_ rows: [(grant: String, state: String?)], limit: Int) {
        self.init()
        for row in rows {
            if let state = row.state { states[state, default: 0] += 1 } else { unnoted.append(row.grant) }
        }
        count = rows.count
        last = rows.count >= limit ? rows.last?.grant : nil
    }
}
