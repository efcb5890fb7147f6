import Foundation
import Glibc

/// A token as canaille's database has it.
struct IssuedToken: Sendable {
    let id: String
    let access: String
    let refresh: String?
    let isRevoked: Bool
}

/// The authorization server: canaille from PyPI, in the environment that `script/bootstrap --tests` made.
///
/// What it does, as found here: an access token is a JWT whose times are whole seconds, so that two for one user and
/// client within a second are equal and the second token call ends with 500, which leaves the old refresh token alive
/// (with a body that quotes tokens). A refresh rotates the refresh token and ends the old access token at once. A
/// refresh token lives exactly as long as its access token. Revoking either ends both.
final class Canaille: Sendable {
    let issuer: String
    private let folder: String
    private let program: String
    private let process: ProcessHandle

    /// Starts it on a loopback port without TLS. `issuer` is its address as everybody else sees it; tokens live
    /// `lifetime` seconds. `readerID` is the client that may ask about all tokens: the API's.
    static func start(
        port: UInt16, issuer: String, lifetime: Int, seats: [Seat], reader: (id: String, secret: String)
    ) async throws -> Canaille {
        let program = Repository.root + ".build/e2e-venv/bin/canaille"
        guard FileManager.default.isExecutableFile(atPath: program) else {
            throw HarnessError("\(program) is missing: run script/bootstrap --tests")
        }
        let folder = try Workspace.newFolder("canaille")
        try Workspace.write(configuration(folder, port, issuer, lifetime), to: "\(folder)/canaille.toml")
        try Workspace.write(try models(seats, reader), to: "\(folder)/models.json")
        let environment = ["CANAILLE_CONFIG": "\(folder)/canaille.toml"]
        try await mustRun([program, "db", "upgrade"], environment: environment, directory: folder)
        try await mustRun(
            [program, "restore"], environment: environment, directory: folder, input: "\(folder)/models.json")
        let process = try await ProcessHandle(
            [program, "run"], environment: environment, directory: folder, output: "\(folder)/canaille.log")
        try await eventually("canaille listens", within: .seconds(60)) {
            if let status = process.poll() {
                let log = (try? String(contentsOfFile: "\(folder)/canaille.log", encoding: .utf8)) ?? ""
                throw HarnessError("canaille ended, \(status): \(log.suffix(2000))")
            }
            return RawSocket.accepts(port)
        }
        return Canaille(issuer, folder, program, process)
    }

    private init(_ issuer: String, _ folder: String, _ program: String, _ process: ProcessHandle) {
        self.issuer = issuer
        self.folder = folder
        self.program = program
        self.process = process
    }

    /// From here on no call is answered, until `resume`.
    func pause() { process.signal(SIGSTOP) }
    func resume() { process.signal(SIGCONT) }

    /// Every token that the seat's client ever got, oldest first.
    func tokens(of seat: Seat) async throws -> [IssuedToken] {
        let result = try await command(["get", "token", "--client", seat.clientID])
        guard let rows = try JSONSerialization.jsonObject(with: result.output) as? [[String: Any]] else {
            throw HarnessError("canaille get token: \(result.text.prefix(300))")
        }
        return rows.sorted { "\($0["issue_date"] ?? "")" < "\($1["issue_date"] ?? "")" }.compactMap { row in
            guard let id = row["id"] as? String, let access = row["access_token"] as? String else { return nil }
            return IssuedToken(
                id: id, access: access, refresh: row["refresh_token"] as? String,
                isRevoked: row["revokation_date"] != nil)
        }
    }

    /// The seat's token that is good now.
    func currentToken(of seat: Seat) async throws -> IssuedToken {
        guard let token = try await tokens(of: seat).last(where: { !$0.isRevoked }) else {
            throw HarnessError("\(seat.clientID) has no token at canaille")
        }
        return token
    }

    /// Makes the server forget the access token, as if revoked alone: its refresh token lives on, for an hour.
    func forgetAccess(_ token: IssuedToken) async throws {
        _ = try await command(
            ["set", "token", token.id, "--access-token", "forgotten-\(randomText(20))", "--lifetime", "3600"])
    }

    /// Waits for the next second of the clock, in which a token can be issued again for the same user and client.
    func pace() async throws {
        let second = time(nil)
        try await eventually("the next second") { time(nil) != second }
    }

    private func command(_ arguments: [String]) async throws -> CommandResult {
        try await mustRun(
            [program] + arguments, environment: ["CANAILLE_CONFIG": "\(folder)/canaille.toml"], directory: folder)
    }

    private static func configuration(_ folder: String, _ port: UInt16, _ issuer: String, _ lifetime: Int) -> String {
        let parts = issuer.components(separatedBy: "://")
        return """
            SECRET_KEY = "\(randomText(32))"
            SERVER_NAME = "\(parts[1])"
            PREFERRED_URL_SCHEME = "\(parts[0])"
            [OAUTH2_TOKEN_EXPIRES_IN]
            authorization_code = \(lifetime)
            refresh_token = \(lifetime)
            [CANAILLE]
            DATABASE = "sql"
            JAVASCRIPT = false
            HTMX = false
            LANGUAGE = "en"
            TIMEZONE = "UTC"
            [CANAILLE_SQL]
            DATABASE_URI = "sqlite:///\(folder)/canaille.sqlite"
            PASSWORD_HASH_PARAMS = { "pbkdf2_sha512__rounds" = 1000 }
            [CANAILLE_OIDC]
            TRUSTED_DOMAINS = []
            [CANAILLE_HYPERCORN]
            BIND = ["127.0.0.1:\(port)"]
            BACKLOG = 1024
            WORKERS = 0
            PROXY_MODE = "legacy"

            """
    }

    /// The users and clients, in the form of `canaille dump`. A client's id is its client_id here, too.
    private static func models(_ seats: [Seat], _ reader: (id: String, secret: String)) throws -> String {
        let users = seats.map { seat in
            [
                "id": "user-\(seat.name)", "user_name": seat.name, "password": seat.password, "family_name": "Tester",
                "formatted_name": "Tester \(seat.name)", "emails": ["\(seat.name)@example.org"],
            ] as [String: Any]
        }
        let api: [String: Any] = [
            "id": reader.id, "client_id": reader.id, "client_secret": reader.secret, "client_name": "The API",
            "client_uri": "https://api.example.org", "token_endpoint_auth_method": "client_secret_basic",
            "grant_types": ["client_credentials"],
        ]
        let clients = seats.map { seat in
            [
                "id": seat.clientID, "client_id": seat.clientID, "client_secret": seat.clientSecret,
                "client_name": "Gateway \(seat.name)", "client_uri": "https://gateway.example.org",
                "redirect_uris": [seat.redirectURI], "token_endpoint_auth_method": "client_secret_basic",
                "grant_types": ["authorization_code", "refresh_token"], "response_types": ["code"],
                "scope": ["openid", "profile", "email"], "audience": [reader.id],
            ] as [String: Any]
        }
        let all: [String: Any] = ["user": users, "client": [api] + clients]
        return String(decoding: try JSONSerialization.data(withJSONObject: all), as: UTF8.self)
    }
}
