/// A pooler between us and the server that hands out single transactions (PgBouncer's `pool_mode = transaction`) gives
/// one session to several of our connections. Advisory locks, `LISTEN` and settings would then be anybody's: news would
/// not come, and replicas would seem dead. Such a pooler is refused by name; one that hands out whole sessions is as good
/// as the server itself.
enum PostgreSQLPooler {
    /// Marks the server's session as taken.
    ///
    /// A session that is marked already was handed over while somebody still used it, or without being reset.
    static func claim(
        _ connection: PostgreSQLConnection, _ name: String, until deadline: Int64
    ) throws(ServerFailure) {
        do throws(ServerFailure) {
            // One script is one transaction, and so goes to one session. The division fails where the mark is there.
            try connection.runScript(
                """
                SELECT 1 / CASE WHEN current_setting('token_gateway.session', true) <> '' THEN 0 ELSE 1 END;
                SELECT set_config('token_gateway.session', 'taken', false)
                """, until: deadline)
        } catch {
            guard case .refused("22012", _) = error else { throw error }
            throw .store(
                StoreError(
                    .foreign,
                    "\(name) is behind a pooler that hands one session to several connections. Set pool_mode = session "
                        + "for this database (PgBouncer), or name the server itself"))
        }
    }

    /// Takes another connection for a moment: a pooler that hands out transactions answers it with the session that the
    /// first connection has marked.
    static func probe(_ settings: PostgreSQLSettings) throws(StoreError) {
        let deadline = monotonicMilliseconds() + Int64(settings.connectTimeout)
        do throws(ServerFailure) {
            let second = try PostgreSQLConnection(settings, applicationName: "token-gateway probe", until: deadline)
            try claim(second, settings.name, until: deadline)
        } catch {
            // A server that is full or slow now is met again by the calls themselves.
            if case .store(let found) = error { throw found }
        }
    }
}
