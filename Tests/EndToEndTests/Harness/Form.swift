import Foundation

/// The form of a page, as far as a person at a browser would fill it in.
struct Form: Sendable {
    struct Button: Sendable {
        var name: String?
        var value: String
        var label: String
    }

    var method = "GET"
    /// As written; empty is the page's own address.
    var action = ""
    var isMultipart = false
    /// What is sent without anybody typing: hidden fields, presets, ticked boxes.
    var fields: [(name: String, value: String)] = []
    var buttons: [Button] = []

    /// The forms of an HTML page, in order.
    static func all(in page: String) -> [Form] {
        var forms: [Form] = []
        var isInside = false
        var rest = page[...]
        while let open = rest.firstIndex(of: "<"), let close = rest[open...].firstIndex(of: ">") {
            let tag = Tag(rest[rest.index(after: open)..<close])
            rest = rest[rest.index(after: close)...]
            switch tag.name {
            case "form":
                isInside = true
                forms.append(Form(tag))
            case "/form": isInside = false
            case "input" where isInside: forms[forms.count - 1].add(input: tag)
            case "button" where isInside:
                let label = rest.prefix { $0 != "<" }.trimmingCharacters(in: .whitespacesAndNewlines)
                let button = Button(name: tag["name"], value: tag["value"] ?? "", label: label)
                if (tag["type"] ?? "submit") == "submit" { forms[forms.count - 1].buttons.append(button) }
            default: break
            }
        }
        return forms
    }

    private init(_ tag: Tag) {
        method = (tag["method"] ?? "GET").uppercased()
        action = tag["action"] ?? ""
        isMultipart = tag["enctype"] == "multipart/form-data"
    }

    private mutating func add(input tag: Tag) {
        guard let name = tag["name"] else { return }
        switch tag["type"] ?? "text" {
        case "submit": buttons.append(Button(name: name, value: tag["value"] ?? "", label: tag["value"] ?? ""))
        case "checkbox", "radio": if tag["checked"] != nil { fields.append((name, tag["value"] ?? "on")) }
        case "button", "reset", "image", "file": break
        default: fields.append((name, tag["value"] ?? ""))
        }
    }

    /// What goes out when `answers` are typed into the fields and the button is pressed.
    func filled(_ answers: [String: String], pressing button: Button?) -> [(name: String, value: String)] {
        var sent = fields.map { ($0.name, answers[$0.name] ?? $0.value) }
        if let button, let name = button.name { sent.append((name, button.value)) }
        return sent
    }

    func hasField(_ name: String) -> Bool { fields.contains { $0.name == name } }
}

/// The inside of an HTML tag: its name and attributes.
private struct Tag {
    let name: String
    private var attributes: [String: String] = [:]

    init(_ text: Substring) {
        name = text.prefix { !$0.isWhitespace }.lowercased()
        var rest = text.dropFirst(name.count).drop(while: \.isWhitespace)
        while let first = rest.first, first != "/" {
            let key = rest.prefix { !$0.isWhitespace && $0 != "=" }.lowercased()
            rest = rest.dropFirst(max(key.count, 1)).drop(while: \.isWhitespace)
            var value = ""
            if rest.first == "=" {
                rest = rest.dropFirst().drop(while: \.isWhitespace)
                if let quote = rest.first, quote == "\"" || quote == "'" {
                    value = String(rest.dropFirst().prefix { $0 != quote })
                    rest = rest.dropFirst(value.count + 2)
                } else {
                    value = String(rest.prefix { !$0.isWhitespace })
                    rest = rest.dropFirst(value.count)
                }
            }
            attributes[key] = Self.unescape(value)
            rest = rest.drop(while: \.isWhitespace)
        }
    }

    subscript(_ key: String) -> String? { attributes[key] }

    private static func unescape(_ text: String) -> String {
        [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&#34;", "\""), ("&#39;", "'"), ("&amp;", "&")]
            .reduce(text) { $0.replacingOccurrences(of: $1.0, with: $1.1) }
    }
}
