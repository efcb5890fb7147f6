import Configuration
import Console
import Reactor

// What went wrong between a command and the gateway, in words that say what to do.
extension AdminAPI {
    func failure(_ error: ConsoleClientError) -> CommandFailure {
        let console = "the console at \(client.endpoint)"
        switch error {
        case .unreachable(.permissionDenied):
            return CommandFailure(
                .notAuthorized, "not_permitted",
                "this user may not connect to \(console): see unix_mode, or run as the gateway's user")
        case .unreachable(let reason):
            return CommandFailure(
                .unavailable, "gateway_unreachable",
                "no gateway answers at \(client.endpoint), the console's address in \(configurationPath) (\(reason)).\n"
                    + "Start it with: token-gateway run --config \(configurationPath)")
        case .lost(let reason):
            return CommandFailure(.temporary, "connection_lost", "the connection to \(console) broke: \(reason)")
        case .timedOut:
            return CommandFailure(
                .temporary, "timed_out",
                "\(console) did not answer in time; `token-gateway grants` tells what came of it")
        case .malformed(let complaint):
            return CommandFailure(
                .unavailable, "not_a_gateway",
                "what answers at \(client.endpoint) is not our console, or its answer broke: \(complaint)")
        }
    }

    func failure(_ reply: ConsoleReply, grant: String?) -> CommandFailure {
        guard let problem = try? ConsoleJSON.decode(Problem.self, from: reply.body) else {
            return CommandFailure(
                reply.status == 401 || reply.status == 403 ? .notAuthorized : .unavailable, "not_a_gateway",
                "what answers at \(client.endpoint) is not our console: it said \(reply.status)")
        }
        if problem.code == "not_found" || problem.code == "unknown_grant", let grant, grant.contains(":") {
            return CommandFailure(
                .usage, "unknown_grant",
                "there is no grant \"\(grant)\": make it with token-gateway grants create, or see "
                    + "token-gateway grants list --template")
        }
        if problem.code == "not_found", let grant {
            // A name that no grant can have.
            return CommandFailure(.usage, "unknown_grant", unknown(grant))
        }
        return CommandFailure(Self.status(problem), problem.code, sentence(problem, reply, grant: grant))
    }

    /// One table of the API's codes.
    static func status(_ problem: Problem) -> CommandStatus {
        switch problem.code {
        case "unknown_grant", "unknown_template", "invalid_name", "invalid_variable", "invalid_label", "unknown_key",
            "unusable_token":
            .usage
        case "sign_in_required", "not_local", "host_not_allowed", "cross_site_request": .notAuthorized
        case "provider_unavailable", "store_unavailable", "draining", "too_many_pending_consents", "too_many_attempts",
            "exchange_failed", "rekey_running":
            .temporary
        case "internal_error", "malformed_request", "unsupported_media_type", "method_not_allowed", "not_found":
            .internalError
        default: problem.status == 503 || problem.status == 429 ? .temporary : .failed
        }
    }

    private func sentence(_ problem: Problem, _ reply: ConsoleReply, grant: String?) -> String {
        switch problem.code {
        case "unknown_grant": return unknown(grant ?? "")
        case "sign_in_required":
            return client.secret == nil
                ? "the console asks for a secret, and \(configurationPath) names none: is it the file that runs?"
                : "the console does not accept the secret that \(configurationPath) names"
        default: break
        }
        var text = problem.title
        if let detail = problem.detail { text = (text.hasSuffix(".") ? text.dropLast() : text[...]) + ": " + detail }
        if let seconds = reply.field("retry-after").flatMap({ UInt64($0) }) {
            text += " (try again in \(RelativeTime.length(seconds)))"
        }
        if problem.status >= 500 { text += " [request \(problem.requestID)]" }
        return text
    }

    private func unknown(_ grant: String) -> String {
        if configuredGrants.contains(grant) {
            return "the running gateway does not know the grant \"\(grant)\", though \(configurationPath) names it: "
                + "reload it (SIGHUP), or see whether it runs with another file"
        }
        let hint =
            Suggestion.hint(for: grant, among: configuredGrants).isEmpty && !configuredGrants.isEmpty
            ? "; there are: " + configuredGrants.joined(separator: ", ")
            : Suggestion.hint(for: grant, among: configuredGrants)
        return "there is no grant \"\(grant)\"\(hint)"
    }
}
