/// A strict reader of the Prometheus text format 0.0.4 for the tests: it refuses what `promtool check metrics` refuses.
struct Exposition {
    struct Sample: Equatable {
        var name: String
        var labels: [String: String]
        var value: String
    }

    struct Family {
        var help: String
        var type: String
        var samples: [Sample] = []
    }

    struct Mistake: Error, CustomStringConvertible {
        var line: String
        var reason: String
        var description: String { "\(reason): \(line)" }
    }

    private(set) var families: [String: Family] = [:]
    private var current = ""

    init(_ bytes: [UInt8]) throws {
        guard let text = String(validating: bytes, as: UTF8.self), text.hasSuffix("\n") else {
            throw Mistake(line: "", reason: "not UTF-8, or no line feed at the end")
        }
        for line in text.split(separator: "\n", omittingEmptySubsequences: false).dropLast() { try read(String(line)) }
        for (name, family) in families { try Self.check(name, family) }
    }

    func value(_ name: String, _ labels: [String: String] = [:]) -> String? {
        for family in families.values {
            if let sample = family.samples.first(where: { $0.name == name && $0.labels == labels }) {
                return sample.value
            }
        }
        return nil
    }

    private mutating func read(_ line: String) throws {
        if line.hasPrefix("# HELP ") {
            let parts = line.dropFirst(7).split(separator: " ", maxSplits: 1)
            guard parts.count == 2, families[String(parts[0])] == nil else {
                throw Mistake(line: line, reason: "HELP twice or empty")
            }
            current = String(parts[0])
            families[current] = Family(help: String(parts[1]), type: "")
        } else if line.hasPrefix("# TYPE ") {
            let parts = line.dropFirst(7).split(separator: " ")
            guard parts.count == 2, parts[0] == current, families[current]?.type == "",
                ["counter", "gauge", "histogram"].contains(parts[1])
            else { throw Mistake(line: line, reason: "TYPE without its HELP, or twice") }
            families[current]?.type = String(parts[1])
        } else {
            try readSample(line)
        }
    }

    private mutating func readSample(_ line: String) throws {
        var rest = Substring(line)
        let name = String(rest.prefix { $0.isLetter || $0.isNumber || $0 == "_" || $0 == ":" })
        rest = rest.dropFirst(name.count)
        var labels: [String: String] = [:]
        if rest.first == "{" { (labels, rest) = try Self.readLabels(rest.dropFirst(), line: line) }
        guard rest.first == " " else { throw Mistake(line: line, reason: "no single space before the value") }
        let value = String(rest.dropFirst())
        guard !name.isEmpty, Double(value) != nil || ["NaN", "+Inf", "-Inf"].contains(value) else {
            throw Mistake(line: line, reason: "bad name or value")
        }
        let isHistogram = families[current]?.type == "histogram"
        let allowed = isHistogram ? ["_bucket", "_sum", "_count"].map { current + $0 } : [current]
        guard allowed.contains(name) else { throw Mistake(line: line, reason: "sample outside its family") }
        let sample = Sample(name: name, labels: labels, value: value)
        guard families[current]?.samples.contains(where: { $0.name == name && $0.labels == labels }) == false else {
            throw Mistake(line: line, reason: "the same sample twice")
        }
        families[current]?.samples.append(sample)
    }

    private static func readLabels(_ text: Substring, line: String) throws -> ([String: String], Substring) {
        var rest = text
        var labels: [String: String] = [:]
        while true {
            let name = String(rest.prefix { $0.isLetter || $0 == "_" })
            rest = rest.dropFirst(name.count)
            guard !name.isEmpty, labels[name] == nil, rest.hasPrefix("=\"") else {
                throw Mistake(line: line, reason: "bad label")
            }
            rest = rest.dropFirst(2)
            var value = ""
            while let character = rest.popFirst(), character != "\"" {
                if character == "\\" {
                    switch rest.popFirst() {
                    case "n": value.append("\n")
                    case "\\": value.append("\\")
                    case "\"": value.append("\"")
                    default: throw Mistake(line: line, reason: "bad escape")
                    }
                } else {
                    value.append(character)
                }
            }
            labels[name] = value
            switch rest.popFirst() {
            case ",": continue
            case "}": return (labels, rest)
            default: throw Mistake(line: line, reason: "labels not closed")
            }
        }
    }

    private static func check(_ name: String, _ family: Family) throws {
        let isCounter = family.type == "counter"
        guard isCounter == name.hasSuffix("_total") else {
            throw Mistake(line: name, reason: "counters, and only they, end in _total")
        }
        for sample in family.samples where isCounter && sample.value.hasPrefix("-") {
            throw Mistake(line: name, reason: "negative counter")
        }
        if family.type == "histogram" { try checkHistogram(name, family) }
    }

    private static func checkHistogram(_ name: String, _ family: Family) throws {
        var groups: [[String: String]: [(bound: Double, count: Int)]] = [:]
        for sample in family.samples where sample.name == "\(name)_bucket" {
            var labels = sample.labels
            guard let bound = labels.removeValue(forKey: "le"), let count = Int(sample.value),
                let limit = bound == "+Inf" ? .infinity : Double(bound)
            else { throw Mistake(line: name, reason: "bucket without a bound") }
            groups[labels, default: []].append((limit, count))
        }
        for (labels, buckets) in groups {
            for (left, right) in zip(buckets, buckets.dropFirst())
            where left.bound >= right.bound || left.count > right.count {
                throw Mistake(line: name, reason: "buckets not ascending")
            }
            let count = family.samples.first { $0.name == "\(name)_count" && $0.labels == labels }?.value
            let hasSum = family.samples.contains { $0.name == "\(name)_sum" && $0.labels == labels }
            guard buckets.last?.bound == .infinity, hasSum, count == buckets.last.map({ String($0.count) }) else {
                throw Mistake(line: name, reason: "no +Inf, sum or count, or they disagree")
            }
        }
    }
}
