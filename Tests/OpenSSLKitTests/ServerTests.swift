import COpenSSL
import Testing

@testable import OpenSSLKit

/// Certificates for listeners, and links to them.
enum ServerFixture {
    static let one = identity(["one.example.com", "alias.example.org"])
    static let two = identity(["two.example.com", "*.wild.example.com"])
    /// The exact name is also covered by the wildcard of `two`.
    static let three = identity(["exact.wild.example.com", "XN--BCHER-KVA.example"])

    static func identity(_ names: [String], commonName: String = "listener") -> TLSIdentity {
        let issued = try! Fixture.authority.issue(
            LeafRequest(commonName: commonName, dnsNames: names, validity: Fixture.longValidity))
        return identity(issued)
    }

    static func identity(_ issued: IssuedCertificate) -> TLSIdentity {
        try! TLSIdentity(
            chainPEM: issued.certificatePEM, keyPEM: SecretBytes(issued.privateKeyPEM.exposed().utf8))
    }

    static func client(
        version: TLSVersion = .tls13, alpn: [String] = [], certificate: TLSIdentity? = nil
    ) throws -> TLSClientContext {
        try TLSClientContext(
            TLSClientConfiguration(
                caPEM: Fixture.authority.certificatePEM, alpn: alpn, maximumVersion: version,
                clientIdentity: certificate))
    }

    static func issued(
        by authority: CertificateAuthority = Fixture.authority, _ validity: Validity = Fixture.longValidity
    ) throws -> TLSIdentity {
        identity(
            try authority.issue(
                LeafRequest(commonName: "billing, \"EU\"", dnsNames: ["billing.internal"], validity: validity)))
    }

    /// The session of a whole handshake.
    static func session(
        _ client: TLSClientContext, _ settings: TLSServerSettings, host: String
    ) throws -> TLSSession? {
        let link = try Fixture.link(client: client, server: TLSServerContext(settings), host: host)
        #expect(link.handshake().bothComplete)
        _ = link.receive(link.client)
        return link.client.takeNewSession()
    }

    /// Whether a session made for one host shortens the handshake with another: our own client would not try it.
    static func resumes(
        _ session: TLSSession, _ client: TLSClientContext, _ settings: TLSServerSettings, host: String
    ) throws -> Bool {
        // A copy, since OpenSSL uses a session of TLS 1.3 only once.
        let copy = try #require(SSL_SESSION_dup(session.pointer))
        let forged = TLSSession(owning: copy, context: client, host: host)
        let link = try Fixture.link(
            client: client, server: TLSServerContext(settings), host: host, session: forged)
        let outcome = link.handshake()
        #expect(outcome.serverError == nil)
        #expect(link.client.sessionReused == link.server.sessionReused)
        return link.server.sessionReused
    }
}

@Suite struct ServerNameTests {
    static let settings = TLSServerSettings(
        identities: [ServerFixture.one, ServerFixture.two, ServerFixture.three])

    @Test(
        arguments: [
            ("one.example.com", 0), ("alias.example.org", 0), ("two.example.com", 1), ("TWO.Example.COM", 1),
            ("a.wild.example.com", 1), ("exact.wild.example.com", 2), ("xn--bcher-kva.example", 2),
        ])
    func `the certificate is the one for the name that is asked for`(host: String, index: Int) throws {
        let link = try Fixture.link(server: TLSServerContext(Self.settings), host: host)
        #expect(link.handshake().bothComplete)
        #expect(link.server.serverName == host)
        #expect(Self.settings.identities[index].names.contains { $0 == host.lowercased() || $0.hasPrefix("*.wild") })
    }

    @Test(
        arguments: [
            // A wildcard stands for exactly one label.
            "wild.example.com", "a.b.wild.example.com", "unknown.example.com", "one.example.com.evil.test",
        ])
    func `a name that no certificate has gets the first`(host: String) throws {
        let outcome = try Fixture.link(server: TLSServerContext(Self.settings), host: host).handshake()
        let error = try #require(outcome.clientError)
        #expect(error.kind == .hostMismatch)
        #expect(error.reason.contains("one.example.com, alias.example.org"))
    }

