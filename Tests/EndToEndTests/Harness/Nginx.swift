import Foundation

/// nginx: TLS before canaille and before the consoles, and the API itself. It has one process and no cache.
///
/// The API takes a request only if canaille says at that moment that its token is active. `/echo` answers with the
/// request as it came, `/static/` has files, `/files/` takes and gives uploads, `/chunked` answers in chunks.
final class Nginx: Sendable {
    let apiURL: String
    /// What `/static/large` holds.
    let large: Data
    private let folder: String
    private let process: ProcessHandle

    static func start(
        _ certificates: Certificates, canaille: UInt16, front: UInt16, issuer: String, seats: [Seat],
        reader: (id: String, secret: String)
    ) async throws -> Nginx {
        let folder = try Workspace.newFolder("nginx")
        for name in ["static", "files", "temporary"] {
            try FileManager.default.createDirectory(atPath: "\(folder)/\(name)", withIntermediateDirectories: false)
        }
        let large = randomBytes(8 << 20)
        try Workspace.write(large, to: "\(folder)/static/large")
        try Workspace.write("a small file\n", to: "\(folder)/static/small.txt")
        let api = try Ports.next()
        let inner = try Ports.next()
        try Workspace.write(script(inner), to: "\(folder)/api.js")
        let basic = Data("\(reader.id):\(reader.secret)".utf8).base64EncodedString()
        let parts = Parts(folder: folder, certificates: certificates)
        let text = [
            parts.head,
            parts.front(port: front, hasTLS: issuer.hasPrefix("https:"), canaille: canaille),
            parts.introspection(
                port: inner, canaille: canaille, host: issuer.components(separatedBy: "://")[1], basic: basic),
            parts.api(port: api),
            seats.map { parts.console($0) }.joined(),
            "}\n",
        ].joined()
        try Workspace.write(text, to: "\(folder)/nginx.conf")
        let process = try await ProcessHandle(
            ["nginx", "-p", folder, "-c", "\(folder)/nginx.conf", "-e", "\(folder)/error.log"], directory: folder,
            output: "\(folder)/output.log")
        try await eventually("nginx listens") {
            if let status = process.poll() {
                let log = (try? String(contentsOfFile: "\(folder)/error.log", encoding: .utf8)) ?? ""
                throw HarnessError("nginx ended, \(status): \(log.suffix(2000))")
            }
            return RawSocket.accepts(api)
        }
        return Nginx("https://localhost:\(api)", large, folder, process)
    }

    private init(_ apiURL: String, _ large: Data, _ folder: String, _ process: ProcessHandle) {
        self.apiURL = apiURL
        self.large = large
        self.folder = folder
        self.process = process
    }

    /// The statuses of the calls to the token endpoint by this client, oldest first.
    func tokenCalls(by seat: Seat) throws -> [Int] {
        try log("front").filter { $0.hasPrefix("POST /oauth/token ") && $0.hasSuffix(" \(seat.clientID)") }
            .compactMap { $0.split(separator: " ").dropFirst(2).first.flatMap { Int($0) } }
    }

    /// The lines of the API's log, each "METHOD URI STATUS USER", for URIs that contain `part`.
    func apiCalls(containing part: String) throws -> [String] { try log("api").filter { $0.contains(part) } }

    /// What an upload to `/files/` left on disk.
    func uploaded(_ name: String) throws -> Data { try Data(contentsOf: URL(filePath: "\(folder)/files/\(name)")) }

    private func log(_ name: String) throws -> [String] {
        try String(contentsOfFile: "\(folder)/\(name).log", encoding: .utf8).split(separator: "\n").map(String.init)
    }

