/// Requests about grants that are made from templates, and about the store's keys.
extension Console {
    /// `?template=&after=&limit=`, each once; what is empty counts as not given.
    func listFetched(_ request: ConsoleRequest, _ context: ConsoleContext) -> ConsoleAction {
        guard let parameters = Encodings.parameters(in: request.query ?? "") else {
            return .respond(malformed("The query is not well-formed.", context))
        }
        var query = GrantsQuery()
        var seen: Set<String> = []
        for (name, value) in parameters {
            guard seen.insert(name).inserted else {
                return .respond(malformed("The parameter \(Encodings.shown(name)) stands twice.", context))
            }
            switch name {
            case "template": query.template = value.isEmpty ? nil : value
            case "after": query.after = value.isEmpty ? nil : value
            case "limit":
                guard let number = Int(value), (1...ConsoleLimits.largestPage).contains(number) else {
                    let range = "1 to \(ConsoleLimits.largestPage)"
                    return .respond(malformed("The parameter limit is a number from \(range).", context))
                }
                query.limit = number
            default:
                let known = "there are template, after and limit"
                return .respond(
                    malformed("There is no parameter \(Encodings.shown(name)) here: \(known).", context))
            }
        }
        return .perform(.listGrants(query), context)
    }

    private func malformed(_ detail: String, _ context: ConsoleContext) -> ConsoleResponse {
        let refusal = Refusal.malformedRequest
        return problem(
            status: refusal.status, code: refusal.rawValue, title: refusal.title, detail: detail, context)
    }

    /// `POST /api/v1/grants` and `POST /api/v1/rekey`.
    func apiPosted(_ request: ConsoleRequest, _ endpoint: Endpoint, _ context: ConsoleContext) -> ConsoleAction {
        guard request.hasContentType("application/json") else {
            return .respond(failure(.unsupportedMediaType, context))
        }
        if endpoint == .apiRekey {
            let body = request.body.isEmpty ? Array("{}".utf8) : request.body
            guard let order = try? ConsoleJSON.decode(RekeyOrder.self, from: body) else {
                return .respond(failure(.malformedRequest, context))
            }
            return .perform(.rekey(retire: order.retire), context)
        }
        guard let order = try? ConsoleJSON.decode(CreateGrantOrder.self, from: request.body) else {
            return .respond(failure(.malformedRequest, context))
        }
        if let refusal = order.refusal { return .respond(commandFailed(refusal, context)) }
        return .perform(.createGrant(order), context)
    }

    /// A page of another site cannot send this method without asking us first, and we never allow it.
    func deleted(_ request: ConsoleRequest, _ endpoint: Endpoint, _ context: ConsoleContext) -> ConsoleAction {
        guard !request.isCrossSite(publicURL: settings.publicURL) else { return .respond(failure(.crossSite, context)) }
        guard case .apiGrant(let name) = endpoint else { return .respond(failure(.methodNotAllowed, context)) }
        return .perform(.deleteGrant(grant: name), context)
    }
}
