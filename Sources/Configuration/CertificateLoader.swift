package import OpenSSLKit

/// Reads certificates, and the keys that belong to them, from files, and checks them. Call it again to re-read; it
/// keeps nothing. Blocks.
package struct CertificateLoader: Sendable {
    private let environment: ConfigurationEnvironment
    private static let limit = 8 << 20

    package init(environment: ConfigurationEnvironment) { self.environment = environment }

    /// A certificate with its chain and its key. The key's file must be closed to others, like any secret.
    package func identity(certificateFile: String, keyFile: String) -> Result<TLSIdentity, CertificateError> {
        text(certificateFile, .certificate).flatMap { chain in
            switch SecretLoader(environment: environment).loadKey(.file(path: keyFile)) {
            case .failure(let error): .failure(CertificateError(subject: .key, description: error.description))
            case .success(let key): identity(chain, key, certificateFile, keyFile)
            }
        }
    }

    private func identity(
        _ chain: String, _ key: LoadedSecret, _ certificateFile: String, _ keyFile: String
    ) -> Result<TLSIdentity, CertificateError> {
        do throws(TLSConfigurationError) {
            return .success(
                try TLSIdentity(
                    chainPEM: chain, keyPEM: SecretBytes(key.bytes), chainName: quoted(certificateFile),
                    keyName: quoted(keyFile)))
        } catch {
            return .failure(
                CertificateError(subject: error.kind == .badKey ? .key : .certificate, description: error.reason))
        }
    }

    /// Authorities to trust, as PEM text with at least one certificate.
    package func authorities(file: String) -> Result<String, CertificateError> {
        text(file, .authorities).flatMap { text in
            do throws(TLSConfigurationError) {
                try checkAuthorities(text, name: quoted(file))
                return .success(text)
            } catch {
                return .failure(CertificateError(subject: .authorities, description: error.reason))
            }
        }
    }

    private func text(_ path: String, _ subject: CertificateError.Subject) -> Result<String, CertificateError> {
        switch environment.readFile(path, Self.limit) {
        case .success(let contents): .success(String(decoding: contents.bytes, as: UTF8.self))
        case .failure(let problem):
            .failure(
                CertificateError(subject: subject, description: "the file \(quoted(path)) cannot be read: \(problem)"))
        }
    }
}

/// What is wrong with a certificate's files. Never says what is in a key.
package struct CertificateError: Error, Sendable, Hashable, CustomStringConvertible {
    /// The file that is to be mended.
    package enum Subject: Sendable {
        case certificate, key, authorities
    }
    package let subject: Subject
    package let description: String
}
