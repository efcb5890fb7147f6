import Testing

@testable import OAuth

struct EncodingTests {
    @Test(
        arguments: [
            ("https://as.example", "as.example", 443, "/"),
            ("HTTPS://As.Example:8443/a/b?c=d", "as.example", 8443, "/a/b?c=d"),
            ("http://127.0.0.1:80/x", "127.0.0.1", 80, "/x"), ("https://[::1]:9/", "::1", 9, "/"),
            ("https://h?q", "h", 443, "/?q"),
        ] as [(String, String, UInt16, String)])
    func `a URL is taken apart`(text: String, host: String, port: UInt16, target: String) throws {
        let url = try #require(ProviderURL(text))
        #expect(url.host == host)
        #expect(url.port == port)
        #expect(url.target == target)
        #expect(url.description == text)
    }

    @Test(arguments: [
        "", "as.example", "ftp://h/", "https://", "https:///x", "https://user@h/", "https://h:0/", "https://h:70000/",
        "https://h:/",
        "https://h:1x/", "https://h/#f", "https://h/ x", "https://h/\r\n", "https://hä/", "https://h\\x/",
        "https://[::1/", "https://[::1]x/",
        "https://[zz]/", "//h/", "https:/h", "javascript:alert(1)",
    ])
    func `what is no endpoint is refused`(text: String) {
        #expect(ProviderURL(text) == nil)
    }

    @Test func `plaintext is for loopback and only when allowed`() throws {
        for (text, isLoopback) in [
            ("http://127.0.0.1/", true), ("http://localhost:8/", true), ("http://[::1]/", true),
            ("http://127.1.2.3/", true),
            ("http://10.0.0.1/", false), ("http://127.0.0.1.example/", false), ("http://localhost.example/", false),
        ] {
            let url = try #require(ProviderURL(text))
            #expect(url.isAllowed(plaintextOnLoopback: true) == isLoopback)
            #expect(!url.isAllowed(plaintextOnLoopback: false))
        }
        #expect(try #require(ProviderURL("https://10.0.0.1/")).isAllowed(plaintextOnLoopback: false))
    }

    @Test func `form encoding goes both ways`() {
        let text = "a b+c%&=é\u{0}~*-._/:"
        #expect(FormEncoding.encode(text) == "a+b%2Bc%25%26%3D%C3%A9%00%7E*-._%2F%3A")
        #expect(FormEncoding.decode("k=" + FormEncoding.encode(text)) == [.init("k", text)])
        #expect(FormEncoding.decode("a=1&&b&c=d=e") == [.init("a", "1"), .init("b", ""), .init("c", "d=e")])
    }

    @Test(arguments: ["a=%", "a=%4", "a=%zz", "a=%ff", "%=1", "a=%c3%28"])
    func `a broken escape is refused`(text: String) {
        #expect(FormEncoding.decode(text) == nil)
    }

    @Test(arguments: [
        "nul", "{", "{\"a\"}", "{\"a\":}", "{\"a\":1,}", "[1,]", "01", "-", "1.", ".5", "1e", "\"\u{1}\"", "\"\\x\"",
        "\"\\u12\"",
        "\"\\ud800\"", "\"\\udc00\"", "\"a", "1 2", "", "{a:1}", "'a'", "+1", "NaN",
        String(repeating: "[", count: 100_000),
    ])
    func `what is not JSON is refused`(text: String) {
        #expect(JSONValue(Array(text.utf8)) == nil)
    }

    @Test func `JSON is read and written`() throws {
        let text = #"{"a":[1,-2.50,1E+2,true,false,null,"x\"\\\/\b\f\n\r\té\u20ac\ud83d\ude00"],"b":{}}"#
        let value = try #require(JSONValue(Array(" \n\(text)\t ".utf8)))
        #expect(value["a"]?.list?.last?.text == "x\"\\/\u{8}\u{c}\n\r\té€😀")
        #expect(value["a"]?.list?[1] == .number("-2.50"))
        #expect(JSONValue(value.encoded()) == value)
        #expect(JSONValue(Array("{\"a\":1,\"a\":2}".utf8))?["a"]?.integer == 2)
        #expect(JSONValue([0xEF, 0xBB, 0xBF] + Array("1".utf8)) == .number("1"))
        #expect(JSONValue([0x22, 0xFF, 0x22]) == nil)
    }

