extension Snapshot {
    /// A URL with `{name}` in its host, path or query, whose values become known when a grant is used: from variables,
    /// or from what its provider's replies gave. The scheme and the port are always written out.
    package struct URLTemplate: Sendable, Hashable, CustomStringConvertible {
        /// As in the file.
        package internal(set) var text: String
        /// The names in it, in their order, each once.
        package internal(set) var names: [String]
        /// Those that choose the host.
        package internal(set) var hostNames: [String]
        /// The host with its names, without the port.
        package internal(set) var host: String
        /// The path with its names; empty, or begins with "/".
        package internal(set) var path: String
        /// The URL with a letter in each name's place: right in scheme, port, and whatever has no names.
        package internal(set) var sample: URL

        package var description: String { text }

        /// Whether a value can only choose a label in front of two fixed ones or more (`{shop}.myshopify.com`), and so
        /// never somebody else's host.
        package var hasFixedSuffix: Bool {
            guard let brace = host.lastIndex(of: "}") else { return true }
            let tail = host[host.index(after: brace)...]
            guard let dot = tail.firstIndex(of: ".") else { return false }
            let suffix = tail[tail.index(after: dot)...]
            return suffix.contains(".") && isHostName(suffix)
        }
    }

    /// A variable of a provider's URLs that somebody must give: the provider's table, a grant's, or whoever creates a
    /// grant of a template.
    package struct RequiredVariable: Sendable, Hashable {
        package internal(set) var name = ""
        /// What it is, for people.
        package internal(set) var about = ""
        package internal(set) var example = ""
        /// A regular expression for the whole value; empty: any text that fits its place.
        package internal(set) var pattern = ""

        /// Whether a value is of the right form.
        package func accepts(_ value: String) -> Bool {
            guard !value.isEmpty, !value.utf8.contains(where: \.isControl) else { return false }
            guard !pattern.isEmpty else { return true }
            guard let regex = try? Regex(pattern) else { return false }
            return (try? regex.wholeMatch(in: value)) != nil
        }
    }

    /// A call to the provider's API after a consent, for what no reply said: a tenant's id, the API's host.
    package struct Lookup: Sendable, Hashable {
        /// Never nil in a snapshot.
        package internal(set) var url: URLTemplate?
        /// Name → where it is in the JSON reply, with kind and `required`, as in the file.
        package internal(set) var captures: [NamedValue] = []
        /// Beside the credential; values may have names.
        package internal(set) var headers: [NamedValue] = []
        /// Where the reply tells the account that consented.
        package internal(set) var account: String?
    }

    /// How a provider ends a grant, where it is not as in RFC 7009.
    package struct Revocation: Sendable, Hashable {
        package enum Method: String, Sendable, Hashable, CaseIterable {
            case post = "POST"
            case delete = "DELETE"
            case get = "GET"
        }
        package enum Authentication: String, Sendable, Hashable, CaseIterable {
            /// As at the token endpoint, or as `revocation_auth` says.
            case client
            case none
            /// The token itself, as a bearer token.
            case token
        }
        package enum Body: String, Sendable, Hashable, CaseIterable {
            case form, json, query
            /// No parameters: the token is in the URL or in the header.
            case none
        }
        package enum Order: String, Sendable, Hashable, CaseIterable {
            case both
            case refresh = "refresh_token"
            case access = "access_token"
        }
        /// false: there is no call for it, and the operator reads `advice`.
        package internal(set) var isSupported = true
        package internal(set) var advice: String?
        /// nil: the revocation endpoint. `{token}` is the token to be revoked, `{client_id}` our identifier.
        package internal(set) var url: URLTemplate?
        package internal(set) var method = Method.post
        package internal(set) var authentication = Authentication.client
        package internal(set) var body = Body.form
        /// Empty: the token is not sent as a parameter.
        package internal(set) var tokenParameter = ""
        package internal(set) var sendsHint = true
        /// Values may have names.
        package internal(set) var parameters: [NamedValue] = []
        package internal(set) var headers: [NamedValue] = []
        package internal(set) var order = Order.both
        /// Besides 2xx.
        package internal(set) var doneStatuses: [Int] = []
        package internal(set) var invalidStatuses: [Int] = []
        package internal(set) var doneCodes: [String] = []
        package internal(set) var invalidCodes: [String] = []
    }
}

extension Snapshot.NamedValue {
    package init(_ name: String, _ value: String) {
        self.init(name: name, value: value)
    }
}
