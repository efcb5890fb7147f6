import Telemetry

/// What replicas share without a word to each other: sessions as signed cookies, and the names of one-time links.
extension Console {
    /// `NONCE.EXPIRY.SIGNATURE`; the signature holds the console's secrets, so that a changed one ends the session.
    func newSession(now: Timestamp, random: (Int) -> [UInt8]) -> String {
        let nonce = Encodings.base64URL(random(24))
        let expiry = String(now.unixSeconds + ConsoleLimits.sessionSeconds)
        return [nonce, expiry, signature(of: sessionParts(nonce: nonce, expiry: expiry))].joined(separator: ".")
    }

    func isSession(_ cookie: String, now: Timestamp) -> Bool {
        guard cookie.utf8.count <= 256 else { return false }
        let parts = cookie.split(separator: ".", omittingEmptySubsequences: false).map(String.init)
        guard parts.count == 3, let expiry = Int64(parts[1]), expiry > now.unixSeconds else { return false }
        // A clock that was set back must not lengthen a session.
        guard expiry <= now.unixSeconds + ConsoleLimits.sessionSeconds else { return false }
        guard isSigned(sessionParts(nonce: parts[0], expiry: parts[1]), by: parts[2]) else { return false }
        return !endedSessions.contains(hash: hash(cookie))
    }

    private func sessionParts(nonce: String, expiry: String) -> [String] {
        let secrets: [String] =
            switch settings.authentication {
            case .none: []
            case .secrets(let digests): digests.map { Encodings.hex($0) }.sorted()
            }
        return ["session", nonce, expiry] + secrets
    }

    /// What a form's token signs: the form's cookie, and the session where there is one.
    func formParts(of request: ConsoleRequest, _ context: ConsoleContext) -> [String] {
        let session = request.cookie(ConsoleCookie.session.name(isSecure: context.isSecure)) ?? ""
        return ["form", context.formCookie, context.hasSession ? session : ""]
    }

    /// What the driver keeps of a one-time link: not the link.
    func linkID(_ ticket: String) -> String {
        Encodings.hex(settings.cryptography.sha256(Array("token-gateway link\n\(ticket)".utf8)))
    }

    func makeLink(grant: String, _ context: ConsoleContext, random: (Int) -> [UInt8]) -> ConsoleAction {
        var context = context
        let ticket = Encodings.base64URL(random(32))
        context.ticket = ticket
        return .perform(.authorizationLink(grant: grant, link: linkID(ticket)), context)
    }
}
