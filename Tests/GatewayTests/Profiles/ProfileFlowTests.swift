import Configuration
import OpenSSLKit
import Testing

@testable import Gateway
@testable import OAuth
@testable import Proxy

/// Each profile against a server that answers as the provider's documentation says, from gateway.conf to what an
/// upstream would get.
@Suite struct ProfileFlowTests {
    static let names = ProviderProfile.all.map(\.name)

    private func connected(_ name: String) throws -> (ProfileScene, ProfileScript) {
        let script = try #require(ProfileScript.all[name], "every profile has a script")
        let scene = try ProfileScene(name)
        if scene.settings.serviceAccount != nil {
            scene.steps = [script.exchange]
            scene.need()
        } else {
            scene.steps = script.metadata + [script.exchange] + script.afterExchange
            let outcome = try scene.consent(callback: script.callback)
            guard case .connected? = outcome else {
                Issue.record("not connected: \(String(describing: outcome))")
                throw ProfileConfiguration.Unusable()
            }
        }
        #expect(scene.steps.isEmpty)
        return (scene, script)
    }

    @Test func `there is a script for each profile, and none for another`() {
        #expect(Set(ProfileScript.all.keys) == Set(Self.names))
    }

    @Test(arguments: names.filter { $0 != "google-service-account" })
    func `the browser is sent away with what the provider wants`(name: String) throws {
        let (scene, script) = try connected(name)
        let start = try #require(scene.start)
        #expect(start.authorizationURL.prefix { $0 != "?" } == script.authorizeURL)
        var parameters = ProfileScene.query(start.authorizationURL)
        #expect(parameters.removeValue(forKey: "state")?.utf8.count == 43)
        let challenge = start.pending.verifier.map { Crypto.base64URL(Crypto.sha256($0.bytes)) }
        #expect((challenge != nil) == script.pkce)
        #expect(parameters.removeValue(forKey: "code_challenge") == challenge)
        #expect(parameters.removeValue(forKey: "code_challenge_method") == challenge.map { _ in "S256" })
        #expect(parameters.removeValue(forKey: "nonce") == start.pending.nonce?.reveal())
        let always = [
            "response_type": "code", "client_id": ProfileScript.clientID, "redirect_uri": ProfileScript.redirectURI,
        ]
        #expect(parameters == always.merging(script.authorize) { $1 })
    }

    @Test(arguments: names)
    func `a consent is stored, and sent upstream, as the provider's answers say`(name: String) throws {
        let (scene, script) = try connected(name)
        let record = try #require(scene.stored)
        let tokens = try #require(record.tokens)
        #expect(scene.state == .active)
        #expect(tokens.accessToken == Secret("a1"))
        let isUnattended = scene.settings.serviceAccount != nil
        #expect(tokens.refreshToken == (isUnattended ? nil : Secret("r1")))
        #expect(record.captured == script.captured && record.account == script.account)
        #expect(Set(tokens.scopes) == Set(script.scopes))
        #expect(tokens.expiresAt == script.lifetime.map { scene.now.wall + $0 * 1000 })
        #expect(tokens.refreshTokenExpiresAt == script.refreshTokenLifetime.map { scene.now.wall + $0 * 1000 })
        try expectUpstream(scene, script, token: "a1")
    }

