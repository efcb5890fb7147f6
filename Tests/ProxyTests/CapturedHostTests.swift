import Proxy
import Testing

@Suite struct CapturedHostTests {
    private func host(
        _ template: String, _ captured: [String: String], allowed: [String], port: UInt16 = 443, plaintext: Bool = false
    ) throws -> Result<String, CapturedHostFault> {
        let patterns = try allowed.map { try #require(AllowedHost($0)) }
        let template = try #require(
            UpstreamTemplate(host: template, path: "", port: port, isPlaintext: plaintext, allowed: patterns))
        return Result { () throws(CapturedHostFault) in try template.place(captured).host }
    }

    private static let zoho = ["www.zohoapis.com", "www.zohoapis.eu", "*.zohoapis.in"]

    @Test(arguments: [
        ("www.zohoapis.com", "www.zohoapis.com"), ("https://www.zohoapis.eu", "www.zohoapis.eu"),
        ("https://WWW.ZohoApis.eu/", "www.zohoapis.eu"), ("HTTPS://www.zohoapis.eu:443", "www.zohoapis.eu"),
        ("https://a.zohoapis.in", "a.zohoapis.in"), ("a.b.zohoapis.in", "a.b.zohoapis.in"),
    ])
    func `a captured name or URL is the host`(value: String, expected: String) throws {
        #expect(try host("{api_domain}", ["api_domain": value], allowed: Self.zoho) == .success(expected))
    }

    @Test(arguments: [
        ("https://evil.test", CapturedHostFault.notAllowed), ("zohoapis.in", .notAllowed),
        ("evilzohoapis.in", .notAllowed), (".zohoapis.in", .malformed), ("www.zohoapis.com.evil.test", .notAllowed),
        ("http://www.zohoapis.com", .malformed), ("https://www.zohoapis.com:8443", .malformed),
        ("https://www.zohoapis.com/path", .malformed), ("https://u@www.zohoapis.com", .malformed),
        ("www.zohoapis.com@evil.test", .malformed), ("www.zohoapis.com#.evil.test", .malformed),
        ("www.zohoapis.com\\evil.test", .malformed), ("www.zohoapis.com\r\nX: y", .malformed), ("", .malformed),
        ("www.zohoapis.com.", .malformed), ("https://", .malformed), ("127.0.0.1", .notAllowed), ("[::1]", .malformed),
        ("ftp://www.zohoapis.com", .malformed), ("www..zohoapis.in", .malformed), ("-a.zohoapis.in", .malformed),
        ("www.zohoapis.com?a", .malformed), ("www.zohoapis.com%00", .malformed),
        ("w\u{200B}ww.zohoapis.com", .malformed),
    ])
    func `nothing else is reached by what a provider's answer says`(value: String, fault: CapturedHostFault) throws {
        #expect(try host("{api_domain}", ["api_domain": value], allowed: Self.zoho) == .failure(fault))
    }

    @Test func `a captured label stands inside a name`() throws {
        let allowed = ["*.myshopify.com"]
        #expect(
            try host("{shop}.myshopify.com", ["shop": "Acme-1"], allowed: allowed) == .success("acme-1.myshopify.com"))
        for value in ["evil.test/", "a.b", "", "a/", "a?", "a#", "a@b", "https://a"] {
            #expect(
                try host("{shop}.myshopify.com", ["shop": value], allowed: allowed) == .failure(.malformed), "\(value)")
        }
        #expect(
            try host("{a}-{b}.example.com", ["a": "x", "b": "y"], allowed: ["x-y.example.com"])
                == .success("x-y.example.com"))
    }

    @Test func `a value that is not there, or no host that is allowed, leads nowhere`() throws {
        #expect(try host("{api_domain}", ["other": "www.zohoapis.com"], allowed: Self.zoho) == .failure(.missing))
        #expect(try host("{a}", ["a": "www.zohoapis.com"], allowed: []) == .failure(.notAllowed))
        for fault in [CapturedHostFault.missing, .malformed, .notAllowed] {
            #expect(!fault.reason.description.contains("\""))
        }
    }

    @Test func `scheme and port are those of the upstream`() throws {
        let name = ["a": "http://api.test:8080"]
        #expect(
            try host("{a}", name, allowed: ["api.test"], port: 8080, plaintext: true) == .success("api.test"))
        #expect(try host("{a}", name, allowed: ["api.test"], port: 8080) == .failure(.malformed))
        #expect(try host("{a}", name, allowed: ["api.test"], port: 80, plaintext: true) == .failure(.malformed))
    }

    @Test(arguments: ["", "{", "}", "{}", "{a", "a}", "{a}}", "{{a}}", "}{a}"])
    func `a template has names in braces`(text: String) {
        #expect(UpstreamTemplate(host: text, path: "", port: 443, isPlaintext: false, allowed: []) == nil)
        guard !text.isEmpty else { return }
        #expect(UpstreamTemplate(host: "a", path: "/" + text, port: 443, isPlaintext: false, allowed: []) == nil)
    }

    @Test(arguments: [
        ("/ex/jira/{cloud_id}", "1-a", "/ex/jira/1-a"), ("/{cloud_id}/v1/", "a/../b?c#%", "/a%2F..%2Fb%3Fc%23%25/v1"),
        ("/v{cloud_id}", "2", "/v2"), ("/{cloud_id}", "ä", "/%C3%A4"), ("", "x", ""), ("/v1/", "x", "/v1"),
    ])
    func `a captured value in the path stays in its segment`(path: String, value: String, expected: String) throws {
        let template = try #require(
            UpstreamTemplate(host: "API.example.com", path: path, port: 443, isPlaintext: false, allowed: []))
        let place = try template.place(["cloud_id": value])
        #expect(place.host == "api.example.com" && String(decoding: place.basePath, as: UTF8.self) == expected)
    }

    @Test(arguments: ["", ".", "..", String(repeating: "a", count: 1025)])
    func `a captured value that would move the path leads nowhere`(value: String) throws {
        let template = try #require(
            UpstreamTemplate(host: "a", path: "/{x}/", port: 443, isPlaintext: false, allowed: []))
        #expect(throws: CapturedHostFault.malformed) { try template.place(["x": value]) }
        #expect(throws: CapturedHostFault.missing) { try template.place(["X": value]) }
    }

    @Test(arguments: ["", "*", "*.", "*.*.a", "a.*", "a b", "https://a", "a/", "a:1", ".a", "a..b", "*a.test"])
    func `an allowed host is a name, or all names below one`(text: String) {
        #expect(AllowedHost(text) == nil)
    }
}
