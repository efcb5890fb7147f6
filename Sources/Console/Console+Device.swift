/// Consents on another device, and refresh tokens that an operator brings along.
extension Console {
    /// `GET /api/v1/grants/NAME/device`; the other actions are posted only.
    func actionFetched(_ grant: String, _ action: Endpoint.APIAction, _ context: ConsoleContext) -> ConsoleAction {
        switch action {
        case .device: .perform(.deviceStatus(grant: grant), context)
        case .authorize, .refresh, .revoke, .forget, .callback, .import:
            .respond(failure(.methodNotAllowed, context))
        }
    }

    func apiImport(_ request: ConsoleRequest, grant: String, _ context: ConsoleContext) -> ConsoleAction {
        guard let order = try? ConsoleJSON.decode(ImportOrder.self, from: request.body) else {
            return .respond(failure(.malformedRequest, context))
        }
        guard order.isUsable else { return .respond(commandFailed(ConsoleFailure(.unusableToken), context)) }
        return .perform(.importToken(grant: grant, refreshToken: order.refreshToken), context)
    }
}
