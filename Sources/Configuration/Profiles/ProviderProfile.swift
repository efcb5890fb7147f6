/// What the program knows of one vendor's authorization server: data in the words of gateway.conf, read by the same
/// reader as `[provider.NAME]`, in which it is "as if these lines stood before yours".
package struct ProviderProfile: Sendable {
    /// What the operator must bring from the vendor's registration.
    enum Credentials: Sendable {
        case clientSecret
        case serviceAccount
    }

    package let name: String
    package let title: String
    /// What one gets with it; one line.
    package let purpose: String
    var credentials = Credentials.clientSecret
    /// Directives of a provider with comments that say why; without a heading.
    let text: String
    /// A scope or two, to begin with.
    let scopes: [String]
    /// The API that goes with it.
    let upstream: String
    /// For names in the host of `upstream`.
    var upstreamHosts: [String] = []
    /// Further lines of a grant.
    var grantLines: [String] = []

    /// All of them, by name.
    package static let all: [ProviderProfile] = [
        .atlassian, .auth0, .box, .dropbox, .github, .gitlab, .google, .googleServiceAccount, .hubspot, .keycloak,
        .linkedin, .microsoft, .notion, .okta, .pipedrive, .quickbooks, .salesforce, .shopify, .slack, .slackUser,
        .stripe, .xero, .zendesk, .zoho,
    ]

    package static func named(_ name: String) -> ProviderProfile? { all.first { $0.name == name } }

    /// Its directives, all of them at `position`: what is said of them points to where the profile was asked for.
    func members(at position: Position) -> [Node.Member] {
        var diagnostics = Diagnostics(file: name)
        let members = TOMLReader.read(Array(text.utf8), variable: { _ in nil }, diagnostics: &diagnostics) ?? []
        return members.map { $0.moved(to: position) }
    }

    /// The variables that the operator must give.
    package var requiredVariables: [Snapshot.RequiredVariable] {
        guard let member = members(at: .nowhere).first(where: { $0.key == "required_variables" }),
            case .value(let variables) = ValueType<[Snapshot.RequiredVariable]>.requiredVariables.read(member.value)
        else { return [] }
        return variables
    }

    /// What must be given besides the profile's name: `client_id`, `variables.tenant`.
    package var needs: [String] {
        let own =
            switch credentials {
            case .clientSecret: ["client_id", "client_secret_file"]
            case .serviceAccount: ["service_account_file"]
            }
        return own + requiredVariables.map { "variables.\($0.name)" }
    }
}

// MARK: - As configuration

extension ProviderProfile {
    /// The lines that an operator writes who uses the profile.
    package var usage: String {
        "[provider.\(name)]\nprofile = \"\(name)\"\n" + ownLines + "\n" + surroundings
    }

    /// The same provider with the profile's lines written out, to be pasted and changed.
    package var configuration: String {
        "# \(title): \(purpose).\n[provider.\(name)]\n" + ownLines + "\n" + text + "\n\n" + surroundings
    }

    private var ownLines: String {
        let folder = "/etc/token-gateway"
        var lines =
            switch credentials {
            case .clientSecret:
                "client_id = \"YOUR-CLIENT-ID\"\nclient_secret_file = \"\(folder)/\(name).secret\"\n"
            case .serviceAccount: "service_account_file = \"\(folder)/\(name).json\"\n"
            }
        for variable in requiredVariables {
            lines += "# \(variable.about)\nvariables.\(variable.name) = \"\(variable.example)\"\n"
        }
        return lines
    }

