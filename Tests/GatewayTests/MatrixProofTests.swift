import Foundation
import HTTP
import OAuth
import OpenSSLKit
import Proxy
import Reactor
import Testing

@testable import Gateway

/// Proofs of possession upstream (RFC 9449), over all pairs of protocol versions.
@Suite struct MatrixProofTests {
    private static let key = ProofKey(algorithm: .es256, seed: Array(1...32))!

    private static func credential(_ generation: UInt64) -> Proxy.Credential {
        Proxy.Credential(
            headerName: "Authorization", headerValue: Array("DPoP token-\(generation)".utf8), generation: generation,
            expiry: .max, proofKey: Array(key.encoded().utf8))
    }

    private static func answer(_ question: StubControl.Question) -> StubControl.Answer {
        .credential(credential((question.rejected ?? 0) + 1))
    }

    /// What a proof says, after its signature was verified with the key that it names.
    private func claims(_ request: PeerStream) throws -> [String: String] {
        let proofs = request.head?.values("dpop") ?? []
        try #require(proofs.count == 1, "\(proofs.count) proofs")
        let parts = proofs[0].split(separator: ".", omittingEmptySubsequences: false).map(String.init)
        try #require(parts.count == 3)
        let octets = try parts.map { try #require(Base64.urlDecode($0)) }
        let header = try #require(try JSONSerialization.jsonObject(with: Data(octets[0])) as? [String: Any])
        #expect(header["typ"] as? String == "dpop+jwt" && header["alg"] as? String == "ES256")
        let jwk = try #require(header["jwk"] as? [String: String])
        #expect(Set(jwk.keys) == ["kty", "crv", "x", "y"], "no private part")
        let x = try #require(Base64.urlDecode(jwk["x"] ?? ""))
        let y = try #require(Base64.urlDecode(jwk["y"] ?? ""))
        let key = try #require(PublicKey(curve: .p256, x: x, y: y))
        #expect(key.thumbprint == Self.key.thumbprint)
        #expect(key.isValid(octets[2], of: Array("\(parts[0]).\(parts[1])".utf8), algorithm: .es256))
        let body = try #require(try JSONSerialization.jsonObject(with: Data(octets[1])) as? [String: Any])
        let issued = try #require(body["iat"] as? Int64)
        #expect(abs(issued - WallClock.seconds()) <= 60)
        return body.compactMapValues { $0 as? String }
    }

    private func hash(_ token: String) -> String { Base64.urlEncode(Digest.sha256(Array(token.utf8))) }

    private func url(_ scene: Scene, _ path: String) -> String {
        "\(scene.pair.isTLS ? "https" : "http")://\(scene.pair.isTLS ? "api.test" : "127.0.0.1")"
            + ":\(scene.plane.upstream.port)\(path)"
    }

    private static let wantsNonce = "DPoP error=\"use_dpop_nonce\", error_description=\"Nonce required\""

    @Test(arguments: PeerPair.all)
    func `each request carries a proof of its own`(pair: PeerPair) throws {
        let scene = try Scene(pair, control: Self.answer)
        let caller = try scene.connect()
        var identifiers: Set<String> = []
        for (method, path) in [("GET", "/a/b?c=d"), ("POST", "/a%20b"), ("DELETE", "/")] {
            let call = caller.request(method, path, [("dpop", "evil"), ("authorization", "DPoP evil")])
            let served = try scene.served()
            #expect(served.head?.values("authorization") == ["DPoP token-1"])
            let claims = try claims(served)
            #expect(claims["htm"] == method)
            #expect(claims["htu"] == url(scene, String(path.prefix { $0 != "?" })))
            #expect(claims["ath"] == hash("token-1") && claims["nonce"] == nil)
            identifiers.insert(claims["jti"] ?? "")
            served.answer()
            try scene.finish(call)
        }
        #expect(identifiers.count == 3 && identifiers.allSatisfy { $0.utf8.count >= 16 })
        try scene.end()
    }

    @Test(arguments: PeerPair.all)
    func `a nonce is taken, then a rejected token is renewed, and the caller sees neither`(pair: PeerPair) throws {
        let scene = try Scene(pair, control: Self.answer)
        let caller = try scene.connect()
        let call = caller.request("POST", "/x", framing: .length(3))
        call.send("abc")
        call.end()
        let first = try scene.served()
        #expect(try claims(first)["nonce"] == nil)
        first.answer(401, "1", [("www-authenticate", Self.wantsNonce), ("dpop-nonce", "n1")])
        let second = try scene.served()
        try scene.finish(second)
        let again = try claims(second)
        #expect(again["nonce"] == "n1" && again["ath"] == hash("token-1") && second.content.text == "abc")
        #expect(scene.plane.control.questions.count == 1, "the token was not blamed")
        second.answer(401, "2", [("www-authenticate", "DPoP error=\"invalid_token\""), ("dpop-nonce", "n2")])
        let third = try scene.served()
        try scene.finish(third)
        let renewed = try claims(third)
        #expect(renewed["nonce"] == "n2" && renewed["ath"] == hash("token-2") && third.content.text == "abc")
        #expect(third.head?.values("authorization") == ["DPoP token-2"])
        third.answer(200, "3", [("dpop-nonce", "n3"), ("x-a", "1")])
        try scene.finish(call)
        #expect(call.head?.status == 200 && call.content.text == "3" && call.head?["x-a"] == "1")
        #expect(call.head?["dpop-nonce"] == nil)
        let next = caller.request("GET", "/y")
        let served = try scene.served()
        #expect(try claims(served)["nonce"] == "n3")
        served.answer()
        try scene.finish(next)
        try scene.end()
    }

    @Test(arguments: PeerPair.all)
    func `a server that is never content with a nonce is asked twice`(pair: PeerPair) throws {
        let scene = try Scene(pair, control: Self.answer)
        let call = try scene.connect().request("GET", "/")
        for nonce in ["n1", "n2"] {
            try scene.served().answer(
                401, nonce, [("www-authenticate", Self.wantsNonce), ("dpop-nonce", nonce)])
        }
        try scene.finish(call)
        #expect(call.head?.status == 401 && call.content.text == "n2")
        #expect(scene.plane.control.questions.count == 1 && scene.plane.control.reported.isEmpty)
        try scene.end()
    }

    @Test(arguments: PeerPair.plain)
    func `content that was not kept is not sent again for a nonce`(pair: PeerPair) throws {
        let scene = try Scene(pair, PlaneSetup(route: "retry_body_limit = 2"), control: Self.answer)
        let call = try scene.connect().request("POST", "/", framing: .length(3))
        call.send("abc")
        call.end()
        let served = try scene.served()
        try scene.finish(served)
        served.answer(401, "no", [("www-authenticate", Self.wantsNonce), ("dpop-nonce", "n1")])
        try scene.finish(call)
        #expect(call.head?.status == 401 && call.content.text == "no")
        #expect(call.head?["token-gateway-retry"]?.contains("body") == true)
        #expect(scene.plane.control.questions.count == 1 && scene.plane.control.reported.isEmpty)
        try scene.end()
    }

    @Test(arguments: PeerPair.plain)
    func `a key that is none sends nothing`(pair: PeerPair) throws {
        let scene = try Scene(
            pair,
            control: { _ in
                .credential(
                    Proxy.Credential(
                        headerName: "Authorization", headerValue: Array("DPoP t".utf8), generation: 1, expiry: .max,
                        proofKey: Array("ES256.x".utf8)))
            })
        let call = try scene.connect().request("GET", "/")
        try scene.finish(call)
        #expect(call.head?.status == 500 && call.head?["token-gateway-error"] == "internal_error")
        #expect(!scene.hasRequest)
        try scene.end()
    }

    @Test(arguments: PeerPair.all)
    func `a WebSocket is asked for with a proof of the method that is used`(pair: PeerPair) throws {
        let protocolChoice = pair.upstream == .http2 ? "\nprotocol = \"http2\"" : ""
        let scene = try Scene(
            pair, PlaneSetup(upstream: protocolChoice, route: "allow_upgrade = [\"websocket\"]"), control: Self.answer)
        let call = try scene.connect().webSocket("/ws?x")
        let served = try scene.served()
        let claims = try claims(served)
        #expect(claims["htm"] == (pair.upstream == .http2 ? "CONNECT" : "GET") && claims["htu"] == url(scene, "/ws"))
        served.agree()
        try scene.wait("the tunnel") { call.head != nil }
        served.end()
        call.end()
        try scene.finish(call)
        try scene.end()
    }
}
