import OpenSSLKit

/// The JSON file that Google gives for a service account: everything that its JWT bearer grant needs.
package struct ServiceAccountKey: Sendable, Equatable {
    /// More is no key file.
    package static let limitBytes = 64 * 1024

    package enum Problem: Error, Sendable, Hashable {
        case tooLong
        case notJSON
        /// Another kind of credentials file; its `type`, cleaned.
        case otherType(String)
        case missing(String)
        case badTokenURI
        /// What is wrong with private_key, without anything of it.
        case badKey(String)

        /// The rest of a sentence that begins with the file's name. Never what is in the file, except its `type`.
        package var explanation: String {
            switch self {
            case .tooLong: "is longer than \(limitBytes) bytes: it is not a service account's key file"
            case .notJSON: "is not a JSON object: it must be the key file as Google gave it"
            case .otherType("authorized_user"):
                "holds a person's credentials (type authorized_user): make a key for a service account, or connect the "
                    + "grant by consent"
            case .otherType("external_account"):
                "describes an external account, which has no key: use token exchange"
            case .otherType(let type): "has the type \"\(type)\" instead of service_account"
            case .missing(let member): "has no \(member), or an empty one"
            case .badTokenURI: "has a token_uri that is not an https URL"
            case .badKey(let reason): "cannot be used: \(reason)"
            }
        }
    }

    package var clientEmail: String
    package var key: ClientKey
    /// Where the assertion goes, and its audience.
    package var tokenEndpoint: ProviderURL

    /// What the account's grant asks with: scopes go into the assertion, as Google wants it.
    ///
    /// - Parameter subject: the user whom the account acts for (domain-wide delegation); nil: for itself.
    package func claims(subject: String? = nil) -> AssertionClaims {
        AssertionClaims(
            key: key, issuer: clientEmail, subject: subject, audience: tokenEndpoint.description,
            lifetime: AssertionClaims.lifetimeRange.upperBound, scopePlace: .claim)
    }

    /// Reads the file's content. Never traps; no secret in a problem.
    package static func read(
        _ content: [UInt8], plaintextOnLoopback: Bool = false
    ) -> Result<ServiceAccountKey, Problem> {
        guard content.count <= limitBytes else { return .failure(.tooLong) }
        guard let json = JSONValue(content), case .object = json else { return .failure(.notJSON) }
        guard let type = json["type"]?.text else { return .failure(.missing("type")) }
        guard type == "service_account" else { return .failure(.otherType(SafeText.clean(type, limit: 40))) }
        do throws(Problem) {
            let email = try text(json, "client_email")
            let pem = try text(json, "private_key")
            let keyID = try text(json, "private_key_id")
            let uri = try text(json, "token_uri")
            guard let url = ProviderURL(uri), url.isAllowed(plaintextOnLoopback: plaintextOnLoopback) else {
                throw .badTokenURI
            }
            let key = ClientKey(algorithm: .rs256, keyID: keyID, key: try signingKey(pem))
            return .success(ServiceAccountKey(clientEmail: email, key: key, tokenEndpoint: url))
        } catch {
            return .failure(error)
        }
    }

    private static func signingKey(_ pem: String) throws(Problem) -> SigningKey {
        let key: SigningKey
        do {
            key = try SigningKey(pem: SecretBytes(pem.utf8), name: "its private_key")
        } catch {
            throw .badKey(error.reason)
        }
        guard key.kind == .rsa else { throw .badKey("its private_key is not an RSA key") }
        return key
    }

    private static func text(_ json: JSONValue, _ member: String) throws(Problem) -> String {
        guard let text = json[member]?.text, !text.isEmpty else { throw .missing(member) }
        return text
    }
}

extension ServiceAccountKey: CustomStringConvertible, CustomDebugStringConvertible, CustomReflectable {
    package var description: String { "service account \(SafeText.clean(clientEmail, limit: 200))" }
    package var debugDescription: String { description }
    package var customMirror: Mirror { Mirror(self, children: [:]) }
}
