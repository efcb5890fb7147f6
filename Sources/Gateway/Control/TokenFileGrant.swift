import Configuration
import Proxy
import Reactor

/// A grant whose token another program keeps fresh in a file: read at the start, when the file changes, and when the
/// upstream rejects what it holds.
struct TokenFileGrant {
    let name: String
    let path: String
    let header: Snapshot.CredentialHeader
    private var stamp: FileStamp?
    private var token: [UInt8] = []
    private(set) var generation: UInt64 = 0
    private(set) var credential: Proxy.Credential?
    /// Why the file cannot be used; nil when it can.
    private(set) var problem: String?

    init(name: String, path: String, header: Snapshot.CredentialHeader) {
        self.name = name
        self.path = path
        self.header = header
    }

    /// Looks whether the file has changed, and reads it then.
    ///
    /// - Parameter loader: reads the token and refuses what is not one.
    /// - Returns: true when the credential, or its absence, is another than before.
    mutating func refresh(with loader: SecretLoader) -> Bool {
        let current = FileStamp.of(path: path)
        guard current != stamp || current == nil else { return false }
        stamp = current
        switch loader.loadToken(path: path) {
        case .success(let secret):
            problem = nil
            guard secret.bytes != token || credential == nil else { return false }
            token = secret.bytes
            generation += 1
            let scheme = header.scheme.isEmpty ? [] : Array(header.scheme.utf8) + [0x20]
            credential = Proxy.Credential(
                headerName: header.name, headerValue: scheme + token, generation: generation, expiry: .max)
            return true
        case .failure(let error):
            // A file that is being replaced is no reason to stop: the token that was read last goes on being used.
            let isNews = problem == nil
            problem = error.description
            return isNews && credential == nil
        }
    }
}
