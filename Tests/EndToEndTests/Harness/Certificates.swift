import Foundation

/// A certificate authority of this run and a certificate of it for `localhost` and 127.0.0.1, made with openssl.
struct Certificates: Sendable {
    let authority: String
    let certificate: String
    let key: String

    static func make() async throws -> Certificates {
        let folder = try Workspace.newFolder("tls")
        let made = Certificates(
            authority: "\(folder)/authority.pem", certificate: "\(folder)/server.pem", key: "\(folder)/server.key")
        let authorityKey = "\(folder)/authority.key"
        let curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
        try await mustRun(
            ["openssl", "req", "-x509"] + curve + [
                "-days", "30", "-subj", "/CN=Test authority", "-keyout", authorityKey, "-out", made.authority,
                "-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign,cRLSign",
            ])
        try await mustRun(
            ["openssl", "req", "-x509"] + curve + [
                "-CA", made.authority, "-CAkey", authorityKey, "-days", "30", "-subj", "/CN=localhost",
                "-keyout", made.key, "-out", made.certificate,
                "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
                "-addext", "basicConstraints=critical,CA:FALSE", "-addext", "extendedKeyUsage=serverAuth",
            ])
        return made
    }
}
