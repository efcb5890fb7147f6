/// Columns of text, as wide as they must be.
struct Table {
    struct Cell {
        var text: String
        var style: Terminal.Style?

        init(_ text: String, _ style: Terminal.Style? = nil) {
            // A line break would tear the row.
            self.text = printable(text).replacing("\n", with: " ")
            self.style = style
        }
    }

    let headings: [String]
    private(set) var rows: [[Cell]] = []

    init(_ headings: [String]) { self.headings = headings }

    mutating func add(_ cells: [Cell]) { rows.append(cells) }

    func text(for terminal: Terminal) -> String {
        let all = [headings.map { Cell($0, .bold) }] + rows
        let widths = headings.indices.map { column in all.map { $0[column].text.count }.max() ?? 0 }
        return all.map { row in
            row.indices.map { column in
                let cell = row[column]
                let shown = cell.style.map { terminal.styled(cell.text, $0) } ?? cell.text
                let isLast = column == row.count - 1
                return isLast ? shown : shown + String(repeating: " ", count: widths[column] - cell.text.count)
            }.joined(separator: "  ") + "\n"
        }.joined()
    }
}
