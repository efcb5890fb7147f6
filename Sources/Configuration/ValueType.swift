/// How a directive's value is read: one of the few types that gateway.conf has.
struct ValueType<Value: Sendable>: Sendable {
    /// In the reference: "duration".
    let name: String
    /// In messages, behind "must be": "a duration such as \"30s\"".
    let expected: String
    /// The legal range, for the reference; empty if the type says it all.
    let legal: String
    let read: @Sendable (Node) -> Reading<Value>

    init(
        _ name: String, expected: String, legal: String = "",
        read: @escaping @Sendable (Node) -> Reading<Value>
    ) {
        self.name = name
        self.expected = expected
        self.legal = legal
        self.read = read
    }

    /// The value, or the mistakes as predicates: `must be …, not …`.
    func value(_ node: Node) -> Result<Value, Mistakes> {
        switch read(node) {
        case .value(let value): .success(value)
        case .wrong: .failure(Mistakes([Mistake(node.position, "must be \(expected), not \(node.found)")]))
        case .mistakes(let list): .failure(Mistakes(list))
        }
    }

    /// For values in whose place the secret itself is put by mistake: messages do not show a text that is wrong.
    var unshown: Self {
        Self(name, expected: expected, legal: legal) { node in
            guard case .wrong = read(node), case .string = node.kind else { return read(node) }
            let advice = "what stands there is not shown, as it may be the secret itself"
            return .mistakes([Mistake(node.position, "must be \(expected); \(advice)")])
        }
    }

    /// The same text read into another value; nil from `transform` means that it is not of the type.
    func map<Other: Sendable>(_ transform: @escaping @Sendable (Value) -> Other?) -> ValueType<Other> {
        ValueType<Other>(name, expected: expected, legal: legal) { node in
            switch read(node) {
            case .value(let value): transform(value).map { .value($0) } ?? .wrong
            case .wrong: .wrong
            case .mistakes(let list): .mistakes(list)
            }
        }
    }

}

enum Reading<Value: Sendable>: Sendable {
    case value(Value)
    /// Not of this type at all.
    case wrong
    case mistakes([Mistake])
}

struct Mistakes: Error {
    let list: [Mistake]

    init(_ list: [Mistake]) { self.list = list }
}

extension ValueType where Value == Bool {
    static var boolean: Self {
        Self("boolean", expected: "true or false") { node in
            guard case .boolean(let flag) = node.kind else { return .wrong }
            return .value(flag)
        }
    }
}

extension ValueType where Value == Int {
    static func integer(_ range: ClosedRange<Int>) -> Self {
        Self(
            "integer", expected: "a whole number from \(range.lowerBound) to \(range.upperBound)",
            legal: "\(range.lowerBound) to \(range.upperBound)"
        ) { node in
            guard case .integer(let wide) = node.kind, let number = Int(exactly: wide), range.contains(number)
            else { return .wrong }
            return .value(number)
        }
    }

    /// Bytes: an integer or a string with a unit. Decimal units are not accepted, as "1MB" is read both ways.
    static func size(_ range: ClosedRange<Int>) -> Self {
        let legal = "\(SizeText.text(range.lowerBound)) to \(SizeText.text(range.upperBound))"
        return Self("size", expected: "a size such as \"64KiB\" or a number of bytes (\(legal))", legal: legal) {
            node in
            let bytes: Int? =
                switch node.kind {
                case .integer(let wide): Int(exactly: wide)
                case .string(let text, _): SizeText.bytes(text)
                case .float, .boolean, .date, .array, .table: nil
                }
            guard let bytes, range.contains(bytes) else { return .wrong }
            return .value(bytes)
        }
    }
}

extension ValueType where Value == Int? {
    /// A size where 0 stands for "no limit".
    static func sizeOrUnlimited(_ range: ClosedRange<Int>) -> Self {
        let type = ValueType<Int>.size(0...range.upperBound)
        return ValueType<Int?>("size", expected: type.expected, legal: type.legal + "; 0: no limit") { node in
            switch type.read(node) {
            case .value(let bytes) where bytes == 0: .value(nil)
            case .value(let bytes): range.contains(bytes) ? .value(bytes) : .wrong
            case .wrong: .wrong
            case .mistakes(let list): .mistakes(list)
            }
        }
    }
}

/// Durations are strings only: a bare number would be seconds to some and milliseconds to others.
private func durationExpected(_ legal: String) -> String {
    "a duration in quotes such as \"30s\" or \"1m30s\" (\(legal))"
}

extension ValueType where Value == Duration {
    static func duration(_ range: ClosedRange<Duration>) -> Self {
        let legal = "\(DurationText.text(range.lowerBound)) to \(DurationText.text(range.upperBound))"
        return Self("duration", expected: durationExpected(legal), legal: legal) { node in
            guard case .string(let text, _) = node.kind, let duration = DurationText.duration(text),
                range.contains(duration)
            else { return .wrong }
            return .value(duration)
        }
    }
}

extension ValueType where Value == Duration? {
    /// A duration where "0s" stands for "off".
    static func durationOrOff(_ range: ClosedRange<Duration>, zero: String = "off") -> Self {
        let legal =
            "\(DurationText.text(range.lowerBound)) to \(DurationText.text(range.upperBound)), or \"0s\": \(zero)"
        return Self("duration", expected: durationExpected(legal), legal: legal) { node in
            guard case .string(let text, _) = node.kind, let duration = DurationText.duration(text),
                duration == .zero || range.contains(duration)
            else { return .wrong }
            return .value(duration == .zero ? nil : duration)
        }
    }
}

extension ValueType {
    /// One word out of a list; a near miss is suggested.
    static func choice(_ words: [(word: String, value: Value)]) -> Self {
        let names = words.map { "\"\($0.word)\"" }
        let all =
            names.count > 1 ? names.dropLast().joined(separator: ", ") + " or " + names[names.count - 1] : names[0]
        return Self("word", expected: all, legal: names.joined(separator: ", ")) { node in
            guard case .string(let text, _) = node.kind else { return .wrong }
            if let match = words.first(where: { $0.word == text }) { return .value(match.value) }
            let hint = Suggestion.hint(for: text, among: words.map(\.word))
            return .mistakes([Mistake(node.position, "must be \(all), not \(node.found)\(hint)")])
        }
    }
}

extension ValueType where Value: CaseIterable & RawRepresentable, Value.RawValue == String, Value.AllCases: Sendable {
    static var choice: Self { choice(Value.allCases.map { ($0.rawValue, $0) }) }
}
