// The directives of the store.

/// The store as the file has it.
struct StoreDraft: Sendable {
    var store = Snapshot.Store()
    var database: Snapshot.PostgreSQL?
    var passwords: [Snapshot.SecretSource] = []
    var caFile: String?
    var connectTimeout = Duration.zero
    var statementTimeout = Duration.zero
}

let storeDirectives = Directives<StoreDraft>(
    place: .store,
    list: [
        Directive(
            "path", .path, \.store.path, default: .described("required, unless there is `url`"),
            "The database file; its folder must exist."),
        Directive(
            "key_file", .oneOrMore(of: .secretPath), default: .none,
            "A file with the key that seals the store; of several, the first seals and the others only open."
        ) { $0.store.keys += $1.map { .file(path: $0) } },
        Directive(
            "key_env", .variableName, default: .none, "Instead of key_file: the environment variable with the key."
        ) { $0.store.keys.append(.environment(name: $1)) },
        Directive(
            "key_credential", .credentialName, default: .none,
            "Instead of key_file: the systemd credential with the key."
        ) { $0.store.keys.append(.credential(name: $1)) },
    ] + sharedDirectives)

private let sharedDirectives: [Directive<StoreDraft>] = [
    Directive(
        "url", .databaseURL, \.database,
        "Instead of path: a PostgreSQL database for several gateways; `?sslmode=` is `verify-full` unless it is local."),
    Directive(
        "password_file", .secretPath, default: .none, "A file with the database's password; read at the start."
    ) { $0.passwords.append(.file(path: $1)) },
    Directive(
        "password_env", .variableName, default: .none,
        "Instead of password_file: the environment variable with the password."
    ) { $0.passwords.append(.environment(name: $1)) },
    Directive(
        "password_credential", .credentialName, default: .none,
        "Instead of password_file: the systemd credential with the password."
    ) { $0.passwords.append(.credential(name: $1)) },
    Directive("ca_file", .path, \.caFile, "Certificates (PEM) to trust for the database instead of the system's."),
    Directive(
        "connect_timeout", .duration(.seconds(1)...(.seconds(300))), \.connectTimeout, default: "5s",
        "For a connection to the database."),
    Directive(
        "statement_timeout", .duration(.milliseconds(100)...(.seconds(300))), \.statementTimeout, default: "5s",
        "For one statement, at the database and here."),
    Directive(
        "instance",
        .string(expected: "1 to 64 letters, digits, \".\", \"-\" and \"_\"") { text in
            text.utf8.count <= 64 && text.utf8.allSatisfy { $0.isLetter || $0.isDigit || ".-_".utf8.contains($0) }
        }, \.store.instance,
        "This gateway's name among those that share the database; each start adds something random to it."),
]
