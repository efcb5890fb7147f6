/// Reads a token out of text that a person or another program wrote: a file, or standard input.
///
/// The text is never taken from a command's arguments, which every user of the machine can read.
package enum TokenText {
    /// More than this need not be read, and is refused.
    package static let limitBytes = 2 * TokenReply.tokenLimitBytes

    package enum Problem: Error, Sendable, Hashable {
        case empty
        case tooLong
        case notUTF8
        /// White space or a control character inside: several lines, a header with its name, a damaged file.
        case notOneToken
        /// A JSON object without the member.
        case noMember(String)

        /// The rest of a sentence that begins with where the text came from; never the text.
        package var explanation: String {
            switch self {
            case .empty: "is empty"
            case .tooLong: "is too long for a token"
            case .notUTF8: "is not text"
            case .notOneToken: "is not one token: it has spaces, control characters or more than one line"
            case .noMember(let name): "is a JSON object without a text \(name), or damaged JSON"
            }
        }
    }

    /// A subject or actor token for an exchange: the text alone, white space around it left out.
    package static func token(_ content: [UInt8]) -> Result<Secret, Problem> {
        text(content).flatMap { secret($0, allowed: 0x21...0x7E) }
    }

    /// A refresh token to be imported: the text alone, or a JSON object with `refresh_token`, as other programs save a
    /// token reply. Spaces inside are right here (RFC 6749 appendix A.17); control characters never are.
    package static func refreshToken(_ content: [UInt8]) -> Result<Secret, Problem> {
        text(content).flatMap { text in
            guard text.hasPrefix("{") else { return secret(text, allowed: 0x20...0x7E) }
            guard let found = JSONValue(Array(text.utf8))?["refresh_token"]?.text else {
                return .failure(.noMember("refresh_token"))
            }
            return secret(found, allowed: 0x20...0x7E)
        }
    }

    private static func text(_ content: [UInt8]) -> Result<String, Problem> {
        guard content.count <= limitBytes else { return .failure(.tooLong) }
        let bytes = content.starts(with: [0xEF, 0xBB, 0xBF]) ? content[3...] : content[...]
        guard let text = String(validating: bytes, as: UTF8.self) else { return .failure(.notUTF8) }
        let trimmed = text.trimmed
        return trimmed.isEmpty ? .failure(.empty) : .success(trimmed)
    }

    private static func secret(_ text: String, allowed: ClosedRange<UInt8>) -> Result<Secret, Problem> {
        guard !text.isEmpty else { return .failure(.empty) }
        guard text.utf8.count <= TokenReply.tokenLimitBytes else { return .failure(.tooLong) }
        guard text.utf8.allSatisfy(allowed.contains) else { return .failure(.notOneToken) }
        return .success(Secret(text))
    }
}
