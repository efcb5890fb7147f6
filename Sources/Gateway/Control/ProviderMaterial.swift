import Configuration
import OAuth
import OpenSSLKit
import Reactor

/// What a provider's section names in files and elsewhere, read: secrets, keys, our certificate.
struct ProviderMaterial {
    var secrets: [LoadedSecret] = []
    var keys: [ClientKey] = []
    var serviceAccount: ServiceAccountKey?
    /// What we present to its endpoints (RFC 8705).
    var identity: TLSIdentity?

    /// Blocks.
    ///
    /// - Parameter problems: gets one sentence for each thing that cannot be used.
    init(_ provider: Snapshot.Provider, environment: ConfigurationEnvironment, _ problems: inout [String]) {
        let place = "provider.\(provider.name)"
        let loader = SecretLoader(environment: environment)
        for source in provider.clientSecrets {
            switch loader.load(source) {
            case .success(let secret): secrets.append(secret)
            case .failure(let error): problems.append("\(place): \(error)")
            }
        }
        let keyLoader = ClientKeyLoader(environment: environment)
        for (index, file) in provider.clientKeyFiles.enumerated() {
            switch keyLoader.key(file: file, algorithm: provider.clientKeyAlgorithm) {
            case .success(let loaded):
                let id = provider.clientKeyIDs.indices.contains(index) ? provider.clientKeyIDs[index] : nil
                keys.append(ClientKey(algorithm: loaded.algorithm, keyID: id, key: loaded.key))
            case .failure(let error): problems.append("\(place): \(error)")
            }
        }
        if let file = provider.serviceAccountFile {
            switch keyLoader.serviceAccount(file: file) {
            case .success(let content):
                switch ServiceAccountKey.read(content.bytes, plaintextOnLoopback: provider.allowPlaintext) {
                case .success(let account): serviceAccount = account
                case .failure(let problem): problems.append("\(place): the file \(file) \(problem.explanation)")
                }
            case .failure(let error): problems.append("\(place): \(error)")
            }
        }
        if let certificate = provider.clientCertificateFile, let key = provider.clientCertificateKeyFile {
            switch CertificateLoader(environment: environment).identity(certificateFile: certificate, keyFile: key) {
            case .success(let read): identity = read
            case .failure(let error): problems.append("\(place): \(error)")
            }
        }
    }

    /// The files that are looked at again while the gateway runs.
    static func files(of provider: Snapshot.Provider) -> [String] {
        let secrets: [String] = provider.clientSecrets.compactMap { source in
            if case .file(let path) = source { path } else { nil }
        }
        let others = [
            provider.serviceAccountFile, provider.clientCertificateFile, provider.clientCertificateKeyFile,
        ]
        return secrets + provider.clientKeyFiles + others.compactMap { $0 }
    }
}
