// Names in URLs and headers: each must get its value from somewhere, and none may choose a host unwatched.

extension Checker {
    /// The provider with its URLs filled in as far as its own variables go.
    mutating func resolvedVariables(of section: Section<Snapshot.Provider>) -> Snapshot.Provider {
        var provider = section.value
        let names = VariableNames(
            provider, grants: grantSections(of: provider.name), isForTemplates: isTemplated(provider))
        checkRequired(section, names)
        if let issuer = provider.issuer {
            let resolved = resolved(TemplateText.url(issuer), "issuer", section, names.always, mustBeWhole: true)
            provider.issuer = resolved?.text ?? issuer
        }
        provider.deviceURL = whole(provider.deviceURLTemplate, "device_url", section, names)
        provider.pushedRequestURL = whole(provider.pushedRequestURLTemplate, "pushed_request_url", section, names)
        provider.jwksURL = whole(provider.jwksURLTemplate, "jwks_url", section, names)
        (provider.deviceURLTemplate, provider.pushedRequestURLTemplate, provider.jwksURLTemplate) = (nil, nil, nil)
        fill(&provider.authorizeURLTemplate, &provider.authorizeURL, "authorize_url", section, names, .beforeConsent)
        fill(&provider.tokenURLTemplate, &provider.tokenURL, "token_url", section, names, .beforeConsent)
        fill(&provider.refreshURLTemplate, &provider.refreshURL, "refresh_url", section, names, .afterReply)
        fill(&provider.revocationURLTemplate, &provider.revocationURL, "revocation_url", section, names, .afterReply)
        provider.revocation?.url = resolvedRevocation(section, names)
        checkLookups(&provider, section, names)
        checkTexts(provider, section, names)
        return provider
    }

    private func isTemplated(_ provider: Snapshot.Provider) -> Bool {
        draft.grantTemplates.contains { $0.value.provider == provider.name }
    }

    // MARK: URLs

    private mutating func whole(
        _ template: Snapshot.URLTemplate?, _ name: String, _ section: Section<Snapshot.Provider>, _ names: VariableNames
    ) -> Snapshot.URL? {
        resolved(template, name, section, names.always, mustBeWhole: true)
            .flatMap { $0.names.isEmpty ? URLText.url($0.text) : nil }
    }

    private mutating func fill(
        _ template: inout Snapshot.URLTemplate?, _ url: inout Snapshot.URL?, _ name: String,
        _ section: Section<Snapshot.Provider>, _ names: VariableNames, _ moment: VariableNames.Moment
    ) {
        guard let given = template, let filled = resolved(given, name, section, names.fixed) else { return }
        checkNames(filled, name, section, names, moment)
        guard filled.names.isEmpty else {
            template = filled
            return
        }
        url = URLText.url(filled.text)
        template = nil
    }

    /// The template with these values; nil after a mistake.
    private mutating func resolved(
        _ template: Snapshot.URLTemplate?, _ name: String, _ section: Section<Snapshot.Provider>,
        _ values: [String: String], mustBeWhole: Bool = false
    ) -> Snapshot.URLTemplate? {
        guard let template else { return nil }
        for variable in template.names {
            guard let value = values[variable] else {
                guard mustBeWhole, !isReportedAsRequired(variable, section.value) else { continue }
                diagnostics.error(
                    section.position(of: name),
                    "\"\(name)\" has {\(variable)}, which must be one of the provider's own \"variables\""
                        + Suggestion.hint(for: variable, among: values.keys.sorted()))
                return nil
            }
            guard template.filled(with: [variable: value]) == nil else { continue }
            let place = template.hostNames.contains(variable) ? "the host" : "the path"
            diagnostics.error(
                section.position(of: "variables", member: variable),
                "\"variables\" has \(quoted(variable)), whose value cannot stand in \(place) of \"\(name)\"")
            return nil
        }
        return template.filled(with: values)
    }

    /// Whether `checkRequired` says of the provider that it lacks the variable.
    private func isReportedAsRequired(_ variable: String, _ provider: Snapshot.Provider) -> Bool {
        provider.requiredVariables.contains { $0.name == variable } && !isTemplated(provider)
            && !grantSections(of: provider.name).contains { $0.value.variables[variable] != nil }
    }

    /// Whether what is left open is known in time, and cannot lead to a host of somebody's choice.
    private mutating func checkNames(
        _ template: Snapshot.URLTemplate, _ directive: String, _ section: Section<Snapshot.Provider>,
        _ names: VariableNames, _ moment: VariableNames.Moment
    ) {
        let position = section.position(of: directive)
        for name in template.names where !names.isKnown(name, at: moment) {
            diagnostics.error(position, "\"\(directive)\" has {\(name)}, \(names.absence(of: name))")
        }
        guard !template.hasFixedSuffix, section.value.allowedHosts.isEmpty, !section.mentions("allowed_hosts"),
            let name = template.hostNames.first(where: { names.isOthers($0) })
        else { return }
        diagnostics.error(
            position,
            "\"\(directive)\" lets {\(name)} choose the host: \"allowed_hosts\" must say which are right")
    }

    private mutating func resolvedRevocation(
        _ section: Section<Snapshot.Provider>, _ names: VariableNames
    ) -> Snapshot.URLTemplate? {
        guard let url = section.value.revocation?.url else { return nil }
        if url.hostNames.contains("token") {
            diagnostics.error(section.position(of: "revocation"), "\"revocation\" has {token} in the host of its url")
        }
        guard
            let filled = resolved(
                url, "revocation", section, names.fixed)
        else { return url }
        checkNames(filled, "revocation", section, names.adding(["token", "client_id"]), .afterReply)
        return filled
    }

