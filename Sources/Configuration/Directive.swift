/// One row of the table of directives: what may be written at a place, what it means and how it is set.
struct Directive<Subject: Sendable>: Sendable {
    let row: DirectiveRow
    /// Reads the value and sets it; returns what is wrong with it.
    let set: @Sendable (Node, inout Subject) -> [Mistake]

    var name: String { row.name }

    init<Value: Sendable>(
        _ name: String, _ type: ValueType<Value>, default value: DefaultValue, isRequired: Bool = false,
        _ documentation: String, set: @escaping @Sendable (inout Subject, Value) -> Void
    ) {
        row = DirectiveRow(
            name: name, type: type.name, legal: type.legal, defaultValue: value, isRequired: isRequired,
            documentation: documentation)
        self.set = { node, subject in
            switch type.value(node) {
            case .success(let value):
                set(&subject, value)
                return []
            case .failure(let failure): return failure.list
            }
        }
    }

    init<Value: Sendable>(
        _ name: String, _ type: ValueType<Value>, _ path: any WritableKeyPath<Subject, Value> & Sendable,
        default value: DefaultValue = .none, isRequired: Bool = false, _ documentation: String
    ) {
        self.init(name, type, default: value, isRequired: isRequired, documentation) { $0[keyPath: path] = $1 }
    }

    /// For a setting that may be absent.
    init<Value: Sendable>(
        _ name: String, _ type: ValueType<Value>, _ path: any WritableKeyPath<Subject, Value?> & Sendable,
        _ documentation: String
    ) {
        self.init(name, type, default: .none, documentation) { $0[keyPath: path] = $1 }
    }
}

/// What the reference says about a directive.
package struct DirectiveRow: Sendable {
    package let name: String
    package let type: String
    /// The legal range; empty if the type says it all.
    package let legal: String
    let defaultValue: DefaultValue
    package let isRequired: Bool
    package let documentation: String

    /// The default as TOML, if it is a fixed value.
    package var defaultText: String? {
        switch defaultValue {
        case .value(let kind): kind.toml
        case .none, .described: nil
        }
    }
}

/// What holds when the file does not say it.
enum DefaultValue: Sendable {
    /// Nothing: the directive is off.
    case none
    case value(Node.Kind)
    /// Depends on something; in words.
    case described(String)

    static func words(_ list: [String]) -> Self {
        .value(.array(list.map { Node(position: .nowhere, kind: .string($0, raw: $0)) }))
    }
}

extension DefaultValue: ExpressibleByStringLiteral, ExpressibleByBooleanLiteral, ExpressibleByIntegerLiteral,
    ExpressibleByArrayLiteral
{
    init(stringLiteral text: String) { self = .value(.string(text, raw: text)) }

    init(booleanLiteral flag: Bool) { self = .value(.boolean(flag)) }

    init(integerLiteral number: Int) { self = .value(.integer(Int64(number))) }

    init(arrayLiteral numbers: Int...) {
        self = .value(.array(numbers.map { Node(position: .nowhere, kind: .integer(Int64($0))) }))
    }
}

extension Position {
    /// Of values that are not in the file.
    static let nowhere = Position(line: 1, column: 1)
}

extension Node.Kind {
    /// TOML text; only for the kinds that defaults have.
    var toml: String {
        switch self {
        case .string(let text, _): "\"" + text.replacing("\\", with: "\\\\").replacing("\"", with: "\\\"") + "\""
        case .integer(let number): String(number)
        case .boolean(let flag): String(flag)
        case .float(let number): String(number)
        case .array(let nodes): "[" + nodes.map(\.kind.toml).joined(separator: ", ") + "]"
        case .date, .table: ""
        }
    }
}

/// The directives of one place.
struct Directives<Subject: Sendable>: Sendable {
    let place: Place
    let list: [Directive<Subject>]

    /// `subject` with every default of the table set.
    func applyingDefaults(to subject: Subject) -> Subject {
        var subject = subject
        for directive in list {
            if case .value(let kind) = directive.row.defaultValue {
                _ = directive.set(Node(position: .nowhere, kind: kind), &subject)
            }
        }
        return subject
    }
}
