import Foundation
import OpenSSLKit
import Testing

@testable import DemoServices

/// An OAuth client of the demo services, as plain as can be.
struct Client {
    static let redirectURI = "http://127.0.0.1:9090/oauth/callback"
    let services: DemoServices
    let verifier = Base64.urlEncode(RandomBytes.bytes(32))

    init(_ options: DemoOptions = DemoOptions()) throws {
        services = try DemoServices.start(options)
    }

    var http: DemoClient { DemoClient(caPEM: services.caPEM) }

    struct Tokens {
        let access: String
        let refresh: String
    }

    func authorizationURL(_ changes: [String: String?] = [:]) -> String {
        var fields: [String: String] = [
            "response_type": "code", "client_id": services.clientID, "redirect_uri": Self.redirectURI,
            "state": "state & 1", "scope": "read write", "code_challenge_method": "S256",
            "code_challenge": Base64.urlEncode(Digest.sha256(Array(verifier.utf8))),
        ]
        for (name, value) in changes { fields[name] = value }
        return services.issuer + "/authorize?" + FormFields.encode(fields.map { ($0.key, $0.value) })
    }

    func code() throws -> String {
        let location = try services.consentAutomatically(authorizationURL: authorizationURL())
        return try #require(Self.query(location)["code"])
    }

    static func query(_ url: String) -> FormFields {
        FormFields(url.split(separator: "?", maxSplits: 1).last.map(String.init) ?? "")
    }

    /// A request at the token endpoint or a neighbour, with the secret in the form.
    func post(_ path: String, _ fields: [(String, String)], secret: String? = nil) throws -> DemoReply {
        let all =
            fields + [
                ("client_id", services.clientID), ("client_secret", secret ?? services.clientSecret.exposed()),
            ]
        return try http.request(
            "POST", services.issuer + path, fields: [("Content-Type", "application/x-www-form-urlencoded")],
            body: Array(FormFields.encode(all).utf8))
    }

    func exchange(_ code: String, _ changes: [String: String] = [:]) throws -> DemoReply {
        var fields = [
            "grant_type": "authorization_code", "code": code, "redirect_uri": Self.redirectURI,
            "code_verifier": verifier,
        ]
        for (name, value) in changes { fields[name] = value }
        return try post("/token", fields.map { ($0.key, $0.value) })
    }

    func connect() throws -> Tokens { try tokens(exchange(code())) }

    func refresh(_ token: String) throws -> DemoReply {
        try post("/token", [("grant_type", "refresh_token"), ("refresh_token", token)])
    }

    func tokens(_ reply: DemoReply) throws -> Tokens {
        #expect(reply.status == 200)
        let json = try json(reply)
        return Tokens(
            access: try #require(json["access_token"] as? String), refresh: json["refresh_token"] as? String ?? "")
    }

    func json(_ reply: DemoReply) throws -> [String: Any] {
        try #require(try JSONSerialization.jsonObject(with: Data(reply.body)) as? [String: Any])
    }

    func error(_ reply: DemoReply) throws -> String? { try json(reply)["error"] as? String }

    func api(
        _ path: String, _ token: String?, method: String = "GET", body: [UInt8]? = nil, isChunked: Bool = false
    ) throws -> DemoReply {
        try http.request(
            method, services.apiURL + path, fields: token.map { [("Authorization", "Bearer \($0)")] } ?? [], body: body,
            isChunked: isChunked)
    }
}