    private mutating func checkLookups(
        _ provider: inout Snapshot.Provider, _ section: Section<Snapshot.Provider>, _ names: VariableNames
    ) {
        for index in provider.lookups.indices {
            if let url = resolved(provider.lookups[index].url, "lookup", section, names.fixed) {
                checkNames(url, "lookup", section, names, .afterReply)
                provider.lookups[index].url = url
            }
            checkTexts(provider.lookups[index].headers, "lookup", section, names)
        }
    }

    // MARK: Other texts

    private mutating func checkTexts(
        _ provider: Snapshot.Provider, _ section: Section<Snapshot.Provider>, _ names: VariableNames
    ) {
        checkTexts(provider.extraHeaders, "extra_headers", section, names)
        if provider.revocation != nil {
            checkTexts(
                provider.revocationParameters, "revocation_params", section, names.adding(["token", "client_id"]))
        }
    }

    private mutating func checkTexts(
        _ values: [Snapshot.NamedValue], _ directive: String, _ section: Section<Snapshot.Provider>,
        _ names: VariableNames
    ) {
        for value in values where value.value.contains(where: { "{}".contains($0) }) {
            let position = section.position(of: directive, member: value.name)
            guard let parts = TemplateText.parts(value.value) else {
                diagnostics.error(
                    position,
                    "\"\(directive)\" has \(quoted(value.name)), where \"{\" and \"}\" must stand around a name")
                continue
            }
            for case .name(let name) in parts where !names.isKnown(name, at: .afterReply) {
                diagnostics.error(
                    position,
                    "\"\(directive)\" has \(quoted(value.name)) with {\(name)}, \(names.absence(of: name))")
            }
        }
    }

    // MARK: Variables that must be given

    private mutating func checkRequired(_ section: Section<Snapshot.Provider>, _ names: VariableNames) {
        for variable in section.value.requiredVariables {
            if let value = section.value.variables[variable.name] {
                check(value, variable, at: section.position(of: "variables", member: variable.name))
            }
            let grants = grantSections(of: section.value.name)
            for grant in grants {
                guard let value = grant.value.variables[variable.name] else { continue }
                check(value, variable, at: grant.position(of: "variables", member: variable.name))
            }
            guard section.value.variables[variable.name] == nil, !names.captured.contains(variable.name) else {
                continue
            }
            let without = grants.filter { $0.value.variables[variable.name] == nil && !$0.isTemplate }
            let isGivenSomewhere = grants.contains { $0.value.variables[variable.name] != nil }
            let hint = "write variables = { \(variable.name) = \(quoted(variable.example)) }"
            let text = "needs the variable \"\(variable.name)\", \(variable.about): \(hint)"
            if names.isForTemplates || isGivenSomewhere {
                for grant in without { diagnostics.error(grant.position, "\(grant.title) \(text)") }
            } else {
                diagnostics.error(section.position, "\(section.title) \(text)")
            }
        }
    }

    private mutating func check(_ value: String, _ variable: Snapshot.RequiredVariable, at position: Position) {
        guard !variable.accepts(value) else { return }
        diagnostics.error(
            position,
            "\"variables\" has \(quoted(variable.name)), which must be \(variable.about), such as "
                + "\(quoted(variable.example))")
    }
}

extension Section where Subject == GrantDraft {
    var isTemplate: Bool { title.hasPrefix("[\(Place.grantTemplate.rawValue).") }
}

/// Which names of a provider get a value, and when.
struct VariableNames {
    enum Moment {
        case beforeConsent, afterReply
    }

    /// The provider's own, which nothing can change for some of its grants.
    let fixed: [String: String]
    /// The provider's own, for what belongs to the provider and not to a grant.
    let always: [String: String]
    let isForTemplates: Bool
    let captured: Set<String>
    private let ofGrants: Set<String>
    private var others: Set<String>

    init(_ provider: Snapshot.Provider, grants: [Section<GrantDraft>], isForTemplates: Bool) {
        ofGrants = Set(grants.flatMap(\.value.variables.keys))
        captured = provider.capturedNames
        always = provider.variables
        self.isForTemplates = isForTemplates
        let changing = ofGrants.union(captured)
        fixed = isForTemplates ? [:] : provider.variables.filter { !changing.contains($0.key) }
        others = ofGrants.union(provider.variables.keys).union(provider.requiredVariables.map(\.name))
    }

    /// Whether something else than the provider's own variables may give the value.
    func isOthers(_ name: String) -> Bool { captured.contains(name) || ofGrants.contains(name) || isForTemplates }

    func adding(_ names: [String]) -> Self {
        var copy = self
        copy.others.formUnion(names)
        return copy
    }

    func isKnown(_ name: String, at moment: Moment) -> Bool {
        if others.contains(name) { return true }
        return switch moment {
        case .beforeConsent: false
        case .afterReply: captured.contains(name)
        }
    }

    /// Ends the sentence about a name that is not known.
    func absence(of name: String) -> String {
        guard !captured.contains(name) else {
            return "whose value is captured only later: give \"variables\" a value for the time before"
        }
        let hint = Suggestion.hint(for: name, among: others.union(captured).sorted())
        return "which nothing gives a value: put it into \"variables\" or capture it\(hint)"
    }
}
