import Foundation
import OpenSSLKit
import Testing

@Suite struct VerificationTests {
    @Test(
        arguments: [
            "api.example.com", "API.Example.COM", "api.example.com.", "a.wild.example.com", "127.0.0.1", "::1", "[::1]",
        ])
    func `a host that the certificate names is accepted`(host: String) throws {
        let link = try Fixture.link(host: host)
        #expect(link.handshake().bothComplete)
    }

    @Test(
        arguments: [
            "example.com", "www.api.example.com", "a.b.wild.example.com", "wild.example.com", "127.0.0.2", "::2",
            "evil-api.example.com", "api.example.com.evil.test",
        ])
    func `another host is refused, and the message tells the names`(host: String) throws {
        let outcome = try Fixture.link(host: host).handshake()
        let error = try #require(outcome.clientError)
        #expect(error.kind == .hostMismatch)
        #expect(error.reason.contains("api.example.com, *.wild.example.com, 127.0.0.1, ::1"))
        #expect(error.openSSLCode != 0)
        #expect(outcome.serverError?.kind == .peerAlert)
    }

    @Test(
        arguments: [
            "", ".", ".example.com", "*.example.com", "api.example.com\0.evil.test", "a b", "a\nb", "bücher.example",
            "a/b",
            "user@host", "host:443", "[api.example.com]", "[]", "127.0.0.1.", String(repeating: "a", count: 300), "..",
        ])
    func `an impossible host fails before anything is sent`(host: String) throws {
        let link = try Fixture.link(host: host)
        let outcome = link.handshake()
        let error = try #require(outcome.clientError)
        #expect(error.kind == .invalidHost)
        #expect(!error.reason.utf8.contains { $0 < 0x20 })
        #expect(link.toServer.isEmpty)
    }

    @Test func `addresses get no SNI`() throws {
        let link = try Fixture.link(host: "127.0.0.1")
        #expect(link.handshake().bothComplete)
        #expect(link.server.serverName == nil)
    }

    @Test func `the common name does not count`() throws {
        let leaf = try Fixture.authority.issue(
            LeafRequest(commonName: "api.example.com", dnsNames: [], validity: Fixture.longValidity))
        let error = try #require(Fixture.link(server: Fixture.server(leaf)).handshake().clientError)
        #expect(error.kind == .hostMismatch)
        #expect(error.reason.contains("no name at all"))
    }

    @Test func `a partial wildcard does not count`() throws {
        let leaf = try Fixture.authority.issue(
            LeafRequest(dnsNames: ["a*.example.com"], validity: Fixture.longValidity))
        let link = try Fixture.link(server: Fixture.server(leaf))
        #expect(link.handshake().clientError?.kind == .hostMismatch)
    }

    @Test(
        arguments: [
            (Fixture.past, TLSError.Kind.certificateExpired, "expired at 2001-01-01T00:00:00Z"),
            (Fixture.future, .certificateNotYetValid, "valid only from 2099-01-01T00:00:00Z"),
        ])
    func `a certificate out of its time is refused with the time`(
        validity: Validity, kind: TLSError.Kind, text: String
    ) throws {
        let leaf = try Fixture.authority.issue(LeafRequest(dnsNames: ["api.example.com"], validity: validity))
        let error = try #require(Fixture.link(server: Fixture.server(leaf)).handshake().clientError)
        #expect(error.kind == kind)
        #expect(error.reason.contains(text))
    }

    @Test func `an expired authority is named`() throws {
        let authority = try CertificateAuthority(commonName: "Old Authority", validity: Fixture.past)
        let leaf = try authority.issue(LeafRequest(dnsNames: ["api.example.com"], validity: Fixture.longValidity))
        let link = try Fixture.link(client: Fixture.client(authority: authority), server: Fixture.server(leaf))
        let error = try #require(link.handshake().clientError)
        #expect(error.kind == .certificateExpired)
        #expect(error.reason.contains("\"CN=Old Authority\""))
    }

    @Test func `another authority is refused and named`() throws {
        let link = try Fixture.link(client: Fixture.client(authority: Fixture.otherAuthority))
        let error = try #require(link.handshake().clientError)
        #expect(error.kind == .unknownAuthority)
        #expect(error.reason.contains("CN=Test Authority"))
    }

    @Test func `an authority of the same name with another key is refused`() throws {
        let impostor = try CertificateAuthority(commonName: "Test Authority", validity: Fixture.longValidity)
        let leaf = try impostor.issue(LeafRequest(dnsNames: ["api.example.com"], validity: Fixture.longValidity))
        let error = try #require(Fixture.link(server: Fixture.server(leaf)).handshake().clientError)
        #expect([.unknownAuthority, .otherVerification].contains(error.kind))
    }

