import Glibc

/// What curl got.
struct CurlReply {
    /// curl's own exit code; 7: nobody listens.
    var exitCode: Int32
    var status: Int
    /// Names in lower case.
    var fields: [(name: String, value: String)]
    var body: [UInt8]
    /// Everything, as printed.
    var text: String

    func field(_ name: String) -> String? { fields.first { $0.name == name }?.value }

    /// Takes the output of `curl -i` apart; anything else is all body.
    init(exitCode: Int32, output: [UInt8]) {
        self.exitCode = exitCode
        text = String(decoding: output, as: UTF8.self)
        (status, fields, body) = (0, [], output)
        guard output.starts(with: Array("HTTP/".utf8)), let end = output.firstRange(of: Array("\r\n\r\n".utf8)) else {
            return
        }
        let lines = String(decoding: output[..<end.lowerBound], as: UTF8.self).split(separator: "\r\n")
        status = lines[0].split(separator: " ").dropFirst().first.flatMap { Int($0) } ?? 0
        fields = lines.dropFirst().compactMap { line in
            line.firstIndex(of: ":").map { colon in
                (line[..<colon].lowercased(), String(line[line.index(after: colon)...].drop { $0 == " " }))
            }
        }
        body = Array(output[end.upperBound...])
    }

    /// The status line, the gateway's own field, and as much of the body as fits two lines.
    var shown: String {
        guard status != 0 else { return text }
        var lines = [text.prefix { $0 != "\r\n" && $0 != "\n" }.description]
        for (name, value) in fields where name == "token-gateway-error" { lines.append("\(name): \(value)") }
        let content = String(decoding: body, as: UTF8.self)
        lines.append(content.count > 160 ? content.prefix(160) + "…" : content)
        return lines.joined(separator: "\n")
    }
}

enum Curl {
    /// Arguments for this machine: a proxy in the environment is for the world, not for loopback.
    static func command(_ arguments: [String]) -> [String] {
        let proxies = ["http_proxy", "all_proxy", "ALL_PROXY"]
        let hasProxy = proxies.contains { name in getenv(name).map { $0.pointee != 0 } ?? false }
        return ["curl", "-sS"] + (hasProxy ? ["--noproxy", "*"] : []) + arguments
    }

    /// As a shell would need it.
    static func quoted(_ arguments: [String]) -> String {
        arguments.map { argument in
            let isPlain = argument.allSatisfy {
                $0.isASCII && ($0.isLetter || $0.isNumber || "-_./:=@,%+".contains($0))
            }
            return isPlain && !argument.isEmpty ? argument : "'\(argument)'"
        }.joined(separator: " ")
    }
}
