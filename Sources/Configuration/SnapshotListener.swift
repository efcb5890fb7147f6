extension Snapshot {
    /// `[listener.NAME]`: an address that callers connect to.
    package struct Listener: Sendable, Hashable {
        package internal(set) var name = ""
        package internal(set) var address = Address.unix(path: "")
        /// The mode of a Unix socket's file; without meaning for TCP.
        package internal(set) var unixMode: UInt32 = 0
        /// nil: callers speak plain HTTP.
        package internal(set) var tls: ListenerTLS?
        /// At least one of the two.
        package internal(set) var allowsHTTP1 = true
        package internal(set) var allowsHTTP2 = true
    }

    /// What a listener needs for TLS. The files were read and checked when the snapshot was made.
    package struct ListenerTLS: Sendable, Hashable {
        package struct Certificate: Sendable, Hashable {
            package let certificateFile: String
            package let keyFile: String
        }

        package enum ClientCertificate: String, Sendable, Hashable, CaseIterable {
            case required, optional
        }

        package enum Version: Sendable, Hashable {
            case tls12, tls13
        }

        /// Not empty; the first is the default.
        package internal(set) var certificates: [Certificate] = []
        /// nil: callers are not asked for a certificate.
        package internal(set) var clientCAFile: String?
        package internal(set) var clientCertificate = ClientCertificate.required
        package internal(set) var minimumVersion = Version.tls12

        /// Every file that it is made of.
        package var files: [String] {
            certificates.flatMap { [$0.certificateFile, $0.keyFile] } + (clientCAFile.map { [$0] } ?? [])
        }
    }
}