    @Test func `without a name the first certificate answers`() throws {
        let first = ServerFixture.identity(
            try Fixture.authority.issue(
                LeafRequest(dnsNames: [], ipAddresses: ["127.0.0.1"], validity: Fixture.longValidity)))
        let settings = TLSServerSettings(identities: [first, ServerFixture.one])
        let link = try Fixture.link(server: TLSServerContext(settings), host: "127.0.0.1")
        #expect(link.handshake().bothComplete)
        #expect(link.server.serverName == nil)
    }

    @Test(
        arguments: [
            ("a.example.com", nil), ("one.test", 0), ("x.one.test", 1), ("y.one.test", 2), (".one.test", nil),
            ("two.test", 1), ("z.y.one.test", nil), ("one", nil), ("", nil),
        ] as [(String, Int?)])
    func `exact names go before wildcards, and earlier certificates before later`(name: String, index: Int?) {
        let table = ServerNameTable([
            ["one.test"], ["*.one.test", "two.test"], ["y.one.test", "one.test", "*.one.test", "two.test"],
        ])
        #expect(table.index(of: name) == index)
    }

    @Test(
        arguments: [
            ("Example.COM", "example.com"), ("example.com.", "example.com"), (".", nil), ("", nil), ("a b", nil),
            ("a\0b", nil), ("bücher.example", nil), (String(repeating: "a", count: 254), nil),
        ] as [(String, String?)])
    func `a name is compared in lower case and without the last dot`(text: String, normalized: String?) {
        #expect(ServerName.normalized(text) == normalized)
    }

    @Test func `partial wildcards are names like others, and match nothing`() throws {
        let identity = ServerFixture.identity(["w*.example.com"])
        let settings = TLSServerSettings(identities: [ServerFixture.one, identity])
        let outcome = try Fixture.link(server: TLSServerContext(settings), host: "www.example.com").handshake()
        #expect(outcome.clientError?.reason.contains("one.example.com") == true)
    }

    @Test(arguments: TLSVersion.allCases)
    func `connections under several names live beside each other`(version: TLSVersion) throws {
        let server = try TLSServerContext(Self.settings)
        let client = try ServerFixture.client(version: version)
        let links = try ["two.example.com", "one.example.com", "exact.wild.example.com"].map {
            try Fixture.link(client: client, server: server, host: $0)
        }
        for link in links { #expect(link.handshake().bothComplete) }
        for link in links {
            link.send([1, 2, 3], from: link.client)
            #expect(link.receive(link.server).plaintext == [1, 2, 3])
        }
    }
}

@Suite struct ServerProtocolTests {
    @Test(
        arguments: [
            (["h2", "http/1.1"], ApplicationProtocol.h2), (["http/1.1", "h2"], .h2), (["http/1.1"], .http11),
            (["h2"], .h2), ([], .none), (["spdy/3", "http/1.1"], .http11),
        ])
    func `ALPN holds for every certificate of a listener`(offered: [String], chosen: ApplicationProtocol) throws {
        let settings = TLSServerSettings(
            identities: [ServerFixture.one, ServerFixture.two], alpn: ["h2", "http/1.1"])
        for host in ["one.example.com", "two.example.com"] {
            let link = try Fixture.link(
                client: ServerFixture.client(alpn: offered), server: TLSServerContext(settings), host: host)
            #expect(link.handshake().bothComplete)
            #expect(link.server.negotiatedProtocol == chosen)
        }
    }

    @Test(arguments: [(["h2"], ["http/1.1"]), (["http/1.1"], ["h2"]), (["h2", "http/1.1"], ["spdy/3", "h2c"])])
    func `a caller that offers only what is not spoken is refused`(spoken: [String], offered: [String]) throws {
        let settings = TLSServerSettings(identities: [ServerFixture.one], alpn: spoken)
        let outcome = try Fixture.link(
            client: ServerFixture.client(alpn: offered), server: TLSServerContext(settings), host: "one.example.com"
        ).handshake()
        #expect(outcome.serverError?.kind == .noApplicationProtocol)
        #expect(
            outcome.serverError?.reason
                == "the caller offers only application protocols that are not spoken here")
        #expect(outcome.clientError?.kind == .noApplicationProtocol)
    }

