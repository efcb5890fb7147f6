// Upstreams and routes.

extension Checker {
    mutating func checkUpstream(_ section: Section<Snapshot.Upstream>) {
        let upstream = section.value
        checkCertificates(upstream.caFile, at: section.position(of: "ca_file"))
        checkClientCertificate(section)
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

    mutating func checkRoute(_ section: Section<Snapshot.Route>, grants: [Snapshot.Grant]) {
        let route = section.value
        if section.has("upstream") {
            checkReference(
                route.upstream, to: .upstream, among: draft.upstreams.map(\.value.name),
                at: section.position(of: "upstream"))
        }
        checkGrant(of: section, grants: grants)
        guard section.has("path"), let front = route.stripPrefix, !route.path.begins(with: front) else { return }
        diagnostics.error(
            section.position(of: "strip_prefix"),
            "\"strip_prefix\" \(quoted(front)) is not the front of \"path\" \(quoted(route.path.description))")
    }

    private mutating func checkGrant(of section: Section<Snapshot.Route>, grants: [Snapshot.Grant]) {
        let route = section.value
        guard let name = route.grant else {
            if section.has("retry_statuses"), !section.mentions("grant"), !route.retryStatuses.isEmpty {
                diagnostics.warning(
                    section.position(of: "retry_statuses"), "\"retry_statuses\" has no meaning without a grant")
            }
            return
        }
        checkReference(name, to: .grant, among: grants.map(\.name), at: section.position(of: "grant"))
        let header = grants.first { $0.name == name }?.credentialHeader.name.lowercased()
        if route.forwardAuthorization, header == "authorization" {
            diagnostics.error(
                section.position(of: "forward_authorization"),
                "\"forward_authorization\" would send the caller's Authorization beside that of [grant.\(name)]")
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

extension Snapshot.Route {
    /// A route for some methods is preferred to one for all; those do not compete.
    fileprivate func sharesMethod(with other: Self) -> Bool {
        methods.isEmpty && other.methods.isEmpty || methods.contains { other.methods.contains($0) }
    }
}

extension Snapshot.PathPattern {
    /// Whether `front` is whole segments at the front of every path that matches.
    fileprivate func begins(with front: String) -> Bool {
        switch self {
        case .exact(let path): path == front || path.hasPrefix(front + "/")
        case .prefix(let path): path.hasPrefix(front + "/")
        }
    }
}
