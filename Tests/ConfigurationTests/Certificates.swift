import OpenSSLKit

/// Certificates for the files that the tests' world has.
enum Certificates {
    private static let validity = Validity(notBefore: 946_684_800, notAfter: 4_102_444_800)
    static let authority = try! CertificateAuthority(commonName: "Callers", validity: validity)
    static let authorityPEM = authority.certificatePEM
    static let gateway = issue(["gateway.example.com"])
    static let other = issue(["other.example.com"])

    static func issue(
        _ names: [String], from notBefore: Int64 = validity.notBefore, until notAfter: Int64 = validity.notAfter
    ) -> (chain: String, key: String) {
        let issued = try! authority.issue(
            LeafRequest(dnsNames: names, validity: Validity(notBefore: notBefore, notAfter: notAfter)))
        return (issued.certificatePEM, issued.privateKeyPEM.exposed())
    }

    /// `/t/a.pem` and so on.
    static let files: [String: String] = {
        let old = issue(["old.example.com"], until: 978_307_200)
        let early = issue(["early.example.com"], from: 4_070_908_800)
        return [
            "/t/a.pem": gateway.chain, "/t/a.key": gateway.key, "/t/b.pem": other.chain, "/t/b.key": other.key,
            "/t/old.pem": old.chain, "/t/old.key": old.key, "/t/early.pem": early.chain, "/t/early.key": early.key,
            "/t/open.key": gateway.key, "/t/ca.pem": authority.certificatePEM,
            "/t/nameless.pem": nameless.chain, "/t/nameless.key": nameless.key,
        ]
    }()

    private static let nameless = issue([])
}
