import Testing

@testable import Telemetry

@Suite struct MetricsPageTests {
    static func input() -> MetricsInput {
        let names = MetricNames(
            routes: ["crm", "a\"b\\c\nd"], upstreams: ["api"], errorCodes: ["no_route", "upstream_timeout"])
        let counters = WorkerCounters(names: names)
        counters.requestStarted()
        counters.requestEnded(route: 1, status: 200, nanoseconds: 1_500_000)
        counters.requestStarted()
        counters.requestEnded(route: 1, status: 502, nanoseconds: 90_000_000_000)
        counters.requestStarted()
        counters.requestEnded(route: 2, status: 404, nanoseconds: 1)
        counters.attemptEnded(upstream: 0, outcome: .answered)
        counters.retryEnded(route: 1, outcome: .accepted)
        counters.errorMade(code: 1)
        counters.upstreamConnectionOpened(upstream: 0)
        counters.callerBytes(received: 7, sent: 8)
        var control = ControlCounters()
        control.refreshEnded(grant: "crm", outcome: .succeeded)
        control.refreshEnded(grant: "crm", outcome: .succeeded)
        control.refreshEnded(grant: "billing", outcome: .transient)
        control.consentEnded(grant: "crm", connected: true)
        control.storeAnswered(.commit, nanoseconds: 4_000_000, failed: false)
        control.storeAnswered(.commit, nanoseconds: 4_000_000, failed: true)
        control.scopesLost(grant: "crm", count: 2)
        control.rekeyed(values: 64)
        control.rekeyEnded(succeeded: true)
        control.reloadEnded(succeeded: false)
        let grants = [
            GrantMetrics(name: "mail", state: .notConnected, generation: 0),
            GrantMetrics(
                name: "crm", state: .active, generation: 41, accessTokenExpiry: 1_795_362_563,
                refreshTokenExpiry: 1_800_000_000, lastRefreshSuccess: 1_795_358_963, nextAttempt: 1_795_362_263,
                missingScopes: 1),
        ]
        let process = ProcessFacts(
            version: "1.2.3", openSSL: "OpenSSL 3.0.22", startTime: 1_795_000_000.25, workers: 2,
            residentBytes: 12_345_678, openFileDescriptors: 21, maxFileDescriptors: 1_024, cpuSeconds: 1.5)
        var input = MetricsInput(
            totals: Accumulator().totals(of: [counters.snapshot()]), control: control, grants: grants, process: process,
            certificates: [
                CertificateMetrics(listener: "b", name: "b.test", expiry: 1_900_000_002),
                CertificateMetrics(listener: "a", name: "a.test", expiry: 1_900_000_001),
                // Another key for the same name: the one that expires first is shown.
                CertificateMetrics(listener: "a", name: "a.test", expiry: 1_900_000_000),
            ],
            lastReloadSuccessful: false, lastReloadSuccess: 1_795_000_001, isDraining: false, isReady: true)
        input.storeWorks = true
        input.isRekeying = true
        input.damagedRecords = 3
        input.templates = [
            TemplateMetrics(name: "zoho", states: [.active: 12, .revoked: 2], loaded: 5),
            TemplateMetrics(name: "box", states: [:], loaded: 0),
        ]
        return input
    }

    @Test func `the page is what a strict reader accepts`() throws {
        let page = try Exposition(MetricsPage.render(Self.input()))
        #expect(page.families.count > 30)
        for name in page.families.keys {
            #expect(name.hasPrefix("token_gateway_") || name.hasPrefix("process_"))
        }
    }

