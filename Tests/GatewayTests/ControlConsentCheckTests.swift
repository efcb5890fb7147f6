import Console
import Foundation
import OAuth
import Reactor
import Synchronization
import Testing

@testable import Gateway
@testable import TokenStore

/// What the control thread itself checks of consents, beyond the machine that they go through.
@Suite struct ControlConsentCheckTests {
    static let binding = "binding-of-this-browser-0123456789"

    /// In one word or two.
    static func word(_ outcome: OAuth.ConsentOutcome) -> String {
        switch outcome {
        case .connected(let grant, _): "connected \(grant)"
        case .notStored: "not stored"
        case .refused: "refused"
        case .deniedByProvider: "denied"
        case .exchangeFailed(_, let problem): problem.code
        case .rejected(let rejection): rejection.rawValue
        }
    }

    private func control(_ scene: LifeScene, _ store: FakeStore = FakeStore()) throws -> ControlHarness {
        let control = try ControlHarness(store, configuration: scene.text)
        try control.until("all are read") { $0.unreadFileGrants == 0 }
        return control
    }

    /// The state parameter of the URL for the browser, or why there is none.
    private func start(
        _ control: ControlHarness, _ grant: String = "crm", link: String? = nil, binding: String = binding
    ) throws -> Result<String, StartFailure> {
        let url: Result<String, StartFailure> = try control.call { control, done in
            control.startConsent(grant, binding: binding, link: link) { result in
                done(result.mapError { StartFailure(code: $0.code.rawValue) })
            }
        }
        return url.map { text in
            let items = URLComponents(string: text)?.queryItems ?? []
            return items.first { $0.name == "state" }?.value ?? ""
        }
    }

    struct StartFailure: Error, Equatable {
        var code: String
    }

    private func keep(_ link: String, for grant: String, _ control: ControlHarness) throws {
        let isKept: Bool = try control.call { control, done in
            control.keepLink(link, for: grant) { outcome in
                if case .linkAllowed = outcome { done(true) } else { done(false) }
            }
        }
        #expect(isKept)
    }

    private func callback(
        _ control: ControlHarness, _ state: String, expected: String? = nil, binding: String = binding
    ) throws -> (word: String, isForOtherGrant: Bool) {
        let result: Ended = try control.call { control, done in
            control.callbackArrived(query: "code=abc&state=\(state)", binding: binding, expectedGrant: expected) {
                done(Ended(word: Self.word($0), isForOtherGrant: $1))
            }
        }
        return (result.word, result.isForOtherGrant)
    }

    private struct Ended: Sendable {
        var word: String
        var isForOtherGrant: Bool
    }

    // MARK: Links

    @Test func `a link that is opened twice starts one consent`() throws {
        let provider = try FakeProvider()
        let control = try control(LifeScene(port: provider.port))
        try keep("l1", for: "crm", control)
        let state = try start(control, link: "l1").get()
        #expect(try start(control, link: "l1") == .failure(StartFailure(code: "link_used")))
        #expect(try callback(control, state).word == "connected crm")
    }

    @Test func `a link starts no consent for another grant, and is used up by the attempt`() throws {
        let provider = try FakeProvider()
        let control = try control(LifeScene(port: provider.port, grants: ["crm", "erp"]))
        try keep("l1", for: "crm", control)
        #expect(try start(control, "erp", link: "l1") == .failure(StartFailure(code: "link_used")))
        #expect(try start(control, "crm", link: "l1") == .failure(StartFailure(code: "link_used")))
        #expect(try start(control, "crm", link: "never-made") == .failure(StartFailure(code: "link_used")))
    }

    @Test func `a link that another replica has taken is used up here, too`() throws {
        let (provider, database) = (try FakeProvider(), FakeDatabase())
        let scene = LifeScene(port: provider.port)
        let one = try control(scene, FakeStore(database, instance: "a", isShared: true))
        let other = try control(scene, FakeStore(database, instance: "b", isShared: true))
        try keep("l1", for: "crm", one)
        let state = try start(other, link: "l1").get()
        #expect(try start(one, link: "l1") == .failure(StartFailure(code: "link_used")))
        // The callback may come to either.
        #expect(try callback(one, state).word == "connected crm")
    }

