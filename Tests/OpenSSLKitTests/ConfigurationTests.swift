import Foundation
import OpenSSLKit
import Testing

@Suite struct ConfigurationTests {
    static func error(_ configuration: TLSClientConfiguration) -> TLSConfigurationError? {
        do throws(TLSConfigurationError) {
            _ = try TLSClientContext(configuration)
            return nil
        } catch { return error }
    }

    @Test func `a CA file that is not there is named`() throws {
        let error = try #require(Self.error(TLSClientConfiguration(caFile: "/nonexistent/ca.pem")))
        #expect(error.kind == .unreadableFile)
        #expect(error.path == "/nonexistent/ca.pem")
        #expect(error.reason == "/nonexistent/ca.pem cannot be read: No such file or directory")
    }

    @Test func `a folder is not a CA file`() throws {
        let error = try #require(Self.error(TLSClientConfiguration(caFile: "/tmp")))
        #expect(error.kind == .unreadableFile)
        #expect(error.reason.contains("Is a directory"))
    }

    @Test(arguments: [
        "", "hello\n", "-----BEGIN CERTIFICATE", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
    ])
    func `a CA file without a certificate is refused`(text: String) throws {
        let path = try Folder()
        let file = try path.write("ca.pem", text)
        let error = try #require(Self.error(TLSClientConfiguration(caFile: file)))
        #expect(error.kind == .noCertificate)
        #expect(error.path == file)
    }

    @Test func `a damaged certificate is refused with its number`() throws {
        let good = Fixture.authority.certificatePEM
        let lines = good.split(separator: "\n")
        let damaged = ([lines[0]] + lines[2...]).joined(separator: "\n") + "\n"
        let error = try #require(Self.error(TLSClientConfiguration(caPEM: good + damaged)))
        #expect(error.kind == .badCertificate)
        #expect(error.reason.contains("certificate 2 in the given CA text"))
        let cut = good + String(good.dropLast(40))
        #expect(Self.error(TLSClientConfiguration(caPEM: cut))?.kind == .badCertificate)
    }

    @Test func `several authorities in one file are all trusted`() throws {
        let both = Fixture.otherAuthority.certificatePEM + "comment\n" + Fixture.authority.certificatePEM
        let client = try TLSClientContext(TLSClientConfiguration(caPEM: both + both))
        #expect(try Fixture.link(client: client).handshake().bothComplete)
    }

    @Test func `a file and text are trusted together`() throws {
        let folder = try Folder()
        let configuration = TLSClientConfiguration(
            caFile: try folder.write("ca.pem", Fixture.otherAuthority.certificatePEM),
            caPEM: Fixture.authority.certificatePEM)
        #expect(try Fixture.link(client: TLSClientContext(configuration)).handshake().bothComplete)
    }

    @Test func `the system's roots do not include a private one`() throws {
        let client = try TLSClientContext(TLSClientConfiguration())
        let outcome = try Fixture.link(client: client).handshake()
        #expect(outcome.clientError?.kind == .unknownAuthority)
    }

    @Test(arguments: ["", String(repeating: "x", count: 256)])
    func `an impossible protocol name is refused`(name: String) {
        #expect(
            Self.error(TLSClientConfiguration(caPEM: Fixture.authority.certificatePEM, alpn: [name]))?.kind
                == .badProtocolName)
    }

    @Test func `versions in the wrong order are refused`() {
        let configuration = TLSClientConfiguration(
            caPEM: Fixture.authority.certificatePEM, minimumVersion: .tls13, maximumVersion: .tls12)
        #expect(Self.error(configuration)?.kind == .badVersions)
    }

    @Test func `a client certificate and its key must come together and belong together`() throws {
        let folder = try Folder()
        let certificate = try folder.write("c.pem", Fixture.leaf.certificatePEM)
        let key = try folder.write("k.pem", Fixture.leaf.privateKeyPEM.exposed())
        let other = try Fixture.authority.issue(LeafRequest(dnsNames: [], validity: Fixture.longValidity))
        let otherKey = try folder.write("o.pem", other.privateKeyPEM.exposed())
        func error(_ certificate: String?, _ key: String?) -> TLSConfigurationError? {
            Self.error(
                TLSClientConfiguration(
                    caPEM: Fixture.authority.certificatePEM, clientCertificateFile: certificate, clientKeyFile: key))
        }
        #expect(error(certificate, key) == nil)
        #expect(error(certificate, nil)?.kind == .badKey)
        #expect(error(nil, key)?.kind == .noCertificate)
        #expect(error(certificate, otherKey)?.kind == .badKey)
        #expect(error(certificate, otherKey)?.path == otherKey)
        #expect(error(certificate, certificate)?.kind == .badKey)
        #expect(error(key, key)?.kind == .noCertificate)
        #expect(error(certificate, "/nonexistent")?.kind == .unreadableFile)
    }

    @Test func `an encrypted key is refused and nobody is asked for a password`() throws {
        let folder = try Folder()
        let certificate = try folder.write("c.pem", Fixture.leaf.certificatePEM)
        let encrypted = try folder.write("k.pem", encryptedKey)
        let error = try #require(
            Self.error(
                TLSClientConfiguration(
                    caPEM: Fixture.authority.certificatePEM, clientCertificateFile: certificate,
                    clientKeyFile: encrypted)))
        #expect(error.kind == .badKey)
        #expect(error.reason.contains("unencrypted"))
    }

    @Test func `a server context without a usable pair is refused`() throws {
        let other = try Fixture.authority.issue(LeafRequest(dnsNames: [], validity: Fixture.longValidity))
        #expect(throws: TLSConfigurationError.self) {
            try TLSServerContext(
                certificateChainPEM: Fixture.leaf.certificatePEM, privateKeyPEM: other.privateKeyPEM.exposed())
        }
        #expect(throws: TLSConfigurationError.self) {
            try TLSServerContext(certificateChainPEM: "", privateKeyPEM: Fixture.leaf.privateKeyPEM.exposed())
        }
        #expect(throws: TLSConfigurationError.self) { try Fixture.server(clientCAFile: "/nonexistent/ca.pem") }
    }

    @Test func `a name that would be read as syntax cannot get into a certificate`() {
        #expect(throws: CertificateBuildingError.self) {
            try Fixture.authority.issue(
                LeafRequest(dnsNames: ["a.example,DNS:evil.example"], validity: Fixture.longValidity))
        }
        #expect(throws: CertificateBuildingError.self) {
            try Fixture.authority.issue(
                LeafRequest(dnsNames: [], ipAddresses: ["not an address"], validity: Fixture.longValidity))
        }
    }
}

/// A throw-away P-256 key under the password "test".
private let encryptedKey = """
    -----BEGIN ENCRYPTED PRIVATE KEY-----
    MIHsMFcGCSqGSIb3DQEFDTBKMCkGCSqGSIb3DQEFDDAcBAhsD0qVdeLZtQICCAAw
    DAYIKoZIhvcNAgkFADAdBglghkgBZQMEASoEEDg6ew5svvFSVrV1ZUafHzIEgZCh
    OYIjO2dCVl+5yI8GKFyRffMUQcIN9wGUHuJO6iwC/3FPgLSfHStgW3bAWFomCIR/
    jaQ/cr/u1QHOuQVvy4sy+BWBPSXwVNhtbnsoLi/gPQQSkx1G/Sjs4QkNZsX5W3e5
    QCHcv6sK6Xjwlq0NwUCuyDVGVhp3aSSDuq7BLPTPS6cbTLED2y+F5nPMu6gTtFA=
    -----END ENCRYPTED PRIVATE KEY-----

    """
