import Testing

@testable import OAuth

struct TokenTextTests {
    @Test(arguments: [
        ("abc.def", "abc.def"), ("abc\n", "abc"), ("  abc\r\n", "abc"), ("\u{FEFF}abc\n", "abc"),
        ("1//0g-_~+/=", "1//0g-_~+/="),
    ])
    func `a token is read with what is around it left out`(text: String, token: String) throws {
        #expect(try TokenText.token(Array(text.utf8)).get() == Secret(token))
        #expect(try TokenText.refreshToken(Array(text.utf8)).get() == Secret(token))
    }

    @Test(arguments: [
        ("", TokenText.Problem.empty), (" \n\t\r\n", .empty), ("a\nb", .notOneToken), ("a\u{0}b", .notOneToken),
        ("a\u{1B}[31m", .notOneToken), ("ä", .notOneToken), (String(repeating: "a", count: 32_769), .tooLong),
        (String(repeating: " ", count: 70_000), .tooLong),
    ])
    func `what is not one token is refused`(text: String, problem: TokenText.Problem) {
        #expect(TokenText.token(Array(text.utf8)) == .failure(problem))
        #expect(TokenText.refreshToken(Array(text.utf8)) == .failure(problem))
    }

    @Test func `octets that are not text are refused`() {
        #expect(TokenText.token([0xFF, 0xFE, 0x61]) == .failure(.notUTF8))
        #expect(TokenText.refreshToken([0xC3]) == .failure(.notUTF8))
    }

    @Test func `a refresh token may have spaces, an access token may not`() {
        #expect(TokenText.refreshToken(Array("a b".utf8)) == .success(Secret("a b")))
        #expect(TokenText.token(Array("a b".utf8)) == .failure(.notOneToken))
    }

    @Test func `a saved token reply is read for its refresh token`() {
        let reply = #" {"access_token":"a","refresh_token":"r/1","expires_in":3600} "#
        #expect(TokenText.refreshToken(Array(reply.utf8)) == .success(Secret("r/1")))
    }

    @Test(
        arguments: [
            (#"{"access_token":"a"}"#, .noMember("refresh_token")),
            (#"{"refresh_token":1}"#, .noMember("refresh_token")),
            (#"{"refresh_token":"r""#, .noMember("refresh_token")), (#"{"refresh_token":""}"#, .empty),
            (#"{"refresh_token":"a\nb"}"#, .notOneToken),
        ] as [(String, TokenText.Problem)])
    func `JSON without a usable refresh token is refused`(text: String, problem: TokenText.Problem) {
        #expect(TokenText.refreshToken(Array(text.utf8)) == .failure(problem))
    }

    @Test func `no explanation repeats what was read`() {
        let secret = "very secret\nthing"
        guard case .failure(let problem) = TokenText.token(Array(secret.utf8)) else {
            Issue.record("accepted")
            return
        }
        #expect(!problem.explanation.contains("secret"))
    }
}

struct ServiceAccountKeyTests {
    /// The shape that Google documents; not a key.
    private func file(
        _ changes: [String: JSONValue?] = [:]
    ) -> [UInt8] {
        var members: [String: JSONValue] = [
            "type": .string("service_account"), "project_id": .string("project"),
            "private_key_id": .string("0123456789abcdef"),
            "private_key": .string("-----BEGIN PRIVATE KEY-----\nc2VjcmV0LWtleQ==\n-----END PRIVATE KEY-----\n"),
            "client_email": .string("robot@project.iam.gserviceaccount.com"), "client_id": .string("123"),
            "token_uri": .string("https://oauth2.googleapis.com/token"),
        ]
        for (name, value) in changes { members[name] = value }
        return JSONValue.object(members).encoded()
    }

    @Test func `the file is read`() throws {
        let key = try ServiceAccountKey.read(file()).get()
        #expect(key.clientEmail == "robot@project.iam.gserviceaccount.com")
        #expect(key.privateKeyID == "0123456789abcdef")
        #expect(key.tokenEndpoint.description == "https://oauth2.googleapis.com/token")
        #expect(key.privateKeyPEM.reveal().hasPrefix("-----BEGIN PRIVATE KEY-----\n"))
    }

    @Test(arguments: ["type", "client_email", "private_key", "private_key_id", "token_uri"])
    func `a member that is missing, empty or no text is named`(member: String) {
        for value in [nil, .some(.string("")), .some(.number("1")), .some(.null)] as [JSONValue?] {
            let problem: ServiceAccountKey.Problem? =
                if case .failure(let problem) = ServiceAccountKey.read(file([member: value])) { problem } else { nil }
            let isEmptyType = member == "type" && value == .string("")
            #expect(problem == (isEmptyType ? .otherType("") : .missing(member)))
        }
    }

    @Test(arguments: [
        ("authorized_user", "person's credentials"), ("external_account", "token exchange"),
        ("x\u{1B}[2J", "\"x?[2J\" instead"),
    ])
    func `another kind of file is told apart`(type: String, words: String) {
        guard case .failure(let problem) = ServiceAccountKey.read(file(["type": .string(type)])) else {
            Issue.record("accepted")
            return
        }
        #expect(problem.explanation.contains(words))
    }

    @Test(arguments: [
        "http://oauth2.googleapis.com/token", "file:///etc/passwd", "x", "https://user@oauth2.googleapis.com/token",
        "http://127.0.0.1/token",
    ])
    func `a token_uri that is not https is refused`(uri: String) {
        #expect(ServiceAccountKey.read(file(["token_uri": .string(uri)])) == .failure(.badTokenURI))
    }

    @Test func `plaintext on loopback is taken only where it is allowed`() {
        let content = file(["token_uri": .string("http://127.0.0.1:8000/token")])
        #expect((try? ServiceAccountKey.read(content, plaintextOnLoopback: true).get()) != nil)
    }

    @Test(
        arguments: [
            ([], .notJSON), (Array("[]".utf8), .notJSON), (Array("-----BEGIN PRIVATE KEY-----".utf8), .notJSON),
            (Array("{".utf8), .notJSON), ([0xFF], .notJSON), ([UInt8](repeating: 0x20, count: 65_537), .tooLong),
        ] as [([UInt8], ServiceAccountKey.Problem)])
    func `what is no key file is refused`(content: [UInt8], problem: ServiceAccountKey.Problem) {
        #expect(ServiceAccountKey.read(content) == .failure(problem))
    }

    @Test func `a key that is not PEM is refused, and no key is in any description`() throws {
        #expect(ServiceAccountKey.read(file(["private_key": .string("c2VjcmV0")])) == .failure(.notPEM))
        let key = try ServiceAccountKey.read(file()).get()
        var text = "\(key) \(String(reflecting: key))"
        dump(key, to: &text)
        #expect(!text.contains("BEGIN") && !text.contains("c2Vj"))
    }
}
