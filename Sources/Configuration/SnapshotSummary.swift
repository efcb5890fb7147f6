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
        if let store { lines.append("store: \(store.path)") }
        lines += providers.map { "provider \($0.name): \($0.summary)" }
        lines += grants.map { "grant \($0.name): \($0.summary)" }
        lines += routes.map { "route \($0.name): \(summary(of: $0))" }
        return lines.joined(separator: "\n") + "\n"
    }

    private func summary(of route: Route) -> String {
        var text = route.methods.isEmpty ? "" : route.methods.joined(separator: ",") + " "
        text += (route.host ?? "") + route.path.description
        text += " -> " + (upstream(named: route.upstream)?.url.withoutQuery ?? route.upstream)
        if let prefix = route.stripPrefix { text += " without \(prefix)" }
        return text + (route.grant.map { ", grant \($0)" } ?? ", no grant")
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
            case .clientSecretBasic: "client_secret_basic"
            case .clientSecretPost: "client_secret_post"
            case .none: "public client"
            }
        let place = issuer ?? tokenURL?.withoutQuery ?? ""
        return "\(place), client \(clientID), \(authentication)\(needsDiscovery ? ", endpoints discovered" : "")"
    }
}

extension Snapshot.Grant {
    fileprivate var summary: String {
        let from =
            switch source {
            case .provider(let name, let scopes, _):
                "provider \(name)" + (scopes.isEmpty ? "" : ", scopes \(scopes.joined(separator: " "))")
            case .tokenFile(let path): "token file \(path)"
            }
        let scheme = credentialHeader.scheme.isEmpty ? "" : credentialHeader.scheme + " "
        return "\(from), sent as \(credentialHeader.name): \(scheme)…"
    }
}

extension Snapshot.URL {
    fileprivate var withoutQuery: String {
        var copy = self
        copy.query = nil
        return copy.description
    }
}
