import Foundation
import Testing

/// script/mutants plants bugs by replacing a line: each such line must still be there, once.
struct MutantTableTests {
    @Test func `each bug that script/mutants plants still has its place in the sources`() throws {
        let tests = URL(filePath: #filePath).deletingLastPathComponent()
        let sources = tests.appending(path: "../../Sources/OAuth").standardizedFileURL
        let table = try String(contentsOf: tests.appending(path: "Simulation/mutants.txt"), encoding: .utf8)
        var names: Set<String> = []
        for block in table.components(separatedBy: "\n\n") {
            var fields: [String: String] = [:]
            for line in block.split(separator: "\n") where !line.hasPrefix("#") {
                guard let colon = line.firstRange(of: ": ") else { continue }
                fields[String(line[..<colon.lowerBound])] = String(line[colon.upperBound...])
            }
            let name = try #require(fields["name"])
            let text = try String(contentsOf: sources.appending(path: #require(fields["file"])), encoding: .utf8)
            let parts = try text.components(separatedBy: #require(fields["old"])).count
            #expect(parts == 2, "\(name)")
            #expect(fields["new"] != nil && fields["new"] != fields["old"] && fields["expect"] != nil, "\(name)")
            names.insert(name)
        }
        #expect(names.count >= 14)
    }
}
