/// A value that a callback, a token reply or a look-up gives and that is needed later: Zoho's data centre, Salesforce's
/// instance, the tenant of Xero.
///
/// Written as "SOURCE [KIND] [required]", for instance "accounts-server host" or "0.id word required". SOURCE is the
/// parameter of the callback, or the dotted path in the reply (numbers are places in an array; "id_token@sub" is a claim
/// of the JWT at id_token). A value that the kind does not allow is never kept.
package struct Capture: Sendable, Hashable {
    package enum Kind: Sendable, Hashable {
        /// A host or an https origin of `allowed_hosts`; kept as the host, with its port if it has one.
        case host
        /// One label of a host name, kept in lower case.
        case label
        case digits
        /// Letters, digits, ".", "_", "-", "@", "+", ":" and "~".
        case word
        /// Printable ASCII.
        case text
        case oneOf([String])
    }

    package static let limitBytes = 1024

    /// What templates call it.
    package var name: String
    package var source: String
    package var kind: Kind
    /// Without it a consent fails. A refresh never fails for a capture: what was captured before stays.
    package var isRequired: Bool

    package init(name: String, source: String, kind: Kind = .text, isRequired: Bool = false) {
        self.name = name
        self.source = source
        self.kind = kind
        self.isRequired = isRequired
    }

    /// nil where the name or the text is not of the form above.
    package init?(name: String, text: String) {
        var words = text.split(separator: " ").map(String.init)
        guard TemplateVariables.isName(name), !words.isEmpty, words[0].utf8.count <= 200 else { return nil }
        let source = words.removeFirst()
        let isRequired = words.last == "required"
        if isRequired { words.removeLast() }
        guard words.count <= 1 else { return nil }
        guard let kind = words.first.map({ Kind($0) }) ?? .text else { return nil }
        self.init(name: name, source: source, kind: kind, isRequired: isRequired)
    }

    package var text: String {
        "\(source) \(kind.text)" + (isRequired ? " required" : "")
    }

    /// The value as it is kept; nil: refused. Linear in the text, which may be anything.
    package func value(_ raw: String, allowing allowed: [HostPattern]) -> String? {
        guard !raw.isEmpty, raw.utf8.count <= Self.limitBytes else { return nil }
        switch kind {
        case .host:
            guard let host = CapturedHost(raw), allowed.allow(host) else { return nil }
            return host.description
        case .label:
            let lower = raw.lowercased()
            return CapturedHost.isLabel(lower) ? lower : nil
        case .digits: return raw.utf8.allSatisfy { (0x30...0x39).contains($0) } ? raw : nil
        case .word: return raw.utf8.allSatisfy(Self.isWordByte) ? raw : nil
        case .text: return raw.utf8.allSatisfy { (0x20...0x7E).contains($0) } ? raw : nil
        case .oneOf(let values): return values.contains(raw) ? raw : nil
        }
    }

    private static func isWordByte(_ byte: UInt8) -> Bool {
        switch byte {
        case 0x30...0x39, 0x41...0x5A, 0x61...0x7A, 0x2E, 0x5F, 0x2D, 0x40, 0x2B, 0x3A, 0x7E: true
        default: false
        }
    }
}

extension Capture.Kind {
    /// "host", "label", "digits", "word", "text" or "one:a|b|c".
    init?(_ text: String) {
        switch text {
        case "host": self = .host
        case "label": self = .label
        case "digits": self = .digits
        case "word": self = .word
        case "text": self = .text
        default:
            guard text.hasPrefix("one:") else { return nil }
            let values = text.dropFirst(4).split(separator: "|", omittingEmptySubsequences: false).map(String.init)
            guard values.allSatisfy({ !$0.isEmpty }) else { return nil }
            self = .oneOf(values)
        }
    }

    var text: String {
        switch self {
        case .host: "host"
        case .label: "label"
        case .digits: "digits"
        case .word: "word"
        case .text: "text"
        case .oneOf(let values): "one:" + values.joined(separator: "|")
        }
    }
}

/// A capture that a consent needs and did not get. The value itself is not repeated: it came from outside.
struct CaptureProblem: Error, Sendable, Hashable {
    var name: String
    var source: String
    /// false: there is no such value.
    var isRefused: Bool

    var problem: ProviderProblem {
        let fault = isRefused ? "has a value that is not allowed" : "is missing"
        let place = SafeText.clean(source, limit: 80)
        return ProviderProblem(
            .configuration, code: isRefused ? "capture_refused" : "capture_missing",
            detail: "\(place) (for {\(name)}) \(fault)"
                + (isRefused ? "; a host must be in allowed_hosts, with its port if that is not 443." : "."))
    }
}

extension [Capture] {
    /// The values of all captures but those that `given`, the grant's own variables, has already: the operator's word
    /// stands. The first one that is missing though required, or refused, is the problem.
    func values(
        given: [String: String], allowing allowed: [HostPattern], _ find: (String) -> String?
    ) -> (values: [String: String], problem: CaptureProblem?) {
        var values: [String: String] = [:]
        var problem: CaptureProblem?
        for capture in self where given[capture.name] == nil {
            guard let raw = find(capture.source), !raw.isEmpty else {
                if capture.isRequired, problem == nil {
                    problem = CaptureProblem(name: capture.name, source: capture.source, isRefused: false)
                }
                continue
            }
            if let value = capture.value(raw, allowing: allowed) {
                values[capture.name] = value
            } else if problem == nil {
                problem = CaptureProblem(name: capture.name, source: capture.source, isRefused: true)
            }
        }
        return (values, problem)
    }
}
