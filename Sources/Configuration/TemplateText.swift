/// Text with `{name}` in it.
enum TemplateText {
    enum Part: Equatable {
        case text(String)
        case name(String)
    }

    /// nil where braces are not in pairs around names of small letters, digits and "_".
    static func parts(_ text: some StringProtocol) -> [Part]? {
        var parts: [Part] = []
        var rest = Substring(text)
        while let open = rest.firstIndex(where: { $0 == "{" || $0 == "}" }) {
            guard rest[open] == "{", let close = rest[open...].firstIndex(of: "}") else { return nil }
            let name = String(rest[rest.index(after: open)..<close])
            guard isName(name) else { return nil }
            if open > rest.startIndex { parts.append(.text(String(rest[..<open]))) }
            parts.append(.name(name))
            rest = rest[rest.index(after: close)...]
        }
        if !rest.isEmpty { parts.append(.text(String(rest))) }
        return parts
    }

    /// The names in `text`, each once; none where it is no template.
    static func names(_ text: some StringProtocol) -> [String] {
        var names: [String] = []
        for case .name(let name) in parts(text) ?? [] where !names.contains(name) { names.append(name) }
        return names
    }

    static func isName(_ text: String) -> Bool {
        (1...64).contains(text.utf8.count) && text.utf8.first.map { $0.isLetter } == true
            && text.utf8.allSatisfy { $0.isDigit || $0 == 0x5f || ($0.isLetter && $0 & 0x20 != 0) }
    }

    /// Reads a URL that may have names; without any it must be what `URLText` takes.
    static func url(_ text: String) -> Snapshot.URLTemplate? {
        guard let parts = parts(text) else { return nil }
        let probe = parts.reduce(into: "") { probe, part in
            switch part {
            case .text(let plain): probe += plain
            case .name: probe += "v"
            }
        }
        guard let sample = URLText.url(probe), let scheme = text.firstRange(of: "://") else { return nil }
        let rest = text[scheme.upperBound...]
        let authority = rest.prefix { $0 != "/" && $0 != "?" }
        let names = names(text)
        guard !names.isEmpty else {
            return Snapshot.URLTemplate(
                text: text, names: [], hostNames: [], host: sample.host, path: sample.path, sample: sample)
        }
        guard let (host, port) = AddressText.split(authority), port?.contains("{") != true,
            !text[..<scheme.lowerBound].contains("{")
        else { return nil }
        let path = rest[authority.endIndex...].prefix { $0 != "?" }
        return Snapshot.URLTemplate(
            text: text, names: names, hostNames: Self.names(host), host: host, path: String(path), sample: sample)
    }
}

extension Snapshot.URLTemplate {
    /// The template with what `values` has for its names; names without a value stay. nil where a value does not fit
    /// its place. Values of a host may be anything that makes one, as the operator's own are trusted.
    func filled(with values: [String: String]) -> Snapshot.URLTemplate? {
        guard let parts = TemplateText.parts(text) else { return nil }
        var result = ""
        for part in parts {
            switch part {
            case .text(let plain): result += plain
            case .name(let name):
                guard let value = values[name] else {
                    result += "{\(name)}"
                    continue
                }
                guard let fitting = hostNames.contains(name) ? hostPart(value) : escaped(value) else { return nil }
                result += fitting
            }
        }
        return TemplateText.url(result)
    }

    /// For a whole host also an https origin.
    private func hostPart(_ value: String) -> String? {
        var host = value
        if self.host.hasPrefix("{"), self.host.hasSuffix("}"), hostNames.count == 1, value.hasPrefix("https://") {
            host = String(value.dropFirst(8))
            if host.hasSuffix("/") { host.removeLast() }
        }
        let isPlain = host.utf8.allSatisfy { $0.isLetter || $0.isDigit || "-._:[]".utf8.contains($0) }
        return isPlain && !host.isEmpty ? host : nil
    }

    private func escaped(_ value: String) -> String? {
        guard !["", ".", ".."].contains(value) else { return nil }
        return value.utf8.reduce(into: "") { text, byte in
            let isPlain = byte.isLetter || byte.isDigit || "-._~".utf8.contains(byte)
            let digits = String(byte, radix: 16, uppercase: true)
            text += isPlain ? String(UnicodeScalar(byte)) : "%" + (digits.utf8.count == 1 ? "0" : "") + digits
        }
    }
}

/// `SOURCE [KIND] [required]`: what is captured, and of what kind it must be.
enum CaptureText {
    static let kinds = ["host", "label", "digits", "word", "text"]

    static func isCapture(_ text: String) -> Bool {
        var words = text.split(separator: " ", omittingEmptySubsequences: false)
        guard let source = words.first, !source.isEmpty, source.utf8.count <= 200 else { return false }
        words.removeFirst()
        if words.last == "required" { words.removeLast() }
        guard let kind = words.first else { return true }
        return words.count == 1 && (kinds.contains(String(kind)) || isChoice(kind))
    }

    /// `one:a|b`.
    private static func isChoice(_ kind: Substring) -> Bool {
        kind.hasPrefix("one:")
            && kind.dropFirst(4).split(separator: "|", omittingEmptySubsequences: false)
                .allSatisfy { !$0.isEmpty }
    }

    /// A place in a JSON reply: names and numbers with dots between; `PATH@CLAIM`; `A|B`.
    static func isPath(_ text: some StringProtocol) -> Bool {
        text.split(separator: "|", omittingEmptySubsequences: false).allSatisfy { alternative in
            let ends = alternative.split(separator: "@", omittingEmptySubsequences: false)
            return ends.count <= 2
                && ends.allSatisfy { path in
                    let names = path.split(separator: ".", omittingEmptySubsequences: false)
                    return names.count <= 8 && names.allSatisfy { !$0.isEmpty && !$0.contains(" ") }
                }
        }
    }
}