    private var surroundings: String {
        func list(_ texts: [String]) -> String { "[" + texts.map { "\"\($0)\"" }.joined(separator: ", ") + "]" }
        var grant = ["[grant.\(name)]", "provider = \"\(name)\""] + grantLines
        if !scopes.isEmpty { grant.append("scopes = \(list(scopes))") }
        var upstream = ["[upstream.\(name)]", "url = \"\(self.upstream)\""]
        if !upstreamHosts.isEmpty {
            upstream.append(
                "allowed_hosts = [\n    " + upstreamHosts.map { "\"\($0)\"" }.joined(separator: ",\n    ") + ",\n]")
        }
        let route = [
            "[route.\(name)]", "path = \"/\(name)/*\"", "strip_prefix = \"/\(name)\"", "upstream = \"\(name)\"",
            "grant = \"\(name)\"",
        ]
        return [grant, upstream, route].map { $0.joined(separator: "\n") + "\n" }.joined(separator: "\n")
    }
}

// MARK: - Under the operator's lines

extension ProviderProfile {
    /// A provider's members with those of the profile that they name, if they name one, under them.
    static func underlying(_ members: [Node.Member]) -> [Node.Member] {
        guard let member = members.first(where: { $0.key == "profile" }), case .string(let name, _) = member.value.kind,
            let profile = named(name)
        else { return members }
        var base = profile.members(at: member.value.position)
        // The operator's endpoint instead of one inside the profile's table.
        if members.contains(where: { $0.key == "revocation_url" && !$0.isRemoval(of: $0) }),
            !members.contains(where: { $0.key == "revocation" })
        {
            base = base.map { $0.key == "revocation" ? $0.without("url") : $0 }
        }
        return merged(base, members)
    }

    /// Member by member: tables go into each other, `false` or "" takes away, anything else replaces.
    private static func merged(_ base: [Node.Member], _ over: [Node.Member]) -> [Node.Member] {
        var result = base
        for member in over {
            guard let index = result.firstIndex(where: { $0.key == member.key }) else {
                result.append(member)
                continue
            }
            if member.isRemoval(of: result[index]) {
                result.remove(at: index)
            } else if case .table(let below) = result[index].value.kind, case .table(let own) = member.value.kind {
                let node = Node(position: member.value.position, kind: .table(merged(below, own)))
                result[index] = Node.Member(key: member.key, keyPosition: member.keyPosition, value: node)
            } else {
                result[index] = member
            }
        }
        return result
    }
}

extension Node.Member {
    /// Whether this takes `other` away: `false` for what is no truth value, or "" for a text that may not be empty.
    fileprivate func isRemoval(of other: Node.Member) -> Bool {
        switch (value.kind, other.value.kind) {
        case (.boolean(false), .boolean): false
        case (.boolean(false), _): true
        case (.string("", _), .string): !["scheme", "token_param"].contains(key)
        case (.string("", _), _): true
        case (_, _): false
        }
    }

    fileprivate func without(_ name: String) -> Node.Member {
        guard case .table(let members) = value.kind else { return self }
        let node = Node(position: value.position, kind: .table(members.filter { $0.key != name }))
        return Node.Member(key: key, keyPosition: keyPosition, value: node)
    }

    fileprivate func moved(to position: Position) -> Node.Member {
        Node.Member(key: key, keyPosition: position, value: value.moved(to: position))
    }
}

extension Node {
    fileprivate func moved(to position: Position) -> Node {
        switch kind {
        case .array(let nodes): Node(position: position, kind: .array(nodes.map { $0.moved(to: position) }))
        case .table(let members): Node(position: position, kind: .table(members.map { $0.moved(to: position) }))
        case .string, .integer, .float, .boolean, .date: Node(position: position, kind: kind)
        }
    }
}

extension ValueType where Value == String {
    /// The name of a profile.
    static var profileName: Self {
        Self("profile", expected: "the name of a profile, of those that `token-gateway providers` lists") { node in
            guard case .string(let text, _) = node.kind else { return .wrong }
            if ProviderProfile.named(text) != nil { return .value(text) }
            let hint = Suggestion.hint(for: text, among: ProviderProfile.all.map(\.name))
            return .mistakes([
                Mistake(
                    node.position,
                    "names \(node.found), which is none of the profiles that `token-gateway providers` lists\(hint)")
            ])
        }
    }
}
