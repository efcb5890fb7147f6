extension PostgreSQLStore {
    package func read(grant: String) throws(StoreError) -> StoredRecord? {
        try call(writes: false) { link throws(ServerFailure) in try GrantStatements.find(link, grant)?.record }
    }

    package func commit(grant: String, payload: [UInt8], ifGeneration: UInt64, terms: CommitTerms)
        throws(StoreError) -> CommitOutcome
    {
        try check.storable(id: grant, payload)
        return try call(writes: true) { link throws(ServerFailure) in
            let row = { GrantRow(generation: $0, payload: payload, dueAt: terms.dueAt, state: terms.state) }
            if ifGeneration == 0 { return try make(link, grant, terms.room, row) }
            guard ifGeneration <= UInt64(Int64.max) else { return try conflict(link, grant) }
            guard ifGeneration < UInt64(Int64.max) else { throw exhausted(link, grant) }
            let next = ifGeneration + 1
            let done = try GrantStatements.update(link, grant, from: ifGeneration, wasLive: true, to: row(next))
            return done ? .committed(generation: next) : try conflict(link, grant)
        }
    }

    /// Where there is a limit, one at a time, so that it is exact whoever else makes grants.
    private func make(
        _ link: Link, _ grant: String, _ room: GrantRoom?, _ row: (UInt64) -> GrantRow
    ) throws(ServerFailure) -> CommitOutcome {
        guard let room else { return try insert(link, grant, row) }
        return try link.transaction(lock: PostgreSQLSchema.roomLock) { () throws(ServerFailure) in
            if let record = try GrantStatements.find(link, grant)?.record { return .conflict(current: record) }
            let count = try GrantStatements.count(link, prefix: room.prefix)
            return count < room.limit ? try insert(link, grant, row) : .full(count: count)
        }
    }

    /// A grant that was never there begins with 1, one that was removed goes on from its last generation.
    private func insert(
        _ link: Link, _ grant: String, _ row: (UInt64) -> GrantRow
    ) throws(ServerFailure) -> CommitOutcome {
        // Each round that fails means that somebody else has made or removed the grant in between.
        for _ in 0..<8 {
            if try GrantStatements.insert(link, grant, row(1)) { return .committed(generation: 1) }
            guard let found = try GrantStatements.find(link, grant) else { continue }
            if let record = found.record { return .conflict(current: record) }
            guard let next = found.nextGeneration else { throw exhausted(link, grant) }
            if try GrantStatements.update(link, grant, from: found.generation, wasLive: false, to: row(next)) {
                return .committed(generation: next)
            }
        }
        throw contended(grant)
    }

    private func conflict(_ link: Link, _ grant: String) throws(ServerFailure) -> CommitOutcome {
        .conflict(current: try GrantStatements.find(link, grant)?.record)
    }

    package func remove(grant: String, ifGeneration: UInt64?) throws(StoreError) -> RemoveOutcome {
        try call(writes: true) { link throws(ServerFailure) in
            for _ in 0..<8 {
                let generation: UInt64
                do throws(ServerFailure) {
                    guard let record = try GrantStatements.find(link, grant)?.record else { return .absent }
                    guard ifGeneration == nil || ifGeneration == record.generation else {
                        return .conflict(current: record)
                    }
                    generation = record.generation
                } catch {
                    // The way out for a record that is damaged.
                    guard ifGeneration == nil, case .store(let reason) = error, reason.kind == .corrupt else {
                        throw error
                    }
                    guard let found = try GrantStatements.generation(link, grant) else { return .absent }
                    generation = found
                }
                let row = GrantRow(generation: generation, payload: nil, dueAt: nil)
                if try GrantStatements.update(link, grant, from: generation, wasLive: true, to: row) {
                    return .removed
                }
            }
            throw contended(grant)
        }
    }

    private func exhausted(_ link: Link, _ grant: String) -> ServerFailure {
        .store(link.failure.corrupt("the generation of \(grant) is exhausted"))
    }

    private func contended(_ grant: String) -> ServerFailure {
        .store(StoreError(.busy, "\(settings.name): grant \(grant) was changed by others all the time"))
    }

    // MARK: Many grants

    package func names(
        prefix: String, state: String?, after: String?, limit: Int
    ) throws(StoreError) -> [String] {
        try call(writes: false) { link throws(ServerFailure) in
            let sql = """
                SELECT grant_id FROM token_gateway.grant_record
                WHERE live AND grant_id >= $1 AND grant_id > $2 AND ($4::text IS NULL OR grant_id < $4)
                AND ($5::text IS NULL OR state = $5)
                ORDER BY grant_id LIMIT $3
                """
            let rows = try link.run(
                sql, .text(prefix), .text(after ?? ""), Self.limit(limit), .optionalText(end(ofPrefix: prefix)),
                .optionalText(state))
            return try rows.list { row throws(ServerFailure) in try rows.text(row, 0) }
        }
    }

    package func count(prefix: String) throws(StoreError) -> Int {
        try call(writes: false) { link throws(ServerFailure) in try GrantStatements.count(link, prefix: prefix) }
    }

    package func states(prefix: String, after: String?, limit: Int) throws(StoreError) -> StatePage {
        let page = """
            SELECT grant_id, state FROM token_gateway.grant_record
            WHERE live AND grant_id >= $1 AND grant_id > $2 AND ($4::text IS NULL OR grant_id < $4)
            ORDER BY grant_id LIMIT $3
            """
        let most = max(1, limit)
        let (first, last) = (SQLValue.text(prefix), SQLValue.text(after ?? ""))
        let bound = SQLValue.optionalText(end(ofPrefix: prefix))
        return try call(writes: false) { link throws(ServerFailure) in
            let sql = "SELECT state, count(*), max(grant_id) FROM (\(page)) AS page GROUP BY state"
            let found = try link.run(sql, first, last, Self.limit(most), bound)
            let groups = try found.list { row throws(ServerFailure) in
                StateGroup(
                    state: try found.optionalText(row, 0), count: Int(try found.integer(row, 1)),
                    last: try found.text(row, 2))
            }
            if let page = StatePage(groups, limit: most) { return page }
            let short = min(most, StatePage.shortPage)
            let rows = try link.run(page, first, last, Self.limit(short), bound)
            let list = try rows.list { row throws(ServerFailure) in
                (grant: try rows.text(row, 0), state: try rows.optionalText(row, 1))
            }
            return StatePage(list, limit: short)
        }
    }

    package func noteStates(_ notes: [StateNote]) throws(StoreError) {
        guard !notes.isEmpty else { return }
        _ = try call(writes: true) { link throws(ServerFailure) in
            try link.run(
                """
                UPDATE token_gateway.grant_record g SET state = n.state
                FROM unnest($1::text[], $2::bigint[], $3::text[]) AS n (id, generation, state)
                WHERE g.grant_id = n.id COLLATE "C" AND g.generation = n.generation AND g.live AND g.state IS NULL
                """, .texts(notes.map(\.grant)), .integers(notes.map { Int64(clamping: $0.generation) }),
                .texts(notes.map(\.state)))
        }
    }

    package func due(
        after: DuePosition?, before: Int64, limit: Int
    ) throws(StoreError) -> [(grant: String, dueAt: Int64)] {
        let start = after ?? .first
        return try call(writes: false) { link throws(ServerFailure) in
            let rows = try link.run(
                """
                SELECT grant_id, due_at FROM token_gateway.grant_record
                WHERE due_at IS NOT NULL AND (due_at, grant_id) > ($1, $2) AND due_at <= $3
                ORDER BY due_at, grant_id LIMIT $4
                """, .integer(start.dueAt), .text(start.grant), .integer(before), Self.limit(limit))
            return try rows.list { row throws(ServerFailure) in (try rows.text(row, 0), try rows.integer(row, 1)) }
        }
    }

    package func nextDue(after: DuePosition?) throws(StoreError) -> Int64? {
        let start = after ?? .first
        return try call(writes: false) { link throws(ServerFailure) in
            try link.run(
                """
                SELECT due_at FROM token_gateway.grant_record
                WHERE due_at IS NOT NULL AND (due_at, grant_id) > ($1, $2) ORDER BY due_at, grant_id LIMIT 1
                """, .integer(start.dueAt), .text(start.grant)
            ).optionalInteger(0, 0)
        }
    }

    package func revisions(of grants: [String]) throws(StoreError) -> [String: UInt64] {
        try call(writes: false) { link throws(ServerFailure) in
            let rows = try link.run(
                "SELECT grant_id, generation FROM token_gateway.grant_record WHERE grant_id = ANY ($1) AND live",
                .texts(grants))
            var found: [String: UInt64] = [:]
            for row in 0..<rows.count { found[try rows.text(row, 0)] = try rows.number(row, 1) }
            return found
        }
    }

    package func verify(after: String?, limit: Int) throws(StoreError) -> VerifiedPage {
        try call(writes: false) { link throws(ServerFailure) in
            let rows = try link.run(
                GrantStatements.columns + " WHERE grant_id > $1 ORDER BY grant_id LIMIT $2", .text(after ?? ""),
                Self.limit(max(1, limit)))
            var unreadable: [String: StoreError] = [:]
            for row in 0..<rows.count {
                do throws(ServerFailure) {
                    _ = try GrantStatements.open(link, rows, row)
                } catch {
                    unreadable[try rows.text(row, 0)] = link.failure.translate(error, wrote: false)
                }
            }
            let last = rows.count < limit ? nil : try rows.text(rows.count - 1, 0)
            return VerifiedPage(last: last, checked: rows.count, unreadable: unreadable)
        }
    }

    static func limit(_ count: Int) -> SQLValue { .integer(Int64(max(0, count))) }
}

