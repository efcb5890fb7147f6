import Testing

@testable import Configuration

/// TOML, `${ENV}`, and texts made to do harm.
struct TextTests {
    private func expanded(_ raw: String, _ variables: [String: String] = ["A": "1", "B_2": "two"]) -> String? {
        let text = minimal.replacing("[upstream.api]", with: "[upstream.api]\nhost = \"\(raw)\"")
        return parsed(text, environment(variables: variables))?.upstreams.first?.host
    }

    @Test(arguments: [
        ("a", "a"), ("${A}", "1x"), ("x${A}-${B_2}y", "x1x-twoy"), ("a.${A}b", "a.1xb"), ("${E}a", "a"),
    ])
    func `a variable is replaced in a string`(_ raw: String, _ expected: String) {
        #expect(expanded(raw, ["A": "1x", "B_2": "two", "E": ""]) == expected)
    }

    @Test func `a replaced text is not replaced again, and a doubled dollar stands for itself`() throws {
        let text = full.replacing(
            "client_id = \"1000.ABC\"", with: "client_id = \"$${A}-${A}-$A-$$-${B}\"")
        let world = environment(variables: ["A": "1", "B": "${A}"])
        #expect(parsed(text, world)?.providers.first?.clientID == "${A}-1-$A-$$-${A}")
    }

    @Test func `an undefined variable is reported where it stands`() {
        let text = minimal.replacing(
            "[upstream.api]", with: "[upstream.api]\n# ${X}\n  host = \"ü${A}.$${B}.${C}\" # ${D}")
        let found = mistakes(text, environment(variables: ["A": "1"]))
        #expect(found == ["8:23: error: the environment variable C is not set"])
    }

    @Test func `a variable in a text of several lines is reported at its line`() {
        let text = minimal.replacing("grant = \"fixed\"", with: "grant = \"\"\"\nfix\n ed${X}\"\"\"")
        #expect(mistakes(text) == ["14:4: error: the environment variable X is not set"])
    }

    @Test func `a variable spelled with escapes is reported at its string`() {
        let text = minimal.replacing("grant = \"fixed\"", with: #"grant = "\u0024{X}""#)
        #expect(mistakes(text) == ["12:9: error: the environment variable X is not set"])
    }

    @Test(arguments: [
        (String(repeating: "[", count: 100_000), "1:"), ("a = " + String(repeating: "[", count: 100_000), "1:"),
        (String(repeating: "a = {", count: 50_000), "1:"),
        (
            "x = 1\n" + String(repeating: "a.", count: 400_000) + "a = 1",
            "2:1: error: not valid TOML: more than 64 dots"
        ),
        ("[" + String(repeating: "a.", count: 100) + "a]", "1:1: error: not valid TOML: more than 64 dots"),
        (String(repeating: "#", count: (1 << 20) + 1), "1:1: error: not valid TOML: the file is larger than 1 MiB"),
        ("\n\u{27c} = 1", "2:1: error: not valid TOML"), ("a = 0\u{27c}2", "1:6: error: not valid TOML"),
        ("a = \"\"\"x\"\"\"\"\"b" + String(repeating: ".", count: 65), "1:1: error: not valid TOML: more than 64"),
        ("a = \"\u{0}\"", "1:"), ("\u{feff}workers = ", "1:"), ("a = \"\"\"", "1:"), ("a = 'x\n", "1:"),
    ])
    func `a hostile text is one diagnostic and no crash`(_ text: String, _ start: String) {
        let found = mistakes(text)
        #expect(found.count >= 1)
        #expect(found.first?.hasPrefix(start) == true, "\(found.first ?? "")")
    }

    @Test func `characters beyond ASCII may stand anywhere in a string`() {
        let text = minimal.replacing("grant = \"fixed\"", with: "grant = \"\"\"\\\n  \u{a7}\u{27c}\"\"\"")
        #expect(mistakes(text) == ["12:9: error: there is no [grant.\u{a7}\u{27c}]"])
    }

    @Test func `dots in strings and comments are not counted`() {
        let dots = String(repeating: ".", count: 500)
        let text =
            minimal
            + "# \(dots)\n[provider.p]\nissuer = \"https://a\"\nclient_id = \"\\\"\(dots)'\"\nuser_agent = '\(dots)\"'\n"
        #expect(parsed(text) != nil)
    }

    @Test func `bytes that are no UTF-8 are a diagnostic`() {
        let outcome = GatewayConfiguration.parse(
            Array("workers = \"".utf8) + [0xff, 0xfe], file: "f", environment: environment())
        #expect(outcome.snapshot == nil && outcome.diagnostics.count == 1)
    }

    @Test func `an empty file says what is missing`() {
        #expect(
            mistakes("") == [
                "1:1: error: there is no [listener.NAME]: callers could not connect"
            ])
    }

    @Test(arguments: 0..<40)
    func `random changes of a good file never crash and always say something or parse`(_ seed: Int) {
        var random = Generator(state: UInt64(seed) &+ 1)
        let base = Array((seed % 2 == 0 ? full : minimal).utf8)
        for _ in 0..<50 {
            let text = random.mutation(of: base)
            let outcome = GatewayConfiguration.parse(text, file: "f", environment: environment())
            let hasErrors = outcome.diagnostics.contains { $0.severity == .error }
            #expect((outcome.snapshot == nil) == hasErrors)
            #expect(outcome.diagnostics.allSatisfy { $0.position.line >= 1 && $0.position.column >= 1 })
        }
    }
}

/// Repeatable random changes (xorshift).
private struct Generator {
    var state: UInt64

    mutating func next(_ bound: Int) -> Int {
        state ^= state << 13
        state ^= state >> 7
        state ^= state << 17
        return Int(state % UInt64(max(1, bound)))
    }

    mutating func mutation(of base: [UInt8]) -> [UInt8] {
        var text = base
        for _ in 0...next(6) {
            let at = next(text.count)
            switch next(5) {
            case 0: text[at] = UInt8(next(256))
            case 1: text.remove(at: at)
            case 2: text.insert(contentsOf: text[at..<min(text.count, at + next(60))], at: next(text.count))
            case 3: text.removeSubrange(at..<min(text.count, at + next(40)))
            case _: text.insert(contentsOf: Self.tokens[next(Self.tokens.count)].utf8, at: at)
            }
            if text.isEmpty { text = [0x61] }
        }
        return text
    }

    private static let tokens = [
        "\"", "'", "\"\"\"", "[", "]", "[[", "{", "}", "=", ".", ",", "\n", "${", "$${", "}", "#", "\\", "\\u0000",
        "-1", "1e9", "true",
        "[route.x]\n", "[grant.\"\"]\n", "1979-05-27T07:32:00Z", "nan", "\u{0}", "ÿ", "0x", "key_env = \"\"\n",
    ]
}