    @Test func `a self-signed certificate is refused, unless it is the one that is trusted`() throws {
        let leaf = try Fixture.authority.issue(
            LeafRequest(dnsNames: ["api.example.com"], validity: Fixture.longValidity, isSelfSigned: true))
        let refused = try Fixture.link(server: Fixture.server(leaf)).handshake()
        #expect(refused.clientError?.kind == .selfSigned)
        let pinned = try TLSClientContext(TLSClientConfiguration(caPEM: leaf.certificatePEM))
        #expect(try Fixture.link(client: pinned, server: Fixture.server(leaf)).handshake().bothComplete)
    }

    @Test func `a pinned leaf needs no authority`() throws {
        let pinned = try TLSClientContext(TLSClientConfiguration(caPEM: Fixture.leaf.certificatePEM))
        #expect(try Fixture.link(client: pinned).handshake().bothComplete)
        let other = try Fixture.authority.issue(
            LeafRequest(dnsNames: ["api.example.com"], validity: Fixture.longValidity))
        let refused = try Fixture.link(client: pinned, server: Fixture.server(other)).handshake()
        #expect(refused.clientError?.kind == .unknownAuthority)
    }

    @Test func `contexts with the same roots share them, others do not`() throws {
        let first = try Fixture.client()
        let shared = try TLSClientContext(first.configuration, sharingRootsOf: first)
        #expect(try Fixture.link(client: shared).handshake().bothComplete)
        let other = TLSClientConfiguration(caPEM: Fixture.otherAuthority.certificatePEM)
        let separate = try TLSClientContext(other, sharingRootsOf: first)
        #expect(try Fixture.link(client: separate).handshake().clientError?.kind == .unknownAuthority)
    }

    @Test func `names from a peer's certificate cannot break a log line`() throws {
        let authority = try CertificateAuthority(
            commonName: "Evil\r\nlevel=error \u{1b}[31m", validity: Fixture.longValidity)
        let leaf = try authority.issue(LeafRequest(dnsNames: ["api.example.com"], validity: Fixture.longValidity))
        let error = try #require(Fixture.link(server: Fixture.server(leaf)).handshake().clientError)
        #expect(error.kind == .unknownAuthority)
        #expect(error.reason.contains("Evil"))
        #expect(error.reason.utf8.allSatisfy { $0 >= 0x20 && $0 < 0x7f })
    }

    @Test(arguments: TLSVersion.allCases)
    func `a listener with a client authority wants a certificate of it`(version: TLSVersion) throws {
        let folder = try Folder()
        let own = try Fixture.authority.issue(LeafRequest(dnsNames: [], validity: Fixture.longValidity))
        let foreign = try Fixture.otherAuthority.issue(LeafRequest(dnsNames: [], validity: Fixture.longValidity))
        let server = try Fixture.server(clientCAFile: folder.write("ca.pem", Fixture.authority.certificatePEM))
        func connect(_ certificate: IssuedCertificate?) throws -> Link {
            var configuration = TLSClientConfiguration(
                caPEM: Fixture.authority.certificatePEM, maximumVersion: version)
            if let certificate {
                configuration.clientCertificateFile = try folder.write("c.pem", certificate.certificatePEM)
                configuration.clientKeyFile = try folder.write("k.pem", certificate.privateKeyPEM.exposed())
            }
            return try Fixture.link(client: TLSClientContext(configuration), server: server)
        }
        #expect(try connect(own).handshake().bothComplete)
        #expect(try connect(nil).handshake().serverError?.kind == .noPeerCertificate)
        #expect(try connect(foreign).handshake().serverError?.kind == .unknownAuthority)
        // With TLS 1.3 the client hears of it only after its handshake.
        let link = try connect(nil)
        let outcome = link.handshake()
        let error = try #require(version == .tls13 ? link.receive(link.client).error : outcome.clientError)
        #expect([.peerAlert, .noCommonParameters].contains(error.kind))
    }
}

/// A folder that goes with the test.
final class Folder {
    let url = FileManager.default.temporaryDirectory.appending(path: "OpenSSLKitTests-\(UUID().uuidString)")

    init() throws { try FileManager.default.createDirectory(at: url, withIntermediateDirectories: true) }

    deinit { try? FileManager.default.removeItem(at: url) }

    /// The path.
    func write(_ name: String, _ text: String) throws -> String {
        let file = url.appending(path: name)
        try Data(text.utf8).write(to: file)
        return file.path
    }
}
