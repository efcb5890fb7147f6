import Configuration
import Testing

@testable import TokenGateway

@Suite struct ProvidersCommandTests {
    @Test func `the profiles are listed with what they need`() throws {
        let run = try ProgramRun(["providers"], in: Folder())
        #expect(run.status == 0)
        for profile in ProviderProfile.all { #expect(run.output.contains("\n\(profile.name) ")) }
        #expect(run.output.contains("client_id, client_secret_file, variables.tenant\n"))
        let json = try ProgramRun(["providers", "--json"], in: Folder())
        #expect(json.output.hasPrefix(#"{"profiles":[{"#) && json.output.contains(#""name":"zoho""#))
    }

    @Test func `a profile is shown as configuration that check accepts`() throws {
        let folder = try Folder()
        let shown = try ProgramRun(["providers", "show", "dropbox"], in: folder)
        #expect(shown.status == 0 && shown.output.contains("\n# Without it there is no refresh token.\n"))
        let secret = try folder.write("secret", to: "dropbox.secret")
        let key = try folder.write("MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=", to: "store.key")
        let text =
            shown.output.replacing("/etc/token-gateway/dropbox.secret", with: secret)
                + """

                [listener.internal]
                address = "127.0.0.1:0"
                [console]
                address = "127.0.0.1:9"
                public_url = "https://gateway.example.com"
                [store]
                path = "\(folder.path)/grants.db"
                key_file = "\(key)"

                """
        try folder.write(text, to: "gateway.conf")
        let check = try ProgramRun(["check", "--config", folder.path + "/gateway.conf"], in: folder)
        #expect(check.status == 0, "\(check.errors)")
        let json = try ProgramRun(["providers", "show", "dropbox", "--json"], in: folder)
        #expect(json.status == 0 && json.output.contains(#""name":"dropbox""#))
    }

    @Test func `check tells what is in force with a profile, line by line`() throws {
        let folder = try Folder()
        let file = try folder.writeConfiguration()
        let plain = try ProgramRun(["check", "--verbose", "--config", file], in: folder)
        #expect(plain.status == 0 && !plain.output.contains("[provider.zoho]"))
        let path = folder.path
        try folder.write(
            """
            [listener.internal]
            address = "127.0.0.1:0"
            [console]
            address = "127.0.0.1:9"
            public_url = "https://gateway.example.com"
            [store]
            path = "\(path)/grants.db"
            key_file = "\(path)/store.key"
            [provider.zoho]
            profile = "zoho"
            client_id = "1000.ABC"
            client_secret_file = "\(path)/client.secret"
            authorize_params.prompt = "none"
            [grant.crm]
            provider = "zoho"
            [upstream.crm]
            url = "https://api.example.com"
            [route.crm]
            path = "/crm/*"
            upstream = "crm"
            grant = "crm"

            """, to: "gateway.conf")
        let run = try ProgramRun(["check", "--verbose", "--config", file], in: folder)
        #expect(run.status == 0, "\(run.errors)")
        #expect(run.output.contains("scheme = \"Zoho-oauthtoken\"    #\n"))
        #expect(run.output.contains("authorize_params = { access_type = \"offline\", prompt = \"none\" }\n"))
        #expect(run.output.contains("client_id = \"1000.ABC\"\n"))
    }

    @Test func `a profile that is none is told with what was probably meant`() throws {
        let run = try ProgramRun(["providers", "show", "zohoo", "--json"], in: Folder())
        #expect(run.status == 64 && run.errors.contains("did you mean \"zoho\"?"))
        #expect(run.output.contains(#""code":"unknown_profile""#))
    }
}
