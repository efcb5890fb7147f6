extension ValueType where Value == Snapshot.PostgreSQL {
    /// A database's URL. What it holds is never shown, since somebody may have put the password into it.
    static var databaseURL: Self {
        let example = "\"postgresql://gateway@db.example.com:5432/token_gateway?sslmode=verify-full\""
        return Self("url", expected: "a database's URL such as \(example)") { node in
            guard case .string(let text, _) = node.kind else { return .wrong }
            switch DatabaseURL.read(text) {
            case .success(let database): return .value(database)
            case .failure(let problem): return .mistakes([Mistake(node.position, problem.text(example: example))])
            }
        }
    }
}

enum DatabaseURL {
    enum Problem: Error, Equatable {
        case malformed
        case password
        case noUser
        case noDatabase
        case parameter(String)
        case tlsMode
        case repeated(String)

        func text(example: String) -> String {
            switch self {
            case .malformed: "must be a database's URL such as \(example)"
            case .password: "must not hold a password: put it into the file of \"password_file\""
            case .noUser: "needs the user's name, as in \(example)"
            case .noDatabase: "needs the database's name, as in \(example)"
            case .parameter(let name):
                "has the parameter \(quoted(name)), which is not known; there are \"sslmode\" and \"host\""
            case .tlsMode:
                "has an \"sslmode\" other than "
                    + Snapshot.PostgreSQL.TLSMode.allCases.map { "\"\($0.rawValue)\"" }.joined(separator: ", ")
            case .repeated(let name): "has the parameter \(quoted(name)) twice"
            }
        }
    }

    static func read(_ text: String) -> Result<Snapshot.PostgreSQL, Problem> {
        do throws(Problem) {
            return .success(try database(text))
        } catch {
            return .failure(error)
        }
    }

    private static func database(_ text: String) throws(Problem) -> Snapshot.PostgreSQL {
        guard let scheme = ["postgresql://", "postgres://"].first(where: { text.hasPrefix($0) }),
            text.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7f && $0 != UInt8(ascii: "#") })
        else { throw .malformed }
        let rest = text.dropFirst(scheme.utf8.count)
        let authority = rest.prefix { $0 != "/" && $0 != "?" }
        let behind = rest[authority.endIndex...]
        let path = behind.prefix { $0 != "?" }
        var database = Snapshot.PostgreSQL()
        try take(authority: authority, into: &database)
        try take(query: behind[path.endIndex...].dropFirst(), into: &database)
        database.database = try decoded(path.dropFirst())
        guard !database.user.isEmpty else { throw .noUser }
        guard !database.database.isEmpty else { throw .noDatabase }
        guard !database.host.isEmpty else { throw .malformed }
        return database
    }

    private static func take(
        authority: Substring, into database: inout Snapshot.PostgreSQL
    ) throws(Problem) {
        var place = authority
        if let at = authority.lastIndex(of: "@") {
            let user = authority[..<at]
            guard !user.contains(":") else { throw .password }
            database.user = try decoded(user)
            place = authority[authority.index(after: at)...]
        }
        guard !place.isEmpty else { return }
        guard let (host, port) = AddressText.split(place) else { throw .malformed }
        if let port {
            guard let number = AddressText.port(port), number > 0 else { throw .malformed }
            database.port = number
        }
        guard host.isEmpty || isHostName(host) || Snapshot.IPAddress(host) != nil else { throw .malformed }
        database.host = host.lowercased()
    }

    private static func take(query: Substring, into database: inout Snapshot.PostgreSQL) throws(Problem) {
        var seen: Set<Substring> = []
        for pair in query.split(separator: "&") {
            let parts = pair.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            let value = parts.count == 2 ? try decoded(parts[1]) : ""
            let isFirst = seen.insert(parts[0]).inserted
            switch String(parts[0]) {
            case "sslmode":
                guard let mode = Snapshot.PostgreSQL.TLSMode(rawValue: value) else { throw .tlsMode }
                database.tls = mode
            case "host":
                guard value.hasPrefix("/"), !isFirst || database.host.isEmpty else { throw .malformed }
                database.host = value
                database.tls = .disable
            case "password", "passfile": throw .password
            case let name: throw .parameter(name)
            }
            guard isFirst else { throw .repeated(String(parts[0])) }
        }
    }

    private static func decoded(_ text: Substring) throws(Problem) -> String {
        var bytes: [UInt8] = []
        var rest = Array(text.utf8)[...]
        while let byte = rest.popFirst() {
            guard byte == UInt8(ascii: "%") else {
                bytes.append(byte)
                continue
            }
            let digits = rest.prefix(2)
            guard digits.count == 2, digits.allSatisfy(\.isHexDigit),
                let value = UInt8(String(decoding: digits, as: UTF8.self), radix: 16), value >= 0x20, value != 0x7f
            else { throw .malformed }
            bytes.append(value)
            rest = rest.dropFirst(2)
        }
        return String(decoding: bytes, as: UTF8.self)
    }
}
