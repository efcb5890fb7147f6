extension PostgreSQLStore {
    // MARK: Consents

    package func putConsent(id: String, payload: [UInt8], expiresAt: Int64, limit: Int, now: Int64)
        throws(StoreError) -> ConsentOutcome
    {
        try check.storable(id: id, payload)
        let digest = consentDigest(of: id)
        return try call(writes: true) { link throws(ServerFailure) in
            let sealed = try link.seal(payload, at: .consent(digest, expiresAt))
            // One at a time, so that the limit is exact whoever else puts one.
            return try link.transaction(lock: PostgreSQLSchema.consentLock) { () throws(ServerFailure) in
                try ConsentStatements.purge(link, now: now)
                let found = try link.run(
                    """
                    SELECT count(*), count(*) FILTER (WHERE consent_id = $1) FROM token_gateway.pending_consent
                    """, .text(digest))
                guard try found.integer(0, 1) == 0 else {
                    throw .store(StoreError(.invalid, "\(settings.name): a consent with this id is pending already"))
                }
                guard try found.integer(0, 0) < Int64(limit) else { return .full }
                _ = try link.run(
                    """
                    INSERT INTO token_gateway.pending_consent (consent_id, expires_at, key_id, sealed)
                    VALUES ($1, $2, $3, $4)
                    """, .text(digest), .integer(expiresAt), .text(sealed.keyID.text), .bytes(sealed.bytes))
                return .stored
            }
        }
    }

    package func takeConsent(
        id: String, now: Int64, leaving: (@Sendable ([UInt8]) -> KeptConsent?)?
    ) throws(StoreError) -> [UInt8]? {
        let digest = consentDigest(of: id)
        return try call(writes: true) { link throws(ServerFailure) in
            // In a transaction: one that we cannot open stays, for a replica that has its key.
            try link.transaction { () throws(ServerFailure) in
                let rows = try link.run(
                    """
                    DELETE FROM token_gateway.pending_consent WHERE consent_id = $1 RETURNING expires_at, key_id, sealed
                    """, .text(digest))
                guard !rows.isEmpty, try rows.integer(0, 0) > now else { return nil }
                let payload = try ConsentStatements.open(link, rows, digest)
                // Who waits for the row's lock finds what is left as soon as the row is gone.
                if let kept = leaving?(payload) { try ConsentStatements.keep(link, kept) }
                return payload
            }
        }
    }

    package func findConsent(id: String, now: Int64) throws(StoreError) -> [UInt8]? {
        let digest = consentDigest(of: id)
        return try call(writes: false) { link throws(ServerFailure) in
            let rows = try link.run(
                "SELECT expires_at, key_id, sealed FROM token_gateway.pending_consent WHERE consent_id = $1",
                .text(digest))
            guard !rows.isEmpty, try rows.integer(0, 0) > now else { return nil }
            return try ConsentStatements.open(link, rows, digest)
        }
    }

    package func keepConsent(_ kept: KeptConsent, now: Int64) throws(StoreError) -> ConsentOutcome {
        try check.storable(id: kept.id, kept.payload)
        return try call(writes: true) { link throws(ServerFailure) in
            try ConsentStatements.purge(link, now: now)
            return try ConsentStatements.keep(link, kept) ? .stored : .full
        }
    }

    // MARK: Keys

    package func useKeys(_ ring: KeyRing) throws(StoreError) {
        try call(writes: true, keys: ring) { link throws(ServerFailure) in
            try link.transaction(lock: PostgreSQLSchema.migrationLock) { () throws(ServerFailure) in
                try KeyStatements.admit(link)
            }
        }
    }

    package func rekeySome(limit: Int) throws(StoreError) -> RekeyPage {
        try call(writes: true) { link throws(ServerFailure) in
            var (seen, resealed) = (0, 0)
            for key in try KeyStatements.othersInUse(link) where seen < limit {
                let grants = try KeyStatements.resealGrants(link, under: key, limit: limit - seen)
                let consents = try KeyStatements.resealConsents(link, under: key, limit: limit - seen - grants.seen)
                seen += grants.seen + consents.seen
                resealed += grants.resealed + consents.resealed
            }
            return RekeyPage(seen: seen, resealed: resealed)
        }
    }

    package func retire(_ id: KeyID) throws(StoreError) -> Bool {
        try call(writes: true) { link throws(ServerFailure) in
            guard id != link.sealer.ring.active.id else { throw .store(KeyProof.active(settings.name, id)) }
            do throws(ServerFailure) {
                return try !link.run(
                    "DELETE FROM token_gateway.store_key WHERE key_id = $1 RETURNING key_id", .text(id.text)
                ).isEmpty
            } catch {
                guard case .refused("23503", _) = error else { throw error }
                let rows = try KeyStatements.use(link).first { $0.id == id }?.rows ?? 0
                throw .store(KeyProof.inUse(settings.name, id, rows: rows))
            }
        }
    }

    package func keyUse() throws(StoreError) -> [KeyUse] {
        try call(writes: false) { link throws(ServerFailure) in try KeyStatements.use(link) }
    }

    package func checkWritable() throws(StoreError) {
        _ = try call(writes: true) { link throws(ServerFailure) in
            try link.run(
                """
                INSERT INTO token_gateway.write_check VALUES (true, clock_timestamp())
                ON CONFLICT (single) DO UPDATE SET at = excluded.at
                """)
        }
    }
}

