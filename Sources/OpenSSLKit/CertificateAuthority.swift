import COpenSSL

/// What a leaf certificate says.
package struct LeafRequest: Sendable {
    package var commonName: String
    /// DNS names and IP addresses for subjectAltName. May be empty.
    package var dnsNames: [String]
    package var ipAddresses: [String]
    package var validity: Validity
    /// Issued by itself, not by the authority.
    package var isSelfSigned: Bool

    package init(
        commonName: String = "leaf", dnsNames: [String], ipAddresses: [String] = [], validity: Validity,
        isSelfSigned: Bool = false
    ) {
        self.commonName = commonName
        self.dnsNames = dnsNames
        self.ipAddresses = ipAddresses
        self.validity = validity
        self.isSelfSigned = isSelfSigned
    }
}

/// From when to when a certificate counts, in seconds since 1970.
package struct Validity: Sendable, Hashable {
    package var notBefore: Int64
    package var notAfter: Int64

    package init(notBefore: Int64, notAfter: Int64) {
        self.notBefore = notBefore
        self.notAfter = notAfter
    }
}

/// A certificate with its key, as PEM.
package struct IssuedCertificate: Sendable {
    package var certificatePEM: String
    package var privateKeyPEM: SecretString
}

/// A certificate could not be built: a name is not possible, or OpenSSL failed.
package struct CertificateBuildingError: Error, Sendable, CustomStringConvertible {
    package var description: String
}

/// A private authority in memory, for the demo services and for tests: P-256 keys, SHA-256 signatures.
package struct CertificateAuthority: Sendable {
    /// What its users must trust.
    package let certificatePEM: String
    private let privateKeyPEM: SecretString

    package init(commonName: String, validity: Validity) throws(CertificateBuildingError) {
        let key = try generateKey()
        let certificate = try unsafe emptyCertificate(commonName: commonName, validity: validity, key: key.pointer)
        try unsafe add(
            [
                (NID_basic_constraints, "critical,CA:TRUE"), (NID_key_usage, "critical,keyCertSign,cRLSign"),
                (NID_subject_key_identifier, "hash"),
            ], to: certificate.pointer, issuer: certificate.pointer)
        try unsafe sign(certificate.pointer, with: key.pointer)
        certificatePEM = try unsafe pem { unsafe PEM_write_bio_X509($0, certificate.pointer) }
        privateKeyPEM = try SecretString(unsafe pem { unsafe writeKey(key.pointer, to: $0) })
    }

    /// A new key and a certificate for it, good for servers and for clients.
    package func issue(_ request: LeafRequest) throws(CertificateBuildingError) -> IssuedCertificate {
        let key = try generateKey()
        let leaf = try unsafe emptyCertificate(
            commonName: request.commonName, validity: request.validity, key: key.pointer)
        let (issuer, issuerKey) = request.isSelfSigned ? (leaf, key) : try loaded()
        unsafe X509_set_issuer_name(leaf.pointer, X509_get_subject_name(issuer.pointer))
        var extensions = [
            (NID_basic_constraints, "critical,CA:FALSE"), (NID_key_usage, "critical,digitalSignature"),
            (NID_ext_key_usage, "serverAuth,clientAuth"), (NID_subject_key_identifier, "hash"),
        ]
        let names = try alternativeNames(request)
        if !names.isEmpty { extensions.append((NID_subject_alt_name, names)) }
        try unsafe add(extensions, to: leaf.pointer, issuer: issuer.pointer)
        try unsafe sign(leaf.pointer, with: issuerKey.pointer)
        return IssuedCertificate(
            certificatePEM: try unsafe pem { unsafe PEM_write_bio_X509($0, leaf.pointer) },
            privateKeyPEM: SecretString(try unsafe pem { unsafe writeKey(key.pointer, to: $0) }))
    }

    private func loaded() throws(CertificateBuildingError) -> (Certificate, PrivateKey) {
        do {
            let certificates = try PEMSource.text(certificatePEM, name: "the authority").certificates()
            let key = try PEMSource.text(privateKeyPEM.exposed(), name: "the authority's key").privateKey()
            return (certificates[0], key)
        } catch {
            throw CertificateBuildingError(description: error.reason)
        }
    }

    /// The syntax of x509v3_config(5) gives commas and line ends a meaning.
    private func alternativeNames(_ request: LeafRequest) throws(CertificateBuildingError) -> String {
        let names = request.dnsNames.map { ("DNS", $0) } + request.ipAddresses.map { ("IP", $0) }
        for (_, name) in names where name.isEmpty || !name.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7f && $0 != 0x2c }) {
            throw CertificateBuildingError(description: "\"\(name)\" cannot be a name in a certificate")
        }
        return names.map { "\($0):\($1)" }.joined(separator: ",")
    }
}

