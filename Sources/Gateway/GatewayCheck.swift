package import Configuration
import TokenStore

extension GatewayServer {
    /// What would keep a start with this snapshot from going well, beyond what the file's text shows: secrets that
    /// cannot be read, certificates that cannot be loaded, store keys that are none. One sentence each; opens neither a
    /// socket nor the store, and changes nothing.
    package static func problems(
        of snapshot: Snapshot, environment: ConfigurationEnvironment = .system, version: String
    ) -> [String] {
        var sentences: [String] = []
        if case .failure(let problems) = Control.prepare(snapshot, environment: environment, version: version) {
            sentences = problems.sentences
        }
        let loader = SecretLoader(environment: environment)
        for source in snapshot.store?.keys ?? [] {
            switch loader.loadKey(source) {
            case .failure(let error): sentences.append("store: \(error)")
            case .success(let secret):
                do throws(StoreError) {
                    _ = try StoreKey(content: secret.bytes, source: "\(source)")
                } catch {
                    sentences.append("store: \(error)")
                }
            }
        }
        return sentences
    }
}