    /// The API's own code, in nginx's JavaScript: ask canaille about the token, and echo.
    private static func script(_ inner: UInt16) -> String {
        """
        async function check(r) {
            var match = /^Bearer ([A-Za-z0-9._~+\\/-]+=*)$/.exec(r.headersIn['Authorization'] || '');
            if (!match) { r.variables.challenge = 'Bearer'; r.return(401); return; }
            var reply = await ngx.fetch('http://127.0.0.1:\(inner)/', {
                method: 'POST', body: 'token=' + encodeURIComponent(match[1]),
                headers: { 'Content-Type': 'application/x-www-form-urlencoded' }
            });
            if (reply.status != 200) { r.return(500); return; }
            var answer = await reply.json();
            if (answer.active === true) { r.return(204); return; }
            r.variables.challenge = 'Bearer error="invalid_token"';
            r.return(401);
        }
        function echo(r) {
            var names = ['Content-Type', 'Accept', 'Accept-Language', 'Cookie', 'Range', 'X-Custom', 'User-Agent'];
            var head = r.method + ' ' + r.variables.request_uri + '\\n';
            names.forEach(n => { head += n + ': ' + (r.headersIn[n] || '') + '\\n'; });
            r.headersOut['Content-Type'] = 'application/octet-stream';
            var isEmpty = r.headersIn['Content-Length'] === '0';
            var body = (isEmpty ? undefined : r.requestBuffer) || Buffer.from('');
            r.return(200, Buffer.concat([Buffer.from(head + '\\n'), body]));
        }
        function chunked(r) {
            r.status = 200;
            r.headersOut['Content-Type'] = 'text/plain';
            r.sendHeader();
            for (var i = 0; i < 50; i++) { r.send('part ' + i + ' of fifty\\n'); }
            r.finish();
        }
        export default { check, echo, chunked };

        """
    }

    /// The parts of nginx.conf.
    private struct Parts {
        let folder: String
        let certificates: Certificates

        var head: String {
            """
            load_module /usr/lib/nginx/modules/ngx_http_js_module.so;
            daemon off;
            master_process off;
            pid \(folder)/nginx.pid;
            error_log \(folder)/error.log warn;
            events { worker_connections 4096; }
            http {
                log_format calls '$request_method $request_uri $status $remote_user';
                access_log off;
                default_type application/octet-stream;
                types { text/plain txt; }
                client_body_temp_path \(folder)/temporary;
                proxy_temp_path \(folder)/temporary;
                fastcgi_temp_path \(folder)/temporary;
                uwsgi_temp_path \(folder)/temporary;
                scgi_temp_path \(folder)/temporary;
                ssl_certificate \(certificates.certificate);
                ssl_certificate_key \(certificates.key);
                proxy_http_version 1.1;
                js_path \(folder);
                js_import api from api.js;

            """
        }

        func front(port: UInt16, hasTLS: Bool, canaille: UInt16) -> String {
            """
                server {
                    listen 127.0.0.1:\(port)\(hasTLS ? " ssl" : "") backlog=1024;
                    access_log \(folder)/front.log calls;
                    location / {
                        proxy_pass http://127.0.0.1:\(canaille);
                        proxy_set_header Host $http_host;
                        proxy_set_header X-Forwarded-Host $http_host;
                        proxy_set_header X-Forwarded-Proto $scheme;
                        proxy_set_header X-Forwarded-For $remote_addr;
                    }
                }

            """
        }

        /// The API's way to canaille's introspection endpoint, as the client that may ask.
        func introspection(port: UInt16, canaille: UInt16, host: String, basic: String) -> String {
            """
                server {
                    listen 127.0.0.1:\(port) backlog=1024;
                    location / {
                        proxy_pass http://127.0.0.1:\(canaille)/oauth/introspect;
                        proxy_set_header Host \(host);
                        proxy_set_header Authorization "Basic \(basic)";
                    }
                }

            """
        }

        func api(port: UInt16) -> String {
            """
                server {
                    listen 127.0.0.1:\(port) ssl backlog=1024;
                    access_log \(folder)/api.log calls;
                    client_max_body_size 0;
                    auth_request /check;
                    set $challenge "";
                    add_header WWW-Authenticate $challenge always;
                    location = /check {
                        internal;
                        auth_request off;
                        js_content api.check;
                    }
                    location /echo {
                        client_body_buffer_size 2m;
                        client_body_in_single_buffer on;
                        js_content api.echo;
                    }
                    location /chunked { js_content api.chunked; }
                    location /static/ { alias \(folder)/static/; }
                    location /files/ {
                        alias \(folder)/files/;
                        dav_methods PUT DELETE;
                        create_full_put_path on;
                    }
                }

            """
        }

        func console(_ seat: Seat) -> String {
            guard let port = seat.publicPort else { return "" }
            return """
                    server {
                        listen 127.0.0.1:\(port) ssl;
                        location / {
                            proxy_pass http://127.0.0.1:\(seat.consolePort);
                            proxy_set_header Host $http_host;
                            proxy_set_header X-Forwarded-Proto $scheme;
                            proxy_set_header X-Forwarded-For $remote_addr;
                        }
                    }

                """
        }
    }
}
