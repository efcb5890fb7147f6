import OpenSSLKit

// Certificates of listeners, and those that upstreams want of us.

extension Checker {
    /// The listener with what its TLS directives come to.
    mutating func checkedListener(_ section: Section<ListenerDraft>) -> Snapshot.Listener {
        var listener = section.value.listener
        guard section.mentions("certificate_file") || section.mentions("key_file") else {
            for name in ["tls_min_version", "client_ca_file", "client_certificate"] where section.has(name) {
                diagnostics.error(
                    section.position(of: name), "\"\(name)\" has no meaning without \"certificate_file\"")
            }
            return listener
        }
        checkClientAuthority(of: section)
        guard checkPairing(of: section) else { return listener }
        var tls = section.value.tls
        checkCertificates(of: section)
        tls.certificates = zip(section.value.certificateFiles, section.value.keyFiles).map {
            Snapshot.ListenerTLS.Certificate(certificateFile: $0.value, keyFile: $1.value)
        }
        listener.tls = tls
        return listener
    }

    private mutating func checkClientAuthority(of section: Section<ListenerDraft>) {
        if section.has("client_certificate"), !section.mentions("client_ca_file") {
            diagnostics.error(
                section.position(of: "client_certificate"), "\"client_certificate\" needs \"client_ca_file\"")
        }
        if let path = section.value.tls.clientCAFile,
            case .failure(let error) = CertificateLoader(environment: environment).authorities(file: path)
        {
            diagnostics.error(section.position(of: "client_ca_file"), error.description)
        }
    }

    /// Whether each certificate has a key.
    private mutating func checkPairing(of section: Section<ListenerDraft>) -> Bool {
        for (name, other) in [("certificate_file", "key_file"), ("key_file", "certificate_file")]
        where !section.mentions(other) {
            diagnostics.error(section.position(of: name), "\"\(name)\" needs \"\(other)\"")
            return false
        }
        guard section.has("certificate_file"), section.has("key_file") else { return false }
        let (certificates, keys) = (section.value.certificateFiles.count, section.value.keyFiles.count)
        if certificates != keys {
            diagnostics.error(
                section.position(of: "key_file"),
                "\"key_file\" must list as many files as \"certificate_file\" (\(certificates)), not \(keys): "
                    + "each certificate with its key, in the same order")
        }
        return certificates == keys
    }

    private mutating func checkCertificates(of section: Section<ListenerDraft>) {
        var names: Set<String> = []
        for (index, (certificate, key)) in zip(section.value.certificateFiles, section.value.keyFiles).enumerated() {
            guard let identity = checkedIdentity(certificate, key, whoRefuses: "callers") else { continue }
            if index > 0, names.isSuperset(of: identity.names) {
                let reason = identity.names.isEmpty ? "it has no DNS names" : "earlier ones have all its names"
                diagnostics.warning(
                    certificate.position, "the certificate \(quoted(certificate.value)) is never chosen: \(reason)")
            }
            names.formUnion(identity.names)
        }
    }

    /// Reads the pair and tells what is wrong at the file that is to be mended.
    private mutating func checkedIdentity(
        _ certificate: Placed<String>, _ key: Placed<String>, whoRefuses: String
    ) -> TLSIdentity? {
        let loader = CertificateLoader(environment: environment)
        switch loader.identity(certificateFile: certificate.value, keyFile: key.value) {
        case .failure(let error):
            diagnostics.error(error.subject == .key ? key.position : certificate.position, error.description)
            return nil
        case .success(let identity):
            let now = environment.now()
            let name = "the certificate \(quoted(certificate.value))"
            if identity.validity.notAfter < now {
                diagnostics.warning(
                    certificate.position, "\(name) expired at \(identity.notAfter): \(whoRefuses) will refuse it")
            } else if identity.validity.notBefore > now {
                diagnostics.warning(
                    certificate.position,
                    "\(name) is valid only from \(identity.notBefore): \(whoRefuses) will refuse it until then")
            }
            return identity
        }
    }

    /// A pair that is there, fits and has not expired.
    mutating func checkIdentity(_ certificate: Placed<String>, _ key: Placed<String>, whoRefuses: String) {
        _ = checkedIdentity(certificate, key, whoRefuses: whoRefuses)
    }

    /// The certificate that we present to an upstream.
    mutating func checkClientCertificate(_ section: Section<Snapshot.Upstream>) {
        let names = ("client_certificate_file", "client_key_file")
        for (name, other) in [names, (names.1, names.0)] where section.has(name) && !section.mentions(other) {
            diagnostics.error(section.position(of: name), "\"\(name)\" needs \"\(other)\"")
        }
        guard let certificate = section.value.clientCertificateFile, let key = section.value.clientKeyFile else {
            return
        }
        _ = checkedIdentity(
            Placed(value: certificate, position: section.position(of: names.0)),
            Placed(value: key, position: section.position(of: names.1)), whoRefuses: "the upstream")
    }
}
