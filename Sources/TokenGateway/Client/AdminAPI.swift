import Configuration
import Console
import OAuth

/// The running gateway's admin API, as the commands use it. Failures are ready to be told.
struct AdminAPI {
    let client: ConsoleClient
    /// The grants of the configuration file, which may be newer than what the gateway runs with.
    var configuredGrants: [String] = []
    /// How messages call the configuration file.
    var configurationPath = "gateway.conf"

    /// Calls to providers, with their retries, are what these wait for.
    private static let commandMilliseconds: UInt64 = 125_000

    func grants(_ query: GrantsQuery? = nil) throws(CommandFailure) -> GrantsReply {
        try get("/api/v1/grants" + Self.text(of: query), grant: query?.template)
    }

    func create(_ order: CreateGrantOrder) throws(CommandFailure) -> GrantView {
        try answer(
            "POST", "/api/v1/grants", json: ConsoleJSON.encode(order), milliseconds: Self.commandMilliseconds,
            grant: TemplatedName.prefix(of: order.template) + order.name)
    }

    func delete(_ name: String) throws(CommandFailure) -> ForgetReply {
        try answer("DELETE", Self.path(name), json: nil, milliseconds: Self.commandMilliseconds, grant: name)
    }

    /// What is wrong with the gateway as a whole and does not show in a grant's state. Nothing where it cannot be had.
    func troubles() -> [String] {
        let status: StatusView
        do throws(CommandFailure) {
            status = try answer("GET", "/api/v1/status", json: nil, milliseconds: 2000, grant: nil)
        } catch {
            return []
        }
        var found: [String] = []
        if let store = status.store, !store.open {
            found.append("the store cannot be used: \(store.reason ?? "unknown reason")")
        }
        if !status.lastReloadSuccessful {
            found.append("the configuration that was read last has mistakes; the one before is in force")
        }
        return found
    }

    func keys() throws(CommandFailure) -> KeysReply { try get("/api/v1/keys") }

    func rekey(_ order: RekeyOrder) throws(CommandFailure) -> KeysReply {
        try answer("POST", "/api/v1/rekey", json: ConsoleJSON.encode(order), milliseconds: 15_000, grant: nil)
    }

    func grant(_ name: String) throws(CommandFailure) -> GrantView { try get(Self.path(name), grant: name) }

    func authorize(_ name: String, mode: AuthorizeOrder.Mode) throws(CommandFailure) -> AuthorizeReply {
        try post(name, "authorize", AuthorizeOrder(mode: mode))
    }

    func finish(_ name: String, with order: CallbackOrder) throws(CommandFailure) -> ConsentReply {
        try post(name, "callback", order)
    }

    func refresh(_ name: String) throws(CommandFailure) -> GrantView { try post(name, "refresh", Nothing()) }

    func revoke(_ name: String) throws(CommandFailure) -> RevokeReply { try post(name, "revoke", Nothing()) }

    func startDevice(_ name: String) throws(CommandFailure) -> DeviceReply { try post(name, "device", Nothing()) }

    func deviceStatus(_ name: String) throws(CommandFailure) -> DeviceStatus {
        try get(Self.path(name, "device"), grant: name)
    }

    func importToken(_ name: String, _ token: Secret) throws(CommandFailure) -> GrantView {
        try post(name, "import", ImportOrder(refreshToken: token.reveal()))
    }

    func forget(_ name: String) throws(CommandFailure) -> ForgetReply { try post(name, "forget", Nothing()) }

    // MARK: Requests

    private struct Nothing: Encodable {}

    static func path(_ grant: String, _ action: String? = nil) -> String {
        let text = "/api/v1/grants/" + encoded(grant)
        return action.map { "\(text)/\($0)" } ?? text
    }

    private static func text(of query: GrantsQuery?) -> String {
        guard let query else { return "" }
        var parts: [String] = []
        if let template = query.template { parts.append("template=" + encoded(template)) }
        if let after = query.after { parts.append("after=" + encoded(after)) }
        if !parts.isEmpty || query.limit != ConsoleLimits.pageGrants { parts.append("limit=\(query.limit)") }
        return parts.isEmpty ? "" : "?" + parts.joined(separator: "&")
    }

    private static func encoded(_ name: String) -> String {
        var text = ""
        for byte in name.utf8 {
            let scalar = Unicode.Scalar(byte)
            let isPlain = scalar.isASCII && (scalar.properties.isAlphabetic || ("0"..."9").contains(scalar))
            if isPlain || "-_".unicodeScalars.contains(scalar) {
                text.unicodeScalars.append(scalar)
            } else {
                text += "%" + (byte < 16 ? "0" : "") + String(byte, radix: 16, uppercase: true)
            }
        }
        return text
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
