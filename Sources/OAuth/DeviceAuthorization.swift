/// A provider's answer to a device authorization request (RFC 8628 section 3.2), bounded and fit to be shown.
package struct DeviceAuthorization: Sendable, Equatable {
    /// What a person is shown: no secret, but a key to the consent as long as it is open.
    package struct Prompt: Sendable, Equatable {
        /// Cleaned; to be typed in by a person.
        package var userCode: String
        package var verificationURI: String
        /// Holds the code already; nil where the provider gives none, or not a link that may be shown.
        package var completeURI: String?
        /// Wall milliseconds.
        package var expiresAt: Int64
        /// Milliseconds between polls, as the provider asks at the beginning.
        package var interval: Int64

        package init(
            userCode: String, verificationURI: String, completeURI: String?, expiresAt: Int64, interval: Int64
        ) {
            self.userCode = userCode
            self.verificationURI = verificationURI
            self.completeURI = completeURI
            self.expiresAt = expiresAt
            self.interval = interval
        }
    }

    package static let userCodeLimit = 64
    package static let linkLimitBytes = 2048
    /// For a reply without interval (RFC 8628 section 3.2).
    package static let defaultInterval: Int64 = 5000
    package static let intervalRange: ClosedRange<Int64> = 1000...300_000
    /// For a reply without expires_in, which it should have.
    package static let defaultLifetime: Int64 = 600_000
    /// Nobody keeps a code for longer than that.
    package static let lifetimeLimit: Int64 = 3_600_000

    package var deviceCode: Secret
    package var userCode: String
    package var verificationURI: String
    package var completeURI: String?
    /// Milliseconds from the reply.
    package var lifetime: Int64
    /// Milliseconds.
    package var interval: Int64

    package init(
        deviceCode: Secret, userCode: String, verificationURI: String, completeURI: String? = nil,
        lifetime: Int64 = defaultLifetime, interval: Int64 = defaultInterval
    ) {
        self.deviceCode = deviceCode
        self.userCode = userCode
        self.verificationURI = verificationURI
        self.completeURI = completeURI
        self.lifetime = lifetime
        self.interval = interval
    }

    package func prompt(now: Moment) -> Prompt {
        Prompt(
            userCode: userCode, verificationURI: verificationURI, completeURI: completeURI,
            expiresAt: now.wall.saturatingAdd(lifetime), interval: interval)
    }
}

extension DeviceAuthorization: CustomStringConvertible, CustomDebugStringConvertible, CustomReflectable {
    package var description: String { "device authorization at \(verificationURI)" }
    package var debugDescription: String { description }
    package var customMirror: Mirror { Mirror(self, children: [:]) }
}

extension DeviceAuthorization {
    /// Never traps, whatever the bytes; see `TokenReply.read`.
    package static func read(
        _ outcome: ProviderOutcome, settings: ProviderSettings, now: Moment, hiding secrets: [Secret] = []
    ) -> Result<DeviceAuthorization, ProviderProblem> {
        let reply: ProviderReply
        switch outcome {
        case .failure(let failure): return .failure(ProviderProblem(failure))
        case .success(let received): reply = received
        }
        let fields = ReplyFields(reply)
        guard reply.status == 200, let fields, fields.errorCode(settings) == nil else {
            return .failure(ProviderProblem(reply, fields: fields, settings: settings, now: now, hiding: secrets))
        }
        do throws(ProviderProblem) {
            return .success(try read(fields))
        } catch {
            return .failure(error)
        }
    }

    private static func read(_ fields: ReplyFields) throws(ProviderProblem) -> DeviceAuthorization {
        guard let code = try fields.token("device_code"), !code.isEmpty, code.utf8.count <= TokenReply.tokenLimitBytes,
            code.utf8.allSatisfy({ (0x20...0x7E).contains($0) })
        else { throw .invalidReply("The reply has no usable device_code.") }
        let userCode = SafeText.clean((fields.text("user_code") ?? "").trimmed, limit: userCodeLimit)
        guard !userCode.isEmpty else { throw .invalidReply("The reply has no user_code.") }
        // Google wrote verification_url before the RFC was ready, and still does.
        guard let link = fields.text("verification_uri") ?? fields.text("verification_url") else {
            throw .invalidReply("The reply has no verification_uri.")
        }
        guard isShowable(link) else {
            throw .invalidReply("The verification_uri is not an https link that may be shown.")
        }
        var read = DeviceAuthorization(deviceCode: Secret(code), userCode: userCode, verificationURI: link)
        let complete = fields.text("verification_uri_complete") ?? fields.text("verification_url_complete")
        read.completeURI = complete.flatMap { isShowable($0) ? $0 : nil }
        if let text = fields.text("expires_in"), let lifetime = TokenReply.duration(text, unit: 1000) {
            read.lifetime = min(lifetime, lifetimeLimit)
        }
        if let text = fields.text("interval"), let interval = TokenReply.duration(text, unit: 1000) {
            read.interval = interval.clamped(to: intervalRange)
        }
        return read
    }

    /// https, or plain http on this machine; visible ASCII only, so that a terminal and a page show what it is. A
    /// fragment is right: some providers' pages hang on one.
    static func isShowable(_ link: String) -> Bool {
        guard link.utf8.count <= linkLimitBytes, link.utf8.allSatisfy({ (0x21...0x7E).contains($0) }) else {
            return false
        }
        let place = link.prefix { $0 != "#" }
        return ProviderURL(String(place)).map { $0.isAllowed(plaintextOnLoopback: true) } ?? false
    }
}