    @Test func `nesting has a limit`() {
        let fits = String(repeating: "[", count: 31) + String(repeating: "]", count: 31)
        #expect(JSONValue(Array(fits.utf8)) != nil)
        let deep = String(repeating: "[", count: 33) + String(repeating: "]", count: 33)
        #expect(JSONValue(Array(deep.utf8)) == nil)
    }

    @Test func `what holds secrets prints none`() throws {
        let secret = Secret("hunter2")
        var settings = ProviderSettings(name: "p", clientID: "c")
        settings.clientSecrets = [secret]
        settings.tokenHeaders = [HeaderField("X-Key", "hunter2")]
        var record = GrantDriver.record()
        record.tokens?.accessToken = secret
        let request = ProviderRequest(
            purpose: .refresh, method: .post, url: try #require(ProviderURL("https://h/t?k=hunter2")),
            headers: [HeaderField("Authorization", "hunter2")], body: Array("hunter2".utf8))
        let credential = Credential(
            headerName: [], headerValue: Array("hunter2".utf8), generation: 1, expiresAt: nil)
        let tokens = TokenSet(accessToken: secret, refreshToken: secret)
        let call = TokenCall(id: .init(owner: .grant("g"), number: 1), kind: .refresh(refreshToken: secret, scopes: []))
        let reply = ProviderReply(status: 200, body: Array("hunter2".utf8))
        let pending = PendingConsent(
            grant: "g", provider: "p", issuer: nil, requiresIssuer: false, tokenEndpoint: request.url,
            redirectURI: "https://g/cb", codeParameter: "code", verifier: secret, bindingHash: "h", expiresAt: 0)
        let values: [Any] = [
            secret, settings, record, request, credential, tokens, call, reply, pending,
            GrantAction.publish(credential),
            GrantAction.commit(GrantCommit(record: record, expectedRevision: 0)), GrantAction.requestTokens(call),
        ]
        for value in values {
            var dumped = ""
            dump(value, to: &dumped)
            for text in ["\(value)", String(reflecting: value), dumped] {
                #expect(!text.contains("hunter2"))
                #expect(!text.contains("\(Array("hunter2".utf8))"))
            }
        }
    }

    @Test func `a record survives its coding, and what is not a record is refused`() throws {
        var record = GrantDriver.record()
        record.account = "ä\n\"x"
        record.provider = "zoho"
        record.intent = .init(instance: "i", startedAt: 1, expiresAt: 2)
        record.revocation = .init(
            tokens: [.init(token: Secret("r"), hint: .refreshToken)], attempts: 3, nextAttemptAt: 9)
        record.revocationOutcome = "revoked"
        record.lastFailure = .init(errorClass: .permanent, code: "c", detail: "d", at: 5)
        record.consecutiveFailures = 4
        record.nextAttemptAt = -1
        record.lastRefreshAt = .max
        record.latchedFingerprint = "f"
        record.rejectedGeneration = 7
        let payload = record.encoded()
        #expect(GrantRecord(payload: payload, revision: 1) == record)
        #expect(GrantRecord(payload: GrantRecord().encoded(), revision: 0) == GrantRecord())
        for index in payload.indices {
            #expect(GrantRecord(payload: Array(payload[..<index]), revision: 1) == nil)
        }
        let other = String(decoding: payload, as: UTF8.self).replacing("\"format\":\"1\"", with: "\"format\":\"2\"")
        #expect(GrantRecord(payload: Array(other.utf8), revision: 1) == nil)
    }
}
