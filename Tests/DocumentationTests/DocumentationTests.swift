import Foundation
import Proxy
import Telemetry
import Testing

/// Tables of README.md and packaging/ against what the program says of itself.
struct DocumentationTests {
    private let readme: String
    private let alerts: String

    init() throws {
        let root = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent()
        readme = try String(contentsOf: root.appending(path: "README.md"), encoding: .utf8)
        alerts = try String(contentsOf: root.appending(path: "packaging/prometheus-alerts.yml"), encoding: .utf8)
    }

    // MARK: Errors

    @Test func `the table of errors has each code once, with its status and whether to try again`() {
        let rows = rows(below: "## Errors")
        #expect(rows.count == GatewayError.allCases.count)
        for error in GatewayError.allCases {
            let wanted = ["\(error.status)", "`\(error.code)`", error.isRetryable ? "yes" : "no"]
            #expect(rows.count { Array($0.prefix(3)) == wanted } == 1, "\(wanted)")
        }
    }

    // MARK: Behaviours

    /// What stands in CONTRIBUTING.md's table of behaviours is a test, or a case of an end-to-end script.
    @Test func `every test that CONTRIBUTING names exists`() throws {
        let root = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent()
        let page = try String(contentsOf: root.appending(path: "CONTRIBUTING.md"), encoding: .utf8)
        let named = page.split(separator: "\n").filter { $0.contains(#/^\| [0-9]+\. /#) }
            .flatMap { $0.split(separator: " | ")[1].dropLast(2).split(separator: "; ") }
        #expect(named.count > 150)
        let sources = FileManager.default.enumerator(at: root.appending(path: "Tests"), includingPropertiesForKeys: nil)
        var known: Set<Substring> = []
        while let file = sources?.nextObject() as? URL {
            guard ["swift", "py"].contains(file.pathExtension) else { continue }
            let text = try String(contentsOf: file, encoding: .utf8)
            for match in text.matches(of: #/func `([^`]+)`|cases\.run\(\s*"([^"]+)"/#) {
                known.insert(match.1 ?? match.2 ?? "")
            }
        }
        for name in named { #expect(known.contains(name), "no test has the name: \(name)") }
    }

    // MARK: Metrics

    @Test func `the table of metrics names each family, and nothing else`() {
        let names = rows(below: "## Metrics and alerts").flatMap { row in
            row[0].split(separator: ", ").map { String($0.dropFirst().dropLast()) }
        }
        #expect(names.sorted() == families.keys.sorted())
    }

    @Test func `the table of metrics names the labels of each family`() {
        for row in rows(below: "## Metrics and alerts") where !row[0].contains(",") {
            let name = String(row[0].dropFirst().dropLast())
            let labels = row[1].split(separator: ", ").map(String.init)
            #expect(Set(labels) == families[name], "\(name)")
        }
    }

    @Test(arguments: RetryOutcome.allCases.map(\.label) + AttemptOutcome.allCases.map(\.label))
    func `the table of metrics tells every outcome of attempts and retries`(_ word: String) {
        #expect(rows(below: "## Metrics and alerts").contains { $0[2].contains("`\(word)`") })
    }

    @Test(arguments: RefreshOutcome.allCases)
    func `the table of metrics tells every outcome of refreshes`(_ outcome: RefreshOutcome) {
        let row = rows(below: "## Metrics and alerts").first { $0[0] == "`token_gateway_refreshes_total`" }
        #expect(row?[2].contains("`\(outcome.rawValue)`") == true)
    }

    @Test(arguments: GrantStateLabel.allCases)
    func `the picture of a grant's states has each state`(_ state: GrantStateLabel) throws {
        let start = try #require(readme.firstRange(of: "### The states of a grant"))
        let end = try #require(readme[start.upperBound...].firstRange(of: "\n### "))
        #expect(readme[start.upperBound..<end.lowerBound].contains(state.rawValue))
    }

    // MARK: Alert rules

    @Test func `alert rules use metrics that exist, with label values that exist`() {
        let used = alerts.matches(of: /\b(token_gateway_\w+|process_\w+)/).map { String($0.1) }
        #expect(Set(used).count >= 10)
        for name in used { #expect(families[name] != nil, "\(name)") }
        let values = alerts.matches(of: /\b(state|outcome)=~?"([^"]+)"/).flatMap { $0.2.split(separator: "|") }
        let known = Set(
            GrantStateLabel.allCases.map(\.rawValue) + RefreshOutcome.allCases.map(\.rawValue)
                + RetryOutcome.allCases.map(\.label))
        for value in values { #expect(known.contains(String(value)), "\(value)") }
    }

    // MARK: Support

    /// The cells of the first table below a heading, without its head.
    private func rows(below heading: String) -> [[String]] {
        let lines = readme.split(separator: "\n", omittingEmptySubsequences: false)
        let table = lines.drop { $0 != heading }.drop { !$0.hasPrefix("|") }.prefix { $0.hasPrefix("|") }
        return table.dropFirst(2).map { line in
            line.dropFirst().dropLast().split(separator: "|", omittingEmptySubsequences: false).map {
                $0.trimmingCharacters(in: .whitespaces)
            }
        }
    }

    /// Every family of a page with something in each, and its labels.
    private let families: [String: Set<String>] = {
        var families: [String: Set<String>] = [:]
        for line in Self.page.split(separator: "\n") {
            if line.hasPrefix("# TYPE ") {
                families[String(line.split(separator: " ")[2])] = []
                continue
            }
            guard !line.hasPrefix("#") else { continue }
            var name = String(line.prefix { $0 != "{" && $0 != " " })
            for suffix in ["_bucket", "_sum", "_count"] where families[name] == nil && name.hasSuffix(suffix) {
                name.removeLast(suffix.count)
            }
            let labels = line.matches(of: /[{,](\w+)="/).map { String($0.1) }.filter { $0 != "le" }
            families[name, default: []].formUnion(labels)
        }
        return families
    }()

    private static var page: String {
        let names = MetricNames(
            routes: ["r"], upstreams: ["u"], errorCodes: ["no_route"], sessionFailures: ["ping_flood"])
        let accumulator = Accumulator()
        let totals = accumulator.totals(of: [WorkerCounters(names: names).snapshot()])
        var control = ControlCounters()
        control.refreshEnded(grant: "g", outcome: .succeeded)
        control.consentEnded(grant: "g", connected: true)
        control.scopesLost(grant: "g", count: 1)
        let grant = GrantMetrics(
            name: "g", state: .active, generation: 1, accessTokenExpiry: 1, refreshTokenExpiry: 1,
            lastRefreshSuccess: 1, nextAttempt: 1)
        let process = ProcessFacts(
            version: "1", openSSL: "3", startTime: 1, workers: 1, residentBytes: 1, openFileDescriptors: 1,
            maxFileDescriptors: 1, cpuSeconds: 1)
        var input = MetricsInput(
            totals: totals, control: control, grants: [grant], process: process,
            certificates: [CertificateMetrics(listener: "l", name: "n", expiry: 1)], lastReloadSuccessful: true,
            lastReloadSuccess: 1, isDraining: false, isReady: true)
        input.templates = [TemplateMetrics(name: "t", states: [.active: 1], loaded: 1)]
        input.storeWorks = true
        input.damagedRecords = 1
        return String(decoding: MetricsPage.render(input), as: UTF8.self)
    }
}