/// The statements on `pending_consent` that are used more than once.
enum ConsentStatements {
    /// Of a row's expiry, key and sealed value.
    static func open(_ link: Link, _ rows: Rows, _ digest: String) throws(ServerFailure) -> [UInt8] {
        try link.open(
            Sealed(keyID: KeyID(try rows.text(0, 1)), bytes: try rows.bytes(0, 2)),
            at: .consent(digest, try rows.integer(0, 0)), what: "a pending consent")
    }

    /// A replica whose clock is ahead must not end the others' consents.
    static func purge(_ link: Link, now: Int64) throws(ServerFailure) {
        _ = try link.run(
            """
            DELETE FROM token_gateway.pending_consent
            WHERE expires_at <= least($1, floor(extract(epoch FROM clock_timestamp()))::bigint)
            """, .integer(now))
    }

    /// In place of the row with the same id. What is remembered needs no exact limit; pending consents have one of
    /// their own, far below.
    @discardableResult
    static func keep(_ link: Link, _ kept: KeptConsent) throws(ServerFailure) -> Bool {
        let digest = consentDigest(of: kept.id)
        let sealed = try link.seal(kept.payload, at: .consent(digest, kept.expiresAt))
        return try !link.run(
            """
            INSERT INTO token_gateway.pending_consent (consent_id, expires_at, key_id, sealed)
            SELECT $1, $2, $3, $4 WHERE (SELECT count(*) FROM token_gateway.pending_consent) < $5
            ON CONFLICT (consent_id) DO UPDATE
            SET expires_at = excluded.expires_at, key_id = excluded.key_id, sealed = excluded.sealed
            RETURNING consent_id
            """, .text(digest), .integer(kept.expiresAt), .text(sealed.keyID.text), .bytes(sealed.bytes),
            PostgreSQLStore.limit(kept.limit)
        ).isEmpty
    }
}

/// The statements on `store_key`, and those that seal again.
enum KeyStatements {
    /// Refuses a ring that lacks a key in use, or that has none of the store's keys; then notes the active key. What
    /// is listed and seals nothing stays: another replica may be about to put it in front.
    static func admit(_ link: Link) throws(ServerFailure) {
        let ring = link.sealer.ring
        let rows = try link.run(
            """
            SELECT key_id, check_value,
                EXISTS (SELECT 1 FROM token_gateway.grant_record g WHERE g.key_id = k.key_id)
                OR EXISTS (SELECT 1 FROM token_gateway.pending_consent c WHERE c.key_id = k.key_id)
            FROM token_gateway.store_key k ORDER BY key_id
            """)
        let listed = try rows.list { row throws(ServerFailure) in KeyID(try rows.text(row, 0)) }
        let missing = listed.filter { ring.key($0) == nil }
        var isLacking = !listed.isEmpty && missing.count == listed.count
        for row in 0..<rows.count {
            let isMissing = missing.contains(listed[row])
            if try rows.flag(row, 2) && isMissing { isLacking = true }
            let proof = try rows.bytes(row, 1)
            guard isMissing || KeyProof.isRight(proof, listed[row], link.sealer) else {
                throw .store(link.failure.corrupt("the check value of key \(listed[row]) does not open"))
            }
        }
        guard !isLacking else {
            throw .store(
                KeyProof.wrongKey(link.failure.name, listed: listed, missing: missing, ring: ring.ids))
        }
        guard !listed.contains(ring.active.id) else { return }
        let proof = try link.seal(KeyProof.text, at: .keyCheck(ring.active.id))
        _ = try link.run(
            "INSERT INTO token_gateway.store_key (key_id, check_value) VALUES ($1, $2)", .text(proof.keyID.text),
            .bytes(proof.bytes))
    }

