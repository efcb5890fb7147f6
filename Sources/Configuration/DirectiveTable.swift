/// The table of directives: all that gateway.conf can say, for the parser, the reference and the example's test.
package enum DirectiveTable {
    /// Every row by place, in the order in which the reference shows them.
    package static let rows: [(place: Place, rows: [DirectiveRow])] = Place.allCases.map { ($0, rows(of: $0)) }

    private static func rows(of place: Place) -> [DirectiveRow] {
        switch place {
        case .top: topDirectives.list.map { $0.row }
        case .listener: listenerDirectives.list.map { $0.row }
        case .console: consoleDirectives.list.map { $0.row }
        case .store: storeDirectives.list.map { $0.row }
        case .provider: providerDirectives.list.map { $0.row }
        case .grant: grantDirectives.list.map { $0.row }
        case .grantTemplate: grantTemplateDirectives.list.map { $0.row }
        case .upstream: upstreamDirectives.list.map { $0.row }
        case .route: routeDirectives.list.map { $0.row }
        case .timeouts: timeoutDirectives.list.map { $0.row }
        case .limits: limitDirectives.list.map { $0.row }
        case .log: logDirectives.list.map { $0.row }
        }
    }

    /// The reference as Markdown: a table for each place.
    package static var reference: String {
        rows.map { place, all in
            let rows = shown(all, at: place)
            let head =
                "### \(place == .top ? "Top level" : "`\(place.heading)`")\n\n\(place.documentation)\n\n"
                + "| directive | type | default | meaning |\n| --- | --- | --- | --- |\n"
            return head + rows.map { "| \(cells(of: $0).joined(separator: " | ")) |\n" }.joined()
        }
        .joined(separator: "\n")
    }

    /// A template's directives that are also a grant's are shown there.
    private static func shown(_ rows: [DirectiveRow], at place: Place) -> [DirectiveRow] {
        guard place == .grantTemplate else { return rows }
        return rows.filter { row in row.name == "provider" || !grantDirectives.list.contains { $0.name == row.name } }
    }

    private static func cells(of row: DirectiveRow) -> [String] {
        let type = row.legal.isEmpty ? row.type : "\(row.type): \(row.legal)"
        return ["`\(row.name)`", type.replacing("|", with: "\\|"), defaultCell(of: row), row.documentation]
    }

    private static func defaultCell(of row: DirectiveRow) -> String {
        if row.isRequired { return "required" }
        return switch row.defaultValue {
        case .none: ""
        case .value(let kind): "`\(kind.toml)`"
        case .described(let words): words
        }
    }
}