    @Test func `the least version is kept`() throws {
        let settings = TLSServerSettings(identities: [ServerFixture.one, ServerFixture.two], minimumVersion: .tls13)
        for host in ["one.example.com", "two.example.com"] {
            let old = try Fixture.link(
                client: ServerFixture.client(version: .tls12), server: TLSServerContext(settings), host: host)
            #expect(old.handshake().serverError?.kind == .versionMismatch)
            let new = try Fixture.link(
                client: ServerFixture.client(), server: TLSServerContext(settings), host: host)
            #expect(new.handshake().bothComplete)
        }
    }

    @Test func `plain HTTP on a TLS listener is told as what it is`() throws {
        let link = try Fixture.link(server: TLSServerContext(TLSServerSettings(identities: [ServerFixture.one])))
        let output = TLSOutputBuffer()
        let step = Array("GET / HTTP/1.1\r\nHost: a\r\n\r\n".utf8).withUnsafeBytes {
            link.server.handshake($0, output: output)
        }
        guard case .failed(let error) = step.state else {
            Issue.record("it was taken for TLS")
            return
        }
        #expect(error.kind == .notTLS)
        #expect(error.reason.hasPrefix("the caller does not speak TLS"))
    }

    @Test func `new settings are for new connections; old ones go on`() throws {
        let old = try TLSServerContext(TLSServerSettings(identities: [ServerFixture.one]))
        let link = try Fixture.link(server: old, host: "one.example.com")
        #expect(link.handshake().bothComplete)
        var context: TLSServerContext? = try TLSServerContext(
            TLSServerSettings(identities: [ServerFixture.identity(["one.example.com", "new.example.com"])]))
        let second = try Fixture.link(server: context, host: "new.example.com")
        context = nil
        #expect(second.handshake().bothComplete)
        for each in [link, second] {
            each.send([9], from: each.server)
            #expect(each.receive(each.client).plaintext == [9])
        }
    }
}

@Suite struct ClientCertificateTests {
    private static let authorities = Fixture.authority.certificatePEM

    private func link(
        _ mode: TLSServerSettings.ClientCertificates, _ certificate: TLSIdentity?, _ version: TLSVersion,
        host: String = "two.example.com"
    ) throws -> Link {
        let settings = TLSServerSettings(
            identities: [ServerFixture.one, ServerFixture.two], clientCertificates: mode)
        return try Fixture.link(
            client: ServerFixture.client(version: version, certificate: certificate),
            server: TLSServerContext(settings), host: host)
    }

    @Test(arguments: TLSVersion.allCases, [true, false])
    func `a certificate of the authorities is accepted and known`(version: TLSVersion, isRequired: Bool) throws {
        let mode: TLSServerSettings.ClientCertificates =
            isRequired ? .required(caPEM: Self.authorities) : .optional(caPEM: Self.authorities)
        let link = try link(mode, ServerFixture.issued(), version)
        #expect(link.server.clientCertificateSubject == nil)
        #expect(link.handshake().bothComplete)
        #expect(link.server.clientCertificateSubject == #"CN=billing\, \"EU\""#)
        #expect(link.server.clientCertificateNames.map(\.description) == ["DNS:billing.internal"])
        #expect(link.client.clientCertificateSubject == nil)
    }

    @Test(arguments: TLSVersion.allCases)
    func `without a certificate a listener that requires one refuses`(version: TLSVersion) throws {
        let outcome = try link(.required(caPEM: Self.authorities), nil, version).handshake()
        #expect(outcome.serverError?.kind == .noPeerCertificate)
        #expect(outcome.serverError?.reason == "the caller sent no certificate: this listener requires one")
    }

    @Test(arguments: TLSVersion.allCases)
    func `where it is optional a caller may come without`(version: TLSVersion) throws {
        let link = try link(.optional(caPEM: Self.authorities), nil, version)
        #expect(link.handshake().bothComplete)
        #expect(link.server.clientCertificateSubject == nil)
        #expect(link.server.clientCertificateNames.isEmpty)
    }

    @Test(arguments: TLSVersion.allCases, [true, false])
    func `a certificate of another authority is refused, optional or not`(
        version: TLSVersion, isRequired: Bool
    ) throws {
        let mode: TLSServerSettings.ClientCertificates =
            isRequired ? .required(caPEM: Self.authorities) : .optional(caPEM: Self.authorities)
        let link = try link(mode, ServerFixture.issued(by: Fixture.otherAuthority), version)
        let error = try #require(link.handshake().serverError)
        #expect(error.kind == .unknownAuthority)
        #expect(error.reason.contains("the certificate of the caller was issued by \"CN=Other Authority\""))
        #expect(error.reason.contains("client_ca_file"))
        #expect(link.server.clientCertificateSubject == nil)
    }

