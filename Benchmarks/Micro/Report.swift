/// The two forms in which measurements are printed.
enum Report {
    static func table(_ measurements: [Measurement]) -> String {
        var rows = [["benchmark", "ns min", "ns median", "allocations", "MiB/s"]]
        let hasInstructions = measurements.contains { $0.instructions != nil }
        if hasInstructions { rows[0].append("instructions") }
        for one in measurements {
            let speed = one.bytes.map { fixed(Double($0) / one.minimum * 1e9 / 1_048_576, 0) } ?? ""
            var row = [
                one.name, fixed(one.minimum, 1), fixed(one.median, 1), one.allocations.map { fixed($0, 2) } ?? "-",
                speed,
            ]
            if hasInstructions { row.append(one.instructions.map { fixed($0, 0) } ?? "-") }
            rows.append(row)
        }
        let widths = rows[0].indices.map { column in rows.map { $0[column].count }.max() ?? 0 }
        var text = ""
        for (index, row) in rows.enumerated() {
            text +=
                "| " + row.indices.map { padded(row[$0], widths[$0], left: $0 == 0) }.joined(separator: " | ") + " |\n"
            if index == 0 {
                text += "|" + widths.indices.map { rule(widths[$0], left: $0 == 0) }.joined(separator: "|") + "|\n"
            }
        }
        return text
    }

    static func json(_ measurements: [Measurement]) -> String {
        let lines = measurements.map { one in
            var members = [
                "\"name\": \"\(one.name)\"", "\"ns_min\": \(fixed(one.minimum, 2))",
                "\"ns_median\": \(fixed(one.median, 2))",
            ]
            if let allocations = one.allocations { members.append("\"allocations\": \(fixed(allocations, 4))") }
            if let instructions = one.instructions { members.append("\"instructions\": \(fixed(instructions, 1))") }
            if let bytes = one.bytes { members.append("\"bytes\": \(bytes)") }
            return "  {" + members.joined(separator: ", ") + "}"
        }
        return "[\n" + lines.joined(separator: ",\n") + "\n]\n"
    }

    private static func rule(_ width: Int, left: Bool) -> String {
        left ? String(repeating: "-", count: width + 2) : String(repeating: "-", count: width + 1) + ":"
    }

    private static func padded(_ text: String, _ width: Int, left: Bool) -> String {
        let space = String(repeating: " ", count: max(0, width - text.count))
        return left ? text + space : space + text
    }

    private static func fixed(_ value: Double, _ digits: Int) -> String {
        let scale = [1.0, 10, 100, 1000, 10000][digits]
        let scaled = Int64((value * scale).rounded())
        guard digits > 0 else { return String(scaled) }
        let fraction = String(scaled % Int64(scale))
        return "\(scaled / Int64(scale))." + String(repeating: "0", count: digits - fraction.count) + fraction
    }
}
