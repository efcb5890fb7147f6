extension ValueType where Value == String {
    /// Text of printable characters; not empty unless said so.
    static func string(
        _ name: String = "string", expected: String = "a string", legal: String = "", mayBeEmpty: Bool = false,
        where isLegal: @escaping @Sendable (String) -> Bool = { _ in true }
    ) -> Self {
        Self(name, expected: expected, legal: legal) { node in
            guard case .string(let text, _) = node.kind else { return .wrong }
            guard !text.utf8.contains(where: \.isControl) else {
                return .mistakes([Mistake(node.position, "must not hold control characters such as line breaks")])
            }
            guard mayBeEmpty || !text.isEmpty else {
                return .mistakes([Mistake(node.position, "must not be empty")])
            }
            return isLegal(text) ? .value(text) : .wrong
        }
    }

    /// A file's path. Relative ones would depend on where the program was started.
    static var path: Self {
        string("path", expected: "an absolute path such as \"/etc/token-gateway/…\"", legal: "absolute") {
            $0.hasPrefix("/") && !$0.utf8.contains(0) && $0.utf8.count < 4096
        }
    }

    /// The path of a file with a secret.
    static var secretPath: Self { path.unshown }

    /// RFC 9110 section 5.1.
    static var fieldName: Self {
        string("header name", expected: "a header field's name") { isFieldName($0) }
    }

    /// RFC 6749 section 3.3.
    static var scopeToken: Self {
        string("scope", expected: "a scope: printable ASCII without spaces, quotes and backslashes") { text in
            text.utf8.allSatisfy { $0 > 0x20 && $0 < 0x7f && $0 != 0x22 && $0 != 0x5c }
        }
    }

    /// A host's name or address, without a port.
    static var hostName: Self {
        string("host", expected: "a host name such as \"api.example.com\", without scheme and port") {
            isHostName($0) || Snapshot.IPAddress($0) != nil
        }
        .map { $0.lowercased() }
    }

    static var method: Self {
        string(
            "method", expected: "an HTTP method in capitals such as \"POST\", other than CONNECT and TRACE"
        ) { text in
            text.utf8.allSatisfy { $0.isTokenCharacter && !($0.isLetter && $0 & 0x20 != 0) }
                && text != "CONNECT" && text != "TRACE"
        }
    }

    /// A name as shells and systemd accept it.
    static var variableName: Self {
        string("variable", expected: "the name of an environment variable, without \"$\"") { text in
            text.utf8.first?.isDigit == false && text.utf8.allSatisfy { $0.isDigit || $0.isLetter || $0 == 0x5f }
        }
        .unshown
    }

    static var credentialName: Self {
        string("credential", expected: "the name of a systemd credential, without \"/\"") {
            !$0.contains("/") && $0 != "." && $0 != ".." && $0.utf8.count < 256
        }
        .unshown
    }
}

extension ValueType where Value == Snapshot.URL {
    static var url: Self {
        ValueType<String>.string("url", expected: "an absolute URL such as \"https://api.example.com\"")
            .map { URLText.url($0) }
    }

    /// Without a query, because paths are put behind it.
    static var baseURL: Self {
        ValueType<String>.string("url", expected: "an absolute URL such as \"https://api.example.com\", without query")
            .map { text in URLText.url(text).flatMap { $0.query == nil ? $0 : nil } }
    }
}

extension ValueType where Value == Snapshot.Address {
    static var address: Self {
        ValueType<String>.string(
            "address",
            expected: #"an address such as "127.0.0.1:8080", "[::1]:8080", "*:8080" or "unix:/run/gateway.sock""#
        )
        .map { AddressText.address($0) }
    }
}

extension ValueType where Value == Snapshot.Network {
    static var network: Self {
        ValueType<String>.string(
            "network", expected: #"an address block such as "10.0.0.0/8" or "::1", with no bits set behind the prefix"#
        )
        .map { Snapshot.Network($0) }
    }
}

extension ValueType where Value == UInt32 {
    /// A file mode in octal digits; as a string, since TOML's 660 would be decimal.
    static var mode: Self {
        ValueType<String>.string("mode", expected: "an octal mode as a string, such as \"0660\"", legal: "0000 to 0777")
            .map { text in
                guard (3...4).contains(text.utf8.count), text.utf8.allSatisfy(\.isDigit),
                    let mode = UInt32(text, radix: 8), mode <= 0o777
                else { return nil }
                return mode
            }
    }
}

extension ValueType where Value == Snapshot.PathPattern {
    static var pathPattern: Self {
        ValueType<String>.string("path", expected: #"a path such as "/crm/orders" or, for all below it, "/crm/*""#)
            .map { PathText.pattern($0) }
    }
}

extension ValueType where Value == Snapshot.Log.Sink {
    static var sink: Self {
        ValueType<String>.string("sink", expected: #""off", "stdout", "stderr" or an absolute path"#).map { text in
            switch text {
            case "off": .off
            case "stdout": .standardOutput
            case "stderr": .standardError
            case _ where text.hasPrefix("/") && !text.hasSuffix("/"): .file(path: text)
            case _: nil
            }
        }
    }
}
