// Upstreams and routes.

extension Checker {
    mutating func checkUpstream(_ section: Section<Snapshot.Upstream>) {
        let upstream = section.value
        checkCertificates(upstream.caFile, at: section.position(of: "ca_file"))
        checkClientCertificate(section)
        checkCapturedHost(section)
        guard section.has("url"), upstream.url.isPlaintext else { return }
        if !upstream.allowPlaintext {
            diagnostics.error(
                section.position(of: "url"),
                "\"url\" is http://, where the token would travel in the clear; "
                    + "use https://, or say allow_plaintext = true")
        }
        for name in ["ca_file", "client_certificate_file"] where section.has(name) {
            diagnostics.warning(section.position(of: name), "\"\(name)\" has no meaning with an http:// url")
        }
    }

    mutating func checkRoute(
        _ section: Section<Snapshot.Route>, grants: [Snapshot.Grant], templates: [Snapshot.GrantTemplate]
    ) {
        let route = section.value
        if section.has("upstream") {
            checkReference(
                route.upstream, to: .upstream, among: draft.upstreams.map(\.value.name),
                at: section.position(of: "upstream"))
        }
        checkGrant(of: section, grants: grants, templates: templates)
        guard section.has("path"), let front = route.stripPrefix, !route.path.begins(with: front) else { return }
        diagnostics.error(
            section.position(of: "strip_prefix"),
            "\"strip_prefix\" \(quoted(front)) is not the front of \"path\" \(quoted(route.path.description))")
    }

    private mutating func checkGrant(
        of section: Section<Snapshot.Route>, grants: [Snapshot.Grant], templates: [Snapshot.GrantTemplate]
    ) {
        let route = section.value
        checkSelection(of: section)
        if section.has("retry_statuses"), !section.mentions("grant"), !section.mentions("grant_template"),
            !route.retryStatuses.isEmpty
        {
            diagnostics.warning(
                section.position(of: "retry_statuses"), "\"retry_statuses\" has no meaning without a grant")
        }
        var credential: (title: String, header: Snapshot.CredentialHeader)?
        if let name = route.grant {
            checkReference(name, to: .grant, among: grants.map(\.name), at: section.position(of: "grant"))
            credential = grants.first { $0.name == name }.map { ("[grant.\(name)]", $0.credentialHeader) }
        } else if let name = route.grantTemplate {
            checkReference(
                name, to: .grantTemplate, among: templates.map(\.name), at: section.position(of: "grant_template"))
            credential = templates.first { $0.name == name }.map {
                ("[grant_template.\(name)]", $0.grant.credentialHeader)
            }
        }
        guard let credential else { return }
        if route.forwardAuthorization, isAuthorization(credential.header.name) {
            diagnostics.error(
                section.position(of: "forward_authorization"),
                "\"forward_authorization\" would send the caller's Authorization beside that of \(credential.title)")
        }
        if case .header(let name) = route.grantFrom, name == credential.header.name.lowercased() {
            diagnostics.error(
                section.position(of: "grant_from"),
                "\"grant_from\" names \(quoted(name)), in which the token of \(credential.title) goes upstream")
        }
    }

    /// `grant`, or `grant_template` with `grant_from`.
    private mutating func checkSelection(of section: Section<Snapshot.Route>) {
        if section.mentions("grant"), section.mentions("grant_template") {
            diagnostics.error(
                section.position(of: "grant_template"), "\"grant_template\" and \"grant\" exclude each other")
        }
        if section.has("grant_template"), !section.mentions("grant_from") {
            diagnostics.error(
                section.position(of: "grant_template"),
                "\"grant_template\" needs \"grant_from\", which says which of its grants a request gets")
        }
        if section.has("grant_from"), !section.mentions("grant_template") {
            diagnostics.error(
                section.position(of: "grant_from"), "\"grant_from\" has no meaning without \"grant_template\"")
        }
        guard let source = section.value.grantFrom else { return }
        if section.value.stripGrantSegment {
            if case .path = source {
            } else {
                diagnostics.error(
                    section.position(of: "strip_grant_segment"),
                    "\"strip_grant_segment\" has no meaning unless \"grant_from\" is \"path:N\"")
            }
        }
        switch source {
        case .header, .name: break
        case .path(let segment): checkSegment(segment, of: section)
        case .caller:
            let tells = draft.listeners.contains { listener in
                if case .unix = listener.value.listener.address { return true }
                return listener.mentions("client_ca_file")
            }
            if !tells {
                diagnostics.error(
                    section.position(of: "grant_from"),
                    "\"grant_from\" is \"caller\", but no listener knows its callers: that takes \"client_ca_file\" or "
                        + "a Unix socket")
            }
        }
        if section.has("remove_grant_header"), case .header = source { return }
        if section.has("remove_grant_header") {
            diagnostics.error(
                section.position(of: "remove_grant_header"),
                "\"remove_grant_header\" has no meaning unless \"grant_from\" is \"header:NAME\"")
        }
    }

