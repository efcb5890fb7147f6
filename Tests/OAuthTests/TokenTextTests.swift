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
