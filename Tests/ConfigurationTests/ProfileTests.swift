import Testing

@testable import Configuration

/// The profiles that ship inside the program.
struct ProfileTests {
    private static let account =
        #"{"type": "service_account", "client_email": "a@b", "private_key": "-----BEGIN PRIVATE KEY-----"}"#

    private static let world = environment(
        files: Dictionary(
            uniqueKeysWithValues: ProviderProfile.all.flatMap {
                [("/etc/token-gateway/\($0.name).secret", "s"), ("/etc/token-gateway/\($0.name).json", account)]
            }))

    private static let rest = """
        [listener.internal]
        address = "127.0.0.1:8080"
        [console]
        public_url = "https://gateway.example.com"
        [store]
        path = "/var/lib/token-gateway/grants.db"
        key_file = "/k/store.key"

        """

    private func found(_ text: String) -> [String] { mistakes(text + Self.rest, Self.world) }

    private func provider(_ text: String) -> Snapshot.Provider? {
        parsed(text + Self.rest, Self.world)?.providers.first
    }

    @Test func `there is a profile for each provider that the issue names, in order, each once`() {
        let names = ProviderProfile.all.map(\.name)
        #expect(names == names.sorted() && Set(names).count == names.count)
        let wanted = [
            "google", "google-service-account", "microsoft", "zoho", "github", "gitlab", "slack", "slack-user",
            "salesforce", "hubspot", "atlassian", "notion", "dropbox", "box", "quickbooks", "xero", "linkedin",
            "stripe", "shopify", "zendesk", "pipedrive", "auth0", "okta", "keycloak",
        ]
        #expect(Set(wanted).isSubset(of: names))
    }

    @Test(arguments: ProviderProfile.all.map(\.name))
    func `a profile is used without a mistake as it is shown`(_ name: String) throws {
        let profile = try #require(ProviderProfile.named(name))
        #expect(found(profile.usage) == [])
        #expect(provider(profile.usage)?.profile == name)
    }

    @Test(arguments: ProviderProfile.all.map(\.name))
    func `what show prints is the same provider`(_ name: String) throws {
        let profile = try #require(ProviderProfile.named(name))
        #expect(found(profile.configuration) == [])
        var short = try #require(provider(profile.usage))
        short.profile = nil
        #expect(provider(profile.configuration) == short)
    }

    @Test(arguments: ProviderProfile.all.map(\.name))
    func `every line of a profile stands in the table of directives and has a reason`(_ name: String) throws {
        let profile = try #require(ProviderProfile.named(name))
        let names = Set(providerDirectives.list.map(\.name))
        #expect(profile.members(at: .nowhere).allSatisfy { names.contains($0.key) })
        #expect(!profile.members(at: .nowhere).isEmpty)
        #expect(profile.text.contains("# "))
        #expect(!profile.text.contains("$"))
        #expect(profile.configuration.split(separator: "\n").allSatisfy { !$0.hasSuffix(" ") })
    }

