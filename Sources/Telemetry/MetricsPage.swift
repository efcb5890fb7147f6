/// The `/metrics` page: every family of the gateway in the Prometheus text format.
///
/// Deterministic: families in a fixed order, names sorted, all words of a closed label set present (so that a rate
/// starts at 0 instead of at nothing), except `refreshes_total`, where a grant appears with its first refresh.
package enum MetricsPage {
    package static let contentType = "text/plain; version=0.0.4; charset=utf-8"

    package static func render(_ input: MetricsInput) -> [UInt8] {
        var writer = PrometheusWriter()
        let routes = input.totals.routes.sorted { $0.key < $1.key }
        let upstreams = input.totals.upstreams.sorted { $0.key < $1.key }
        writeRequests(routes, input.totals, to: &writer)
        writeUpstreams(upstreams, input.totals, to: &writer)
        writeConnections(input.totals, to: &writer)
        writeRefreshes(input.control, to: &writer)
        writeGrants(input.grants.sorted { $0.name < $1.name }, to: &writer)
        writeTemplates(input.templates.sorted { $0.name < $1.name }, to: &writer)
        writeStore(input.control, to: &writer)
        if let works = input.storeWorks {
            writer.beginFamily("token_gateway_store_up", .gauge, help: "1 while the store can be used.")
            writer.sample(works ? 1 : 0)
            writeDamage(input.damagedRecords, to: &writer)
            writeRekeys(input, to: &writer)
        }
        writeConfiguration(input, to: &writer)
        writeCertificates(input.certificates, to: &writer)
        writeProcess(input.process, to: &writer)
        return writer.bytes
    }

    private typealias Routes = [(key: String, value: CounterTotals.Route)]
    private typealias Upstreams = [(key: String, value: CounterTotals.Upstream)]

    private static func writeRequests(
        _ routes: Routes, _ totals: CounterTotals, to writer: inout PrometheusWriter
    ) {
        writer.beginFamily(
            "token_gateway_requests_total", .counter,
            help: "Requests that ended, by route and class of the status sent.")
        for (name, route) in routes {
            for status in StatusClass.allCases {
                writer.sample(
                    [("route", name), ("status_class", status.label)], route.requests[status.rawValue])
            }
        }
        writer.beginFamily(
            "token_gateway_request_duration_seconds", .histogram,
            help: "Time from a request's first byte to the end of its exchange.")
        for (name, route) in routes { writer.sample([("route", name)], route.durations) }
        writer.beginFamily("token_gateway_requests_current", .gauge, help: "Exchanges in progress.")
        writer.sample(totals.requestsCurrent)
        writer.beginFamily(
            "token_gateway_retries_after_401_total", .counter,
            help: "First attempts that were answered 401, by what came of the retry.")
        for (name, route) in routes {
            for outcome in RetryOutcome.allCases {
                writer.sample([("route", name), ("outcome", outcome.label)], route.retries[outcome.rawValue])
            }
        }
        writer.beginFamily(
            "token_gateway_errors_total", .counter, help: "Error responses that the gateway itself made, by code.")
        for (code, count) in totals.errors.sorted(by: { $0.key < $1.key }) {
            writer.sample([("code", code)], count)
        }
        writer.beginFamily(
            "token_gateway_credential_waiters", .gauge, help: "Exchanges that wait for a credential.")
        writer.sample(totals.credentialWaiters)
    }

    private static func writeUpstreams(
        _ upstreams: Upstreams, _ totals: CounterTotals, to writer: inout PrometheusWriter
    ) {
        writer.beginFamily(
            "token_gateway_upstream_attempts_total", .counter, help: "Attempts at upstreams, by how they ended.")
        for (name, upstream) in upstreams {
            for outcome in AttemptOutcome.allCases {
                writer.sample([("upstream", name), ("outcome", outcome.label)], upstream.attempts[outcome.rawValue])
            }
        }
        writer.beginFamily(
            "token_gateway_upstream_connections", .gauge, help: "Open connections to upstreams, by state.")
        for (name, upstream) in upstreams {
            writer.sample([("upstream", name), ("state", "active")], upstream.active)
            writer.sample([("upstream", name), ("state", "idle")], upstream.idle)
        }
        writer.beginFamily(
            "token_gateway_upstream_connections_opened_total", .counter, help: "Connections made to upstreams.")
        writer.sample(totals.upstreamConnectionsTotal)
        writer.beginFamily(
            "token_gateway_upstream_tls_handshakes_total", .counter,
            help: "Completed TLS handshakes with upstreams; resumed ones are cheap.")
        writer.sample([("kind", "full")], totals.handshakesFull)
        writer.sample([("kind", "resumed")], totals.handshakesResumed)
    }

    private static func writeConnections(_ totals: CounterTotals, to writer: inout PrometheusWriter) {
        writer.beginFamily("token_gateway_caller_connections", .gauge, help: "Open connections of callers.")
        writer.sample(totals.callerConnections)
        writer.beginFamily(
            "token_gateway_caller_connections_opened_total", .counter, help: "Connections that callers made.")
        writer.sample(totals.callerConnectionsTotal)
        writer.beginFamily(
            "token_gateway_caller_http2_connections_total", .counter,
            help: "Connections of callers that spoke HTTP/2.")
        writer.sample(totals.sessionsTotal)
        writer.beginFamily(
            "token_gateway_http2_abuse_total", .counter,
            help: "HTTP/2 connections of callers that were ended for what the caller did, by kind.")
        for (kind, count) in totals.sessionFailures.sorted(by: { $0.key < $1.key }) {
            writer.sample([("kind", kind)], count)
        }
        writer.beginFamily(
            "token_gateway_caller_tls_handshakes_total", .counter, help: "TLS handshakes with callers, by outcome.")
        writer.sample([("kind", "failed")], totals.callerHandshakesFailed)
        writer.sample([("kind", "full")], totals.callerHandshakesFull)
        writer.sample([("kind", "resumed")], totals.callerHandshakesResumed)
        writer.beginFamily(
            "token_gateway_bytes_total", .counter, help: "Bytes read and written, by side, as on the wire.")
        writer.sample([("side", "caller"), ("direction", "received")], totals.bytesFromCallers)
        writer.sample([("side", "caller"), ("direction", "sent")], totals.bytesToCallers)
        writer.sample([("side", "upstream"), ("direction", "received")], totals.bytesFromUpstreams)
        writer.sample([("side", "upstream"), ("direction", "sent")], totals.bytesToUpstreams)
        writer.beginFamily(
            "token_gateway_log_lines_dropped_total", .counter,
            help: "Log lines lost because the log was not read fast enough.")
        writer.sample(totals.logLinesDropped)
    }

    private static func writeRefreshes(_ control: ControlCounters, to writer: inout PrometheusWriter) {
        writer.beginFamily(
            "token_gateway_refreshes_total", .counter, help: "Refreshes of grants that ended, by outcome.")
        for (grant, outcomes) in control.refreshes.sorted(by: { $0.key < $1.key }) {
            for outcome in RefreshOutcome.allCases {
                writer.sample([("grant", grant), ("outcome", outcome.rawValue)], outcomes[outcome] ?? 0)
            }
        }
        writer.beginFamily(
            "token_gateway_scopes_lost_total", .counter,
            help: "Scopes that a grant had and that the reply to a refresh did not grant any more.")
        for (grant, count) in control.scopesLost.sorted(by: { $0.key < $1.key }) {
            writer.sample([("grant", grant)], count)
        }
        writer.beginFamily(
            "token_gateway_consents_total", .counter, help: "Consents that came back from a provider, by outcome.")
        for (grant, outcomes) in control.consents.sorted(by: { $0.key < $1.key }) {
            writer.sample([("grant", grant), ("outcome", "connected")], outcomes[true] ?? 0)
            writer.sample([("grant", grant), ("outcome", "failed")], outcomes[false] ?? 0)
        }
    }

    private static func writeDamage(_ count: Int?, to writer: inout PrometheusWriter) {
        guard let count else { return }
        writer.beginFamily(
            "token_gateway_store_damaged_records", .gauge,
            help: "Records that could not be opened when all were last gone through.")
        writer.sample(count)
    }

    private static func writeRekeys(_ input: MetricsInput, to writer: inout PrometheusWriter) {
        writer.beginFamily(
            "token_gateway_store_rekey_running", .gauge, help: "1 while the store is being sealed under another key.")
        writer.sample(input.isRekeying ? 1 : 0)
        writer.beginFamily(
            "token_gateway_store_rekeyed_values_total", .counter,
            help: "Values of the store that were sealed again under the active key.")
        writer.sample(input.control.valuesRekeyed)
        writer.beginFamily(
            "token_gateway_store_rekeys_total", .counter, help: "Runs of rekey that ended, by outcome.")
        writer.sample([("outcome", "failed")], input.control.rekeysFailed)
        writer.sample([("outcome", "succeeded")], input.control.rekeysSucceeded)
    }

    private static func writeGrants(_ grants: [GrantMetrics], to writer: inout PrometheusWriter) {
        writer.beginFamily(
            "token_gateway_grant_state", .gauge, help: "1 for the state that a grant is in, 0 for the others.")
        for grant in grants {
            for state in GrantStateLabel.allCases {
                writer.sample([("grant", grant.name), ("state", state.rawValue)], grant.state == state ? 1 : 0)
            }
        }
        writer.beginFamily(
            "token_gateway_grant_generation", .gauge, help: "Grows by one each time the grant's tokens change.")
        for grant in grants { writer.sample([("grant", grant.name)], grant.generation) }
        writer.beginFamily(
            "token_gateway_grant_missing_scopes", .gauge,
            help: "Scopes that were asked for and that the provider has not granted.")
        for grant in grants { writer.sample([("grant", grant.name)], grant.missingScopes) }
        writeTimes(
            "token_gateway_grant_access_token_expiry_timestamp_seconds", \.accessTokenExpiry, grants,
            help: "When the access token expires, Unix time.", to: &writer)
        writeTimes(
            "token_gateway_grant_refresh_token_expiry_timestamp_seconds", \.refreshTokenExpiry, grants,
            help: "When the refresh token expires and a new consent is needed, Unix time; absent where nobody knows.",
            to: &writer)
        writeTimes(
            "token_gateway_grant_last_refresh_success_timestamp_seconds", \.lastRefreshSuccess, grants,
            help: "When tokens were last received, Unix time.", to: &writer)
        writeTimes(
            "token_gateway_grant_next_attempt_timestamp_seconds", \.nextAttempt, grants,
            help: "When the next refresh is planned, Unix time.", to: &writer)
    }

    /// Absent where there is no template.
    private static func writeTemplates(_ templates: [TemplateMetrics], to writer: inout PrometheusWriter) {
        guard !templates.isEmpty else { return }
        writer.beginFamily(
            "token_gateway_template_grants", .gauge,
            help: "Grants that were made from a template, by state, as counted in the background.")
        for template in templates {
            for state in GrantStateLabel.allCases {
                writer.sample(
                    [("template", template.name), ("state", state.rawValue)], template.states[state] ?? 0)
            }
        }
        writer.beginFamily(
            "token_gateway_template_grants_loaded", .gauge, help: "Grants of a template that are in memory.")
        for template in templates { writer.sample([("template", template.name)], template.loaded) }
    }

    private static func writeTimes(
        _ name: String, _ value: (GrantMetrics) -> Int64?, _ grants: [GrantMetrics], help: StaticString,
        to writer: inout PrometheusWriter
    ) {
        writer.beginFamily(name, .gauge, help: help)
        for grant in grants {
            if let seconds = value(grant) { writer.sample([("grant", grant.name)], seconds) }
        }
    }

    private static func writeStore(_ control: ControlCounters, to writer: inout PrometheusWriter) {
        writer.beginFamily(
            "token_gateway_store_operation_duration_seconds", .histogram, help: "Time that the store took to answer.")
        for operation in StoreOperation.allCases {
            writer.sample(
                [("operation", operation.rawValue)], control.storeLatency[operation] ?? DurationHistogram())
        }
        writer.beginFamily("token_gateway_store_failures_total", .counter, help: "Store operations that failed.")
        for operation in StoreOperation.allCases {
            writer.sample([("operation", operation.rawValue)], control.storeFailures[operation] ?? 0)
        }
    }

    private static func writeConfiguration(_ input: MetricsInput, to writer: inout PrometheusWriter) {
        writer.beginFamily(
            "token_gateway_config_last_reload_successful", .gauge,
            help: "1 where the configuration that was read last is the one in force.")
        writer.sample(input.lastReloadSuccessful ? 1 : 0)
        writer.beginFamily(
            "token_gateway_config_last_reload_success_timestamp_seconds", .gauge,
            help: "When the configuration in force was taken over, Unix time.")
        writer.sample(input.lastReloadSuccess)
        writer.beginFamily(
            "token_gateway_config_reloads_total", .counter, help: "Reloads of the configuration, by outcome.")
        writer.sample([("outcome", "failed")], input.control.reloadsFailed)
        writer.sample([("outcome", "succeeded")], input.control.reloadsSucceeded)
        writer.beginFamily("token_gateway_draining", .gauge, help: "1 while the gateway finishes its last exchanges.")
        writer.sample(input.isDraining ? 1 : 0)
        writer.beginFamily("token_gateway_ready", .gauge, help: "1 while /readyz says that traffic is welcome.")
        writer.sample(input.isReady ? 1 : 0)
    }

    private static func writeCertificates(
        _ certificates: [CertificateMetrics], to writer: inout PrometheusWriter
    ) {
        writer.beginFamily(
            "token_gateway_certificate_expiry_timestamp_seconds", .gauge,
            help: "When the certificate of a listener expires, Unix time.")
        var last: CertificateMetrics?
        for certificate in certificates.sorted(by: {
            ($0.listener, $0.name, $0.expiry) < ($1.listener, $1.name, $1.expiry)
        }) {
            defer { last = certificate }
            guard last?.listener != certificate.listener || last?.name != certificate.name else { continue }
            writer.sample([("listener", certificate.listener), ("name", certificate.name)], certificate.expiry)
        }
    }

    private static func writeProcess(_ process: ProcessFacts, to writer: inout PrometheusWriter) {
        writer.beginFamily("token_gateway_build_info", .gauge, help: "What is running; the value is always 1.")
        writer.sample([("openssl", process.openSSL), ("version", process.version)], 1)
        writer.beginFamily("token_gateway_workers", .gauge, help: "Worker threads.")
        writer.sample(process.workers)
        writer.beginFamily("process_start_time_seconds", .gauge, help: "When the process started, Unix time.")
        writer.sample(process.startTime)
        if let seconds = process.cpuSeconds {
            writer.beginFamily("process_cpu_seconds_total", .counter, help: "User and system CPU time spent.")
            writer.sample(seconds)
        }
        if let bytes = process.residentBytes {
            writer.beginFamily("process_resident_memory_bytes", .gauge, help: "Resident memory.")
            writer.sample(bytes)
        }
        if let count = process.openFileDescriptors {
            writer.beginFamily("process_open_fds", .gauge, help: "Open file descriptors.")
            writer.sample(count)
        }
        if let count = process.maxFileDescriptors {
            writer.beginFamily("process_max_fds", .gauge, help: "The most file descriptors that may be open.")
            writer.sample(count)
        }
    }
}