extension Rows {
    func list<Element>(_ make: (Int) throws(ServerFailure) -> Element) throws(ServerFailure) -> [Element] {
        var elements: [Element] = []
        elements.reserveCapacity(count)
        for row in 0..<count { elements.append(try make(row)) }
        return elements
    }
}

/// The statements on `grant_record`.
enum GrantStatements {
    static let columns =
        "SELECT grant_id, generation, live, key_id, sealed, due_at, state FROM token_gateway.grant_record"

    static func find(_ link: Link, _ grant: String) throws(ServerFailure) -> GrantRow? {
        let rows = try link.run(columns + " WHERE grant_id = $1", .text(grant))
        return rows.isEmpty ? nil : try open(link, rows, 0).row
    }

    static func count(_ link: Link, prefix: String) throws(ServerFailure) -> Int {
        let sql = "SELECT count(*) FROM token_gateway.grant_record WHERE live AND grant_id >= $1"
        let rows =
            if let end = end(ofPrefix: prefix) {
                try link.run(sql + " AND grant_id < $2", .text(prefix), .text(end))
            } else {
                try link.run(sql, .text(prefix))
            }
        return Int(try rows.integer(0, 0))
    }

    /// The generation of a live grant without a look at its value.
    static func generation(_ link: Link, _ grant: String) throws(ServerFailure) -> UInt64? {
        let rows = try link.run(
            "SELECT generation FROM token_gateway.grant_record WHERE grant_id = $1 AND live", .text(grant))
        return rows.isEmpty ? nil : try rows.number(0, 0)
    }

