// The directives of the gateway itself: top level, console, store, timeouts, limits, log.

let topDirectives = Directives<Snapshot>(
    place: .top,
    list: [
        Directive(
            "workers", .integer(1...256), \.workers, default: .described("the number of cores"),
            "Threads with an event loop.")
    ])

let consoleDirectives = Directives<Snapshot.Console>(
    place: .console,
    list: [
        Directive(
            "address", .address, \.address, default: "127.0.0.1:9090",
            "Where the console listens; other than loopback and Unix addresses need a secret."),
        Directive("unix_mode", .mode, \.unixMode, default: "0600", "The mode of the Unix socket's file."),
        Directive(
            "public_url", .baseURL, \.publicURL,
            "Where browsers reach the console: the redirect URI is this + `/oauth/callback`."),
        Directive(
            "secret_file", .oneOrMore(of: .secretPath), default: .none,
            "A file with the bearer secret of the admin surface; of several, each is accepted."
        ) { $0.secrets += $1.map { .file(path: $0) } },
        Directive(
            "secret_env", .variableName, default: .none,
            "Instead of secret_file: the environment variable with the secret."
        ) { $0.secrets.append(.environment(name: $1)) },
        Directive(
            "secret_credential", .credentialName, default: .none,
            "Instead of secret_file: the systemd credential with the secret."
        ) { $0.secrets.append(.credential(name: $1)) },
        Directive(
            "consent_lifetime", .duration(.seconds(30)...(.seconds(86_400))), \.consentLifetime, default: "10m",
            "How long a started consent may take until its callback."),
    ])

/// The longest that any wait for a peer may last.
let longest = Duration.seconds(86_400)
let shortest = Duration.milliseconds(1)

let timeoutDirectives = Directives<Snapshot.Timeouts>(
    place: .timeouts,
    list: [
        Directive(
            "head", .duration(shortest...longest), \.head, default: "10s",
            "For a request's head, from its first byte or the connection's start."),
        Directive(
            "body_idle", .duration(shortest...longest), \.bodyIdle, default: "60s",
            "The longest pause inside a request body, while nothing of the answer moves."),
        Directive(
            "keep_alive", .duration(shortest...longest), \.keepAlive, default: "75s",
            "How long a caller's connection may be idle between requests."),
        Directive(
            "write_idle", .duration(shortest...longest), \.writeIdle, default: "60s",
            "How long a caller may take none of the response that waits for it."),
        Directive(
            "credential", .duration(shortest...longest), \.credential, default: "35s",
            "How long a request waits for a token before it is answered 503."),
        Directive(
            "drain", .duration(.zero...longest), \.drain, default: "30s",
            "How long running requests may go on after SIGTERM."),
    ])

let limitDirectives = Directives<Snapshot.Limits>(
    place: .limits,
    list: [
        Directive(
            "max_connections", .integer(1...1_000_000), \.maxConnections, default: 16_384,
            "Callers connected at once, per worker."),
        Directive(
            "header_bytes", .size(1024...1 << 20), \.headerBytes, default: "32KiB",
            "A header section, of requests and of responses."),
        Directive("header_count", .integer(8...10_000), \.headerCount, default: 100, "Fields in a header section."),
        Directive(
            "target_bytes", .size(8000...1 << 20), \.targetBytes, default: "16KiB",
            "A request's target; RFC 9110 wants 8000 at least."),
        Directive(
            "http2_max_streams", .integer(1...1000), \.http2MaxStreams, default: 100,
            "Requests at once on one HTTP/2 connection of a caller."),
        Directive(
            "retry_memory", .size(0...16 << 20), \.retryMemoryBytes, default: "64KiB",
            "How much of a body kept for the retry stays in memory; the rest goes to an unlinked file."),
        Directive(
            "temp_directory", .path, \.temporaryDirectory, default: .described("`$TMPDIR`, else `/tmp`"),
            "Where those files are made."),
    ])

let logDirectives = Directives<Snapshot.Log>(
    place: .log,
    list: [
        Directive("level", .choice, \.level, default: "info", "The least level that is written."),
        Directive(
            "format", .choice, \.format, default: "auto",
            "Lines as JSON objects or as text; `auto` is text on a terminal, else JSON."),
        Directive(
            "access", .sink, \.access, default: "off", "Where one line per request goes: a path, `stdout`, `stderr`."),
    ])
