import Configuration
import Foundation
import Logging
import OpenSSLKit
import Reactor
import Telemetry
import Testing

@testable import Gateway

/// A folder with certificates and a configuration that names them; goes with the test.
private final class TLSFolder {
    let url = FileManager.default.temporaryDirectory.appending(path: "TLSMaterialTests-\(UUID().uuidString)")
    static let authority = try! CertificateAuthority(commonName: "Callers", validity: Certificates.validity)

    init() throws {
        try FileManager.default.createDirectory(at: url, withIntermediateDirectories: true)
        try replace("first", ["first.test"])
        try replace("second", ["second.test"])
        try replace("client", ["client.test"])
        try write("ca.pem", Self.authority.certificatePEM)
        try write("token", "tok")
    }

    deinit { try? FileManager.default.removeItem(at: url) }

    func path(_ name: String) -> String { url.appending(path: name).path }

    /// By renaming, so that the file is surely another one.
    func write(_ name: String, _ text: String, mode: Int = 0o600) throws {
        let new = path(name + ".new")
        #expect(
            FileManager.default.createFile(
                atPath: new, contents: Data(text.utf8), attributes: [.posixPermissions: mode]))
        #expect(rename(new, path(name)) == 0)
    }

    func remove(_ name: String) { unlink(path(name)) }

    static func issue(_ names: [String]) throws -> IssuedCertificate {
        try authority.issue(LeafRequest(dnsNames: names, validity: Certificates.validity))
    }

    func replace(_ name: String, _ names: [String]) throws {
        let issued = try Self.issue(names)
        try write(name + ".pem", issued.certificatePEM)
        try write(name + ".key", issued.privateKeyPEM.exposed())
    }

    func text(listener: String = "", upstream: String = "") -> String {
        """
        workers = 2
        [listener.one]
        address = "127.0.0.1:8443"
        certificate_file = ["\(path("first.pem"))", "\(path("second.pem"))"]
        key_file = ["\(path("first.key"))", "\(path("second.key"))"]
        \(listener)
        [listener.two]
        address = "127.0.0.1:8444"
        certificate_file = "\(path("second.pem"))"
        key_file = "\(path("second.key"))"
        client_ca_file = "\(path("ca.pem"))"
        [listener.plain]
        address = "127.0.0.1:8080"
        [grant.fixed]
        token_file = "\(path("token"))"
        [upstream.api]
        url = "https://api.test"
        ca_file = "\(path("ca.pem"))"
        client_certificate_file = "\(path("client.pem"))"
        client_key_file = "\(path("client.key"))"
        \(upstream)
        [route.all]
        path = "/*"
        upstream = "api"
        grant = "fixed"

        """
    }

    func snapshot(_ text: String? = nil) throws -> Snapshot {
        let outcome = GatewayConfiguration.parse(Array((text ?? self.text()).utf8), file: "f", environment: .system)
        return try #require(outcome.snapshot, "\(outcome.diagnostics)")
    }
}

@Suite struct `certificates and their files` {
    private let folder: TLSFolder

    init() throws { folder = try TLSFolder() }

    private func material(_ snapshot: Snapshot) throws -> TLSMaterial {
        var problems: [String] = []
        let material = TLSMaterial(snapshot, environment: .system, &problems)
        #expect(problems == [])
        return material
    }

    @Test func `settings are what the snapshot and its files say`() throws {
        let material = try material(folder.snapshot(folder.text(listener: "tls_min_version = \"1.3\"")))
        let one = try #require(material.listeners["one"]?.value)
        #expect(one.identities.map(\.names) == [["first.test"], ["second.test"]])
        #expect(one.alpn == ["h2", "http/1.1"] && one.minimumVersion == .tls13 && one.clientCertificates == .none)
        let two = try #require(material.listeners["two"]?.value)
        #expect(two.clientCertificates == .required(caPEM: TLSFolder.authority.certificatePEM))
        #expect(two.minimumVersion == .tls12 && two.ticketKeys == one.ticketKeys)
        #expect(material.listeners["plain"] == nil)
        #expect(material.clientIdentities.mapValues(\.names) == ["api": ["client.test"]])
    }

