@testable import Configuration

/// A world of a few files and variables.
func environment(
    variables: [String: String] = [:], files: [String: String] = [:], modes: [String: UInt32] = [:],
    unreadable: [String: FileProblem] = [:]
) -> ConfigurationEnvironment {
    let all = standardFiles.merging(files) { $1 }
    return ConfigurationEnvironment(
        variable: { variables[$0] },
        readFile: { path, limit in
            if let problem = unreadable[path] { return .failure(problem) }
            guard let text = all[path] else { return .failure(.notFound) }
            guard text.utf8.count <= limit else { return .failure(.tooLarge(limit: limit)) }
            return .success(FileContents(bytes: Array(text.utf8), mode: modes[path] ?? 0o600, owner: 0))
        },
        isDirectory: { ["/", "/tmp", "/var/tmp", "/var/lib/token-gateway", "/var/log"].contains($0) },
        processorCount: 4)
}

private let standardFiles = [
    "/k/store.key": "0123456789abcdef0123456789abcdef", "/k/secret": "s3cret\n", "/k/secret2": "older",
    "/k/token": "tok",
    "/k/ca.pem": "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n",
]

/// The mistakes without the file's name: `3:1: error: …`.
func mistakes(_ text: String, _ environment: ConfigurationEnvironment = environment()) -> [String] {
    let outcome = GatewayConfiguration.parse(Array(text.utf8), file: "f", environment: environment)
    return outcome.diagnostics.map { String($0.description.dropFirst(2)) }
}

func parsed(_ text: String, _ environment: ConfigurationEnvironment = environment()) -> Snapshot? {
    GatewayConfiguration.parse(Array(text.utf8), file: "f", environment: environment).snapshot
}

/// The least that works: a token from a file.
let minimal = """
    workers = 1
    [listener.internal]
    address = "127.0.0.1:8080"
    [grant.fixed]
    token_file = "/k/token"
    [upstream.api]
    url = "https://localhost:8443"
    ca_file = "/k/ca.pem"
    [route.all]
    path = "/*"
    upstream = "api"
    grant = "fixed"

    """

/// A grant from a provider, and all that it needs.
let full = """
    [listener.internal]
    address = "127.0.0.1:8080"
    [console]
    address = "127.0.0.1:9090"
    public_url = "https://gateway.example.com"
    [store]
    path = "/var/lib/token-gateway/grants.db"
    key_file = "/k/store.key"
    [provider.zoho]
    issuer = "https://accounts.zoho.com"
    client_id = "1000.ABC"
    client_secret_file = "/k/secret"
    [grant.crm]
    provider = "zoho"
    scopes = ["ZohoCRM.modules.ALL"]
    [upstream.crm]
    url = "https://www.zohoapis.com"
    [route.crm]
    path = "/crm/*"
    strip_prefix = "/crm"
    upstream = "crm"
    grant = "crm"

    """
