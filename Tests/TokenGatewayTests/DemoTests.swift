import Foundation
import Reactor
import Testing

@testable import TokenGateway

/// The demo from the built program, in front of nobody.
@Suite(.serialized, .timeLimit(.minutes(2))) struct DemoTests {
    private func remains(_ folder: Folder) throws -> [String] {
        try FileManager.default.contentsOfDirectory(atPath: folder.path)
    }

    @Test func `the demo tells its whole story and leaves nothing behind`() throws {
        let folder = try Folder()
        let run = try ProgramRun(["demo", "--auto"], in: folder)
        #expect(run.status == 0, "\(run.output)")
        #expect(run.output.contains("All 8 steps did what they should"))
        #expect(run.output.split(separator: "\n").count { $0.hasPrefix("   ok  ") } == 8)
        #expect(try remains(folder).isEmpty)
    }

    @Test func `a demo that is interrupted says where, and leaves nothing behind`() throws {
        let folder = try Folder()
        // Nobody consents: it waits in the second step.
        let (process, output, _) = try ProgramRun.process(["demo"], temporary: folder.path)
        var text = ""
        while !text.contains("/authorize/orders?ticket=") {
            let data = output.fileHandleForReading.availableData
            guard !data.isEmpty else { break }
            text += String(decoding: data, as: UTF8.self)
        }
        let port = try #require(
            text.firstRange(of: "curl -sS -i http://127.0.0.1:").flatMap {
                UInt16(text[$0.upperBound...].prefix { $0.isNumber })
            })
        process.interrupt()
        text += String(decoding: output.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
        process.waitUntilExit()
        #expect(process.terminationStatus == 1)
        #expect(text.contains("interrupted during step 2"))
        #expect(try remains(folder).isEmpty)
        let client = ConsoleClient(endpoint: ConsoleEndpoint(.loopback(port: port)))
        #expect(throws: ConsoleClientError.unreachable(.connectionRefused)) { try client.request("GET", "/") }
    }

    @Test func `a port that is taken is a failure with the gateway's own words`() throws {
        let folder = try Folder()
        let taken = try PreparedConsole([])
        defer { taken.stop() }
        let port = try #require(taken.address.port)
        let run = try ProgramRun(["demo", "--auto", "--port", "\(min(port, 65_532))"], in: folder)
        #expect(run.status != 0)
        #expect(run.output.contains("FAILED"))
        #expect(try remains(folder).isEmpty)
    }
}
