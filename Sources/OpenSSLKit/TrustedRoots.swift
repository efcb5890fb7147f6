import COpenSSL

/// Fills the context's store: the given authorities, or else the system's. Files are read now, so that no handshake
/// waits for a disk and a mistake shows at start-up.
func trust(
    caFile: String?, caPEM: String?, in context: OpaquePointer
) throws(TLSConfigurationError) {
    var sources: [PEMSource] = []
    if let caFile { sources.append(.file(caFile)) }
    if let caPEM { sources.append(.text(caPEM, name: "the given CA text")) }
    if sources.isEmpty { sources.append(try systemBundle()) }
    let store = unsafe SSL_CTX_get_cert_store(context)
    for source in sources {
        for authority in try source.certificates() {
            guard unsafe X509_STORE_add_cert(store, authority.pointer) == 1 else { throw outOfMemory() }
        }
    }
    // What the operator names is trusted as it is: an intermediate or a pinned leaf needs no root above it.
    unsafe X509_STORE_set_flags(store, UInt(X509_V_FLAG_PARTIAL_CHAIN))
}

/// `SSL_CERT_FILE`, OpenSSL's own place, or where the usual distributions keep the bundle.
private func systemBundle() throws(TLSConfigurationError) -> PEMSource {
    if let named = unsafe getenv(X509_get_default_cert_file_env()) {
        return unsafe .file(String(cString: named))
    }
    let places =
        [unsafe String(cString: X509_get_default_cert_file())] + [
            "/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem",
            "/etc/ssl/cert.pem",
        ]
    for place in places where unsafe access(place, R_OK) == 0 { return .file(place) }
    throw TLSConfigurationError(
        kind: .noCertificate, path: nil,
        reason: "this system has no CA certificates (looked for \(places.joined(separator: ", "))): "
            + "install the package ca-certificates, or name a file with ca_file or SSL_CERT_FILE")
}
