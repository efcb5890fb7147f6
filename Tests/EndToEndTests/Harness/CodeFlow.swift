import Foundation
import Testing

/// The code flow by hand, with the example verifier of RFC 7636 appendix B: what a program without a gateway does.
extension Site {
    func authorizationCode(_ seat: Seat) async throws -> String {
        var start = URLComponents(string: canaille.issuer + "/oauth/authorize")!
        start.queryItems = [
            "response_type": "code", "client_id": seat.clientID, "redirect_uri": seat.redirectURI,
            "scope": "profile email", "state": "opaque",
            "code_challenge": "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM", "code_challenge_method": "S256",
        ].map { URLQueryItem(name: $0.key, value: $0.value) }
        let end = try await consent(browser(), from: start.string!, as: seat, border: seat.redirectURI)
        #expect(end.queryParameter("state") == "opaque")
        #expect(end.queryParameter("iss") == canaille.issuer)
        return try #require(end.queryParameter("code"), "the browser ended at \(end)")
    }

    func token(_ seat: Seat, _ code: String) async throws -> Reply {
        try await call(
            seat, "token",
            [
                "grant_type=authorization_code", "code=\(code)", "redirect_uri=\(seat.redirectURI)",
                "code_verifier=dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk",
            ])
    }

    func refreshed(_ seat: Seat, _ refresh: String) async throws -> Reply {
        try await call(seat, "token", ["grant_type=refresh_token", "refresh_token=\(refresh)"])
    }

    func call(_ seat: Seat, _ endpoint: String, _ form: [String]) async throws -> Reply {
        try await curl.call(
            canaille.issuer + "/oauth/" + endpoint,
            ["-u", "\(seat.clientID):\(seat.clientSecret)"] + form.flatMap { ["--data-urlencode", $0] })
    }
}