    static func use(_ link: Link) throws(ServerFailure) -> [KeyUse] {
        let rows = try link.run(
            """
            SELECT key_id, (SELECT count(*) FROM token_gateway.grant_record g WHERE g.key_id = k.key_id)
                + (SELECT count(*) FROM token_gateway.pending_consent c WHERE c.key_id = k.key_id)
            FROM token_gateway.store_key k ORDER BY key_id
            """)
        let ring = link.sealer.ring
        return try rows.list { row throws(ServerFailure) in
            let id = KeyID(try rows.text(row, 0))
            return KeyUse(
                id: id, rows: Int(try rows.integer(row, 1)), isActive: id == ring.active.id,
                isOnRing: ring.key(id) != nil)
        }
    }

    /// Keys other than the active one that seal something.
    static func othersInUse(_ link: Link) throws(ServerFailure) -> [KeyID] {
        let rows = try link.run(
            """
            SELECT key_id FROM token_gateway.store_key k WHERE key_id <> $1 AND (
                EXISTS (SELECT 1 FROM token_gateway.grant_record g WHERE g.key_id = k.key_id)
                OR EXISTS (SELECT 1 FROM token_gateway.pending_consent c WHERE c.key_id = k.key_id))
            """, .text(link.sealer.ring.active.id.text))
        return try rows.list { row throws(ServerFailure) in KeyID(try rows.text(row, 0)) }
    }

    /// Seals a page again in one statement. A row that has changed since it was read is left as it is. The question is
    /// put in such a way that only the index by key answers it: by the primary key each page would pass all rows done.
    static func resealGrants(_ link: Link, under id: KeyID, limit: Int) throws(ServerFailure) -> RekeyPage {
        let rows = try link.run(
            GrantStatements.columns
                + " WHERE (key_id, grant_id) >= ($1, '') AND key_id <= $1 ORDER BY key_id, grant_id LIMIT $2",
            .text(id.text), PostgreSQLStore.limit(limit))
        guard !rows.isEmpty else { return RekeyPage(seen: 0, resealed: 0) }
        var (grants, generations, lives, sealed): ([String], [Int64], [Int64], [[UInt8]]) = ([], [], [], [])
        for index in 0..<rows.count {
            let found = try GrantStatements.open(link, rows, index)
            grants.append(found.grant)
            generations.append(Int64(found.row.generation))
            lives.append(found.row.payload == nil ? 0 : 1)
            sealed.append(try link.seal(found.row, found.grant).bytes)
        }
        let done = try link.run(
            """
            WITH made AS (
                UPDATE token_gateway.grant_record g SET key_id = $1, sealed = n.sealed
                FROM unnest($3::text[], $4::bigint[], $5::bigint[], $6::bytea[]) AS n (id, generation, live, sealed)
                WHERE g.grant_id = n.id COLLATE "C" AND g.generation = n.generation AND g.live = (n.live <> 0)
                    AND g.key_id = $2 RETURNING 1)
            SELECT count(*) FROM made
            """, .text(link.sealer.ring.active.id.text), .text(id.text), .texts(grants), .integers(generations),
            .integers(lives), .byteStrings(sealed))
        return RekeyPage(seen: rows.count, resealed: Int(try done.integer(0, 0)))
    }

    /// The same for pending consents, which are never changed, only taken.
    static func resealConsents(_ link: Link, under id: KeyID, limit: Int) throws(ServerFailure) -> RekeyPage {
        let rows = try link.run(
            """
            SELECT consent_id, expires_at, sealed FROM token_gateway.pending_consent WHERE key_id = $1
            ORDER BY consent_id LIMIT $2
            """, .text(id.text), PostgreSQLStore.limit(limit))
        guard !rows.isEmpty else { return RekeyPage(seen: 0, resealed: 0) }
        var (digests, sealed): ([String], [[UInt8]]) = ([], [])
        for row in 0..<rows.count {
            let (digest, expiresAt) = (try rows.text(row, 0), try rows.integer(row, 1))
            let place = SealedPlace.consent(digest, expiresAt)
            let old = Sealed(keyID: id, bytes: try rows.bytes(row, 2))
            digests.append(digest)
            sealed.append(try link.seal(link.open(old, at: place, what: "a pending consent"), at: place).bytes)
        }
        let done = try link.run(
            """
            WITH made AS (
                UPDATE token_gateway.pending_consent c SET key_id = $1, sealed = n.sealed
                FROM unnest($3::text[], $4::bytea[]) AS n (id, sealed)
                WHERE c.consent_id = n.id COLLATE "C" AND c.key_id = $2 RETURNING 1)
            SELECT count(*) FROM made
            """, .text(link.sealer.ring.active.id.text), .text(id.text), .texts(digests), .byteStrings(sealed))
        return RekeyPage(seen: rows.count, resealed: Int(try done.integer(0, 0)))
    }
}
