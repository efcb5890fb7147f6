/// A table of the file, read by its directives.
struct Section<Subject: Sendable>: Sendable {
    /// As in messages: `[route.crm]`; empty for the top level.
    let title: String
    /// Where the table begins.
    let position: Position
    var value: Subject
    /// Where the values of good directives are.
    fileprivate(set) var given: [String: Position] = [:]
    /// The values of good directives.
    fileprivate(set) var nodes: [String: Node] = [:]
    /// Directives that are missing or whose value was refused: other checks keep quiet about them.
    fileprivate(set) var faulty: Set<String> = []

    /// Where a directive's value is, or the table.
    func position(of name: String) -> Position { given[name] ?? position }

    /// Where the value of `member` is in a directive that is a table, or the directive.
    func position(of name: String, member: String) -> Position {
        guard case .table(let members)? = nodes[name]?.kind, let found = members.first(where: { $0.key == member })
        else { return position(of: name) }
        return found.value.position
    }

    /// Where element `index` of a list is, or the directive: a list of one may stand without brackets.
    func position(of name: String, element index: Int) -> Position {
        guard case .array(let nodes)? = nodes[name]?.kind, nodes.indices.contains(index) else {
            return position(of: name)
        }
        return nodes[index].position
    }

    /// Where the name of `member` is in a directive that is a table, or the directive.
    func keyPosition(of name: String, member: String) -> Position {
        guard case .table(let members)? = nodes[name]?.kind, let found = members.first(where: { $0.key == member })
        else { return position(of: name) }
        return found.keyPosition
    }

    func has(_ name: String) -> Bool { given[name] != nil }

    /// Whether the directive was written, well or badly.
    func mentions(_ name: String) -> Bool { has(name) || faulty.contains(name) }
}

/// Reads tables by the table of directives.
struct SectionReader {
    var diagnostics: Diagnostics

    /// Reads the members of one table. `tables` are the names that stand for tables inside it.
    mutating func read<Subject>(
        _ members: [Node.Member], title: String, at position: Position, as directives: Directives<Subject>,
        into subject: Subject, tables: [String] = []
    ) -> Section<Subject> {
        var section = Section(title: title, position: position, value: directives.applyingDefaults(to: subject))
        for member in members where !tables.contains(member.key) {
            guard let directive = directives.list.first(where: { $0.name == member.key }) else {
                reportUnknown(member, in: section.title, names: directives.list.map(\.name) + tables)
                continue
            }
            let mistakes = directive.set(member.value, &section.value)
            for mistake in mistakes { diagnostics.error(mistake.position, "\"\(directive.name)\" \(mistake.text)") }
            if mistakes.isEmpty {
                section.given[directive.name] = member.value.position
                section.nodes[directive.name] = member.value
            } else {
                section.faulty.insert(directive.name)
            }
        }
        for directive in directives.list where directive.row.isRequired && !section.mentions(directive.name) {
            diagnostics.error(position, "\(title) needs \"\(directive.name)\"")
            section.faulty.insert(directive.name)
        }
        return section
    }

    private mutating func reportUnknown(_ member: Node.Member, in title: String, names: [String]) {
        let homes = DirectiveTable.rows.filter { $0.rows.contains { $0.name == member.key } }.map(\.place.heading)
        let near = Suggestion.nearest(to: member.key, among: names)
        let hint =
            if !homes.isEmpty && !names.contains(member.key) {
                "; it belongs in " + homes.joined(separator: " or ")
            } else {
                near.map { "; did you mean \"\($0)\"?" } ?? ""
            }
        let kind =
            if case .table = member.value.kind { "table" } else { "directive" }
        diagnostics.error(
            member.keyPosition, "unknown \(kind) \(quoted(member.key))\(title.isEmpty ? "" : " in \(title)")\(hint)")
    }

    /// The members of a table that may stand once.
    mutating func table(_ place: Place, in root: [Node.Member]) -> (members: [Node.Member], position: Position)? {
        guard let member = root.first(where: { $0.key == place.rawValue }) else { return nil }
        guard case .table(let members) = member.value.kind else {
            diagnostics.error(
                member.value.position, "\"\(place.rawValue)\" must be a table, not \(member.value.found)")
            return nil
        }
        return (members, member.value.position)
    }

    /// The named tables of a place, in the order of the file.
    mutating func namedTables(_ place: Place, in root: [Node.Member]) -> [NamedTable] {
        guard let (members, _) = table(place, in: root) else { return [] }
        return members.compactMap { member in
            guard case .table(let entries) = member.value.kind else {
                diagnostics.error(
                    member.keyPosition,
                    "\(quoted(member.key)) stands in [\(place.rawValue)], which needs a name: write \(place.heading)")
                return nil
            }
            guard Self.isName(member.key) else {
                diagnostics.error(
                    member.keyPosition,
                    "\(quoted(member.key)) cannot be a name: use letters, digits, \"-\" and \"_\", at most 64")
                return nil
            }
            return NamedTable(
                name: member.key, title: "[\(place.rawValue).\(member.key)]", position: member.value.position,
                members: entries)
        }
    }

    /// Names go into URLs, metrics and logs.
    private static func isName(_ text: String) -> Bool {
        (1...64).contains(text.utf8.count)
            && text.utf8.allSatisfy { $0.isLetter || $0.isDigit || $0 == 0x2d || $0 == 0x5f }
    }
}

struct NamedTable {
    let name: String
    let title: String
    let position: Position
    let members: [Node.Member]
}