    // MARK: Places

    @Test func `an answer that is pasted under another grant's name is refused and stays good for its own`() throws {
        let (provider, store) = (try FakeProvider(), FakeStore())
        let control = try control(LifeScene(port: provider.port, grants: ["crm", "erp"]), store)
        let state = try start(control).get()
        let pasted = try callback(control, state, expected: "erp")
        #expect(pasted.isForOtherGrant && provider.tokenCalls == 0)
        #expect(store.database.record("erp") == nil)
        let again = try callback(control, state, expected: "crm")
        #expect(again.word == "connected crm" && !again.isForOtherGrant && provider.tokenCalls == 1)
    }

    @Test func `a consent that another browser has got hold of is turned away there and stays good here`() throws {
        let provider = try FakeProvider()
        let control = try control(LifeScene(port: provider.port))
        let state = try start(control).get()
        #expect(try callback(control, state, binding: "binding-of-a-stranger-0123456789").word == "wrong_browser")
        #expect(provider.tokenCalls == 0)
        #expect(try callback(control, state).word == "connected crm")
    }

    // MARK: Reloads in between

    /// What stands under the grant's provider after a reload.
    enum Change: String, CaseIterable {
        case otherProvider, otherClient, otherEndpoint, grantGone

        func applied(to scene: LifeScene) -> LifeScene {
            scene.with { scene in
                switch self {
                case .otherProvider: scene.provider = "box"
                case .otherClient: scene.clientID = "another"
                case .otherEndpoint: scene.tokenPath = "/another-token"
                case .grantGone: scene.grants = []
                }
            }
        }
    }

    @Test(arguments: Change.allCases)
    func `a consent that a reload overtakes sends its code nowhere`(change: Change) throws {
        let (provider, store) = (try FakeProvider(), FakeStore())
        let scene = LifeScene(port: provider.port)
        let control = try control(scene, store)
        let state = try start(control).get()
        try control.reload(change.applied(to: scene))
        let word = try callback(control, state).word
        #expect(word == (change == .grantGone ? "unknown_state" : "configuration_changed"))
        #expect(provider.tokenCalls == 0)
        #expect(store.database.record("crm") == nil)
        // The way back does not bring the consent back.
        try control.reload(scene)
        #expect(try callback(control, state).word != "connected crm")
        #expect(provider.tokenCalls == 0)
    }

    @Test func `a reload of other things does not disturb a consent`() throws {
        let provider = try FakeProvider()
        let scene = LifeScene(port: provider.port)
        let control = try control(scene)
        let state = try start(control).get()
        try control.reload(
            scene.with {
                $0.directives = "refresh_skew = \"7s\""
                $0.grants = ["crm", "erp"]
            })
        #expect(try callback(control, state).word == "connected crm")
    }

    @Test(arguments: Change.allCases)
    func `tokens of a code whose grant is another provider's by now are nobody's`(change: Change) throws {
        let (provider, store) = (try GatedProvider(), FakeStore())
        let scene = LifeScene(port: provider.port)
        let control = try control(scene, store)
        let state = try start(control).get()
        let ended = ResultBox<String>()
        let done = DispatchSemaphore(value: 0)
        try control.look { control in
            control.callbackArrived(query: "code=abc&state=\(state)", binding: Self.binding, expectedGrant: nil) {
                outcome, _ in
                ended.fill(Self.word(outcome))
                done.signal()
            }
        }
        #expect(try provider.nextCall().contains("code=abc"))
        try control.reload(change.applied(to: scene))
        provider.answer(pair: "of-another")
        try #require(done.wait(timeout: .now() + .seconds(10)) == .success, "the browser was not answered")
        #expect(ended.take() == "configuration_changed")
        #expect(store.database.record("crm")?.tokens == nil)
        #expect(try control.look { $0.grants["crm"]?.credential == nil })
    }

    @Test func `a consent whose provider's section went is answered, not left waiting`() throws {
        let provider = try FakeProvider()
        let scene = LifeScene(port: provider.port)
        let control = try control(scene)
        let state = try start(control).get()
        try control.reload(scene.with { $0.hasProvider = false })
        #expect(try callback(control, state).word == "unknown_state")
        #expect(provider.tokenCalls == 0)
    }
}
