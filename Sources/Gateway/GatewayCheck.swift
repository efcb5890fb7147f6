package import Configuration
import TokenStore

extension GatewayServer {
    /// What would keep a start with this snapshot from going well, beyond what the file's text shows: secrets that
    /// cannot be read, certificates that cannot be loaded. One sentence each; opens neither a socket nor the store, and
    /// changes nothing.
    package static func problems(
        of snapshot: Snapshot, environment: ConfigurationEnvironment = .system, version: String
    ) -> [String] {
        var sentences: [String] = []
        if case .failure(let problems) = Control.prepare(snapshot, environment: environment, version: version) {
            sentences = problems.sentences
        }
        return sentences
    }
}

extension ConfigurationEnvironment {
    /// With it a store's key that is none is a mistake of the file, told at its place.
    package var checkingStoreKeys: ConfigurationEnvironment {
        var copy = self
        copy.storeKeyProblem = { content, source in
            do throws(StoreError) {
                _ = try StoreKey(content: content, source: source)
                return nil
            } catch {
                return "\(error)"
            }
        }
        return copy
    }
}
