import Telemetry
import Testing

@testable import Console

@Suite struct ManyGrantsTests {
    private func order(_ body: String) -> ConsoleAction {
        Harness().send("POST", "/api/v1/grants", fields: [Harness.json], body: body)
    }

    @Test func `a grant is made with a label and variables, and is told where it is`() throws {
        let harness = Harness()
        let body = #"{"name":"acme","template":"zoho","label":"Acme Ltd","variables":{"shop":"acme"}}"#
        var view = sampleGrant("zoho:acme", state: .notConnected)
        view.template = "zoho"
        let made = try #require(
            harness.perform("POST", "/api/v1/grants", fields: [Harness.json], body: body, outcome: .created(view)))
        let expected = CreateGrantOrder(
            name: "acme", template: "zoho", label: "Acme Ltd", variables: ["shop": "acme"])
        #expect(made.command == .createGrant(expected))
        #expect(made.response.status == 201)
        #expect(made.response.field("Location") == "/api/v1/grants/zoho%3Aacme")
        let shown = try ConsoleJSON.decode(GrantView.self, from: made.response.body)
        #expect(shown.template == "zoho")
        #expect(shown.authorizeURL == "http://127.0.0.1:9090/authorize/zoho%3Aacme")
    }

    @Test(arguments: [
        (#"{"name":"a b","template":"zoho"}"#, "invalid_name"), (#"{"name":"","template":"zoho"}"#, "invalid_name"),
        (#"{"name":"a:b","template":"zoho"}"#, "invalid_name"), (#"{"name":"ü","template":"zoho"}"#, "invalid_name"),
        (#"{"name":"a","template":"zoho","label":"x\ny"}"#, "invalid_label"),
        (#"{"name":"a","template":"zoho","variables":{"a b":"x"}}"#, "invalid_variable"),
        (#"{"name":"a","template":"zoho","variables":{"a":"x y"}}"#, "invalid_variable"),
        (#"{"name":"a"}"#, "malformed_request"), ("", "malformed_request"), ("[]", "malformed_request"),
    ])
    func `what cannot be a grant is refused with a reason`(body: String, code: String) {
        guard case .respond(let response) = order(body) else {
            Issue.record("was taken")
            return
        }
        #expect(response.status == 400)
        #expect(response.code == code)
    }

    @Test(arguments: [
        ("zoho:acme", true), ("zoho:a.b_c@d-E9", true), ("crm", false), (":acme", false), ("zoho:", false),
        ("zoho:a:b", false), ("zoho:a/b", false), ("zoho:" + String(repeating: "a", count: 129), false),
    ])
    func `a templated name has a template and a plain name`(text: String, isOne: Bool) {
        #expect((TemplatedName(text) != nil) == isOne)
        if isOne { #expect(TemplatedName(text)?.id == text) }
    }

    @Test func `a bad variable and a bad label are not told as a bad name`() throws {
        for (member, title) in [
            (#""variables":{"a b":"x"}"#, "A variable of the grant is missing or cannot have that value"),
            (#""label":"x\ny""#, "No grant can have that label"),
        ] {
            guard case .respond(let response) = order(#"{"name":"a","template":"zoho",\#(member)}"#) else {
                Issue.record("was taken")
                continue
            }
            #expect(String(decoding: response.body, as: UTF8.self).contains(title))
        }
    }

    @Test(arguments: [
        ("limt=5", #"There is no parameter \"limt\" here"#), ("template=zoho&Limit=5", #"\"Limit\""#),
        ("limit=5&limit=6", #"The parameter \"limit\" stands twice"#), ("limit=0", "limit is a number from 1 to"),
        ("limit=1001", "limit is a number"), ("limit=five", "limit is a number"), ("limit=", "limit is a number"),
        ("after=%zz", "not well-formed"), ("%0d%0aX=1", #"\"??X\""#), ("=1", #"no parameter \"\""#),
    ])
    func `an odd query of the list is refused by its name`(query: String, words: String) {
        guard case .respond(let response) = Harness().send("GET", "/api/v1/grants?" + query) else {
            Issue.record("was taken")
            return
        }
        #expect(response.status == 400 && response.code == "malformed_request")
        #expect(String(decoding: response.body, as: UTF8.self).contains(words))
    }

    @Test(arguments: ["", "template=", "template=&after=&", "template=zoho&after=a%40b"])
    func `what is empty counts as not given`(query: String) {
        guard case .perform(.listGrants(let asked), _) = Harness().send("GET", "/api/v1/grants?" + query) else {
            Issue.record("was refused")
            return
        }
        #expect(asked.template == (query.contains("zoho") ? "zoho" : nil))
        #expect(asked.after == (query.contains("zoho") ? "a@b" : nil))
    }

    @Test func `a list is of the file's grants, or of a template's, a page at a time`() throws {
        let harness = Harness()
        let reply = GrantsReply(grants: [sampleGrant("zoho:a")], next: "zoho:a", template: "zoho")
        let target = "/api/v1/grants?template=zoho&after=0&limit=1"
        let page = try #require(harness.perform("GET", target, outcome: .grants(reply)))
        #expect(page.command == .listGrants(GrantsQuery(template: "zoho", after: "0", limit: 1)))
        #expect(try ConsoleJSON.decode(GrantsReply.self, from: page.response.body).next == "zoho:a")
        let html = try #require(harness.perform("GET", "/grants?template=zoho", outcome: .grants(reply)))
        #expect(html.response.text.contains("href=\"/grants?template=zoho&amp;after=zoho%3Aa\""))
        for limit in ["0", "-1", "x", "1001", "99999999999999999999"] {
            #expect(harness.respond("GET", "/api/v1/grants?limit=\(limit)")?.status == 400)
        }
    }

    @Test func `deleting needs more than a session, and no other site can ask for it`() throws {
        let harness = Harness(withSecret: true)
        harness.signIn()
        #expect(harness.respond("DELETE", "/api/v1/grants/zoho%3Aacme")?.status == 401)
        let crossSite = harness.respond(
            "DELETE", "/api/v1/grants/zoho%3Aacme", fields: [Harness.bearer, ("Sec-Fetch-Site", "cross-site")])
        #expect(crossSite?.code == "cross_site_request")
        let done = try #require(
            harness.perform("DELETE", "/api/v1/grants/zoho%3Aacme", fields: [Harness.bearer], outcome: .forgotten))
        #expect(done.command == .deleteGrant(grant: "zoho:acme"))
        #expect(try ConsoleJSON.decode(ForgetReply.self, from: done.response.body).forgotten == "zoho:acme")
        #expect(harness.respond("DELETE", "/grants", fields: [Harness.bearer])?.status == 405)
    }

    @Test func `keys are shown by their ids, and a rekey is begun by a program`() throws {
        let harness = Harness(withSecret: true)
        let keys = KeysReply(
            keys: [.init(id: "0011223344556677", active: true, configured: true, rows: 3)],
            rekey: .init(state: .running, resealed: 64))
        let shown = try #require(
            harness.perform("GET", "/api/v1/keys", fields: [Harness.bearer], outcome: .keys(keys)))
        #expect(try ConsoleJSON.decode(KeysReply.self, from: shown.response.body) == keys)
        let begun = try #require(
            harness.perform(
                "POST", "/api/v1/rekey", fields: [Harness.bearer, Harness.json], body: #"{"retire":"00"}"#,
                outcome: .rekeyStarted(keys)))
        #expect(begun.command == .rekey(retire: "00"))
        #expect(begun.response.status == 202)
        #expect(harness.respond("POST", "/api/v1/rekey", fields: [Harness.bearer, Harness.form])?.status == 415)
        harness.signIn()
        #expect(harness.respond("POST", "/api/v1/rekey", fields: [Harness.json], body: "{}")?.status == 401)
    }

    @Test func `the dashboard counts what it cannot show, and says what is wrong with the store`() throws {
        let harness = Harness()
        var status = sampleStatus([])
        status.templates = [
            TemplateView(
                name: "zoho", provider: "zoho", grants: 100_000, states: ["active": 99_999, "revoked": 1],
                countedAt: nil, limit: 100_000)
        ]
        status.store = StoreView(
            shared: true, open: false, reason: "<away>", grantsLoaded: 3, instance: "a", instances: nil)
        let page = try #require(harness.perform("GET", "/", outcome: .status(status))?.response)
        #expect(page.text.contains("100\u{202f}000"))
        #expect(page.text.contains("href=\"/grants?template=zoho\""))
        #expect(page.text.contains("&lt;away&gt;"))
    }

    @Test func `readiness says why the store cannot be used`() throws {
        let harness = Harness()
        let readiness = Readiness(
            draining: false, storeOpen: false, storeReason: "the database is away", unusableGrants: [])
        let response = try #require(harness.perform("GET", "/readyz", outcome: .readiness(readiness))?.response)
        #expect(response.status == 503)
        #expect(response.text.contains("\"store_reason\":\"the database is away\""))
    }
}