// MARK: - The steps

private func generateKey() throws(CertificateBuildingError) -> PrivateKey {
    guard let key = unsafe tg_generate_p256() else { throw failure("make a P-256 key") }
    return unsafe PrivateKey(owning: key)
}

/// Version 3, random serial number, self-issued; not signed yet.
private func emptyCertificate(
    commonName: String, validity: Validity, key: OpaquePointer
) throws(CertificateBuildingError) -> Certificate {
    guard let pointer = unsafe X509_new() else { throw failure("make a certificate") }
    let certificate = unsafe Certificate(owning: pointer)
    let serial = unsafe BN_bin2bn([0x40] + RandomBytes.bytes(15), 16, nil)
    defer { unsafe BN_free(serial) }
    let name = unsafe X509_get_subject_name(pointer)
    let text = Array(commonName.utf8)
    guard unsafe X509_set_version(pointer, 2) == 1,
        unsafe BN_to_ASN1_INTEGER(serial, X509_get_serialNumber(pointer)) != nil,
        unsafe ASN1_TIME_set(X509_getm_notBefore(pointer), time_t(validity.notBefore)) != nil,
        unsafe ASN1_TIME_set(X509_getm_notAfter(pointer), time_t(validity.notAfter)) != nil,
        unsafe X509_NAME_add_entry_by_NID(name, NID_commonName, MBSTRING_UTF8, text, Int32(text.count), -1, 0) == 1,
        unsafe X509_set_issuer_name(pointer, name) == 1,
        unsafe X509_set_pubkey(pointer, key) == 1
    else { throw failure("fill in a certificate for \"\(commonName)\"") }
    return certificate
}

private func add(
    _ extensions: [(nid: Int32, value: String)], to certificate: OpaquePointer, issuer: OpaquePointer
) throws(CertificateBuildingError) {
    for (nid, value) in extensions {
        guard unsafe tg_x509_add_extension(certificate, issuer, nid, value) else {
            throw failure("add \"\(value)\" to a certificate")
        }
    }
}

private func sign(_ certificate: OpaquePointer, with key: OpaquePointer) throws(CertificateBuildingError) {
    guard unsafe X509_sign(certificate, key, EVP_sha256()) > 0 else { throw failure("sign a certificate") }
}

private func writeKey(_ key: OpaquePointer, to bio: OpaquePointer) -> Int32 {
    unsafe PEM_write_bio_PrivateKey(bio, key, nil, nil, 0, nil, nil)
}

private func pem(_ write: (OpaquePointer) -> Int32) throws(CertificateBuildingError) -> String {
    guard let bio = unsafe BIO_new(BIO_s_secmem()) else { throw failure("get memory") }
    defer { unsafe BIO_free(bio) }
    guard unsafe write(bio) == 1 else { throw failure("write PEM") }
    var start: UnsafeMutablePointer<CChar>?
    let count = unsafe tg_bio_bytes(bio, &start)
    return unsafe String(decoding: UnsafeRawBufferPointer(start: start, count: count), as: UTF8.self)
}

private func failure(_ step: String) -> CertificateBuildingError {
    defer { ERR_clear_error() }
    return CertificateBuildingError(description: "OpenSSL could not \(step): \(libraryText(ERR_peek_error()))")
}
