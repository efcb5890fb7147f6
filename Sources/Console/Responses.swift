import Telemetry

/// Building responses: every one has the same protective fields.
extension Console {
    enum ContentType {
        case html
        case json
        case problem
        case text
        case metrics

        var text: String {
            switch self {
            case .html: "text/html; charset=utf-8"
            case .json: "application/json"
            case .problem: "application/problem+json"
            case .text: "text/plain; charset=utf-8"
            case .metrics: MetricsPage.contentType
            }
        }
    }

    func respond(
        _ status: Int, _ type: ContentType, _ body: [UInt8], _ context: ConsoleContext, _ more: [ConsoleField] = []
    ) -> ConsoleResponse {
        var fields = [
            ConsoleField("Content-Type", type.text),
            ConsoleField("Content-Length", String(body.count)),
            ConsoleField("Cache-Control", "no-store"),
            ConsoleField("X-Content-Type-Options", "nosniff"),
            ConsoleField("X-Frame-Options", "DENY"),
            ConsoleField("Cross-Origin-Opener-Policy", "same-origin"),
            ConsoleField("Cross-Origin-Resource-Policy", "same-origin"),
            ConsoleField("Referrer-Policy", referrerPolicy(context)),
            ConsoleField("Content-Security-Policy", contentSecurityPolicy(type, context)),
        ]
        fields += more
        fields += context.setCookies.map { ConsoleField("Set-Cookie", $0) }
        return ConsoleResponse(status: status, fields: fields, body: context.isHead ? [] : body)
    }

    /// Pages with forms need an `Origin` that says something, which `no-referrer` would take away; pages whose address
    /// may hold a code or a ticket tell nobody.
    private func referrerPolicy(_ context: ConsoleContext) -> String {
        switch context.endpoint {
        case .dashboard, .grantList, .grantPage, .grantAction, .signIn, .signOut: "same-origin"
        case .authorize, .callback, .consentDone, .metrics, .live, .ready, .apiStatus, .apiGrants, .apiGrant,
            .apiAction, .apiKeys, .apiRekey, nil:
            "no-referrer"
        }
    }

    private func contentSecurityPolicy(_ type: ContentType, _ context: ConsoleContext) -> String {
        let base = "default-src 'none'; base-uri 'none'; frame-ancestors 'none'"
        guard case .html = type else { return base + "; form-action 'none'" }
        return base + "; form-action 'self'; img-src data:; style-src \(stylesheetSource)"
    }

    func json(_ status: Int, _ value: some Encodable, _ context: ConsoleContext) -> ConsoleResponse {
        respond(status, .json, ConsoleJSON.encode(value), context)
    }

    /// 303: the browser goes there by GET.
    func redirect(_ location: String, _ context: ConsoleContext) -> ConsoleResponse {
        respond(303, .text, [], context, [ConsoleField("Location", location)])
    }

    // MARK: Errors

    func failure(_ refusal: Refusal, _ context: ConsoleContext) -> ConsoleResponse {
        problem(
            status: refusal.status, code: refusal.rawValue, title: refusal.title, detail: refusal.detail, context)
    }

    func commandFailed(_ reason: ConsoleFailure, _ context: ConsoleContext) -> ConsoleResponse {
        var response = problem(
            status: reason.code.status, code: reason.code.rawValue, title: reason.code.title,
            detail: reason.detail ?? reason.code.defaultDetail, context)
        if let seconds = reason.retryAfterSeconds {
            response.fields.append(ConsoleField("Retry-After", String(max(0, seconds))))
        }
        return response
    }

    /// A consent that came to nothing: the plain words, then what the provider said, cut and escaped.
    func consentFailed(_ reason: ConsentFailure, _ context: ConsoleContext) -> ConsoleResponse {
        let said = reason.detail.map { String($0.prefix(ConsoleLimits.detailCharacters)) }
        guard context.isForPrograms else { return consentFailedPage(reason, said: said, context) }
        let detail = said.map { "\(reason.kind.detail) (\($0))" } ?? reason.kind.detail
        return problem(
            status: reason.kind.status, code: reason.kind.rawValue, title: reason.kind.title, detail: detail, context)
    }

    func tooManyAttempts(_ seconds: Int64, _ context: ConsoleContext) -> ConsoleResponse {
        var response = failure(.tooManyAttempts, context)
        response.fields.append(ConsoleField("Retry-After", String(seconds)))
        return response
    }

    /// Programs are told how to authenticate; browsers are sent to the form.
    func signInNeeded(_ endpoint: Endpoint, _ context: ConsoleContext) -> ConsoleResponse {
        guard !context.isForPrograms else {
            var response = failure(.signInNeeded, context)
            response.fields.append(ConsoleField("WWW-Authenticate", "Bearer realm=\"token-gateway console\""))
            return response
        }
        guard endpoint.isSignInTarget, endpoint != .dashboard else { return redirect(link(.signIn), context) }
        return redirect("\(link(.signIn))?next=\(Encodings.percentEncoded(endpoint.path))", context)
    }

    func problem(
        status: Int, code: String, title: String, detail: String, _ context: ConsoleContext
    ) -> ConsoleResponse {
        let marker = ConsoleField("Token-Gateway-Error", code)
        guard context.isForPrograms else {
            let page = errorPage(title: title, detail: detail, code: code, context)
            return respond(status, .html, page, context, [marker])
        }
        let body = Problem(title: title, status: status, code: code, detail: detail, requestID: context.requestID)
        return respond(status, .problem, ConsoleJSON.encode(body), context, [marker])
    }
}
