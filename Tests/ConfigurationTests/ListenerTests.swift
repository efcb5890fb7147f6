import Testing

@testable import Configuration

/// What is put behind a listener's address, and exactly what is said about it.
struct ListenerTests {
    private static let world = environment(files: Certificates.files, modes: ["/t/open.key": 0o644])
    private static let address = "address = \"127.0.0.1:8080\""
    private static let pair = "certificate_file = \"/t/a.pem\"\nkey_file = \"/t/a.key\"\n"

    private static func listener(_ directives: String) -> String {
        minimal.replacing(address, with: address + "\n" + directives)
    }

    private static func upstream(_ directives: String) -> String {
        minimal.replacing("ca_file = \"/k/ca.pem\"", with: directives)
    }

    @Test(
        arguments: [
            (#"certificate_file = "/t/a.pem""#, [#"4:20: error: "certificate_file" needs "key_file""#]),
            (#"key_file = "/t/a.key""#, [#"4:12: error: "key_file" needs "certificate_file""#]),
            (
                "certificate_file = [\"/t/a.pem\", \"/t/b.pem\"]\nkey_file = \"/t/a.key\"",
                [
                    #"5:12: error: "key_file" must list as many files as "certificate_file" (2), not 1: each certificate with its key, in the same order"#
                ]
            ),
            (
                "certificate_file = \"/t/none.pem\"\nkey_file = \"/t/a.key\"",
                [#"4:20: error: the file "/t/none.pem" cannot be read: there is no such file"#]
            ),
            (
                "certificate_file = \"/t/a.pem\"\nkey_file = \"/t/none.key\"",
                [#"5:12: error: the file "/t/none.key" cannot be read: there is no such file"#]
            ),
            (
                "certificate_file = \"/t/a.pem\"\nkey_file = \"/t/b.key\"",
                [#"5:12: error: the key in "/t/b.key" is not the key of the first certificate in "/t/a.pem""#]
            ),
            (
                "certificate_file = [\"/t/a.pem\", \"/t/b.pem\"]\nkey_file = [\"/t/a.key\", \"/t/a.key\"]",
                [#"5:25: error: the key in "/t/a.key" is not the key of the first certificate in "/t/b.pem""#]
            ),
            (
                "certificate_file = \"/t/a.pem\"\nkey_file = \"/t/open.key\"",
                [
                    #"5:12: error: the file "/t/open.key" is open to every user (mode 0644); run: chmod o-rwx /t/open.key"#
                ]
            ),
            (
                "certificate_file = \"/k/secret\"\nkey_file = \"/t/a.key\"",
                [
                    #"4:20: error: "/k/secret" has no certificate: it must hold at least one BEGIN CERTIFICATE block"#
                ]
            ),
            (
                "certificate_file = \"/t/a.pem\"\nkey_file = \"/t/a.pem\"",
                [
                    #"5:12: error: "/t/a.pem" has no usable private key: it must hold one unencrypted PEM PRIVATE KEY block"#
                ]
            ),
            (
                "certificate_file = \"/t/old.pem\"\nkey_file = \"/t/old.key\"",
                [
                    #"4:20: warning: the certificate "/t/old.pem" expired at 2001-01-01T00:00:00Z: callers will refuse it"#
                ]
            ),
            (
                "certificate_file = \"/t/early.pem\"\nkey_file = \"/t/early.key\"",
                [
                    #"4:20: warning: the certificate "/t/early.pem" is valid only from 2099-01-01T00:00:00Z: callers will refuse it until then"#
                ]
            ),
            (
                "certificate_file = [\"/t/a.pem\", \"/t/a.pem\"]\nkey_file = [\"/t/a.key\", \"/t/a.key\"]",
                [
                    #"4:33: warning: the certificate "/t/a.pem" is never chosen: earlier ones have all its names"#
                ]
            ),
            (
                "certificate_file = [\"/t/a.pem\", \"/t/nameless.pem\"]\nkey_file = [\"/t/a.key\", \"/t/nameless.key\"]",
                [#"4:33: warning: the certificate "/t/nameless.pem" is never chosen: it has no DNS names"#]
            ),
            (
                "certificate_file = []\nkey_file = \"a.key\"",
                [
                    #"4:20: error: "certificate_file" must not be an empty list"#,
                    #"5:12: error: "key_file" must be an absolute path such as "/etc/token-gateway/…"; what stands there is not shown, as it may be the secret itself"#,
                ]
            ),
            (
                #"tls_min_version = "1.3""#,
                [#"4:19: error: "tls_min_version" has no meaning without "certificate_file""#]
            ),
            (
                "client_ca_file = \"/t/ca.pem\"\nclient_certificate = \"optional\"",
                [
                    #"4:18: error: "client_ca_file" has no meaning without "certificate_file""#,
                    #"5:22: error: "client_certificate" has no meaning without "certificate_file""#,
                ]
            ),
            (
                pair + #"client_certificate = "optional""#,
                [#"6:22: error: "client_certificate" needs "client_ca_file""#]
            ),
            (
                pair + #"client_ca_file = "/t/none""#,
                [#"6:18: error: the file "/t/none" cannot be read: there is no such file"#]
            ),
            (
                pair + #"client_ca_file = "/t/a.key""#,
                [#"6:18: error: "/t/a.key" has no certificate: it must hold at least one BEGIN CERTIFICATE block"#]
            ),
            (
                pair + #"client_ca_file = "/k/ca.pem""#,
                [#"6:18: error: certificate 1 in "/k/ca.pem" is damaged: it must be PEM text"#]
            ),
            (
                pair + #"tls_min_version = "1.1""#,
                [#"6:19: error: "tls_min_version" must be "1.2" or "1.3", not "1.1"; did you mean "1.2"?"#]
            ),
            ("protocols = []", [#"4:13: error: "protocols" must not be an empty list"#]),
            (
                #"protocols = ["http2", "http2", "smtp"]"#,
                [
                    #"4:23: error: "protocols" has "http2" twice"#,
                    #"4:32: error: "protocols" has an element that must be "http2" or "http1", not "smtp""#,
                ]
            ),
        ] as [(String, [String])])
    func `a mistake with a listener's TLS is told where it is to be mended`(directives: String, expected: [String]) {
        #expect(mistakes(Self.listener(directives), Self.world) == expected)
    }

    @Test(
        arguments: [
            (
                #"client_certificate_file = "/t/a.pem""#,
                [#"8:27: error: "client_certificate_file" needs "client_key_file""#]
            ),
            (
                #"client_key_file = "/t/a.key""#,
                [#"8:19: error: "client_key_file" needs "client_certificate_file""#]
            ),
            (
                "client_certificate_file = \"/t/a.pem\"\nclient_key_file = \"/t/b.key\"",
                [#"9:19: error: the key in "/t/b.key" is not the key of the first certificate in "/t/a.pem""#]
            ),
            (
                "client_certificate_file = \"/t/old.pem\"\nclient_key_file = \"/t/old.key\"",
                [
                    #"8:27: warning: the certificate "/t/old.pem" expired at 2001-01-01T00:00:00Z: the upstream will refuse it"#
                ]
            ),
            (
                #"protocol = "h2""#,
                [#"8:12: error: "protocol" must be "auto", "http1" or "http2", not "h2"; did you mean "http2"?"#]
            ),
            (
                #"protocol = "http/1.1""#,
                [
                    #"8:12: error: "protocol" must be "auto", "http1" or "http2", not "http/1.1"; did you mean "http1"?"#
                ]
            ),
            (
                "max_streams = 0\nhttp2_ping_interval = \"10ms\"",
                [
                    #"8:15: error: "max_streams" must be a whole number from 1 to 10000, not the number 0"#,
                    #"9:23: error: "http2_ping_interval" must be a duration in quotes such as "30s" or "1m30s" (1s to 1d, or "0s": off), not "10ms""#,
                ]
            ),
        ] as [(String, [String])])
    func `a mistake with an upstream's TLS and protocol is told`(directives: String, expected: [String]) {
        #expect(mistakes(Self.upstream(directives), Self.world) == expected)
    }

    @Test func `a client certificate for a plain upstream has no meaning`() {
        let text = Self.upstream(
            "client_certificate_file = \"/t/a.pem\"\nclient_key_file = \"/t/a.key\"\nallow_plaintext = true"
        ).replacing("https://localhost", with: "http://localhost")
        #expect(
            mistakes(text, Self.world)
                == [#"8:27: warning: "client_certificate_file" has no meaning with an http:// url"#])
    }

    @Test func `a listener without TLS speaks both protocols`() throws {
        let listener = try #require(parsed(minimal)?.listeners.first)
        #expect(listener.tls == nil && listener.allowsHTTP1 && listener.allowsHTTP2)
    }

    @Test(
        arguments: [
            (#"["http2", "http1"]"#, true, true), (#"["http1"]"#, true, false), (#"["http2"]"#, false, true),
        ])
    func `the protocols are those of the list`(list: String, http1: Bool, http2: Bool) throws {
        let listener = try #require(parsed(Self.listener("protocols = \(list)"))?.listeners.first)
        #expect(listener.allowsHTTP1 == http1 && listener.allowsHTTP2 == http2)
    }

    @Test func `a listener with all that TLS can have`() throws {
        let text = Self.listener(
            """
            certificate_file = ["/t/a.pem", "/t/b.pem"]
            key_file = ["/t/a.key", "/t/b.key"]
            tls_min_version = "1.3"
            client_ca_file = "/t/ca.pem"
            client_certificate = "optional"
            protocols = ["http2"]
            """)
        #expect(mistakes(text, Self.world) == [])
        let snapshot = try #require(parsed(text, Self.world))
        let tls = try #require(snapshot.listeners.first?.tls)
        #expect(tls.certificates.map(\.certificateFile) == ["/t/a.pem", "/t/b.pem"])
        #expect(tls.certificates.map(\.keyFile) == ["/t/a.key", "/t/b.key"])
        #expect(tls.clientCertificate == .optional && tls.minimumVersion == .tls13)
        #expect(tls.files == ["/t/a.pem", "/t/a.key", "/t/b.pem", "/t/b.key", "/t/ca.pem"])
        let line =
            "listener internal: 127.0.0.1:8080, TLS 1.3 with 2 certificates, client certificates optional, HTTP/2 only"
        #expect(snapshot.summary.contains(line + "\n"))
    }

    @Test func `the defaults of TLS are 1_2 and required certificates`() throws {
        let tls = try #require(
            parsed(Self.listener(Self.pair + "client_ca_file = \"/t/ca.pem\""), Self.world)?.listeners.first?.tls)
        #expect(tls.minimumVersion == .tls12 && tls.clientCertificate == .required)
    }

    @Test(arguments: [("auto", Snapshot.Upstream.ProtocolChoice.automatic), ("http1", .http1), ("http2", .http2)])
    func `an upstream's protocol is the word`(word: String, choice: Snapshot.Upstream.ProtocolChoice) throws {
        let upstream = try #require(parsed(Self.upstream("protocol = \"\(word)\""))?.upstreams.first)
        #expect(upstream.protocolChoice == choice)
    }

    @Test func `the defaults of HTTP 2 are those of the table`() throws {
        let snapshot = try #require(parsed(minimal))
        let upstream = try #require(snapshot.upstreams.first)
        #expect(upstream.protocolChoice == .automatic && upstream.maxStreams == 100)
        #expect(upstream.http2PingInterval == .seconds(30) && upstream.http2PingTimeout == .seconds(10))
        #expect(snapshot.limits.http2MaxStreams == 100)
        let off = try #require(parsed(Self.upstream("http2_ping_interval = \"0s\""))?.upstreams.first)
        #expect(off.http2PingInterval == nil)
    }

    @Test func `an expired certificate is judged by the clock that is given`() {
        var world = Self.world
        world.now = { 970_000_000 }
        let text = Self.listener("certificate_file = \"/t/old.pem\"\nkey_file = \"/t/old.key\"")
        #expect(mistakes(text, world) == [])
    }

    @Test func `no message shows a key`() {
        for directives in [Self.pair.replacing("a.key", with: "b.key"), Self.pair.replacing("a.pem", with: "a.key")] {
            #expect(!mistakes(Self.listener(directives), Self.world).joined().contains("PRIVATE KEY-----"))
        }
    }
}
