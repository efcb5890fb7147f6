import ArgumentParser
import Console
import Gateway
import HTTP
import OpenSSLKit
import TokenStore

struct Version: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Print the versions of the program, its compiler and its libraries.")

    @Flag(help: "Print one JSON object.")
    var json = false

    private struct Report: Encodable {
        var version: String
        var swift: String
        var openssl: String
        var nghttp2: String
        var sqlite: String
        var libpq: String
    }

    func run() {
        let report = Report(
            version: gatewayVersion, swift: Self.swift, openssl: OpenSSLVersion.text,
            nghttp2: HTTP2Session.libraryVersion, sqlite: SQLiteVersion.text, libpq: PostgreSQLVersion.text)
        guard !json else {
            return Terminal.output.write(String(decoding: ConsoleJSON.encode(report), as: UTF8.self))
        }
        let library = report.openssl.hasPrefix("OpenSSL") ? report.openssl : "OpenSSL \(report.openssl)"
        Terminal.output.line("token-gateway \(report.version)")
        Terminal.output.line(
            "Swift \(report.swift), \(library), nghttp2 \(report.nghttp2), SQLite \(report.sqlite), "
                + "libpq \(report.libpq)")
    }

    /// The compiler tells its version in conditions only.
    private static var swift: String {
        #if compiler(>=6.5)
        "6.5 or later"
        #elseif compiler(>=6.4)
        "6.4"
        #else
        "6.3"
        #endif
    }
}