    @Test(
        arguments: [
            ("token_gateway_requests_total", ["route": "crm", "status_class": "2xx"], "1"),
            (
                "token_gateway_certificate_expiry_timestamp_seconds", ["listener": "a", "name": "a.test"], "1900000000"
            ),
            (
                "token_gateway_certificate_expiry_timestamp_seconds", ["listener": "b", "name": "b.test"], "1900000002"
            ),
            ("token_gateway_requests_total", ["route": "crm", "status_class": "5xx"], "1"),
            ("token_gateway_requests_total", ["route": "crm", "status_class": "3xx"], "0"),
            ("token_gateway_requests_total", ["route": "a\"b\\c\nd", "status_class": "4xx"], "1"),
            ("token_gateway_request_duration_seconds_bucket", ["route": "crm", "le": "0.001"], "0"),
            ("token_gateway_request_duration_seconds_bucket", ["route": "crm", "le": "0.002"], "1"),
            ("token_gateway_request_duration_seconds_bucket", ["route": "crm", "le": "65.536"], "1"),
            ("token_gateway_request_duration_seconds_bucket", ["route": "crm", "le": "+Inf"], "2"),
            ("token_gateway_request_duration_seconds_sum", ["route": "crm"], "90.001500000"),
            ("token_gateway_upstream_attempts_total", ["upstream": "api", "outcome": "answered"], "1"),
            ("token_gateway_retries_after_401_total", ["route": "crm", "outcome": "accepted"], "1"),
            ("token_gateway_refreshes_total", ["grant": "crm", "outcome": "succeeded"], "2"),
            ("token_gateway_refreshes_total", ["grant": "crm", "outcome": "transient"], "0"),
            ("token_gateway_refreshes_total", ["grant": "billing", "outcome": "transient"], "1"),
            ("token_gateway_consents_total", ["grant": "crm", "outcome": "connected"], "1"),
            ("token_gateway_grant_state", ["grant": "crm", "state": "active"], "1"),
            ("token_gateway_grant_state", ["grant": "crm", "state": "revoked"], "0"),
            ("token_gateway_grant_state", ["grant": "mail", "state": "not_connected"], "1"),
            ("token_gateway_grant_access_token_expiry_timestamp_seconds", ["grant": "crm"], "1795362563"),
            ("token_gateway_grant_refresh_token_expiry_timestamp_seconds", ["grant": "crm"], "1800000000"),
            ("token_gateway_grant_last_refresh_success_timestamp_seconds", ["grant": "crm"], "1795358963"),
            ("token_gateway_grant_next_attempt_timestamp_seconds", ["grant": "crm"], "1795362263"),
            ("token_gateway_grant_missing_scopes", ["grant": "crm"], "1"),
            ("token_gateway_grant_missing_scopes", ["grant": "mail"], "0"),
            ("token_gateway_scopes_lost_total", ["grant": "crm"], "2"),
            ("token_gateway_store_rekey_running", [:], "1"),
            ("token_gateway_store_rekeyed_values_total", [:], "64"),
            ("token_gateway_store_rekeys_total", ["outcome": "succeeded"], "1"),
            ("token_gateway_store_rekeys_total", ["outcome": "failed"], "0"),
            ("token_gateway_grant_generation", ["grant": "crm"], "41"),
            ("token_gateway_template_grants", ["template": "zoho", "state": "active"], "12"),
            ("token_gateway_template_grants", ["template": "zoho", "state": "revoked"], "2"),
            ("token_gateway_template_grants", ["template": "zoho", "state": "refreshing"], "0"),
            ("token_gateway_template_grants", ["template": "box", "state": "active"], "0"),
            ("token_gateway_template_grants_loaded", ["template": "zoho"], "5"),
            ("token_gateway_template_grants_loaded", ["template": "box"], "0"),
            ("token_gateway_store_damaged_records", [:], "3"),
            ("token_gateway_store_failures_total", ["operation": "write_check"], "0"),
            ("token_gateway_credential_waiters", [:], "0"),
            ("token_gateway_errors_total", ["code": "upstream_timeout"], "1"),
            ("token_gateway_upstream_connections", ["upstream": "api", "state": "active"], "1"),
            ("token_gateway_bytes_total", ["side": "caller", "direction": "sent"], "8"),
            ("token_gateway_build_info", ["version": "1.2.3", "openssl": "OpenSSL 3.0.22"], "1"),
            ("token_gateway_store_operation_duration_seconds_count", ["operation": "commit"], "2"),
            ("token_gateway_store_failures_total", ["operation": "commit"], "1"),
            ("token_gateway_config_last_reload_successful", [:], "0"),
            ("token_gateway_config_reloads_total", ["outcome": "failed"], "1"),
            ("process_start_time_seconds", [:], "1795000000.25"),
            ("process_resident_memory_bytes", [:], "12345678"),
            ("process_open_fds", [:], "21"),
        ] as [(String, [String: String], String)])
    func `a fact stands under its name and labels`(name: String, labels: [String: String], value: String) throws {
        let page = try Exposition(MetricsPage.render(Self.input()))
        #expect(page.value(name, labels) == value)
    }

    @Test func `where there is no template, and a database that checks itself, nothing is said of them`() throws {
        var input = Self.input()
        (input.templates, input.damagedRecords) = ([], nil)
        let page = try Exposition(MetricsPage.render(input))
        #expect(!page.families.keys.contains { $0.hasPrefix("token_gateway_template_") })
        #expect(page.families["token_gateway_store_damaged_records"] == nil)
    }

    @Test func `a time that nobody knows has no sample`() throws {
        let page = try Exposition(MetricsPage.render(Self.input()))
        let family = try #require(page.families["token_gateway_grant_access_token_expiry_timestamp_seconds"])
        #expect(family.samples.count == 1)
    }

    @Test func `every grant has exactly one state`() throws {
        let page = try Exposition(MetricsPage.render(Self.input()))
        let samples = try #require(page.families["token_gateway_grant_state"]).samples
        for grant in ["crm", "mail"] {
            let values = samples.filter { $0.labels["grant"] == grant }.map(\.value)
            #expect(values.count == 6)
            #expect(values.count { $0 == "1" } == 1)
        }
    }

    @Test func `the same facts are the same bytes`() {
        let first = MetricsPage.render(Self.input())
        for _ in 0..<5 { #expect(MetricsPage.render(Self.input()) == first) }
    }

    @Test(arguments: [(0.0, "0.0"), (.nan, "NaN"), (.infinity, "+Inf"), (-.infinity, "-Inf"), (1e-7, "1e-07")])
    func `a floating-point value is written as the format has it`(value: Double, text: String) {
        var writer = PrometheusWriter()
        writer.beginFamily("x", .gauge, help: "One \\ two\nthree.")
        writer.sample(value)
        #expect(
            String(decoding: writer.bytes, as: UTF8.self)
                == "# HELP x One \\\\ two\\nthree.\n# TYPE x gauge\nx \(text)\n")
    }
}
