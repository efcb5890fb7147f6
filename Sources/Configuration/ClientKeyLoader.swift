/// Reads the private keys that sign our assertions, and checks them. Call it again to re-read; it keeps nothing. Blocks.
package struct ClientKeyLoader: Sendable {
    private let environment: ConfigurationEnvironment

    package init(environment: ConfigurationEnvironment) { self.environment = environment }

    /// The bytes of a PEM file with a private key. The file must be closed to others, like any secret.
    package func key(
        file: String, algorithm: Snapshot.SignatureAlgorithm?
    ) -> Result<LoadedSecret, SecretError> {
        SecretLoader(environment: environment).loadKey(.file(path: file)).flatMap { secret in
            let text = String(decoding: secret.bytes, as: UTF8.self)
            if text.contains("-----BEGIN ENCRYPTED PRIVATE KEY-----") || text.contains("\nProc-Type: 4,ENCRYPTED") {
                return .failure(
                    SecretError("the file \(quoted(file)) holds an encrypted key: store it without a password"))
            }
            let kinds = ["PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY"]
            guard kinds.contains(where: { text.contains("-----BEGIN \($0)-----") }) else {
                return .failure(SecretError("the file \(quoted(file)) holds no private key in PEM form"))
            }
            return .success(secret)
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
