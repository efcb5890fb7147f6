import Foundation

/// nginx as an API over TLS that gives and takes files: once over HTTP/1.1, once over HTTP/2. It asks for no token.
final class StaticAPI: Sendable {
    /// Name, content.
    let files: [(name: String, content: Data)]
    private let folder: String
    private let process: ProcessHandle

    static func start(_ certificates: Certificates, ports: (h1: UInt16, h2: UInt16)) async throws -> StaticAPI {
        let folder = try Workspace.newFolder("static-api")
        for name in ["static", "files", "temporary"] {
            try FileManager.default.createDirectory(atPath: "\(folder)/\(name)", withIntermediateDirectories: false)
        }
        let files = [("empty", 0), ("one", 1), ("some", 100 << 10), ("large", 20 << 20)].map { name, size in
            (name: name, content: randomBytes(size))
        }
        for file in files { try Workspace.write(file.content, to: "\(folder)/static/\(file.name)") }
        try Workspace.write(text(folder, certificates, ports), to: "\(folder)/nginx.conf")
        let process = try await ProcessHandle(
            ["nginx", "-p", folder, "-c", "\(folder)/nginx.conf", "-e", "\(folder)/error.log"], directory: folder,
            output: "\(folder)/output.log")
        try await eventually("nginx listens") {
            if let status = process.poll() {
                let log = (try? String(contentsOfFile: "\(folder)/error.log", encoding: .utf8)) ?? ""
                throw HarnessError("nginx ended, \(status): \(log.suffix(2000))")
            }
            return RawSocket.accepts(ports.h1) && RawSocket.accepts(ports.h2)
        }
        return StaticAPI(files, folder, process)
    }

    private init(_ files: [(name: String, content: Data)], _ folder: String, _ process: ProcessHandle) {
        self.files = files
        self.folder = folder
        self.process = process
    }

    func file(_ name: String) -> String { "\(folder)/static/\(name)" }

    /// What an upload to `/files/` left on disk; it is gone afterwards.
    func takeUploaded(_ name: String) throws -> Data {
        let file = "\(folder)/files/\(name)"
        defer { try? FileManager.default.removeItem(atPath: file) }
        return try Data(contentsOf: URL(filePath: file))
    }

    /// How many requests came by this protocol ("HTTP/1.1", "HTTP/2.0") with a path that contains `part`.
    func calls(by version: String, containing part: String) throws -> Int {
        try String(contentsOfFile: "\(folder)/access.log", encoding: .utf8).split(separator: "\n")
            .count { $0.hasPrefix(version + " ") && $0.contains(part) }
    }

    private static func text(
        _ folder: String, _ certificates: Certificates, _ ports: (h1: UInt16, h2: UInt16)
    ) -> String {
        let servers = [(ports.h1, ""), (ports.h2, " http2")].map { port, version in
            """
                server {
                    listen 127.0.0.1:\(port) ssl\(version) backlog=1024;
                    client_max_body_size 0;
                    location /static/ { alias \(folder)/static/; }
                    location /files/ {
                        alias \(folder)/files/;
                        dav_methods PUT DELETE;
                        create_full_put_path on;
                    }
                }

            """
        }
        return """
            daemon off;
            master_process off;
            pid \(folder)/nginx.pid;
            error_log \(folder)/error.log warn;
            events { worker_connections 4096; }
            http {
                log_format calls '$server_protocol $request_method $request_uri $status';
                access_log \(folder)/access.log calls;
                default_type application/octet-stream;
                keepalive_requests 100000;
                client_body_temp_path \(folder)/temporary;
                proxy_temp_path \(folder)/temporary;
                fastcgi_temp_path \(folder)/temporary;
                uwsgi_temp_path \(folder)/temporary;
                scgi_temp_path \(folder)/temporary;
                ssl_certificate \(certificates.certificate);
                ssl_certificate_key \(certificates.key);
            \(servers.joined())
            }

            """
    }
}
