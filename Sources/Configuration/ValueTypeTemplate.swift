// Values with `{name}` in them, and what gives those names their values.

extension ValueType where Value == Snapshot.URLTemplate {
    /// `static var url` with names.
    static var urlTemplate: Self {
        ValueType<String>.string("url", expected: "an absolute URL such as \"https://api.example.com\"")
            .map { TemplateText.url($0) }
    }
}

extension ValueType where Value == String {
    /// The issuer of RFC 8414 section 2; kept as written because it is compared byte by byte. May have names.
    static var issuer: Self {
        string("url", expected: "an issuer's URL such as \"https://accounts.example.com\", without query and fragment")
        {
            guard let url = TemplateText.url($0) else { return false }
            return url.sample.query == nil
        }
    }

    /// A host that a captured value may name: the host itself, or with `*.` in front all hosts below it.
    static var hostPattern: Self {
        string("host", expected: "a host such as \"api.example.com\", or \"*.example.com\" for all below it") { text in
            if text.hasPrefix("*.") { return isHostName(text.dropFirst(2)) && text.dropFirst(2).contains(".") }
            guard let (host, port) = AddressText.split(text) else { return false }
            return (isHostName(host) || Snapshot.IPAddress(host) != nil)
                && port.map { AddressText.port($0) != nil } ?? true
        }
        .map { $0.lowercased() }
    }

    /// Where something is in a JSON reply.
    static var jsonPath: Self {
        string("path", expected: "names with dots between them") { CaptureText.isPath($0) }
    }

    /// A value of a callback: the parameter's name, what kind of value it must have, and `required`.
    static var callbackCapture: Self {
        string("capture", expected: #"the parameter's name, a kind and "required", such as "realmId digits required""#)
        {
            CaptureText.isCapture($0)
        }
    }

    /// The same of a JSON reply.
    static var replyCapture: Self {
        string("capture", expected: #"a path, a kind and "required", such as "0.tenantId word required""#) { text in
            CaptureText.isCapture(text) && CaptureText.isPath(text.prefix { $0 != " " })
        }
    }

    /// A parameter's name as providers have them.
    static var foreignName: Self {
        string("parameter", expected: "a parameter's name", mayBeEmpty: true) {
            $0.utf8.count <= 128 && !$0.utf8.contains(0x20)
        }
    }

    /// A regular expression that can be read.
    static var pattern: Self {
        string("pattern", expected: "a regular expression") { (try? Regex($0)) != nil }
    }
}

extension ValueType where Value == [String: String] {
    /// Values for names in URLs and headers.
    static var variables: Self {
        named(of: .string(), example: #"{ tenant = "contoso" }"#)
            .map { $0.reduce(into: [:]) { $0[$1.name] = $1.value } }
    }

    /// A standard name, for all requests or with `authorize.`, `code.`, `refresh.` or `token.` in front for some.
    static var renamedParameters: Self {
        let example = #"{ client_id = "client_key" }"#
        let type = ValueType.table(of: .parameterName, example: example)
        let fixed: Set = ["state", "nonce", "code_challenge", "code_challenge_method"]
        return Self("table", expected: type.expected) { node in
            guard case .table(let members) = node.kind else { return .wrong }
            let mistakes = members.compactMap { member -> Mistake? in
                let parts = member.key.split(separator: ".", omittingEmptySubsequences: false).map(String.init)
                if parts.last.map(fixed.contains) == true {
                    return Mistake(member.keyPosition, "must not rename \(quoted(member.key))")
                }
                let isScoped = parts.count == 2 && ["authorize", "code", "refresh", "token"].contains(parts[0])
                guard parts.count != 1, !isScoped else { return nil }
                return Mistake(
                    member.keyPosition,
                    "has \(quoted(member.key)): in front of the dot stands \"authorize\", \"code\", \"refresh\" or \"token\""
                )
            }
            return mistakes.isEmpty ? type.read(node) : .mistakes(mistakes)
        }
    }

    private static func named(of type: ValueType<String>, example: String) -> ValueType<[Snapshot.NamedValue]> {
        .captures(of: type, example: example)
    }
}

extension ValueType where Value == [Snapshot.NamedValue] {
    /// A table whose keys are names for `{name}`.
    static func captures(of type: ValueType<String>, example: String) -> Self {
        Self("table", expected: "a table such as \(example)", legal: "") { node in
            guard case .table(let members) = node.kind else { return .wrong }
            var values: [Snapshot.NamedValue] = []
            var mistakes: [Mistake] = []
            for member in members {
                if !TemplateText.isName(member.key) {
                    mistakes.append(
                        Mistake(
                            member.keyPosition,
                            "has \(quoted(member.key)), which cannot stand in {…}: use small letters, digits and \"_\"")
                    )
                }
                switch type.value(member.value) {
                case .success(let value): values.append(Snapshot.NamedValue(name: member.key, value: value))
                case .failure(let failure):
                    mistakes += failure.list.map { Mistake($0.position, "has \(quoted(member.key)), which " + $0.text) }
                }
            }
            return mistakes.isEmpty ? .value(values) : .mistakes(mistakes)
        }
    }
}

extension ValueType {
    /// A table that is read by directives of its own.
    static func record(_ directives: [Directive<Value>], _ subject: Value, example: String) -> Self {
        let names = directives.map(\.name)
        return Self("table", expected: "a table such as \(example)", legal: names.joined(separator: ", ")) { node in
            guard case .table(let members) = node.kind else { return .wrong }
            var value = Directives(place: .top, list: directives).applyingDefaults(to: subject)
            var mistakes: [Mistake] = []
            for member in members {
                guard let directive = directives.first(where: { $0.name == member.key }) else {
                    let hint = Suggestion.hint(for: member.key, among: names)
                    mistakes.append(Mistake(member.keyPosition, "has an unknown member \(quoted(member.key))\(hint)"))
                    continue
                }
                mistakes += directive.set(member.value, &value).map {
                    Mistake($0.position, "has \(quoted(member.key)), which " + $0.text)
                }
            }
            for directive in directives where directive.row.isRequired {
                guard !members.contains(where: { $0.key == directive.name }) else { continue }
                mistakes.append(Mistake(node.position, "needs \"\(directive.name)\""))
            }
            return mistakes.isEmpty ? .value(value) : .mistakes(mistakes)
        }
    }

