/// A provider's directives as they are in force: the profile's and the file's over them.
package struct EffectiveProvider: Sendable {
    package struct Line: Sendable {
        /// `key = value`, as TOML; `${ENV}` is not replaced.
        package let text: String
        /// Whether the whole value is the profile's.
        package let isFromProfile: Bool
    }
    package let name: String
    package let profile: String
    package let lines: [Line]
}

extension GatewayConfiguration {
    /// The providers of a file that use a profile, in the order of the file; empty where the file cannot be read.
    package static func providersWithProfile(
        path: String, environment: ConfigurationEnvironment
    ) -> [EffectiveProvider] {
        guard case .success(let contents) = environment.readFile(path, 1 << 20) else { return [] }
        var diagnostics = Diagnostics(file: path)
        let root = TOMLReader.read(contents.bytes, variable: environment.variable, diagnostics: &diagnostics) ?? []
        guard let member = root.first(where: { $0.key == Place.provider.rawValue }),
            case .table(let providers) = member.value.kind
        else { return [] }
        return providers.compactMap { effective($0) }
    }

    private static func effective(_ provider: Node.Member) -> EffectiveProvider? {
        guard case .table(let own) = provider.value.kind,
            let asked = own.first(where: { $0.key == "profile" }), case .string(let name, _) = asked.value.kind,
            let profile = ProviderProfile.named(name)
        else { return nil }
        let names = Set(own.map(\.key))
        let given = Set(profile.members(at: .nowhere).map(\.key))
        let lines = ProviderProfile.underlying(own).filter { $0.key != "profile" }.map { member in
            EffectiveProvider.Line(
                text: "\(member.key.asKey) = \(member.value.shown)",
                isFromProfile: given.contains(member.key) && !names.contains(member.key))
        }
        return EffectiveProvider(name: provider.key, profile: name, lines: lines)
    }
}

extension Node {
    /// TOML on one line, with strings as the file has them.
    fileprivate var shown: String {
        switch kind {
        case .string(_, let raw): Kind.string(raw, raw: raw).toml
        case .integer, .float, .boolean, .date: kind.toml
        case .array(let nodes): "[" + nodes.map(\.shown).joined(separator: ", ") + "]"
        case .table(let members):
            "{ " + members.map { "\($0.key.asKey) = \($0.value.shown)" }.joined(separator: ", ") + " }"
        }
    }
}

extension String {
    /// As a key of TOML, in quotes where it must have them.
    fileprivate var asKey: String {
        let isBare = !isEmpty && utf8.allSatisfy { $0.isLetter || $0.isDigit || $0 == 0x2d || $0 == 0x5f }
        return isBare ? self : Node.Kind.string(self, raw: self).toml
    }
}
