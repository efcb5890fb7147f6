import Testing

@testable import OAuth

struct DeviceAuthorizationTests {
    static let now = Moment(monotonic: 0, wall: 1_700_000_000_000)

    private func read(_ body: String, status: Int = 200) -> Result<DeviceAuthorization, ProviderProblem> {
        DeviceAuthorization.read(
            .success(ProviderReply(status: status, body: Array(body.utf8))),
            settings: ProviderSettings(name: "p", clientID: "c"), now: Self.now)
    }

    private func reply(
        code: String = "d", user: String = "WDJB-MJHT", uri: String = "https://as.example/device", more: String = ""
    ) -> String {
        #"{"device_code":"\#(code)","user_code":"\#(user)","verification_uri":"\#(uri)"\#(more)}"#
    }

    @Test func `a plain reply is read`() throws {
        let read = try read(
            reply(more: #","verification_uri_complete":"https://as.example/device?c=1","expires_in":1800,"interval":7"#)
        ).get()
        #expect(read.deviceCode == Secret("d") && read.userCode == "WDJB-MJHT")
        #expect(read.verificationURI == "https://as.example/device")
        #expect(read.completeURI == "https://as.example/device?c=1")
        #expect(read.lifetime == 1_800_000 && read.interval == 7000)
    }

    @Test func `what may be left out has its default, and Google's name for the link is known`() throws {
        let read = try read(
            #"{"device_code":"d","user_code":"u","verification_url":"https://www.google.com/device"}"#
        ).get()
        #expect(read.verificationURI == "https://www.google.com/device" && read.completeURI == nil)
        #expect(read.lifetime == 600_000 && read.interval == 5000)
    }

    @Test(
        arguments: [
            ("0", 5000), ("-1", 5000), (#""x""#, 5000), ("null", 5000), ("0.5", 1000), ("1", 1000), (#""10""#, 10_000),
            ("86400", 300_000), ("1e300", 300_000),
        ] as [(String, Int64)])
    func `the interval is bounded`(text: String, interval: Int64) throws {
        #expect(try read(reply(more: #","interval":\#(text)"#)).get().interval == interval)
    }

    @Test(
        arguments: [
            ("0", 600_000), ("-5", 600_000), ("null", 600_000), ("60", 60_000), ("3600", 3_600_000),
            ("31536000", 3_600_000), ("1e300", 3_600_000),
        ] as [(String, Int64)])
    func `the lifetime is bounded`(text: String, lifetime: Int64) throws {
        #expect(try read(reply(more: #","expires_in":\#(text)"#)).get().lifetime == lifetime)
    }

    @Test(arguments: [
        (#"  AB-CD\n"#, "AB-CD"), (#"A\u001b[31mB"#, "A?[31mB"), (#"A\u202eB"#, "A?B"), (#"A\nB"#, "A?B"),
        (String(repeating: "A", count: 65), String(repeating: "A", count: 64) + "…"),
    ])
    func `a code that is shown holds nothing that a terminal would act on`(user: String, shown: String) throws {
        #expect(try read(reply(user: user)).get().userCode == shown)
    }

    @Test(arguments: [
        "https://as.example/device", "https://as.example:8443/d?x=1", "https://start.example/start/#/device",
        "http://127.0.0.1:9000/device", "http://localhost/device", "http://[::1]:1/d",
    ])
    func `an https link, or one to this machine, is shown`(uri: String) throws {
        #expect(try read(reply(uri: uri)).get().verificationURI == uri)
    }

    @Test(arguments: [
        "http://as.example/device", "javascript:alert(1)", "ftp://as.example/", "as.example/device", "", "#",
        #"https://as.example/\u001b]8;;"#, "https://as.example/a b", "https://user@as.example/", "https://äs.example/",
        #"https://as.example/\nx"#, "https://as.example/#\\u0007", "data:text/html,x", "https://",
        "https://as.example/" + String(repeating: "a", count: 2048),
    ])
    func `any other link is refused, and left out where it is the second one`(uri: String) throws {
        guard case .failure(let problem) = read(reply(uri: uri)) else {
            Issue.record("accepted")
            return
        }
        #expect(problem.code == "invalid_reply" && problem.errorClass == .transient)
        #expect(try read(reply(more: #","verification_uri_complete":"\#(uri)""#)).get().completeURI == nil)
    }

    @Test(arguments: [
        #"{"user_code":"u","verification_uri":"https://a.example"}"#,
        #"{"device_code":"","user_code":"u","verification_uri":"https://a.example"}"#,
        #"{"device_code":"a\nb","user_code":"u","verification_uri":"https://a.example"}"#,
        #"{"device_code":"d","verification_uri":"https://a.example"}"#,
        #"{"device_code":"d","user_code":" ","verification_uri":"https://a.example"}"#,
        #"{"device_code":"d","user_code":"u"}"#, #"{"device_code":["d"],"user_code":"u"}"#, "[]", "", "<html>", "{",
    ])
    func `a reply without what it needs is refused`(body: String) {
        guard case .failure(let problem) = read(body) else {
            Issue.record("accepted")
            return
        }
        #expect(problem.errorClass == .transient)
    }

    @Test func `an error of the provider keeps its code, whatever the status`() {
        for status in [200, 400, 401] {
            guard case .failure(let problem) = read(#"{"error":"unauthorized_client"}"#, status: status) else {
                Issue.record("accepted")
                return
            }
            #expect(problem.code == "unauthorized_client" && problem.errorClass == .configuration)
        }
    }

    @Test func `the device code is in no description`() throws {
        let read = try read(reply(code: "very-secret-code")).get()
        #expect(!"\(read)".contains("very-secret"))
        #expect(!String(reflecting: read).contains("very-secret"))
        var text = ""
        dump(read, to: &text)
        #expect(!text.contains("very-secret"))
    }
}