    @Test(arguments: [(#"["http1"]"#, ["http/1.1"]), (#"["http2"]"#, ["h2"])])
    func `ALPN offers what the listener speaks`(protocols: String, alpn: [String]) throws {
        let material = try material(folder.snapshot(folder.text(listener: "protocols = \(protocols)")))
        #expect(material.listeners["one"]?.value.alpn == alpn)
    }

    @Test func `files that stay are not news`() throws {
        let snapshot = try folder.snapshot()
        var material = try material(snapshot)
        #expect(material.refresh(snapshot, environment: .system).isEmpty)
        // Written again with the same octets.
        try folder.write("ca.pem", TLSFolder.authority.certificatePEM)
        #expect(material.refresh(snapshot, environment: .system).isEmpty)
    }

    @Test func `half of a pair keeps the old one and is told once`() throws {
        let snapshot = try folder.snapshot()
        var material = try material(snapshot)
        let before = try #require(material.listeners["one"]?.value)
        let issued = try TLSFolder.issue(["first.test", "new.test"])
        try folder.write("first.pem", issued.certificatePEM)
        let news = material.refresh(snapshot, environment: .system)
        #expect(news.count == 1)
        #expect(
            news.first?.isRefused
                == "the key in \"\(folder.path("first.key"))\" is not the key of the first certificate in "
                + "\"\(folder.path("first.pem"))\"")
        #expect(material.listeners["one"]?.value == before)
        #expect(material.refresh(snapshot, environment: .system).isEmpty)

        try folder.write("first.key", issued.privateKeyPEM.exposed())
        let second = material.refresh(snapshot, environment: .system)
        #expect(second.count == 1 && second.first?.isRefused == nil)
        #expect(second.first?.identities.map(\.names) == [["first.test", "new.test"], ["second.test"]])
        #expect(material.listeners["one"]?.value.ticketKeys == before.ticketKeys)
    }

    @Test func `a file that is cut short while it is written is told once`() throws {
        let snapshot = try folder.snapshot()
        var material = try material(snapshot)
        let whole = try TLSFolder.issue(["first.test"]).certificatePEM
        try folder.write("first.pem", String(whole.dropLast(100)))
        #expect(material.refresh(snapshot, environment: .system).count == 1)
        try folder.write("first.pem", String(whole.dropLast(50)))
        #expect(material.refresh(snapshot, environment: .system).isEmpty)
    }

    @Test func `a file that goes and comes again is told both times`() throws {
        let snapshot = try folder.snapshot()
        var material = try material(snapshot)
        let text = try String(contentsOfFile: folder.path("first.key"), encoding: .utf8)
        folder.remove("first.key")
        #expect(
            material.refresh(snapshot, environment: .system).map(\.isRefused)
                == ["the file \"\(folder.path("first.key"))\" cannot be read: there is no such file"])
        try folder.write("first.key", text)
        let news = material.refresh(snapshot, environment: .system)
        #expect(news.count == 1 && news.first?.isRefused == nil && news.first?.identities.isEmpty == true)
    }

    @Test func `a key that others may read is refused`() throws {
        let snapshot = try folder.snapshot()
        var material = try material(snapshot)
        let issued = try TLSFolder.issue(["first.test"])
        try folder.write("first.pem", issued.certificatePEM)
        try folder.write("first.key", issued.privateKeyPEM.exposed(), mode: 0o644)
        let news = material.refresh(snapshot, environment: .system)
        #expect(news.first?.isRefused?.contains("is open to every user (mode 0644)") == true)
    }

    @Test func `each listener and upstream is judged by itself`() throws {
        let snapshot = try folder.snapshot()
        var material = try material(snapshot)
        try folder.write("first.pem", "")
        try folder.replace("second", ["second.test", "more.test"])
        try folder.replace("client", ["client2.test"])
        let news = material.refresh(snapshot, environment: .system)
        // Listener one has a broken file; two and the upstream go on.
        #expect(news.map { $0.isRefused == nil } == [false, true, true])
        #expect(material.listeners["one"]?.value.identities.last?.names == ["second.test"])
        #expect(material.listeners["two"]?.value.identities.first?.names == ["second.test", "more.test"])
        #expect(material.clientIdentities["api"]?.names == ["client2.test"])
    }

    @Test func `a start or a reload tells which files cannot be used`() throws {
        let snapshot = try folder.snapshot()
        folder.remove("second.key")
        try folder.write("client.pem", "")
        let problems = GatewayServer.problems(of: snapshot, version: "1")
        #expect(
            problems == [
                "listener.one: the file \"\(folder.path("second.key"))\" cannot be read: there is no such file",
                "listener.two: the file \"\(folder.path("second.key"))\" cannot be read: there is no such file",
                "upstream.api: \"\(folder.path("client.pem"))\" has no certificate: it must hold at least one "
                    + "BEGIN CERTIFICATE block",
            ])
    }
}