    static func open(
        _ link: Link, _ rows: Rows, _ index: Int
    ) throws(ServerFailure) -> (grant: String, keyID: String, row: GrantRow) {
        let grant = try rows.text(index, 0)
        let generation = try rows.number(index, 1)
        let live = try rows.flag(index, 2)
        let keyID = try rows.text(index, 3)
        let payload = try link.open(
            Sealed(keyID: KeyID(keyID), bytes: try rows.bytes(index, 4)), at: .grant(grant, generation, live: live),
            what: "the record of grant \(grant)")
        let row = GrantRow(
            generation: generation, payload: live ? payload : nil, dueAt: try rows.optionalInteger(index, 5),
            state: try rows.optionalText(index, 6))
        return (grant, keyID, row)
    }

    /// `false`: there is a row already, perhaps that of a removed grant.
    static func insert(_ link: Link, _ grant: String, _ row: GrantRow) throws(ServerFailure) -> Bool {
        let sealed = try link.seal(row, grant)
        let rows = try link.run(
            """
            WITH made AS (
                INSERT INTO token_gateway.grant_record (grant_id, generation, live, key_id, sealed, due_at, state)
                VALUES ($1, $2, true, $3, $4, $5, $7) ON CONFLICT (grant_id) DO NOTHING RETURNING generation)
            SELECT generation, pg_notify('token_gateway', $6) FROM made
            """, .text(grant), .integer(Int64(row.generation)), .text(sealed.keyID.text), .bytes(sealed.bytes),
            .optionalInteger(row.dueAt), .text(NewsText.text(grant, row)), .optionalText(row.state))
        return !rows.isEmpty
    }

    /// Compares and sets in one statement; the others hear of it when it is durable. `false`: the row is another now.
    static func update(
        _ link: Link, _ grant: String, from generation: UInt64, wasLive: Bool, to row: GrantRow
    ) throws(ServerFailure) -> Bool {
        let sealed = try link.seal(row, grant)
        let isLive: Int64 = row.payload == nil ? 0 : 1
        let rows = try link.run(
            """
            WITH made AS (
                UPDATE token_gateway.grant_record
                SET generation = $4, live = $5 <> 0, key_id = $6, sealed = $7, due_at = $8, state = $10
                WHERE grant_id = $1 AND generation = $2 AND live = ($3 <> 0) RETURNING generation)
            SELECT generation, pg_notify('token_gateway', $9) FROM made
            """, .text(grant), .integer(Int64(clamping: generation)), .integer(wasLive ? 1 : 0),
            .integer(Int64(row.generation)), .integer(isLive), .text(sealed.keyID.text), .bytes(sealed.bytes),
            .optionalInteger(row.dueAt), .text(NewsText.text(grant, row)), .optionalText(row.state))
        return !rows.isEmpty
    }
}

extension Link {
    func open(_ sealed: Sealed, at place: SealedPlace, what: String) throws(ServerFailure) -> [UInt8] {
        do throws(StoreError) {
            return try sealer.open(sealed, at: place, in: failure.name, what: what, corrupt: failure.corrupt)
        } catch {
            throw .store(error)
        }
    }

    func seal(_ plain: [UInt8], at place: SealedPlace) throws(ServerFailure) -> Sealed {
        do throws(StoreError) {
            return try sealer.seal(plain, at: place)
        } catch {
            throw .store(error)
        }
    }

    func seal(_ row: GrantRow, _ grant: String) throws(ServerFailure) -> Sealed {
        try seal(row.payload ?? [], at: .grant(grant, row.generation, live: row.payload != nil))
    }
}
