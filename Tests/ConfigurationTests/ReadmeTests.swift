import Foundation
import Testing

@testable import Configuration

/// What README.md says about gateway.conf, against the program.
///
/// The reference of directives is written by `TOKEN_GATEWAY_UPDATE_README=1 swift test --filter ReadmeTests`.
struct ReadmeTests {
    private static let file = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent().appending(path: "README.md")
    private static let begin = "<!-- directives: begin."
    private static let end = "<!-- directives: end -->"

    private let text: String

    init() throws {
        text = try String(contentsOf: Self.file, encoding: .utf8)
    }

    // MARK: The reference

    @Test func `the reference of directives is that of the table`() throws {
        let start = try #require(text.firstRange(of: Self.begin))
        let firstLine = try #require(text[start.lowerBound...].firstIndex(of: "\n"))
        let end = try #require(text.firstRange(of: Self.end))
        let shown = text[text.index(after: firstLine)..<end.lowerBound]
        let wanted = "\n" + DirectiveTable.reference + "\n"
        if ProcessInfo.processInfo.environment["TOKEN_GATEWAY_UPDATE_README"] == "1" {
            let updated = text[...firstLine] + wanted + text[end.lowerBound...]
            try updated.write(to: Self.file, atomically: true, encoding: .utf8)
            return
        }
        #expect(shown == wanted, "run: TOKEN_GATEWAY_UPDATE_README=1 swift test --filter ReadmeTests")
    }

    @Test func `the table of profiles has each of them with what must be given`() throws {
        let start = try #require(text.firstRange(of: "<!-- profiles: begin -->"))
        let end = try #require(text.firstRange(of: "<!-- profiles: end -->"))
        let rows = text[start.upperBound..<end.lowerBound].split(separator: "\n").dropFirst(2).map(String.init)
        let wanted = ProviderProfile.all.map { profile in
            let needs = profile.needs.map { "`\($0)`" }.joined(separator: ", ")
            return "| `\(profile.name)` | \(profile.title) | \(profile.purpose) | \(needs) |"
        }
        #expect(rows == wanted)
    }

    // MARK: Snippets

    @Test func `every snippet of gateway.conf is a configuration without mistakes`() {
        let snippets = self.snippets
        #expect(snippets.count >= 12)
        for snippet in snippets {
            let found = mistakes(completed(snippet.text), Self.world)
            #expect(found == [], "the snippet at line \(snippet.line) of README.md")
        }
    }

    @Test func `every snippet has a route to call`() {
        for snippet in snippets {
            let tables = snippet.text.split(separator: "\n").filter { $0.hasPrefix("[") }
            #expect(tables.contains { $0.hasPrefix("[route.") }, "the snippet at line \(snippet.line)")
        }
    }

    @Test func `a mistake in a snippet would be found`() {
        for snippet in snippets {
            let broken = completed(snippet.text).replacing("\nupstream = ", with: "\nupstraem = ")
            #expect(mistakes(broken, Self.world).contains { $0.contains("did you mean \"upstream\"?") })
        }
    }

    /// The blocks marked as TOML, indentation taken off.
    private var snippets: [(line: Int, text: String)] {
        var found: [(line: Int, text: String)] = []
        var current: (line: Int, indent: Int, lines: [Substring])?
        for (index, line) in text.split(separator: "\n", omittingEmptySubsequences: false).enumerated() {
            let indent = line.prefix { $0 == " " }.count
            if let open = current, line.dropFirst(indent).hasPrefix("```") {
                found.append((open.line, open.lines.joined(separator: "\n") + "\n"))
                current = nil
            } else if let open = current {
                current?.lines.append(line.dropFirst(min(indent, open.indent)))
            } else if line.dropFirst(indent) == "```toml" {
                current = (index + 1, indent, [])
            }
        }
        return found
    }

    /// What a recipe leaves out because it is the same everywhere; behind it, so that line numbers stay.
    private func completed(_ snippet: String) -> String {
        var text = snippet
        if !text.contains("[listener.") { text += "[listener.internal]\naddress = \"127.0.0.1:8080\"\n" }
        guard text.contains("[provider.") else { return text }
        if !text.contains("[console]") {
            text += "[console]\naddress = \"127.0.0.1:9090\"\npublic_url = \"https://gateway.example.com\"\n"
        }
        if !text.contains("[store]") {
            text += "[store]\npath = \"/var/lib/token-gateway/grants.db\"\n"
            text += "key_file = \"/etc/token-gateway/store.key\"\n"
        }
        return text
    }

    private static let tls = [
        "/etc/token-gateway/tls/gateway.pem": Certificates.gateway.chain,
        "/etc/token-gateway/tls/gateway.key": Certificates.gateway.key,
        "/etc/token-gateway/tls/callers-ca.pem": Certificates.authorityPEM,
    ]

    /// Files exist where the README puts secrets and certificates, and nowhere else.
    private static let world = ConfigurationEnvironment(
        variable: { _ in nil },
        readFile: { path, _ in
            let isSecret =
                path.hasPrefix("/etc/token-gateway/") && (path.hasSuffix(".secret") || path.hasSuffix(".key"))
            if let text = tls[path] { return .success(FileContents(bytes: Array(text.utf8), mode: 0o640, owner: 0)) }
            guard isSecret || path.hasPrefix("/run/secrets/") else { return .failure(.notFound) }
            return .success(FileContents(bytes: Array("0123456789abcdef".utf8), mode: 0o640, owner: 0))
        },
        isDirectory: { ["/", "/tmp", "/var/lib/token-gateway"].contains($0) },
        processorCount: 2)
}