/// Control without a store and a console, and what its workers are told.
private final class TLSControl {
    let control: Control
    let lines: ControlLog
    private let mailboxes: [Mailbox<WorkerMessage>]

    init(_ folder: TLSFolder, configurationPath: String = "/nonexistent") throws {
        let snapshot = try folder.snapshot()
        let prepared = try Control.prepare(snapshot, environment: .system, version: "1").get()
        let loop = try ControlLoop()
        let resolver = try Resolver()
        let lines = ControlLog()
        self.lines = lines
        let configuration = WorkerConfiguration(
            snapshot, extending: nil, clientIdentities: prepared.tls.clientIdentities)
        control = try Control(
            loop: loop, mailbox: try Mailbox<ControlMessage>(), snapshot: snapshot,
            configurationPath: configurationPath, environment: .system, store: nil, resolver: resolver,
            client: try ProviderClient(loop: loop, resolver: resolver), names: configuration.names,
            logger: Logger(label: "test") { _ in lines }, version: "1")
        mailboxes = try (0..<2).map { _ in try Mailbox<WorkerMessage>() }
        control.workers = mailboxes
        control.take(prepared)
        _ = told()
    }

    struct Told {
        var certificates: [(listener: String, settings: TLSServerSettings)] = []
        var configurations: [WorkerConfiguration] = []
    }

    /// What all workers were told since the last call; the same for each.
    func told() -> Told {
        let all = mailboxes.map { mailbox in
            var messages: [WorkerMessage] = []
            mailbox.drain(into: &messages)
            var told = Told()
            for message in messages {
                if case .certificates(let listener, let settings) = message {
                    told.certificates.append((listener, settings))
                }
                if case .configuration(let configuration) = message { told.configurations.append(configuration) }
            }
            return told
        }
        #expect(Set(all.map { $0.certificates.map(\.listener) }).count == 1)
        #expect(Set(all.map { $0.configurations.count }).count == 1)
        return all[0]
    }
}

@Suite struct `control and certificates` {
    private let folder: TLSFolder

    init() throws { folder = try TLSFolder() }