    @Test(arguments: ProviderProfile.all.filter { !$0.requiredVariables.isEmpty }.map(\.name))
    func `a variable that is not given is an error that says what it is and gives an example`(_ name: String) throws {
        let profile = try #require(ProviderProfile.named(name))
        for variable in profile.requiredVariables {
            let line = "variables.\(variable.name) = \"\(variable.example)\"\n"
            #expect(profile.usage.contains(line))
            let messages = found(profile.usage.replacing(line, with: ""))
            #expect(
                messages == [
                    "1:1: error: [provider.\(name)] needs the variable \"\(variable.name)\", \(variable.about): "
                        + "write variables = { \(variable.name) = \"\(variable.example)\" }"
                ])
        }
    }

    @Test func `lines of the file go over those of the profile key by key`() throws {
        let lines = """
            scope_separator = " "
            authorize_params.prompt = "none"
            authorize_params.hd = "example.com"
            allowed_hosts = ["accounts.zoho.eu"]

            """
        let usage = try #require(ProviderProfile.named("zoho")?.usage)
        let changed = try #require(provider(usage.replacing("\n\n[grant", with: "\n\(lines)\n[grant")))
        #expect(changed.scopeSeparator == " " && changed.allowedHosts == ["accounts.zoho.eu"])
        #expect(
            changed.authorizeParameters.sorted { $0.name < $1.name } == [
                .init("access_type", "offline"), .init("hd", "example.com"), .init("prompt", "none"),
            ])
        #expect(changed.credentialHeader.scheme == "Zoho-oauthtoken")
    }

    @Test func `false and the empty text take a line of the profile away`() throws {
        let lines = """
            authorize_params.prompt = false
            callback_capture.location = ""
            min_refresh_interval = false
            revocation = false
            scheme = ""

            """
        let usage = try #require(ProviderProfile.named("zoho")?.usage)
        let changed = try #require(provider(usage.replacing("\n\n[grant", with: "\n\(lines)\n[grant")))
        #expect(changed.authorizeParameters == [.init("access_type", "offline")])
        #expect(changed.callbackCaptures.map(\.name) == ["accounts_server"])
        #expect(changed.minRefreshInterval == .zero && changed.revocation == nil)
        // Here the empty text is a value: the token alone.
        #expect(changed.credentialHeader.scheme.isEmpty)
        #expect(usage.contains("profile = \"zoho\""))
    }

    @Test func `an endpoint for revocation goes into the profile's way of revoking`() throws {
        let usage = try #require(ProviderProfile.named("google")?.usage)
        let line = "revocation_url = \"https://revoke.example.com\"\n"
        let changed = try #require(provider(usage.replacing("\n\n[grant", with: "\n\(line)\n[grant")))
        #expect(changed.revocationURL?.host == "revoke.example.com")
        #expect(
            changed.revocation?.url == nil
                && changed.revocation?.authentication == Snapshot.Revocation.Authentication.none)
    }

    @Test func `a mistake in a line of the file points there, and one that the profile's lines make to its name`()
        throws
    {
        let usage = try #require(ProviderProfile.named("zoho")?.usage)
        #expect(
            found(usage.replacing("\n\n[grant", with: "\nmin_refresh_interval = 60\n\n[grant")) == [
                #"5:24: error: "min_refresh_interval" must be a duration in quotes such as "30s" or "1m30s" (0s to 1d), not the number 60"#
            ])
        #expect(
            found(usage.replacing("\n\n[grant", with: "\nallowed_hosts = false\n\n[grant")).allSatisfy {
                $0.hasPrefix("2:11: error: ") && $0.contains(#""allowed_hosts" must say which are right"#)
            })
        #expect(
            found(usage.replacing("profile = \"zoho\"", with: "profile = \"zohoo\"")).first
                == #"2:11: error: "profile" names "zohoo", which is none of the profiles that `token-gateway providers` lists; did you mean "zoho"?"#
        )
    }

    @Test func `a template's grants may bring the variables that the provider lacks`() throws {
        let text = """
            [provider.shops]
            profile = "shopify"
            client_id = "a"
            client_secret_file = "/k/secret"
            [grant_template.shops]
            provider = "shops"
            scopes = ["read_orders"]
            [upstream.shops]
            url = "https://{shop}.myshopify.com"
            allowed_hosts = ["*.myshopify.com"]
            [route.shops]
            path = "/shops/*"
            upstream = "shops"
            grant_template = "shops"
            grant_from = "path:2"

            """
        #expect(found(text) == [])
        let snapshot = try #require(parsed(text + Self.rest, Self.world))
        #expect(snapshot.grantTemplates.first?.neededVariables.map(\.name) == ["shop"])
        #expect(snapshot.grantTemplates.first?.neededVariables.first?.accepts("my-shop") == true)
        #expect(snapshot.grantTemplates.first?.neededVariables.first?.accepts("evil.example/") == false)
        #expect(
            snapshot.providers.first?.tokenURLTemplate?.text == "https://{shop}.myshopify.com/admin/oauth/access_token")
        #expect(snapshot.routes.first?.grantSelection == .template("shops", .path(2)))
    }
}
