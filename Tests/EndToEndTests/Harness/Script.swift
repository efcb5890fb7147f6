import Foundation
import Testing

/// A Python script that holds a table of cases and tells one JSON line for each.
enum Script {
    /// What a script says about one of its cases.
    private struct Verdict: Decodable {
        let `case`: String
        let ok: Bool
        let detail: String
    }

    private struct End: Decodable { let done: Int }

    /// Runs a script with all its cases, and records an issue for each that fails. `atLeast` cases must have run: a
    /// script that does nothing is not a success. Returns true where every case held.
    @discardableResult
    static func run(
        _ script: String, place: [String: Any], folder: String, atLeast: Int, environment: [String: String] = [:],
        within limit: Duration = .seconds(240)
    ) async throws -> Bool {
        let file = "\(folder)/place.json"
        try Workspace.write(try JSONSerialization.data(withJSONObject: place), to: file)
        let program = Repository.root + ".build/e2e-venv/bin/python3"
        guard FileManager.default.isExecutableFile(atPath: program) else {
            throw HarnessError("\(program) is missing: run script/bootstrap --tests")
        }
        let quiet = ["PYTHONDONTWRITEBYTECODE": "1", "PYTHONUNBUFFERED": "1"]
        let result = try await EndToEndTests.run(
            [program, Repository.root + "Tests/EndToEndTests/Scripts/\(script)", file],
            environment: quiet.merging(environment) { $1 }, within: limit)
        let lines = result.text.split(separator: "\n").map { Data($0.utf8) }
        let verdicts = lines.compactMap { try? JSONDecoder().decode(Verdict.self, from: $0) }
        for verdict in verdicts where !verdict.ok { Issue.record("\(verdict.case): \(verdict.detail)") }
        let done = lines.compactMap { try? JSONDecoder().decode(End.self, from: $0) }.first?.done
        #expect(done == verdicts.count, "\(script) did not come to its end: \(result.errors.suffix(3000))")
        #expect(verdicts.count >= atLeast, "\(script): cases are missing")
        return verdicts.allSatisfy(\.ok)
    }
}
