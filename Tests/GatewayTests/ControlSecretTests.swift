import Configuration
import Console
import Foundation
import Proxy
import Reactor
import Telemetry
import Testing

@testable import Gateway
@testable import OAuth
@testable import TokenStore

/// Client secrets whose files change while control runs.
@Suite struct ControlSecretTests {
    private static let told = "cannot be read; the old one stays in use"
    private static let taken = "client secrets were read again"

    /// Knows one secret, and answers others as RFC 6749 wants.
    private static func provider(_ secret: String) throws -> ControlProvider {
        try ControlProvider { request in
            request.form["client_secret"] == secret ? .tokens("new", "r-new") : .error("invalid_client", 401)
        }
    }

    private func refresh(_ control: ControlHarness) throws -> ConsoleOutcome {
        try control.outcome { $0.refresh("crm", $1) }
    }

    @Test func `a new secret in the file is used without a reload, and wakes a grant that had to stop`() throws {
        let site = try ControlSite(Self.provider("s3cret-two"))
        let store = FakeStore()
        try ControlSite.put(in: store)
        let control = try site.start(store)
        #expect(try refresh(control).failure?.code == .configurationError)
        #expect(try control.view()?.state == .configurationError)
        #expect(try ControlSite.token(control) == "Bearer old", "good while it lasts")
        try site.write("secret", "s3cret-two\n")
        try control.until("the grant is refreshed by itself") {
            ManyGrantsTests.value($0.grants["crm"]?.credential) == "Bearer new"
        }
        #expect(site.provider.requests.map { $0.form["client_secret"] } == ["s3cret-one", "s3cret-two"])
        #expect(site.log.count(Self.taken) == 1)
        #expect(site.log.lines.allSatisfy { $0.range(of: "s3cret") == nil })
    }

    static let unusable: [(name: String, text: String?, mode: mode_t)] = [
        ("empty", "", 0o600), ("half written", "s3cret-t\u{0}\u{0}\u{0}", 0o600), ("two lines", "a\nb\n", 0o600),
        ("missing", nil, 0), ("open to everybody", "s3cret-two", 0o644),
    ]

    @Test(arguments: unusable.indices)
    func `a file that cannot be used leaves the old secret, is told once, and is taken when it is good`(
        _ index: Int
    ) throws {
        let (name, text, mode) = Self.unusable[index]
        let site = try ControlSite(Self.provider("s3cret-one"))
        let store = FakeStore()
        try ControlSite.put(in: store)
        let control = try site.start(store)
        #expect(try ControlSite.token(control) == "Bearer old")
        if let text { try site.write("secret", text, mode: mode) } else { site.remove("secret") }
        try control.until("it is told: \(name)") { [log = site.log] _ in log.count(Self.told) == 1 }
        guard case .refreshed = try refresh(control) else {
            Issue.record("the old secret is not used")
            return
        }
        #expect(site.provider.requests.last?.form["client_secret"] == "s3cret-one")
        #expect(try control.look { $0.readiness().isReady })
        try site.write("secret", "s3cret-two\n")
        try control.until("it is taken") { [log = site.log] _ in log.count(Self.taken) == 1 }
        site.provider.answer { request in
            request.form["client_secret"] == "s3cret-two" ? .tokens("newer", "r") : .error("invalid_client", 401)
        }
        guard case .refreshed = try refresh(control) else {
            Issue.record("the new secret is not used")
            return
        }
        #expect(site.log.count(Self.told) == 1, "once, not at each look")
    }

    @Test func `a file that is still being written is not taken by halves`() throws {
        let site = try ControlSite(Self.provider("s3cret-two"))
        let store = FakeStore()
        try ControlSite.put(in: store)
        let control = try site.start(store)
        // In its place and piece by piece, as some tools do; each piece would be a secret.
        let stop = ResultBox<Bool>()
        let path = site.path("secret")
        let writer = try WorkerThread.start(name: "writer") {
            guard let file = FileHandle(forWritingAtPath: path) else { return }
            file.truncateFile(atOffset: 0)
            while stop.take() == nil {
                file.write(Data("x".utf8))
                usleep(50_000)
            }
            file.truncateFile(atOffset: 0)
            file.seek(toFileOffset: 0)
            file.write(Data("s3cret-two".utf8))
            try? file.close()
        }
        // Two looks and more.
        try control.call { control, done in _ = control.loop.schedule(after: 4_500) { done(()) } }
        #expect(site.log.count(Self.taken) == 0)
        stop.fill(true)
        writer.join()
        try control.until("it is taken whole") { [log = site.log] _ in log.count(Self.taken) == 1 }
        guard case .refreshed = try refresh(control) else {
            Issue.record("the new secret is not used")
            return
        }
        #expect(site.provider.requests.map { $0.form["client_secret"] } == ["s3cret-two"])
    }

