/// Requests about grants that are made from templates, and about the store's keys.
extension Console {
    /// `?template=&after=&limit=`
    func listFetched(_ request: ConsoleRequest, _ context: ConsoleContext) -> ConsoleAction {
        let text = request.query ?? ""
        var query = GrantsQuery()
        query.template = Encodings.parameter("template", in: text).flatMap { $0.isEmpty ? nil : $0 }
        query.after = Encodings.parameter("after", in: text).flatMap { $0.isEmpty ? nil : $0 }
        if let limit = Encodings.parameter("limit", in: text) {
            guard let number = Int(limit), (1...ConsoleLimits.largestPage).contains(number) else {
                return .respond(failure(.malformedRequest, context))
            }
            query.limit = number
        }
        return .perform(.listGrants(query), context)
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
        if let problem = order.problem {
            return .respond(commandFailed(ConsoleFailure(.invalidName, detail: problem), context))
        }
        return .perform(.createGrant(order), context)
    }

    /// A page of another site cannot send this method without asking us first, and we never allow it.
    func deleted(_ request: ConsoleRequest, _ endpoint: Endpoint, _ context: ConsoleContext) -> ConsoleAction {
        guard !request.isCrossSite(publicURL: settings.publicURL) else { return .respond(failure(.crossSite, context)) }
        guard case .apiGrant(let name) = endpoint else { return .respond(failure(.methodNotAllowed, context)) }
        return .perform(.deleteGrant(grant: name), context)
    }
}
