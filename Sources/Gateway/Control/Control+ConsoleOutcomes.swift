import Console
import OAuth

/// What a consent came to, in the console's words.
extension Control {
    func outcome(_ outcome: OAuth.ConsentOutcome) -> ConsoleOutcome {
        switch outcome {
        case .connected(let grant, let report):
            var notes: [ConsentSuccess.Note] = report.missingScopes.isEmpty ? [] : [.scopesDiffer]
            let status = grants[grant]?.machine.status(now: moment)
            if status?.hasRefreshToken == false { notes.append(.noRefreshToken) }
            return .connected(ConsentSuccess(grant: grant, notes: notes))
        case .notStored(let grant):
            return .consentFailed(ConsentFailure(.storeUnavailable, grant: grant))
        case .refused(let grant, let refusal):
            let kind: ConsentFailure.Kind =
                switch refusal {
                case .noRefreshToken: .noRefreshToken
                case .missingScopes: .missingScope
                case .wrongAccount: .wrongAccount
                case .accountUnknown: .accountUnknown
                }
            return .consentFailed(ConsentFailure(kind, grant: grant, detail: refusal.explanation))
        case .deniedByProvider(let grant, let code, let description):
            let kind: ConsentFailure.Kind = code == "access_denied" ? .denied : .providerError
            return .consentFailed(
                ConsentFailure(kind, grant: grant, detail: [code, description ?? ""].joined(separator: " ")))
        case .exchangeFailed(let grant, let problem):
            return .consentFailed(ConsentFailure(.exchangeFailed, grant: grant, detail: problem.detail))
        case .rejected(let rejection):
            return .consentFailed(ConsentFailure(Self.kind(rejection), detail: rejection.explanation))
        }
    }

    private static func kind(_ rejection: CallbackRejection) -> ConsentFailure.Kind {
        switch rejection {
        case .unknownState, .tooManyCallbacks: .unknownState
        case .wrongBrowser: .otherBrowser
        case .otherIssuer, .missingIssuer: .issuerMismatch
        case .tooLong, .malformed, .repeatedParameter, .codeAndError, .neitherCodeNorError, .captureRefused:
            .malformed
        case .storeUnavailable: .storeUnavailable
        }
    }
}
