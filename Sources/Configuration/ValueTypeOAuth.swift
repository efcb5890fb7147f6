/// Fields that belong to the message's framing or to the connection; in lower case.
let reservedFields: Set<String> = [
    "host", "content-length", "transfer-encoding", "connection", "keep-alive", "proxy-connection", "te", "trailer",
    "upgrade", "expect",
]

/// Fields of a request to an upstream that are the gateway's own besides: credential, proof and where it came from. A
/// provider's `extra_headers` could only be ignored, or stand twice.
let upstreamFields = reservedFields.union([
    "authorization", "proxy-authorization", "dpop", "via", "forwarded", "x-forwarded-for", "x-forwarded-host",
    "x-forwarded-proto",
])

extension ValueType where Value == String {
    /// A field that may carry a token: not one that the message itself needs.
    static var credentialHeaderName: Self {
        string("header name", expected: "a header field's name that is not part of the message's framing") {
            isFieldName($0) && !reservedFields.contains($0.lowercased())
        }
    }

    /// A parameter's name in a query or form.
    static var parameterName: Self {
        string("parameter", expected: "a parameter's name: letters, digits and \"_\"") {
            $0.utf8.allSatisfy { $0.isLetter || $0.isDigit || $0 == 0x5f }
        }
    }

    static var credentialScheme: Self {
        string("string", expected: "an authentication scheme such as \"Bearer\", or empty", mayBeEmpty: true) {
            $0.utf8.allSatisfy(\.isTokenCharacter)
        }
    }

    /// `Host`: a name or address, with a port if need be.
    static var authority: Self {
        string("host", expected: "a host with or without port, such as \"api.example.com\"") { text in
            guard let (host, port) = AddressText.split(text) else { return false }
            return (isHostName(host) || Snapshot.IPAddress(host) != nil)
                && port.map { AddressText.port($0) != nil } ?? true
        }
    }
}

extension ValueType where Value == Snapshot.RefreshScope {
    static var refreshScope: Self {
        Self("word or list", expected: "\"omit\", \"same\" or a list of scopes") { node in
            switch node.kind {
            case .string("omit", _): return .value(.omit)
            case .string("same", _): return .value(.same)
            case .array:
                return switch ValueType<[String]>.list(of: .scopeToken, mayBeEmpty: false).read(node) {
                case .value(let scopes): .value(.list(scopes))
                case .wrong: .wrong
                case .mistakes(let list): .mistakes(list)
                }
            case .string, .integer, .float, .boolean, .date, .table: return .wrong
            }
        }
    }
}

extension ValueType where Value == Snapshot.ReplyPaths {
    private static var members: [(name: String, set: (inout Snapshot.ReplyPaths, [String]) -> Void)] {
        [
            ("access_token", { $0.accessToken = $1 }), ("refresh_token", { $0.refreshToken = $1 }),
            ("expires_in", { $0.expiresIn = $1 }), ("expires_at", { $0.expiresAt = $1 }), ("scope", { $0.scope = $1 }),
            ("error", { $0.error = $1 }), ("error_description", { $0.errorDescription = $1 }),
            ("account", { $0.account = $1 }), ("token_type", { $0.tokenType = $1 }),
            ("refresh_expires_in", { $0.refreshExpiresIn = $1 }),
            ("refresh_hard_expires_in", { $0.refreshHardExpiresIn = $1 }),
        ]
    }

    static var replyPaths: Self {
        let example = #"{ access_token = "authed_user.access_token" }"#
        return Self(
            "table", expected: "a table such as \(example)", legal: members.map(\.name).joined(separator: ", ")
        ) { node in
            guard case .table(let entries) = node.kind else { return .wrong }
            var paths = Snapshot.ReplyPaths()
            var mistakes: [Mistake] = []
            for entry in entries {
                guard let member = members.first(where: { $0.name == entry.key }) else {
                    let hint = Suggestion.hint(for: entry.key, among: members.map(\.name))
                    mistakes.append(Mistake(entry.keyPosition, "has an unknown member \(quoted(entry.key))\(hint)"))
                    continue
                }
                switch path.value(entry.value) {
                case .success(let path): member.set(&paths, path)
                case .failure(let failure):
                    mistakes += failure.list.map { Mistake($0.position, "has \(quoted(entry.key)), which " + $0.text) }
                }
            }
            return mistakes.isEmpty ? .value(paths) : .mistakes(mistakes)
        }
    }

    private static var path: ValueType<[String]> {
        ValueType<String>.jsonPath.map {
            $0.split(separator: ".", omittingEmptySubsequences: false).map(String.init)
        }
    }
}