    private func expectUpstream(_ scene: ProfileScene, _ script: ProfileScript, token: String) throws {
        let injected = Proxy.Credential(try #require(scene.published))
        #expect(String(decoding: injected.headerLine, as: UTF8.self) == script.header + token + "\r\n")
        let extra = injected.extraHeaders.map {
            (String(decoding: $0.name, as: UTF8.self), String(decoding: $0.value, as: UTF8.self))
        }
        #expect(Dictionary(extra) { _, _ in "twice" } == script.extraHeaders)
        let upstream = UpstreamSettings(
            try #require(scene.snapshot.upstreams.first), clientIdentity: nil, metricIndex: 0)
        if let template = upstream.template {
            let place = try template.place(injected.captured)
            #expect(place.host == script.host && place.basePath == Array(script.basePath.utf8))
        } else {
            #expect(upstream.host == script.host && upstream.identity.basePath == Array(script.basePath.utf8))
        }
    }

    @Test(arguments: names)
    func `a refresh asks as the provider wants, and its answer is stored and used`(name: String) throws {
        let (scene, script) = try connected(name)
        scene.pass(seconds: 600)
        scene.steps = [script.refresh]
        #expect(scene.refresh() == .refreshed(generation: 2))
        #expect(scene.steps.isEmpty)
        let tokens = try #require(scene.stored?.tokens)
        #expect(tokens.accessToken == Secret("a2"))
        #expect(tokens.refreshToken == script.refreshedToken.map { Secret($0) })
        let lifetime = script.refreshedLifetime ?? script.lifetime
        #expect(tokens.expiresAt == lifetime.map { scene.now.wall + $0 * 1000 })
        let end = script.refreshedTokenLifetime ?? script.refreshTokenLifetime
        #expect(tokens.refreshTokenExpiresAt == end.map { scene.now.wall + $0 * 1000 })
        #expect(scene.stored?.captured == script.captured && scene.stored?.account == script.account)
        try expectUpstream(scene, script, token: "a2")
    }

    @Test(arguments: names)
    func `a dead refresh token asks for a new consent`(name: String) throws {
        let script = try #require(ProfileScript.all[name])
        #expect(!script.dead.isEmpty)
        for reply in script.dead {
            let (scene, _) = try connected(name)
            scene.pass(seconds: 600)
            scene.steps = [script.refresh(answering: reply)]
            _ = scene.refresh()
            #expect(scene.steps.isEmpty)
            // Where nobody consents, nobody can be asked to.
            let isUnattended = scene.settings.serviceAccount != nil
            #expect(
                scene.state == (isUnattended ? .configurationError : .reauthorizationRequired), "after \(reply.body)")
        }
    }

    @Test(arguments: names)
    func `a provider that cannot answer now costs no grant`(name: String) throws {
        let script = try #require(ProfileScript.all[name])
        for reply in script.busy + [.page, .block] {
            let (scene, _) = try connected(name)
            scene.pass(seconds: 200)
            scene.steps = [script.refresh(answering: reply)]
            let result = scene.refresh()
            let status = scene.grant.status(now: scene.now)
            #expect(status.state == .active || status.state == .refreshing, "after \(reply.status) \(reply.body)")
            #expect(scene.stored?.tokens?.accessToken == Secret("a1") && scene.published != nil)
            scene.steps = [script.refresh]
            if result == nil {
                // The answer may be lost, and the refresh token used up: the same request goes out once more.
                scene.passToTimer()
            } else {
                guard case .refreshFailed? = result else {
                    Issue.record("refreshed by \(reply.body)")
                    continue
                }
                _ = scene.refresh()
            }
            #expect(scene.steps.isEmpty && scene.stored?.tokens?.accessToken == Secret("a2"))
        }
    }

    @Test(arguments: names.filter { $0 != "google-service-account" })
    func `a wrong client secret is the operator's mistake and no reason to ask a person`(name: String) throws {
        let (scene, script) = try connected(name)
        scene.pass(seconds: 600)
        scene.steps = [script.refresh(answering: script.wrongSecret)]
        _ = scene.refresh()
        #expect(scene.steps.isEmpty && scene.state == .configurationError)
    }

    @Test(arguments: names)
    func `a revocation ends the tokens in the provider's way, or says what to do`(name: String) throws {
        let (scene, script) = try connected(name)
        scene.steps = script.revocation
        let result = scene.revoke()
        #expect(scene.steps.isEmpty && scene.published == nil && scene.state == .revoked)
        if script.revocation.isEmpty {
            #expect(result == .revocation(.notSupported))
            #expect(scene.settings.revocation.advice?.isEmpty == false)
        } else {
            #expect(result == .revocation(.revoked))
        }
    }

    @Test(arguments: ProfileScript.all.values.filter { $0.revocationAgain != nil }.map(\.profile).sorted())
    func `tokens that were revoked elsewhere are no failure`(name: String) throws {
        let (scene, script) = try connected(name)
        let reply = try #require(script.revocationAgain)
        scene.steps = script.revocation.map { DocumentedStep($0.request, reply) }
        // Where the access token's end is the grant's, one that is not known says nothing of the refresh token.
        let isOpen = scene.settings.revocation.order == .accessToken && scene.stored?.tokens?.refreshToken != nil
        #expect(scene.revoke() == .revocation(isOpen ? .notConfirmed : .alreadyInvalid))
    }
}
