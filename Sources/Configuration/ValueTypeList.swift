extension ValueType {
    /// A list of values of one type, none twice.
    static func list<Element: Hashable>(of type: ValueType<Element>, mayBeEmpty: Bool = true) -> ValueType<[Element]>
    where Value == [Element] {
        ValueType("list of \(type.name)s", expected: "a list", legal: type.legal) { node in
            guard case .array(let nodes) = node.kind else { return .wrong }
            guard mayBeEmpty || !nodes.isEmpty else {
                return .mistakes([Mistake(node.position, "must not be an empty list")])
            }
            return elements(nodes, of: type)
        }
    }

    /// One value, or a list of several.
    static func oneOrMore<Element: Hashable>(of type: ValueType<Element>) -> ValueType<[Element]>
    where Value == [Element] {
        ValueType("\(type.name) or list", expected: "\(type.expected), or a list of them", legal: type.legal) { node in
            guard case .array(let nodes) = node.kind else {
                return switch type.read(node) {
                case .value(let value): .value([value])
                case .wrong: .wrong
                case .mistakes(let list): .mistakes(list)
                }
            }
            guard !nodes.isEmpty else { return .mistakes([Mistake(node.position, "must not be an empty list")]) }
            return elements(nodes, of: type)
        }
    }

    private static func elements<Element: Hashable>(_ nodes: [Node], of type: ValueType<Element>) -> Reading<[Element]>
    {
        var values: [Element] = []
        var seen: Set<Element> = []
        var mistakes: [Mistake] = []
        for node in nodes {
            switch type.value(node) {
            case .failure(let failure):
                mistakes += failure.list.map { Mistake($0.position, "has an element that " + $0.text) }
            case .success(let value) where !seen.insert(value).inserted:
                mistakes.append(Mistake(node.position, "has \(node.found) twice"))
            case .success(let value): values.append(value)
            }
        }
        return mistakes.isEmpty ? .value(values) : .mistakes(mistakes)
    }
}

extension ValueType where Value == [Snapshot.NamedValue] {
    /// A table of texts. `reserved` names are set by the gateway itself; compared without regard to case for fields.
    static func parameters(reserved: Set<String>) -> Self {
        namedValues("parameters", expected: #"a table such as { access_type = "offline" }"#) { name in
            if name.isEmpty || name.utf8.contains(where: \.isControl) { return "has an illegal name" }
            return reserved.contains(name) ? "must not set \"\(name)\", which the gateway sets itself" : nil
        }
    }

    static func fields(reserved: Set<String>) -> Self {
        namedValues("headers", expected: #"a table such as { "X-Api-Version" = "2" }"#, ignoringCase: true) { name in
            if !isFieldName(name) { return "has \(quoted(name)), which is not a header field's name" }
            return reserved.contains(name.lowercased())
                ? "must not set \(quoted(name)), which the gateway sets itself" : nil
        }
    }

    private static func namedValues(
        _ type: String, expected: String, ignoringCase: Bool = false,
        problem: @escaping @Sendable (String) -> String?
    ) -> Self {
        Self(type, expected: expected) { node in
            guard case .table(let members) = node.kind else { return .wrong }
            var values: [Snapshot.NamedValue] = []
            var seen: Set<String> = []
            var mistakes: [Mistake] = []
            for member in members {
                if let problem = problem(member.key) {
                    mistakes.append(Mistake(member.keyPosition, problem))
                } else if !seen.insert(ignoringCase ? member.key.lowercased() : member.key).inserted {
                    mistakes.append(Mistake(member.keyPosition, "has \(quoted(member.key)) twice"))
                }
                switch ValueType<String>.string(mayBeEmpty: true).value(member.value) {
                case .success(let text): values.append(Snapshot.NamedValue(name: member.key, value: text))
                case .failure(let failure):
                    mistakes += failure.list.map {
                        Mistake($0.position, "has \(quoted(member.key)), which " + $0.text)
                    }
                }
            }
            return mistakes.isEmpty ? .value(values) : .mistakes(mistakes)
        }
    }
}

extension ValueType {
    /// A table whose keys are free and whose values are of one type.
    static func table<Element>(of type: ValueType<Element>, example: String) -> ValueType<[String: Element]>
    where Value == [String: Element] {
        ValueType("table", expected: "a table such as \(example)", legal: type.legal) { node in
            guard case .table(let members) = node.kind else { return .wrong }
            var values: [String: Element] = [:]
            var mistakes: [Mistake] = []
            for member in members {
                switch type.value(member.value) {
                case .success(let value): values[member.key] = value
                case .failure(let failure):
                    mistakes += failure.list.map { Mistake($0.position, "has \(quoted(member.key)), which " + $0.text) }
                }
            }
            return mistakes.isEmpty ? .value(values) : .mistakes(mistakes)
        }
    }
}