    /// The segment must be one that differs from request to request.
    private mutating func checkSegment(_ segment: Int, of section: Section<Snapshot.Route>) {
        guard section.has("path") else { return }
        let position = section.position(of: "grant_from")
        let segments = section.value.path.fixedSegments
        switch section.value.path {
        case .exact:
            diagnostics.error(
                position,
                "\"grant_from\" takes a segment of the path, but \"path\" is always the same: end it with \"/*\"")
        case .prefix where segment <= segments.count:
            diagnostics.error(
                position,
                "\"grant_from\" is \"path:\(segment)\", which is always \(quoted(segments[segment - 1])) here: "
                    + "the first that differs is \"path:\(segments.count + 1)\"")
        case .prefix: break
        }
    }

    /// Two routes that the same request could take, with nothing to prefer one by.
    mutating func checkOverlaps() {
        var seen: [String: [Section<Snapshot.Route>]] = [:]
        for section in draft.routes where section.has("path") {
            let key = "\(section.value.path) \(section.value.host ?? "*")"
            if let other = seen[key]?.first(where: { $0.value.sharesMethod(with: section.value) }) {
                diagnostics.error(
                    section.position(of: "path"), "\(other.title) already has this path, host and method")
            }
            seen[key, default: []].append(section)
        }
    }
}

// MARK: - Upstreams whose host a grant's values choose

extension Checker {
    private mutating func checkCapturedHost(_ section: Section<Snapshot.Upstream>) {
        guard let template = section.value.urlTemplate else {
            if section.has("allowed_hosts"), section.has("url") {
                diagnostics.error(
                    section.position(of: "allowed_hosts"), "\"allowed_hosts\" has no meaning without {name} in \"url\"")
            }
            return
        }
        if let name = template.hostNames.first, !section.mentions("allowed_hosts") {
            diagnostics.error(
                section.position(of: "url"),
                "\"url\" lets {\(name)} choose the host: \"allowed_hosts\" must say which are right")
        }
    }

    /// Each name in an upstream's URL is one that the grants of its routes know.
    mutating func checkUpstreamNames(grants: [Snapshot.Grant], templates: [Snapshot.GrantTemplate]) {
        for upstream in draft.upstreams {
            guard let template = upstream.value.urlTemplate else { continue }
            for route in draft.routes where route.value.upstream == upstream.value.name {
                let ofGrant = route.value.grant.flatMap { name in grants.first { $0.name == name } }
                let ofTemplate = route.value.grantTemplate.flatMap { name in templates.first { $0.name == name } }
                guard route.mentions("grant") || route.mentions("grant_template") else {
                    diagnostics.error(
                        route.position(of: "upstream"),
                        "\(upstream.title) has {\(template.names[0])} in its url, which only a grant gives: add \"grant\""
                    )
                    continue
                }
                guard let grant = ofGrant ?? ofTemplate?.grant else { continue }
                check(template, of: upstream, for: grant)
            }
        }
    }

    private mutating func check(
        _ template: Snapshot.URLTemplate, of upstream: Section<Snapshot.Upstream>, for grant: Snapshot.Grant
    ) {
        let position = upstream.position(of: "url")
        guard let name = grant.providerName else {
            diagnostics.error(
                position,
                "\"url\" has {\(template.names[0])}, which the token_file of [grant.\(grant.name)] does not give")
            return
        }
        guard let provider = draft.providers.first(where: { $0.value.name == name })?.value else { return }
        let known = provider.capturedNames.union(grant.variables.keys).union(provider.variables.keys)
            .union(provider.requiredVariables.map(\.name))
        for name in template.names where !known.contains(name) {
            diagnostics.error(
                position,
                "\"url\" has {\(name)}, which [provider.\(provider.name)] does not give"
                    + Suggestion.hint(for: name, among: known.sorted()))
        }
    }
}

extension Snapshot.Route {
    /// A route for some methods is preferred to one for all; those do not compete.
    fileprivate func sharesMethod(with other: Self) -> Bool {
        methods.isEmpty && other.methods.isEmpty || methods.contains { other.methods.contains($0) }
    }
}

extension Snapshot.PathPattern {
    /// The segments that every path of the pattern begins with.
    fileprivate var fixedSegments: [String] {
        switch self {
        case .exact(let path), .prefix(let path): path.split(separator: "/").map(String.init)
        }
    }

    /// Whether `front` is whole segments at the front of every path that matches.
    fileprivate func begins(with front: String) -> Bool {
        switch self {
        case .exact(let path): path == front || path.hasPrefix(front + "/")
        case .prefix(let path): path.hasPrefix(front + "/")
        }
    }
}
