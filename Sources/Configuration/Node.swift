/// A value of the file with its place, after `${ENV}` has been replaced.
struct Node: Sendable {
    enum Kind: Sendable {
        /// `raw` is the text before replacement: the one that messages may show.
        case string(String, raw: String)
        case integer(Int64)
        case float(Double)
        case boolean(Bool)
        case date
        case array([Node])
        /// In the order of the file.
        case table([Member])
    }
    struct Member: Sendable {
        let key: String
        let keyPosition: Position
        let value: Node
    }
    let position: Position
    let kind: Kind

    /// What messages call this value.
    var found: String {
        switch kind {
        case .string(_, let raw): quoted(Self.withoutUser(raw))
        case .integer(let number): "the number \(number)"
        case .float(let number): "the number \(number)"
        case .boolean(let flag): "\(flag)"
        case .date: "a date"
        case .array: "a list"
        case .table: "a table"
        }
    }

    /// A URL without what stands before its host's "@", where some write a password.
    private static func withoutUser(_ text: String) -> String {
        guard let scheme = text.firstRange(of: "://") else { return text }
        let authority = text[scheme.upperBound...].prefix { $0 != "/" && $0 != "?" && $0 != "#" }
        guard let end = authority.lastIndex(of: "@") else { return text }
        return text[..<scheme.upperBound] + "…" + text[end...]
    }
}
