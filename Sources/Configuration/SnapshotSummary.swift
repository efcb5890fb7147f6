extension Snapshot {
    /// What the gateway will do, in a few lines for `check`: addresses, the redirect URI to register, and the routes.
    /// Holds no secret, and of URLs neither queries nor parameters, where `${ENV}` could have put one.
    package var summary: String {
        var lines = ["workers: \(workers)"]
        lines += listeners.map { "listener \($0.name): \($0.summary)" }
        if let console {
            lines.append("console: \(console.address)\(console.secrets.isEmpty ? "" : ", with a secret")")
            if let uri = console.redirectURI { lines.append("redirect URI to register: \(uri)") }
        }
        if let store { lines.append("store: \(store.postgreSQL?.url ?? store.path)") }
        lines += providers.map { "provider \($0.name): \($0.summary)" }
        lines += grants.map { "grant \($0.name): \($0.summary)" }
        lines += grantTemplates.map {
            "grant template \($0.name): \($0.grant.summary), up to \($0.maxGrants) grants\($0.neededNames)"
        }
        lines += routes.map { "route \($0.name): \(summary(of: $0))" }
        return lines.joined(separator: "\n") + "\n"
    }

    private func summary(of route: Route) -> String {
        var text = route.methods.isEmpty ? "" : route.methods.joined(separator: ",") + " "
        text += (route.host ?? "") + route.path.description
        text += " -> " + (upstream(named: route.upstream)?.shownURL ?? route.upstream)
        if let prefix = route.stripPrefix { text += " without \(prefix)" }
        if route.stripGrantSegment { text += route.stripPrefix == nil ? " without its grant" : " and its grant" }
        switch route.grantSelection {
        case .none: return text + ", no grant"
        case .fixed(let name): return text + ", grant \(name)"
        case .template(let name, .name(let key)): return text + ", grant \(name):\(key)"
        case .template(let name, let source): return text + ", grant of \(name) by \(source.summary)"
        }
    }
}

extension Snapshot.Listener {
    fileprivate var summary: String {
        var parts = ["\(address)"]
        if let tls {
            let count = tls.certificates.count
            parts.append(
                "\(tls.minimumVersion == .tls13 ? "TLS 1.3" : "TLS") with \(count) certificate\(count == 1 ? "" : "s")")
            if tls.clientCAFile != nil { parts.append("client certificates \(tls.clientCertificate.rawValue)") }
        }
        if !allowsHTTP2 { parts.append("HTTP/1 only") }
        if !allowsHTTP1 { parts.append("HTTP/2 only") }
        return parts.joined(separator: ", ")
    }
}

extension Snapshot.Provider {
    fileprivate var summary: String {
        let authentication =
            switch clientAuthentication {
            case .automatic: "authentication as discovered"
            case .none: "public client"
            case .clientSecretBasic, .clientSecretPost, .clientSecretJWT, .privateKeyJWT, .tlsClientAuth,
                .selfSignedTLS,
                .bearerSecret, .secretAsUser:
                clientAuthentication.word
            }
        let place = issuer ?? tokenURL?.withoutQuery ?? tokenURLTemplate?.text ?? ""
        let client = clientID.isEmpty ? "service account" : "client \(clientID)"
        return "\(place), \(client), \(authentication)\(needsDiscovery ? ", endpoints discovered" : "")"
    }
}

extension Snapshot.Grant {
    fileprivate var summary: String {
        let from =
            switch source {
            case .provider(let name, let scopes, _):
                "provider \(name)\(acquisition.summary)"
                    + (scopes.isEmpty ? "" : ", scopes \(scopes.joined(separator: " "))")
            case .tokenFile(let path): "token file \(path)"
            }
        let scheme = credentialHeader.scheme.isEmpty ? "" : credentialHeader.scheme + " "
        return "\(from), sent as \(credentialHeader.name): \(scheme)…"
    }
}

extension Snapshot.Acquisition {
    fileprivate var summary: String {
        switch self {
        case .authorizationCode: ""
        case .device: ", by device"
        case .clientCredentials: ", by client credentials"
        case .jwtBearer(let assertion): ", by JWT bearer" + (assertion.subject.map { " for \($0)" } ?? "")
        case .tokenExchange: ", by token exchange"
        }
    }
}

extension Snapshot.GrantTemplate {
    /// `, each with shop`.
    fileprivate var neededNames: String {
        neededVariables.isEmpty ? "" : ", each with " + neededVariables.map(\.name).joined(separator: ", ")
    }
}

extension Snapshot.GrantKeySource {
    fileprivate var summary: String {
        switch self {
        case .header(let name): "the header \(name)"
        case .path(let segment): "segment \(segment) of the path"
        case .caller: "the caller"
        case .name(let name): name
        }
    }
}

extension Snapshot.Upstream {
    fileprivate var shownURL: String {
        guard let urlTemplate else { return url.withoutQuery }
        return urlTemplate.text + (urlTemplate.sample.path == "/" && !urlTemplate.text.hasSuffix("/") ? "/" : "")
    }
}

extension Snapshot.URL {
    fileprivate var withoutQuery: String {
        var copy = self
        copy.query = nil
        return copy.description
    }
}
