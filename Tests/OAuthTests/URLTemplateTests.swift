import Testing

@testable import OAuth

struct URLTemplateTests {
    static let allowed = ["accounts.zoho.eu", "*.my.salesforce.com", "10.1.2.3", "as.example:8443"].compactMap {
        HostPattern($0)
    }

    private func expand(
        _ text: String, grant: [String: String] = [:], provider: [String: String] = [:]
    ) throws -> Result<String, TemplateProblem> {
        let template = try #require(URLTemplate(text))
        #expect(template.description == text)
        do throws(TemplateProblem) {
            let variables = TemplateVariables(provider: provider, grant: grant)
            return .success(try template.expanded(variables, allowing: Self.allowed).description)
        } catch {
            return .failure(error)
        }
    }

    @Test(arguments: [
        ("https://{h}/oauth/v2/token", "accounts.zoho.eu", "https://accounts.zoho.eu/oauth/v2/token"),
        ("https://{h}/t", "https://accounts.zoho.eu", "https://accounts.zoho.eu/t"),
        ("https://{h}/t", "https://Acme.my.salesforce.com/", "https://acme.my.salesforce.com/t"),
        ("https://{h}", "10.1.2.3", "https://10.1.2.3"),
        ("https://{h}:8443/t", "as.example", "https://as.example:8443/t"),
        ("https://{h}/t", "as.example:8443", "https://as.example:8443/t"),
        ("https://{h}.myshopify.com/t", "acme", "https://acme.myshopify.com/t"),
        ("https://api-{h}.example.com/t", "EU1", "https://api-eu1.example.com/t"),
        ("https://accounts.zoho.{h}/t", "eu", "https://accounts.zoho.eu/t"),
        ("https://as.example/{h}/t", "a b/../ü?#", "https://as.example/a%20b%2F..%2F%C3%BC%3F%23/t"),
        ("https://as.example/t?x={h}&y=1", "a&b=c", "https://as.example/t?x=a%26b%3Dc&y=1"),
        ("https://as.example/{h}", "%2e%2e", "https://as.example/%252e%252e"),
    ])
    func `a value goes where its name stands`(template: String, value: String, url: String) throws {
        #expect(try expand(template, grant: ["h": value]) == .success(url))
    }

    @Test(arguments: HostPatternTests.hostile)
    func `no value adds structure to a host`(value: String) throws {
        for text in ["https://{h}/t", "https://{h}.myshopify.com/t", "https://a-{h}.example.com/", "https://zoho.{h}/"]
        {
            for provider in [[:], ["h": value]] {
                let grant = provider.isEmpty ? ["h": value] : [:]
                switch try expand(text, grant: grant, provider: provider) {
                case .failure: break
                case .success(let url):
                    // The one thing that may come of it: a label in front of the fixed suffix.
                    #expect(CapturedHost.isLabel(value.lowercased()) && text != "https://{h}/t", "\(url)")
                }
            }
        }
    }

    @Test(arguments: [
        ("https://{h}/t", "evil.example", TemplateProblem.hostNotAllowed("evil.example")),
        ("https://{h}/t", "localhost", .hostNotAllowed("localhost")),
        ("https://{h}/t", "169.254.169.254", .hostNotAllowed("169.254.169.254")),
        ("https://{h}/t", "[::1]", .hostNotAllowed("[::1]")),
        ("https://{h}/t", "accounts.zoho.eu:444", .hostNotAllowed("accounts.zoho.eu:444")),
        ("https://{h}:8443/t", "evil.example", .hostNotAllowed("evil.example:8443")),
        ("https://{h}:8443/t", "as.example:8443", .badValue("h")),
        ("https://accounts.zoho.{h}/t", "com", .hostNotAllowed("accounts.zoho.com")),
        ("https://accounts.zoho.{h}/t", "eu.evil.example", .hostNotAllowed("accounts.zoho.eu.evil.example")),
        ("https://{h}.com/t", "evil", .hostNotAllowed("evil.com")),
        ("https://{h}zoho.eu/t", "accounts.", .badValue("h")),
        ("https://{h}.myshopify.com/t", "evil.example", .badValue("h")),
        ("https://{h}.myshopify.com/t", "a.b", .badValue("h")), ("https://{h}.myshopify.com/t", "", .badValue("h")),
        ("https://as.example/{h}/t", "..", .badValue("h")), ("https://as.example/{h}/t", ".", .badValue("h")),
        ("https://as.example/{h}/t", "", .badValue("h")),
    ])
    func `a value that selects what is not listed is refused`(
        template: String, value: String, problem: TemplateProblem
    ) throws {
        #expect(try expand(template, grant: ["h": value]) == .failure(problem))
        #expect(!problem.explanation.isEmpty && problem.problem.errorClass == .configuration)
    }

    @Test func `the provider's own section may name any host, and a grant's value goes before it`() throws {
        let provider = ["d": "acme.eu.auth0.com"]
        #expect(try expand("https://{d}/t", provider: provider) == .success("https://acme.eu.auth0.com/t"))
        #expect(
            try expand("https://{d}/t", grant: ["d": "evil.example"], provider: provider)
                == .failure(.hostNotAllowed("evil.example")))
        #expect(try expand("https://{d}/t", provider: ["d": "a@b"]) == .failure(.badValue("d")))
    }

    @Test func `a name without a value is named`() throws {
        #expect(try expand("https://as.example/{tenant}/t") == .failure(.unresolved("tenant")))
        #expect(TemplateProblem.unresolved("tenant").explanation.contains("{tenant}"))
        #expect(try expand("https://{a}/{b}", grant: ["a": "accounts.zoho.eu"]) == .failure(.unresolved("b")))
    }

    @Test(arguments: [
        "", "{h}", "{h}/t", "{s}://a.example/", "ftp://{h}/", "https://", "https:///x", "https://u@{h}/",
        "https://{u}@a.example/",
        "https://{h}:{p}/", "https://{h}/#x", "https://{h}/ x", "https://{h/", "https://h}/", "https://{}/",
        "https://{H}/",
        "https://{1h}/", "https://{h-x}/", "https://{{h}}/", "https://[{h}]/", "https://{h}\\x/", "https://{h}:0/",
        "https://a.example/" + String(repeating: "x", count: 9000),
    ])
    func `a text that cannot become a URL is no template`(text: String) {
        #expect(URLTemplate(text) == nil)
    }

    @Test func `the names of a template are known, each once`() throws {
        let template = try #require(URLTemplate("https://{h}.{d}.example/{h}/{p}?q={q}"))
        #expect(template.names == ["h", "d", "p", "q"] && template.hostNames == ["h", "d"])
    }

    @Test(arguments: ["a{b}c", "{b}", "", "plain", "{a}{b}"])
    func `a text template keeps its text`(text: String) throws {
        let template = try #require(TextTemplate(text))
        let variables = TemplateVariables(grant: ["a": "1", "b": "2"])
        #expect(template.description == text)
        let expected = text.replacing("{a}", with: "1").replacing("{b}", with: "2")
        #expect((try? template.expanded(variables)) == expected)
    }
}