    @Test(
        arguments: [
            (Fixture.past, TLSError.Kind.certificateExpired), (Fixture.future, .certificateNotYetValid),
        ])
    func `a certificate out of its time is refused`(validity: Validity, kind: TLSError.Kind) throws {
        for version in TLSVersion.allCases {
            let link = try link(
                .optional(caPEM: Self.authorities), ServerFixture.issued(by: Fixture.authority, validity), version)
            #expect(link.handshake().serverError?.kind == kind)
        }
    }

    @Test(arguments: TLSVersion.allCases)
    func `the first certificate's callers are checked like the others`(version: TLSVersion) throws {
        let refused = try link(.required(caPEM: Self.authorities), nil, version, host: "one.example.com")
        #expect(refused.handshake().serverError?.kind == .noPeerCertificate)
    }

    @Test func `authorities that are none are refused when the settings are checked`() {
        for text in ["", "hello", String(Fixture.authority.certificatePEM.dropLast(40))] {
            let settings = TLSServerSettings(
                identities: [ServerFixture.one], clientCertificates: .required(caPEM: text))
            #expect(throws: TLSConfigurationError.self) { try settings.check() }
        }
        #expect(throws: TLSConfigurationError.self) { try TLSServerSettings(identities: []).check() }
    }
}

@Suite struct TicketTests {
    private static let host = "one.example.com"

    @Test(arguments: TLSVersion.allCases)
    func `a ticket is good for every context of the same keys, also with a renewed certificate`(
        version: TLSVersion
    ) throws {
        let client = try ServerFixture.client(version: version)
        let settings = TLSServerSettings(identities: [ServerFixture.two, ServerFixture.one])
        let session = try #require(try ServerFixture.session(client, settings, host: Self.host))
        #expect(try ServerFixture.resumes(session, client, settings, host: Self.host))
        var renewed = settings
        renewed.identities[1] = ServerFixture.identity(ServerFixture.one.names)
        #expect(try ServerFixture.resumes(session, client, renewed, host: Self.host))
    }

    @Test(arguments: TLSVersion.allCases)
    func `a key is accepted after one change and not after two`(version: TLSVersion) throws {
        let client = try ServerFixture.client(version: version)
        var settings = TLSServerSettings(identities: [ServerFixture.one])
        let session = try #require(try ServerFixture.session(client, settings, host: Self.host))
        settings.ticketKeys = settings.ticketKeys.rotated()
        #expect(try ServerFixture.resumes(session, client, settings, host: Self.host))
        settings.ticketKeys = settings.ticketKeys.rotated()
        #expect(try !ServerFixture.resumes(session, client, settings, host: Self.host))
        settings.ticketKeys = TLSTicketKeys()
        #expect(try !ServerFixture.resumes(session, client, settings, host: Self.host))
    }

    @Test(arguments: TLSVersion.allCases)
    func `a session stays with its name`(version: TLSVersion) throws {
        let client = try ServerFixture.client(version: version)
        let settings = TLSServerSettings(
            identities: [ServerFixture.one, ServerFixture.two, ServerFixture.three])
        let session = try #require(try ServerFixture.session(client, settings, host: Self.host))
        // Another certificate, another name of the same certificate, no name at all.
        for other in ["two.example.com", "alias.example.org"] {
            #expect(try !ServerFixture.resumes(session, client, settings, host: other))
        }
        #expect(try ServerFixture.resumes(session, client, settings, host: Self.host))
    }

    @Test(arguments: TLSVersion.allCases)
    func `a session does not follow its name to another certificate`(version: TLSVersion) throws {
        let client = try ServerFixture.client(version: version)
        let settings = TLSServerSettings(identities: [ServerFixture.one])
        let session = try #require(try ServerFixture.session(client, settings, host: Self.host))
        var moved = settings
        moved.identities = [ServerFixture.identity([Self.host, "other.example.com"])]
        #expect(try !ServerFixture.resumes(session, client, moved, host: Self.host))
    }

