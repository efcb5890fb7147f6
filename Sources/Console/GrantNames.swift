/// The names of grants that are made from templates: `TEMPLATE:NAME`.
package struct TemplatedName: Sendable, Hashable, CustomStringConvertible {
    package static let longest = 128

    package let template: String
    package let name: String

    /// `nil` for a grant of the file, whose name has no colon, and for what no grant can be called.
    package init?(_ id: String) {
        guard let colon = id.firstIndex(of: ":") else { return nil }
        let template = String(id[..<colon])
        let name = String(id[id.index(after: colon)...])
        guard !template.isEmpty, Self.problem(of: name) == nil else { return nil }
        self.template = template
        self.name = name
    }

    /// The grant's id in the store, in the admin API and in messages to workers.
    package var id: String { "\(template):\(name)" }
    package var description: String { id }

    /// What all ids of a template's grants begin with.
    package static func prefix(of template: String) -> String { "\(template):" }

    /// Why a name cannot be, in one sentence; `nil` where it can.
    package static func problem(of name: String) -> String? {
        if name.isEmpty { return "A grant's name must not be empty." }
        guard name.utf8.count <= longest else {
            return "A grant's name has at most \(longest) characters; this one has \(name.utf8.count)."
        }
        let wrong = name.unicodeScalars.first { scalar in
            switch scalar {
            case "a"..."z", "A"..."Z", "0"..."9", ".", "_", "@", "-": false
            default: true
            }
        }
        guard let wrong else { return nil }
        let shown = wrong.isASCII && wrong.value > 0x20 && wrong.value < 0x7F ? "\"\(wrong)\"" : "one of its characters"
        return "A grant's name has letters, digits and . _ @ - only; \(shown) is none of them."
    }
}
