import Configuration
import Console

/// The running gateway's admin API, as the commands use it. Failures are ready to be told.
struct AdminAPI {
    let client: ConsoleClient
    /// The grants of the configuration file, which may be newer than what the gateway runs with.
    var configuredGrants: [String] = []
    /// How messages call the configuration file.
    var configurationPath = "gateway.conf"

    /// Calls to providers, with their retries, are what these wait for.
    private static let commandMilliseconds: UInt64 = 125_000

    func grants() throws(CommandFailure) -> GrantsReply { try get("/api/v1/grants") }

    func grant(_ name: String) throws(CommandFailure) -> GrantView { try get(Self.path(name), grant: name) }

    func authorize(_ name: String, mode: AuthorizeOrder.Mode) throws(CommandFailure) -> AuthorizeReply {
        try post(name, "authorize", AuthorizeOrder(mode: mode))
    }

    func finish(_ name: String, with order: CallbackOrder) throws(CommandFailure) -> ConsentReply {
        try post(name, "callback", order)
    }

    func refresh(_ name: String) throws(CommandFailure) -> GrantView { try post(name, "refresh", Nothing()) }

    func revoke(_ name: String) throws(CommandFailure) -> RevokeReply { try post(name, "revoke", Nothing()) }

    func forget(_ name: String) throws(CommandFailure) -> ForgetReply { try post(name, "forget", Nothing()) }

    // MARK: Requests

    private struct Nothing: Encodable {}

    static func path(_ grant: String, _ action: String? = nil) -> String {
        var text = "/api/v1/grants/"
        for byte in grant.utf8 {
            let scalar = Unicode.Scalar(byte)
            let isPlain = scalar.isASCII && (scalar.properties.isAlphabetic || ("0"..."9").contains(scalar))
            if isPlain || "-_".unicodeScalars.contains(scalar) {
                text.unicodeScalars.append(scalar)
            } else {
                text += "%" + (byte < 16 ? "0" : "") + String(byte, radix: 16, uppercase: true)
            }
        }
        return action.map { "\(text)/\($0)" } ?? text
    }

    private func get<Answer: Decodable>(_ path: String, grant: String? = nil) throws(CommandFailure) -> Answer {
        try answer("GET", path, json: nil, milliseconds: 15_000, grant: grant)
    }

    private func post<Answer: Decodable>(
        _ grant: String, _ action: String, _ order: some Encodable
    ) throws(CommandFailure) -> Answer {
        try answer(
            "POST", Self.path(grant, action), json: ConsoleJSON.encode(order), milliseconds: Self.commandMilliseconds,
            grant: grant)
    }

    private func answer<Answer: Decodable>(
        _ method: String, _ path: String, json: [UInt8]?, milliseconds: UInt64, grant: String?
    ) throws(CommandFailure) -> Answer {
        let reply: ConsoleReply
        do throws(ConsoleClientError) {
            reply = try client.request(method, path, json: json, milliseconds: milliseconds)
        } catch {
            throw failure(error)
        }
        guard (200...299).contains(reply.status) else { throw failure(reply, grant: grant) }
        guard let answer = try? ConsoleJSON.decode(Answer.self, from: reply.body) else {
            throw CommandFailure(
                .internalError, "answer_not_understood",
                "the answer of \(client.endpoint) is not understood: is the running gateway of the same version?")
        }
        return answer
    }
}
