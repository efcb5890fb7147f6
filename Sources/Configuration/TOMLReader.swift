import CTOML

/// Reads TOML text into nodes and replaces `${ENV}` in its strings.
struct TOMLReader {
    private let nodes: UnsafeBufferPointer<ctoml_node>
    private var next = 0
    private var expansion: Expansion

    /// The root table's members, or nil after a syntax error. Mistakes go to `diagnostics`; after one in a
    /// string nothing more is said about that string.
    static func read(
        _ text: [UInt8], variable: @escaping @Sendable (String) -> String?, diagnostics: inout Diagnostics
    ) -> [Node.Member]? {
        let parsed = text.withUnsafeBufferPointer { buffer in
            buffer.withMemoryRebound(to: CChar.self) { ctoml_parse($0.baseAddress, $0.count) }
        }
        guard let document = parsed else {
            diagnostics.error(Position(line: 1, column: 1), "out of memory")
            return nil
        }
        defer { ctoml_free(document) }
        var line: UInt32 = 0
        var column: UInt32 = 0
        if let message = ctoml_error(document, &line, &column) {
            let position = Position(line: max(1, Int(line)), column: max(1, Int(column)))
            diagnostics.error(position, "not valid TOML: " + printable(String(cString: message)))
            return nil
        }
        var count = 0
        let start = ctoml_nodes(document, &count)
        var reader = TOMLReader(
            nodes: UnsafeBufferPointer(start: start, count: count),
            expansion: Expansion(source: SourceText(text), variable: variable))
        let root = reader.node()
        for mistake in reader.expansion.mistakes { diagnostics.error(mistake.position, mistake.text) }
        for position in reader.expansion.broken { diagnostics.mute(position) }
        guard case .table(let members)? = root?.kind else { return [] }
        return members
    }

    private init(nodes: UnsafeBufferPointer<ctoml_node>, expansion: Expansion) {
        self.nodes = nodes
        self.expansion = expansion
    }

    /// Takes the next node and all below it. The shim's limits bound the recursion.
    private mutating func node() -> Node? {
        guard next < nodes.count else { return nil }
        let entry = nodes[next]
        next += 1
        let position = Position(line: Int(entry.line), column: Int(entry.column))
        return Node(position: position, kind: kind(entry, at: position))
    }

    private mutating func kind(_ entry: ctoml_node, at position: Position) -> Node.Kind {
        switch entry.kind {
        case CTOML_TABLE: .table(members(entry.children))
        case CTOML_ARRAY: .array((0..<entry.children).compactMap { _ in node() })
        case CTOML_STRING: string(text(entry.text, entry.text_length), at: position)
        case CTOML_INTEGER: .integer(entry.integer)
        case CTOML_FLOAT: .float(entry.number)
        case CTOML_BOOLEAN: .boolean(entry.integer != 0)
        // toml++'s dates and times, which no directive takes.
        default: .date
        }
    }

    private mutating func members(_ count: Int) -> [Node.Member] {
        var members: [Node.Member] = []
        for _ in 0..<count where next < nodes.count {
            let entry = nodes[next]
            let position = Position(line: Int(entry.key_line), column: Int(entry.key_column))
            guard let value = node() else { break }
            members.append(
                Node.Member(key: text(entry.key, entry.key_length), keyPosition: position, value: value))
        }
        return members.sorted { $0.keyPosition < $1.keyPosition }
    }

    private mutating func string(_ raw: String, at position: Position) -> Node.Kind {
        .string(expansion.expand(raw, at: position), raw: raw)
    }

    private func text(_ start: UnsafePointer<CChar>?, _ length: Int) -> String {
        guard let start, length > 0 else { return "" }
        return UnsafeBufferPointer(start: start, count: length)
            .withMemoryRebound(to: UInt8.self) { String(decoding: $0, as: UTF8.self) }
    }

    /// toml++ quotes what it saw; a control character must not reach a terminal.
    private static func printable(_ text: String) -> String {
        String(String.UnicodeScalarView(text.unicodeScalars.map { $0.value < 0x20 || $0.value == 0x7f ? " " : $0 }))
    }
}