    /// A list of such tables.
    static func records<Element: Sendable>(
        _ directives: [Directive<Element>], _ subject: Element, example: String
    ) -> ValueType<[Element]> where Value == [Element] {
        let type = ValueType<Element>.record(directives, subject, example: example)
        return ValueType("list of tables", expected: "a list of tables such as \(example)", legal: type.legal) { node in
            guard case .array(let nodes) = node.kind else { return .wrong }
            var values: [Element] = []
            var mistakes: [Mistake] = []
            for node in nodes {
                switch type.value(node) {
                case .success(let value): values.append(value)
                case .failure(let failure):
                    mistakes += failure.list.map {
                        $0.text.hasPrefix("must be") ? Mistake($0.position, "has an element that " + $0.text) : $0
                    }
                }
            }
            return mistakes.isEmpty ? .value(values) : .mistakes(mistakes)
        }
    }
}

// MARK: - The tables inside a provider

extension ValueType where Value == [Snapshot.Lookup] {
    static var lookups: Self {
        records(
            [
                Directive<Snapshot.Lookup>("url", .urlTemplate, isRequired: true, \.url),
                Directive<Snapshot.Lookup>(
                    "capture", .captures(of: .replyCapture, example: #"{ tenant_id = "0.tenantId word" }"#), \.captures),
                Directive<Snapshot.Lookup>("headers", .fields(reserved: reservedFields), \.headers),
                Directive<Snapshot.Lookup>("account", .jsonPath, \.account),
            ], Snapshot.Lookup(),
            example: #"[{ url = "https://api.example.com/me", capture = { tenant = "id word" } }]"#)
    }
}

extension ValueType where Value == Snapshot.Revocation {
    static var revocation: Self {
        record(
            [
                Directive<Snapshot.Revocation>("url", .urlTemplate, \.url),
                Directive<Snapshot.Revocation>("method", .choice, default: "POST", \.method),
                Directive<Snapshot.Revocation>("auth", .choice, default: "client", \.authentication),
                Directive<Snapshot.Revocation>("body", .choice, default: "form", \.body),
                Directive<Snapshot.Revocation>("token_param", .foreignName, default: "token", \.tokenParameter),
                Directive<Snapshot.Revocation>("hint", .boolean, default: true, \.sendsHint),
                Directive<Snapshot.Revocation>("params", .parameters(reserved: []), \.parameters),
                Directive<Snapshot.Revocation>("headers", .fields(reserved: reservedFields), \.headers),
                Directive<Snapshot.Revocation>("order", .choice, default: "both", \.order),
                Directive<Snapshot.Revocation>("done_statuses", .list(of: .integer(100...599)), \.doneStatuses),
                Directive<Snapshot.Revocation>("invalid_statuses", .list(of: .integer(100...599)), \.invalidStatuses),
                Directive<Snapshot.Revocation>("done_codes", .list(of: .string()), \.doneCodes),
                Directive<Snapshot.Revocation>("invalid_codes", .list(of: .string()), \.invalidCodes),
                Directive<Snapshot.Revocation>("supported", .boolean, default: true, \.isSupported),
                Directive<Snapshot.Revocation>("advice", .string(), \.advice),
            ], Snapshot.Revocation(),
            example: #"{ url = "https://api.example.com/tokens/{token}", method = "DELETE", body = "none" }"#)
    }
}

extension ValueType where Value == [Snapshot.RequiredVariable] {
    private static let members: [Directive<Snapshot.RequiredVariable>] = [
        Directive("about", .string(), isRequired: true, \.about),
        Directive("example", .string(), isRequired: true, \.example),
        Directive("pattern", .pattern, \.pattern),
    ]

    static var requiredVariables: Self {
        let example = #"{ tenant = { about = "the tenant's id", example = "contoso" } }"#
        let type = ValueType<Snapshot.RequiredVariable>.record(members, Snapshot.RequiredVariable(), example: example)
        return Self("table", expected: "a table such as \(example)", legal: "about, example, pattern") { node in
            guard case .table(let entries) = node.kind else { return .wrong }
            var values: [Snapshot.RequiredVariable] = []
            var mistakes: [Mistake] = []
            for entry in entries {
                switch type.value(entry.value) {
                case .success(var value):
                    value.name = entry.key
                    values.append(value)
                    if !TemplateText.isName(entry.key) {
                        mistakes.append(
                            Mistake(entry.keyPosition, "has \(quoted(entry.key)), which cannot stand in {…}"))
                    } else if !value.accepts(value.example) {
                        mistakes.append(Mistake(entry.value.position, "has an example that its pattern does not take"))
                    }
                case .failure(let failure):
                    mistakes += failure.list.map { Mistake($0.position, "has \(quoted(entry.key)), which " + $0.text) }
                }
            }
            return mistakes.isEmpty ? .value(values) : .mistakes(mistakes)
        }
    }
}

extension Directive {
    /// A member of a table inside a directive: the directive's own line documents it.
    fileprivate init<Value: Sendable>(
        _ name: String, _ type: ValueType<Value>, isRequired: Bool = false, default value: DefaultValue = .none,
        _ path: any WritableKeyPath<Subject, Value> & Sendable
    ) {
        self.init(name, type, path, default: value, isRequired: isRequired, "")
    }

    fileprivate init<Value: Sendable>(
        _ name: String, _ type: ValueType<Value>, isRequired: Bool = false,
        _ path: any WritableKeyPath<Subject, Value?> & Sendable
    ) {
        self.init(name, type, default: .none, isRequired: isRequired, "") { $0[keyPath: path] = $1 }
    }
}