    @Test(arguments: TLSVersion.allCases, [true, false])
    func `a session of a listener without client certificates opens none with them`(
        version: TLSVersion, isRequired: Bool
    ) throws {
        let client = try ServerFixture.client(version: version, certificate: ServerFixture.issued())
        let plain = TLSServerSettings(identities: [ServerFixture.one])
        let session = try #require(try ServerFixture.session(client, plain, host: Self.host))
        var strict = plain
        strict.clientCertificates =
            isRequired
            ? .required(caPEM: Fixture.authority.certificatePEM)
            : .optional(caPEM: Fixture.authority.certificatePEM)
        #expect(try !ServerFixture.resumes(session, client, strict, host: Self.host))
    }

    @Test(arguments: TLSVersion.allCases)
    func `with client certificates every handshake is a full one`(version: TLSVersion) throws {
        let client = try ServerFixture.client(version: version, certificate: ServerFixture.issued())
        let settings = TLSServerSettings(
            identities: [ServerFixture.one],
            clientCertificates: .optional(caPEM: Fixture.authority.certificatePEM))
        guard let session = try ServerFixture.session(client, settings, host: Self.host) else { return }
        #expect(try !ServerFixture.resumes(session, client, settings, host: Self.host))
    }

    @Test func `ticket keys do not show themselves`() {
        let keys = TLSTicketKeys().rotated()
        #expect("\(keys)".contains("redacted"))
        #expect(keys.current != keys.previous)
        #expect(TLSTicketKeys() != TLSTicketKeys())
    }
}

@Suite struct IdentityTests {
    @Test func `an identity says what a log and a warning need`() throws {
        let identity = ServerFixture.identity(["B.example.com", "*.A.example.com."], commonName: "Zoë")
        #expect(identity.names == ["b.example.com", "*.a.example.com"])
        #expect(identity.subject == #"CN=Zo\C3\AB"#)
        #expect(identity.validity == Fixture.longValidity)
        #expect(identity.notBefore == "2000-01-01T00:00:00Z")
        #expect(identity.notAfter == "2099-12-31T00:00:00Z" || identity.notAfter == "2100-01-01T00:00:00Z")
        #expect(!"\(identity)".contains("PRIVATE KEY"))
    }

    @Test(
        arguments: [0, 951_782_400, 951_868_799, 978_307_200, 1_709_164_800, 2_147_483_648, 4_107_542_399] as [Int64])
    func `times come back as they were written`(second: Int64) throws {
        let validity = Validity(notBefore: second, notAfter: second + 1)
        let issued = try Fixture.authority.issue(LeafRequest(dnsNames: [], validity: validity))
        #expect(ServerFixture.identity(issued).validity == validity)
    }

    @Test func `what is wrong is told with the file that is to be mended`() throws {
        let other = try Fixture.authority.issue(LeafRequest(dnsNames: [], validity: Fixture.longValidity))
        let good = Fixture.leaf
        func error(_ chain: String, _ key: String) -> TLSConfigurationError? {
            do throws(TLSConfigurationError) {
                _ = try TLSIdentity(
                    chainPEM: chain, keyPEM: SecretBytes(key.utf8), chainName: "/c.pem", keyName: "/k.pem")
                return nil
            } catch { return error }
        }
        #expect(error(good.certificatePEM, good.privateKeyPEM.exposed()) == nil)
        let mismatch = try #require(error(good.certificatePEM, other.privateKeyPEM.exposed()))
        #expect(mismatch.kind == .badKey)
        #expect(mismatch.reason == "the key in /k.pem is not the key of the first certificate in /c.pem")
        #expect(error("", good.privateKeyPEM.exposed())?.kind == .noCertificate)
        #expect(error(good.certificatePEM, "")?.kind == .badKey)
        #expect(error(String(good.certificatePEM.dropLast(40)), good.privateKeyPEM.exposed())?.kind == .badCertificate)
        #expect(
            error(good.certificatePEM, String(good.privateKeyPEM.exposed().dropLast(40)))?.reason
                == "/k.pem has no usable private key: it must hold one unencrypted PEM PRIVATE KEY block")
    }

    @Test func `a certificate and its key may stand in one file`() throws {
        let text = Fixture.leaf.certificatePEM + Fixture.leaf.privateKeyPEM.exposed()
        let identity = try TLSIdentity(chainPEM: text, keyPEM: SecretBytes(text.utf8))
        #expect(identity.names == ["api.example.com", "*.wild.example.com"])
    }
}
