import Configuration
import OpenSSLKit
import TokenStore

// The TokenStore module has a protocol of its own name, which hides its other types from qualified look-up.
typealias StoredConsentOutcome = ConsentOutcome

extension PostgreSQLSettings {
    /// Reads the password.
    init(_ database: Snapshot.PostgreSQL, environment: ConfigurationEnvironment) throws(StoreError) {
        var password: SecretBytes?
        if let source = database.password {
            switch SecretLoader(environment: environment).load(source) {
            case .success(let secret): password = SecretBytes(secret.bytes)
            case .failure(let error): throw StoreError(.permissions, "\(error)")
            }
        }
        try self.init(
            url: database.url, password: password, caFile: database.caFile,
            connectTimeout: Int(clamping: database.connectTimeout.milliseconds),
            statementTimeout: Int(clamping: database.statementTimeout.milliseconds))
    }
}
