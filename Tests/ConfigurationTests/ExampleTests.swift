import Foundation
import Testing

@testable import Configuration

private let robot = #"{"type": "service_account", "client_email": "a@b", "private_key": "-----BEGIN PRIVATE KEY-----"}"#

/// `gateway.conf.example` against the table of directives.
struct ExampleTests {
    private let lines: [String]

    init() throws {
        let root = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent()
        let text = try String(contentsOf: root.appending(path: "gateway.conf.example"), encoding: .utf8)
        lines = text.split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
    }

    private let world = environment(
        variables: [
            "EXAMPLE_SECRET": "a", "CONSOLE_SECRET": "b", "STORE_KEY": "c", "CREDENTIALS_DIRECTORY": "/run/credentials",
            "DATABASE_PASSWORD": "d",
        ],
        files: [
            "/etc/token-gateway/store.key": "k", "/etc/token-gateway/example.secret": "s",
            "/etc/token-gateway/console.secret": "c", "/run/secrets/billing-token": "t",
            "/etc/ssl/private-ca.pem": "-----BEGIN CERTIFICATE-----", "/run/credentials/console-secret": "x",
            "/run/credentials/store-key": "y", "/run/credentials/example-secret": "z",
            "/run/credentials/database-password": "p", "/etc/token-gateway/database.secret": "p",
            "/etc/token-gateway/example.key": Certificates.other.key, "/etc/token-gateway/robot.json": robot,
            "/etc/token-gateway/tls/gateway.pem": Certificates.gateway.chain,
            "/etc/token-gateway/tls/gateway.key": Certificates.gateway.key,
            "/etc/token-gateway/tls/callers-ca.pem": Certificates.authorityPEM,
            "/etc/token-gateway/tls/client.pem": Certificates.other.chain,
            "/etc/token-gateway/tls/client.key": Certificates.other.key,
        ])

    @Test func `the example is a valid configuration as it is`() {
        let text = lines.joined(separator: "\n")
        #expect(mistakes(text, world) == [])
        #expect(parsed(text, world)?.routes.map(\.name) == ["crm", "billing", "shops"])
    }

    @Test func `the example names every directive with its line of documentation`() {
        let ofGrants = Set(grantDirectives.list.map(\.name)).subtracting(["provider"])
        for (place, rows) in DirectiveTable.rows {
            // A template has the directives of a grant, which are shown there.
            for row in rows where place != .grantTemplate || !ofGrants.contains(row.name) {
                let found = entries.filter { $0.place == place && $0.name == row.name }
                #expect(!found.isEmpty, "\(row.name) of \(place.heading)")
                let isExplained = found.contains { lines[..<$0.index].suffix(4).contains("# " + row.documentation) }
                #expect(isExplained, "# \(row.documentation)")
            }
        }
    }

    @Test func `the example names nothing that is not in the table`() {
        for entry in entries {
            let names = DirectiveTable.rows.first { $0.place == entry.place }?.rows.map(\.name) ?? []
            #expect(names.contains(entry.name), "\(entry.name) in \(entry.place)")
        }
    }

    @Test func `a default that the example shows is the default that holds without it`() throws {
        for entry in entries where entry.isCommented {
            let row = DirectiveTable.rows.first { $0.place == entry.place }?.rows.first { $0.name == entry.name }
            guard let value = row?.defaultText else { continue }
            #expect(lines[entry.index].hasPrefix("#\(entry.name) = \(value)"), "\(lines[entry.index])")
            let plain = try #require(parsed(switchedOn(nil, needsOf: entry), world))
            #expect(parsed(switchedOn(entry, needsOf: entry), world) == plain, "\(lines[entry.index])")
        }
    }

    @Test func `every switched-off line parses when it is switched on`() {
        for entry in entries where entry.isCommented {
            #expect(mistakes(switchedOn(entry, needsOf: entry), world) == [], "\(lines[entry.index])")
        }
    }

    private struct Entry {
        let index: Int
        let place: Place
        let name: String
        let isCommented: Bool
    }

    /// The lines that say a directive, switched on or off.
    private var entries: [Entry] {
        var place = Place.top
        return lines.indices.compactMap { index in
            let line = lines[index]
            if line.hasPrefix("[") {
                place = Place(rawValue: String(line.dropFirst().prefix { $0 != "." && $0 != "]" })) ?? .top
            }
            let body = line.hasPrefix("#") ? line.dropFirst() : line[...]
            let name = body.prefix { $0.isLetter || $0.isNumber || $0 == "_" }
            guard !name.isEmpty, body.dropFirst(name.count).hasPrefix(" = ") else { return nil }
            return Entry(index: index, place: place, name: String(name), isCommented: line.hasPrefix("#"))
        }
    }

    /// Directives that have no meaning without others.
    private static let needs = [
        "expected_account": ["paths"], "certificate_file": ["key_file"], "key_file": ["certificate_file"],
        "tls_min_version": ["certificate_file", "key_file"], "client_ca_file": ["certificate_file", "key_file"],
        "client_certificate": ["certificate_file", "key_file", "client_ca_file"],
        "client_certificate_key_file": ["client_certificate_file"], "client_key_id": ["client_key_file"],
        "required_variables": ["variables"], "actor_token_type": ["actor_token_file"], "password_file": ["url"],
        "password_env": ["url"], "password_credential": ["url"], "connect_timeout": ["url"],
        "statement_timeout": ["url"], "instance": ["url"],
    ]

    private static func needs(of entry: Entry) -> [String] {
        switch (entry.place, entry.name) {
        case (.upstream, "client_certificate_file"): ["client_key_file"]
        case (.upstream, "client_key_file"): ["client_certificate_file"]
        case (.provider, "client_certificate_file"): ["client_certificate_key_file"]
        case (.store, "ca_file"): ["url"]
        case (.upstream, "connect_timeout"): []
        case _: needs[entry.name] ?? []
        }
    }

    /// Directives in whose stead another one stands.
    private static func excluded(by entry: Entry) -> [String] {
        if entry.place == .store, entry.name == "url" || needs(of: entry) == ["url"] { return ["path"] }
        return entry.name == "subject_token_grant" ? ["subject_token_file"] : []
    }

    /// The file with one more line or none, and with what `entry` needs; other sources of the same secret are switched
    /// off.
    private func switchedOn(_ added: Entry?, needsOf entry: Entry) -> String {
        var changed = lines
        if let added { changed[added.index].removeFirst() }
        for name in Self.excluded(by: entry) {
            for other in entries where other.place == entry.place && other.name == name && !other.isCommented {
                changed[other.index] = ""
            }
        }
        for name in Self.needs(of: entry) {
            let isNeeded = { (other: Entry) in
                other.name == name && other.isCommented && (other.place == entry.place || name == "paths")
            }
            if let other = entries.first(where: isNeeded) { changed[other.index].removeFirst() }
        }
        for suffix in ["_env", "_credential"] where entry.name.hasSuffix(suffix) {
            let file = entry.name.dropLast(suffix.count) + "_file"
            for other in entries where other.place == entry.place && other.name == file && !other.isCommented {
                changed[other.index] = ""
            }
        }
        return changed.joined(separator: "\n")
    }
}
