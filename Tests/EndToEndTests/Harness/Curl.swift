import Foundation

/// An HTTP answer as curl saw it.
struct Reply: Sendable {
    /// 0 when there was no answer.
    var status = 0
    var version = ""
    /// The fields of the last head, in order, names in lower case.
    var fields: [(name: String, value: String)] = []
    var body = Data()
    /// curl's own verdict; 0 is a complete answer.
    var exitCode: Int32 = 0
    var errors = ""

    var text: String { String(decoding: body, as: UTF8.self) }

    func field(_ name: String) -> String? { fields.first { $0.name == name }?.value }

    /// The value of a member of the body, which is JSON.
    func member(_ name: String) -> String? {
        let object = try? JSONSerialization.jsonObject(with: body) as? [String: Any]
        return (object?[name]).map { "\($0)" }
    }
}

/// The caller: curl, one process per call.
struct Curl: Sendable {
    /// The authority that it trusts; nothing else.
    var authority: String?
    var options: [String] = []

    /// One request. `upload` is the content for `--data-binary` or, with `put`, for `--upload-file`.
    func call(_ url: String, _ more: [String] = [], upload: Data? = nil, put: Bool = false) async throws -> Reply {
        let head = Workspace.newFile("head")
        let body = Workspace.newFile("body")
        let content = Workspace.newFile("upload")
        defer { for file in [head, body, content] { unlink(file) } }
        var arguments = common + ["-D", head, "-o", body, "--max-time", "60", "-w", "%{http_code} %{http_version}"]
        if let upload {
            try Workspace.write(upload, to: content)
            arguments += put ? ["--upload-file", content] : ["--data-binary", "@\(content)"]
        }
        let result = try await run(arguments + options + more + [url], within: .seconds(70))
        var reply = Reply()
        if case .exited(let code) = result.status { reply.exitCode = code } else { reply.exitCode = -1 }
        let written = result.text.split(separator: " ")
        reply.status = written.first.flatMap { Int($0) } ?? 0
        reply.version = written.count > 1 ? String(written[1]) : ""
        reply.errors = result.errors
        reply.body = (try? Data(contentsOf: URL(filePath: body))) ?? Data()
        let heads = (try? Data(contentsOf: URL(filePath: head))) ?? Data()
        reply.fields = Self.lastHead(String(data: heads, encoding: .isoLatin1) ?? "")
        // For --head curl writes the heads where the content goes, too.
        if (options + more).contains("--head"), reply.body.starts(with: heads) {
            reply.body = reply.body.dropFirst(heads.count)
        }
        return reply
    }

    /// Many GET requests at once, each on a connection of its own; the answer counts how often each outcome came:
    /// "200", or "0/28" for a call without an answer and curl's code for the reason.
    func parallel(_ urls: [String], maximum: Int = 200) async throws -> [String: Int] {
        let list = Workspace.newFile("urls")
        defer { unlink(list) }
        try Workspace.write(urls.map { "url = \"\($0)\"\noutput = /dev/null\n" }.joined(), to: list)
        let arguments =
            common + [
                "--parallel", "--parallel-immediate", "--parallel-max", "\(maximum)", "--max-time", "60",
                "-w", "%{http_code}/%{exitcode}\\n", "-K", list,
            ]
        let result = try await run(arguments + options, within: .seconds(90))
        let outcomes = result.text.split(separator: "\n").map { line in
            line.hasSuffix("/0") ? String(line.dropLast(2)) : String(line)
        }
        return Dictionary(outcomes.map { ($0, 1) }, uniquingKeysWith: +)
    }

    private var common: [String] {
        ["curl", "-q", "--no-progress-meter", "--http1.1", "--noproxy", "*", "--globoff", "--path-as-is"]
            + (authority.map { ["--cacert", $0] } ?? [])
    }

    /// curl writes every head that came: informational answers first.
    private static func lastHead(_ text: String) -> [(name: String, value: String)] {
        let heads = text.replacingOccurrences(of: "\r\n", with: "\n").components(separatedBy: "\n\n")
        guard let last = heads.last(where: { $0.hasPrefix("HTTP/") }) else { return [] }
        return last.split(separator: "\n").dropFirst().compactMap { line in
            guard let colon = line.firstIndex(of: ":") else { return nil }
            return (
                line[..<colon].lowercased(),
                line[line.index(after: colon)...].trimmingCharacters(in: .whitespaces)
            )
        }
    }
}