    @Test func `a secret that changes while a refresh is under way is tried in the same refresh`() throws {
        let site = try ControlSite(ControlProvider { _ in .hold })
        let store = FakeStore()
        try ControlSite.put(in: store)
        let control = try site.start(store)
        let provider = site.provider
        let order = try control.begin { $0.refresh("crm", $1) }
        try control.until("the refresh is under way") { _ in provider.requests.count == 1 }
        try site.write("secret", "s3cret-two\n")
        try control.until("the secret is taken") { [log = site.log] _ in log.count(Self.taken) == 1 }
        provider.answer { request in
            request.form["client_secret"] == "s3cret-two" ? .tokens("new", "r-new") : .error("invalid_client", 401)
        }
        provider.release(.error("invalid_client", 401))
        guard case .refreshed = try control.result(of: order, "the refresh has ended") else {
            Issue.record("not refreshed")
            return
        }
        #expect(provider.requests.map { $0.form["client_secret"] } == ["s3cret-one", "s3cret-two"])
        #expect(provider.requests.map { $0.form["refresh_token"] } == ["refresh", "refresh"])
        #expect(try ControlSite.token(control) == "Bearer new")
    }

    @Test func `a refresh that succeeds with the old secret while a new one is read changes nothing else`() throws {
        let site = try ControlSite(ControlProvider { _ in .hold })
        let store = FakeStore()
        try ControlSite.put(in: store)
        let control = try site.start(store)
        let provider = site.provider
        let order = try control.begin { $0.refresh("crm", $1) }
        try control.until("the refresh is under way") { _ in provider.requests.count == 1 }
        try site.write("secret", "s3cret-two\n")
        try control.until("the secret is taken") { [log = site.log] _ in log.count(Self.taken) == 1 }
        provider.answer { _ in .tokens("second", "r-second") }
        provider.release(.tokens("first", "r-first"))
        guard case .refreshed = try control.result(of: order, "the refresh has ended") else {
            Issue.record("not refreshed")
            return
        }
        #expect(try ControlSite.token(control) == "Bearer first")
        _ = try refresh(control)
        #expect(provider.requests.map { $0.form["client_secret"] } == ["s3cret-one", "s3cret-two"])
        #expect(provider.requests.map { $0.form["refresh_token"] } == ["refresh", "r-first"])
    }

    @Test func `another provider's broken file does not hold up a new secret`() throws {
        let site = try ControlSite(Self.provider("s3cret-two"))
        try site.write("other", "s3cret-other\n")
        try site.configure(
            more: """
                [provider.q]
                client_id = "client"
                client_secret_file = "\(site.path("other"))"
                authorize_url = "\(site.provider.url)/authorize"
                token_url = "\(site.provider.url)/token"
                allow_plaintext = true
                [grant.other]
                provider = "q"
                """)
        let store = FakeStore()
        try ControlSite.put(in: store)
        let control = try site.start(store)
        site.remove("other")
        try control.until("it is told") { [log = site.log] _ in log.count(Self.told) == 1 }
        try site.write("secret", "s3cret-two\n")
        try control.until("it is taken") { [log = site.log] _ in log.count(Self.taken) == 1 }
        guard case .refreshed = try refresh(control) else {
            Issue.record("the new secret is not used")
            return
        }
        #expect(site.log.count(Self.told) == 1)
    }

    @Test func `looks go on after reloads, and do not multiply`() throws {
        let site = try ControlSite(Self.provider("s3cret-two"))
        let store = FakeStore()
        try ControlSite.put(in: store)
        let control = try site.start(store)
        let before = try control.look { $0.loop.timerCount }
        let text = try String(contentsOfFile: site.path("gateway.conf"), encoding: .utf8)
        let secret = "client_secret_file = \"\(site.path("secret"))\"\nclient_auth = \"client_secret_post\""
        let cycles = 12
        for _ in 0..<cycles {
            // Without a secret, and with one again, before the next look.
            try site.write("gateway.conf", text.replacingOccurrences(of: secret, with: "client_auth = \"none\""))
            try control.look { $0.reload() }
            #expect(try control.look { $0.lastReloadSuccessful && $0.secretStamps.isEmpty })
            try site.write("gateway.conf", text)
            try control.look { $0.reload() }
            #expect(try control.look { $0.lastReloadSuccessful && $0.secretStamps.count == 1 })
        }
        let after = try control.look { $0.loop.timerCount }
        // There are other timers, too, which come and go.
        #expect(after < before + cycles / 2)
        try site.write("secret", "s3cret-two\n")
        try control.until("it is taken") { [log = site.log] _ in log.count(Self.taken) == 1 }
    }
}