    @Test func `the start says which certificates are used and until when`() throws {
        let world = try TLSControl(folder)
        let expiry = try #require(world.control.tls?.listeners["one"]?.value.identities.first?.notAfter)
        let lines = world.lines.take().filter { $0.contains("a listener's certificate") }
        #expect(lines.count == 3)
        #expect(
            lines.contains {
                $0.contains("listener=one") && $0.contains("names=first.test") && $0.contains("subject=CN=leaf")
                    && $0.contains("expires=\(expiry)")
            })
        #expect(!lines.joined().contains("PRIVATE"))
    }

    @Test func `a replaced pair reaches every worker, and only for its listener`() throws {
        let world = try TLSControl(folder)
        world.control.rereadCertificates()
        #expect(world.told().certificates.isEmpty)
        try folder.replace("first", ["first.test", "third.test"])
        world.control.rereadCertificates()
        let told = world.told()
        #expect(told.certificates.map(\.listener) == ["one"])
        #expect(told.certificates.first?.settings.identities.first?.names == ["first.test", "third.test"])
        #expect(told.configurations.isEmpty)
        #expect(throws: Never.self) { try told.certificates.first?.settings.check() }
    }

    @Test func `what cannot be used is not sent, and said once`() throws {
        let world = try TLSControl(folder)
        _ = world.lines.take()
        try folder.write("second.key", "nothing")
        world.control.rereadCertificates()
        world.control.rereadCertificates()
        #expect(world.told().certificates.isEmpty)
        let lines = world.lines.take()
        // Both listeners have the file.
        #expect(lines.count == 2)
        #expect(
            lines.allSatisfy {
                $0.hasPrefix("error new certificate files cannot be used; the old ones stay in use listener=")
                    && $0.contains("has no usable private key")
            })
    }

    @Test func `a new client certificate makes new upstream settings`() throws {
        let world = try TLSControl(folder)
        try folder.replace("client", ["client2.test"])
        world.control.rereadCertificates()
        let told = world.told()
        #expect(told.certificates.isEmpty)
        let settings = try #require(told.configurations.first?.upstreams.first)
        #expect(settings.tls?.clientIdentity?.names == ["client2.test"])
    }

    @Test func `ticket keys change for all listeners at once, and survive a reload`() throws {
        let path = folder.path("gateway.conf")
        try folder.write("gateway.conf", folder.text())
        let world = try TLSControl(folder, configurationPath: path)
        let before = try #require(world.control.tls?.ticketKeys)
        world.control.rotateTicketKeys()
        let told = world.told()
        #expect(Set(told.certificates.map(\.listener)) == ["one", "two"])
        let keys = Set(told.certificates.map(\.settings.ticketKeys))
        #expect(keys.count == 1 && !keys.contains(before))

        world.control.reload()
        #expect(world.control.lastReloadSuccessful)
        #expect(world.told().certificates.isEmpty)
        #expect(world.control.tls.map { keys.contains($0.ticketKeys) } == true)
    }

    @Test(
        arguments: [
            ("tls_min_version = \"1.3\"", true), ("client_ca_file = \"CA\"", true), ("protocols = [\"http1\"]", false),
        ])
    func `a reload changes what a listener's TLS asks for, and refuses what needs new sockets`(
        directive: String, isPossible: Bool
    ) throws {
        let path = folder.path("gateway.conf")
        let world = try TLSControl(folder, configurationPath: path)
        let line = directive.replacing("CA", with: folder.path("ca.pem"))
        try folder.write("gateway.conf", folder.text(listener: line))
        world.control.reload()
        #expect(world.control.lastReloadSuccessful == isPossible)
        #expect(world.told().certificates.map(\.listener) == (isPossible ? ["one"] : []))
    }

    @Test func `SIGHUP reads certificates again, and a bad one keeps everything as it was`() throws {
        let path = folder.path("gateway.conf")
        try folder.write("gateway.conf", folder.text())
        let world = try TLSControl(folder, configurationPath: path)
        try folder.replace("first", ["renewed.test"])
        world.control.reload()
        #expect(world.told().certificates.map(\.settings.identities[0].names) == [["renewed.test"]])
        try folder.write("first.key", "nothing")
        world.control.reload()
        #expect(!world.control.lastReloadSuccessful)
        #expect(world.told().certificates.isEmpty)
        #expect(world.control.tls?.listeners["one"]?.value.identities[0].names == ["renewed.test"])
    }

    @Test func `the metrics page tells when certificates expire`() throws {
        let metrics = try TLSControl(folder).control.certificateMetrics
        #expect(
            Set(metrics.map { "\($0.listener) \($0.name)" }) == [
                "one first.test", "one second.test", "two second.test",
            ])
        #expect(metrics.allSatisfy { $0.expiry == Certificates.validity.notAfter })
    }
}

@Suite struct `settings of upstreams` {
    @Test(
        arguments: [
            ("auto", UpstreamSettings.ProtocolChoice.automatic, ["h2", "http/1.1"]), ("http1", .http1, ["http/1.1"]),
            ("http2", .http2, ["h2"]),
        ])
    func `the protocol decides what is offered`(
        word: String, choice: UpstreamSettings.ProtocolChoice, alpn: [String]
    ) throws {
        var setup = PlaneSetup(isTLS: true)
        setup.upstream = "protocol = \"\(word)\"\nmax_streams = 7\nhttp2_ping_interval = \"3s\""
        setup.limits = "http2_max_streams = 9"
        let configuration = try setup.configuration(upstreamPort: 1)
        let upstream = try #require(configuration.upstreams.first)
        #expect(upstream.protocolChoice == choice && upstream.tls?.alpn == alpn)
        #expect(upstream.maxStreams == 7 && upstream.pingInterval == 3_000 && upstream.pingTimeout == 10_000)
        #expect(configuration.limits.http2Streams == 9)
    }
}
