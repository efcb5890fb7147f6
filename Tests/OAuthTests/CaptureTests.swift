import Testing

@testable import OAuth

struct CaptureTests {
    static let allowed = ["accounts.zoho.eu", "*.zohoapis.eu"].compactMap { HostPattern($0) }

    @Test(
        arguments: [
            ("x host", "https://accounts.zoho.eu", "accounts.zoho.eu"), ("x host", "https://evil.example", nil),
            ("x host", "https://accounts.zoho.eu@evil.example", nil), ("x host", "www.zohoapis.eu", "www.zohoapis.eu"),
            ("x label", "Acme-1", "acme-1"), ("x label", "a.b", nil), ("x label", "-a", nil), ("x label", "a/", nil),
            ("x digits", "0123", "0123"), ("x digits", "12a", nil), ("x digits", "１２", nil), ("x digits", "-1", nil),
            ("x word", "fe79f7dd-b6d4_4a92.x:y@z+~", "fe79f7dd-b6d4_4a92.x:y@z+~"), ("x word", "a b", nil),
            ("x word", "a/b", nil), ("x word", "é", nil), ("x text", "a b/c\"", "a b/c\""), ("x", "a b", "a b"),
            ("x", "a\r\nX-Evil: 1", nil), ("x", "a\u{0}", nil), ("x", "\u{7F}", nil), ("x", "ü", nil),
            ("x one:us|eu", "eu", "eu"), ("x one:us|eu", "EU", nil), ("x one:us|eu", "us|eu", nil),
        ] as [(String, String, String?)])
    func `a value is kept only if its kind allows it`(text: String, raw: String, value: String?) throws {
        let capture = try #require(Capture(name: "n", text: text))
        #expect(capture.value(raw, allowing: Self.allowed) == value)
    }

    @Test(arguments: ["x host", "x label", "x digits", "x word", "x text", "x one:a"])
    func `an empty and a huge value are refused by every kind`(text: String) throws {
        let capture = try #require(Capture(name: "n", text: text))
        #expect(capture.value("", allowing: Self.allowed) == nil)
        #expect(capture.value(String(repeating: "1", count: 1025), allowing: Self.allowed) == nil)
        #expect(capture.value(String(repeating: "1", count: 10_000_000), allowing: Self.allowed) == nil)
    }

    @Test(arguments: ["p host required", "p host", "p text required", "0.id word", "p one:a|b"])
    func `a capture is written as it is read`(text: String) throws {
        #expect(try #require(Capture(name: "n", text: text)).text == text)
    }

    @Test(arguments: [
        ("n", ""), ("n", " "), ("n", "p nonsense"), ("n", "p host word"), ("n", "p required host"), ("n", "p one:"),
        ("n", "p one:a||b"), ("", "p"), ("N", "p"), ("1", "p"), ("a-b", "p"), ("a b", "p"), ("n{", "p"),
        ("n", String(repeating: "p", count: 201)), (String(repeating: "n", count: 65), "p"),
    ])
    func `what is not written as it must be is no capture`(name: String, text: String) {
        #expect(Capture(name: name, text: text) == nil)
    }

    @Test func `what the grant sets itself is not captured`() {
        let captures = [
            Capture(name: "a", source: "x", kind: .host), Capture(name: "b", source: "y", isRequired: true),
        ]
        let found = captures.values(given: ["a": "mine", "b": "mine"], allowing: []) { _ in "https://evil.example" }
        #expect(found.values.isEmpty && found.problem == nil)
    }

    @Test func `a problem names the parameter and not the value`() {
        let captures = [Capture(name: "server", source: "accounts-server", kind: .host)]
        let found = captures.values(given: [:], allowing: []) { _ in "https://s3cret.example" }
        let problem = found.problem?.problem
        #expect(problem?.code == "capture_refused" && problem?.errorClass == .configuration)
        #expect(problem?.detail.contains("accounts-server") == true && problem?.detail.contains("s3cret") == false)
    }

    // MARK: Paths

    static let json = JSONValue(
        Array(
            #"{"a":{"b":[{"id":7},{"id":"x"}]},"a.c":"dotted","t":"h.eyJleHAiOjE3MDAwMDAxMDAsInUiOnsiaWQiOiI5In19.s","n":null,"l":[]}"#
                .utf8))

    @Test(
        arguments: [
            ("a.b.0.id", "7"), ("a.b.1.id", "x"), ("a.c", "dotted"), ("t@exp", "1700000100"), ("t@u.id", "9"),
            ("a.x|a.b.1.id", "x"), ("a.b.1.id|a.c", "x"), ("n|a.c", "dotted"), ("a.b", nil), ("a.b.2.id", nil),
            ("a.b.-1.id", nil), ("a.b.+1.id", nil), ("a.b.99999999999999999999.id", nil), ("a.b.x.id", nil),
            ("t@none", nil),
            ("a.c@exp", nil), ("@exp", nil), ("t@", nil), ("", nil), ("|", nil), ("n", nil), ("l.0", nil),
        ] as [(String, String?)])
    func `a path finds members, places, claims and alternatives`(path: String, text: String?) throws {
        #expect(try #require(Self.json).text(at: path) == text)
    }

    @Test(arguments: [
        "", ".", "..", "a.b", "a.b.c.d", "a.!!.c", "a.eyJ.c", "a.W10.c", "a.bnVsbA.c",
        String(repeating: "a", count: 40_000),
    ])
    func `what is no JWT has no claims`(token: String) {
        #expect(JWTPayload.claims(token) == nil)
    }
}
