package import OpenSSLKit

/// Reads the private keys that sign our assertions, and checks them. Call it again to re-read; it keeps nothing. Blocks.
package struct ClientKeyLoader: Sendable {
    private let environment: ConfigurationEnvironment

    package init(environment: ConfigurationEnvironment) { self.environment = environment }

    /// A private key from a PEM file, for signatures of `algorithm`, or else its kind's usual one. The file must be closed
    /// to others, like any secret.
    package func key(
        file: String, algorithm: Snapshot.SignatureAlgorithm?
    ) -> Result<LoadedKey, SecretError> {
        SecretLoader(environment: environment).loadKey(.file(path: file)).flatMap { secret in
            do throws(TLSConfigurationError) {
                let key = try SigningKey(pem: SecretBytes(secret.bytes), name: "the file \(quoted(file))")
                let chosen = algorithm.flatMap { SignatureAlgorithm(rawValue: $0.rawValue) } ?? key.kind.usualAlgorithm
                guard chosen.suits(key.kind) else {
                    return .failure(
                        SecretError(
                            "the key in the file \(quoted(file)) cannot sign as \(chosen.rawValue); it can as "
                                + key.kind.usualAlgorithm.rawValue))
                }
                return .success(LoadedKey(key: key, algorithm: chosen))
            } catch {
                return .failure(SecretError(error.reason))
            }
        }
    }

    /// The bytes of Google's JSON file of a service account.
    package func serviceAccount(file: String) -> Result<LoadedSecret, SecretError> {
        SecretLoader(environment: environment).loadKey(.file(path: file)).flatMap { secret in
            let text = String(decoding: secret.bytes, as: UTF8.self)
            let isAccount = ["\"service_account\"", "\"private_key\"", "\"client_email\""].allSatisfy(text.contains)
            return isAccount
                ? .success(secret)
                : .failure(SecretError("the file \(quoted(file)) is not the JSON file of a Google service account"))
        }
    }
}

/// A private key of ours and how it signs.
package struct LoadedKey: Sendable, Hashable {
    package let key: SigningKey
    package let algorithm: SignatureAlgorithm
}
