/// Reads secrets from their sources: the only place where the gateway reads a secret's bytes.
///
/// A file must be regular and closed to "others" (mode & 007 = 0). Its group may read it, which systemd units and
/// containers need for files that belong to root. Call it again to re-read; it keeps nothing.
package struct SecretLoader: Sendable {
    private let environment: ConfigurationEnvironment
    private static let limit = 65_536

    package init(environment: ConfigurationEnvironment) { self.environment = environment }

    /// A client secret, a console secret or a token: one line of visible ASCII; one line end behind it is dropped.
    package func load(_ source: Snapshot.SecretSource) -> Result<LoadedSecret, SecretError> {
        contents(of: source).flatMap { contents in
            let text = Self.withoutLineEnd(contents)
            guard !text.isEmpty else { return .failure(SecretError("\(source) is empty")) }
            guard text.allSatisfy({ $0 >= 0x20 && $0 < 0x7f }) else {
                return .failure(SecretError("\(source) must hold one line of printable ASCII"))
            }
            return .success(LoadedSecret(bytes: Array(text)))
        }
    }

    /// The store's key: the bytes exactly as they are, because a key may be binary.
    package func loadKey(_ source: Snapshot.SecretSource) -> Result<LoadedSecret, SecretError> {
        contents(of: source).flatMap { bytes in
            bytes.isEmpty
                ? .failure(SecretError("\(source) is empty")) : .success(LoadedSecret(bytes: Array(bytes)))
        }
    }

    /// A `token_file`: like `load`, and without spaces, so that it can stand in a header field.
    package func loadToken(path: String) -> Result<LoadedSecret, SecretError> {
        let source = Snapshot.SecretSource.file(path: path)
        return load(source).flatMap { token in
            token.bytes.contains(0x20)
                ? .failure(SecretError("\(source) must hold a token without spaces")) : .success(token)
        }
    }

    private func contents(of source: Snapshot.SecretSource) -> Result<ArraySlice<UInt8>, SecretError> {
        switch source {
        case .environment(let name):
            guard let value = environment.variable(name) else { return .failure(SecretError("\(source) is not set")) }
            return .success(Array(value.utf8)[...])
        case .file(let path): return file(path, source)
        case .credential(let name):
            guard let directory = environment.credentialsDirectory else {
                let reason = "CREDENTIALS_DIRECTORY is not set: the gateway was not started by systemd"
                return .failure(SecretError("\(source) cannot be read: \(reason)", problem: .noCredentialsDirectory))
            }
            return file(directory + "/" + name, source)
        }
    }

    private func file(_ path: String, _ source: Snapshot.SecretSource) -> Result<ArraySlice<UInt8>, SecretError> {
        switch environment.readFile(path, Self.limit) {
        case .failure(let problem):
            return .failure(
                SecretError(
                    "\(source) cannot be read: \(problem)", problem: problem == .notFound ? .notFound : .other))
        case .success(let contents):
            guard contents.mode & 0o007 == 0 else {
                let mode = String(contents.mode & 0o777, radix: 8)
                return .failure(
                    SecretError("\(source) is open to every user (mode 0\(mode)); run: chmod o-rwx \(path)"))
            }
            return .success(contents.bytes[...])
        }
    }

    private static func withoutLineEnd(_ bytes: ArraySlice<UInt8>) -> ArraySlice<UInt8> {
        guard bytes.last == 0x0a else { return bytes }
        let line = bytes.dropLast()
        return line.last == 0x0d ? line.dropLast() : line
    }
}

/// Why a secret could not be had. Names the source, never what is in it.
package struct SecretError: Error, Sendable, Hashable, CustomStringConvertible {
    enum Problem: Sendable {
        case notFound, noCredentialsDirectory, other
    }
    package let description: String
    let problem: Problem

    init(_ description: String, problem: Problem = .other) {
        self.description = description
        self.problem = problem
    }
}

extension Snapshot.SecretSource: CustomStringConvertible {
    package var description: String {
        switch self {
        case .file(let path): "the file \(quoted(path))"
        case .environment(let name): "the environment variable \(name)"
        case .credential(let name): "the credential \(quoted(name))"
        }
    }
}
