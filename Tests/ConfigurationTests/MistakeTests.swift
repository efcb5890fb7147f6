import Testing

@testable import Configuration

/// What is changed in a good file, and exactly what is said about it.
struct MistakeRow: Sendable, CustomTestStringConvertible {
    let base: String
    let old: String
    let new: String
    let expected: [String]

    var testDescription: String { expected.first ?? new }

    init(_ base: String, _ old: String, _ new: String, _ expected: String...) {
        self.base = base
        self.old = old
        self.new = new
        self.expected = expected
    }
}

struct MistakeTests {
    private static let rows =
        [shapeMistakes, addressesMistakes, oauthMistakes, routesMistakes, unattendedMistakes]
        + [keyMistakes, variableMistakes, selectionMistakes, databaseMistakes, ignoredMistakes, segmentMistakes]

    @Test(arguments: rows.flatMap { $0 })
    func `a mistake is reported at its place with what would be right`(_ row: MistakeRow) {
        #expect(row.old == "zzz" || row.base.contains(row.old))
        #expect(mistakes(row.base.replacing(row.old, with: row.new)) == row.expected)
    }

    @Test func `errors keep the snapshot back and warnings do not`() {
        #expect(parsed(minimal + "tiemout = 1\n") == nil)
        let later = minimal.replacing("/k/token", with: "/k/later")
        #expect(mistakes(later).count == 1)
        #expect(parsed(later) != nil)
    }

    @Test func `all mistakes of a file are reported in its order`() {
        let text = """
            workers = 0
            [route.a]
            path = "x"
            upstream = "nowhere"
            colour = "red"
            [listener.l]
            address = 1
            """
        let lines = mistakes(text).compactMap { Int($0.prefix { $0 != ":" }) }
        #expect(lines == [1, 3, 4, 5, 7])
    }

    @Test func `a missing file is one diagnostic with the path`() {
        let outcome = GatewayConfiguration.load(path: "/none.conf", environment: environment())
        #expect(outcome.snapshot == nil)
        #expect(
            outcome.diagnostics.map(\.description) == [
                "/none.conf:1:1: error: the configuration cannot be read: there is no such file"
            ])
    }

    @Test func `a diagnostic never shows what an environment variable holds`() {
        let text = full.replacing("\"https://accounts.zoho.com\"", with: "\"https://x?y=${SEED}\"")
        let world = environment(variables: ["SEED": "hunter2"])
        #expect(mistakes(text, world).contains { $0.contains("${SEED}") })
        #expect(!mistakes(text, world).contains { $0.contains("hunter2") })
    }

    @Test func `control characters of the file do not reach the terminal`() {
        let text = minimal.replacing("\"api\"", with: "\"a\\u001b[31mpi\"")
        #expect(!mistakes(text).joined().unicodeScalars.contains { $0.value < 0x20 })
    }
}
