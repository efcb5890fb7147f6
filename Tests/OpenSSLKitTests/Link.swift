import OpenSSLKit
import Testing

/// Two engines and the octets between them, without a socket.
final class Link {
    let client: TLSEngine
    let server: TLSEngine
    /// Octets on their way, and how many are handed over at a time.
    var toServer: [UInt8] = []
    var toClient: [UInt8] = []
    var stride: Int
    private let output = TLSOutputBuffer(capacity: 1024)

    init(client: TLSEngine, server: TLSEngine, stride: Int = .max) {
        self.client = client
        self.server = server
        self.stride = stride
    }

    struct Outcome {
        var client: TLSHandshakeStep.State = .needsInput
        var server: TLSHandshakeStep.State = .needsInput

        var bothComplete: Bool {
            if case .complete = client, case .complete = server { return true }
            return false
        }
        var clientError: TLSError? { if case .failed(let error) = client { error } else { nil } }
        var serverError: TLSError? { if case .failed(let error) = server { error } else { nil } }
    }

    /// Runs until nobody has anything to say.
    func handshake() -> Outcome {
        var outcome = Outcome()
        outcome.client = step(client, input: [], sink: &toServer).state
        while true {
            let before = (toServer.count, toClient.count)
            if case .needsInput = outcome.server { outcome.server = feed(server, &toServer, &toClient) }
            if case .needsInput = outcome.client { outcome.client = feed(client, &toClient, &toServer) }
            if before == (toServer.count, toClient.count) { return outcome }
        }
    }

    private func feed(
        _ engine: TLSEngine, _ source: inout [UInt8], _ sink: inout [UInt8]
    ) -> TLSHandshakeStep.State {
        while !source.isEmpty {
            let piece = Array(source.prefix(stride))
            let result = step(engine, input: piece, sink: &sink)
            source.removeFirst(result.consumed)
            if case .needsInput = result.state { continue }
            return result.state
        }
        return .needsInput
    }

    private func step(_ engine: TLSEngine, input: [UInt8], sink: inout [UInt8]) -> TLSHandshakeStep {
        let result = input.withUnsafeBytes { engine.handshake($0, output: output) }
        sink.append(contentsOf: output.bytes)
        output.removeAll()
        return result
    }

    /// Returns the ciphertext.
    @discardableResult
    func send(_ plaintext: [UInt8], from engine: TLSEngine) -> [UInt8] {
        let result = plaintext.withUnsafeBytes { engine.send($0, output: output) }
        if case .failed(let error) = result.state { Issue.record(error) }
        #expect(result.consumed == plaintext.count)
        let ciphertext = Array(output.bytes)
        output.removeAll()
        if engine === client { toServer += ciphertext } else { toClient += ciphertext }
        return ciphertext
    }

    func close(_ engine: TLSEngine) {
        engine.close(output: output)
        if engine === client { toServer += Array(output.bytes) } else { toClient += Array(output.bytes) }
        output.removeAll()
    }

    struct Received {
        var plaintext: [UInt8] = []
        var state: TLSReceiveStep.State = .needsInput

        var error: TLSError? { if case .failed(let error) = state { error } else { nil } }
        var isClosed: Bool { if case .closed = state { true } else { false } }
    }

    /// Takes all that is on its way to `engine`; `room` is the space for plaintext of one call.
    func receive(_ engine: TLSEngine, room: Int = 16 * 1024) -> Received {
        var received = Received()
        var source = engine === client ? toClient : toServer
        var space = [UInt8](repeating: 0, count: room)
        var calls = 0
        repeat {
            let piece = Array(source.prefix(stride))
            let result = piece.withUnsafeBytes { input in
                space.withUnsafeMutableBytes { engine.receive(input, into: $0, output: output) }
            }
            source.removeFirst(result.consumed)
            received.plaintext += space.prefix(result.produced)
            received.state = result.state
            calls += 1
            if engine === client { toServer += Array(output.bytes) } else { toClient += Array(output.bytes) }
            output.removeAll()
            switch result.state {
            case .open: continue
            case .needsInput: #expect(result.consumed == piece.count)
            case .closed, .failed: source = []
            }
        } while !source.isEmpty || engine.hasBufferedPlaintext
        if engine === client { toClient = [] } else { toServer = [] }
        return received
    }
}

/// Authorities and certificates for the tests.
enum Fixture {
    /// 2000 to 2100.
    static let longValidity = Validity(notBefore: 946_684_800, notAfter: 4_102_444_800)
    static let past = Validity(notBefore: 946_684_800, notAfter: 978_307_200)
    static let future = Validity(notBefore: 4_070_908_800, notAfter: 4_102_444_800)
    static let authority = try! CertificateAuthority(commonName: "Test Authority", validity: longValidity)
    static let otherAuthority = try! CertificateAuthority(commonName: "Other Authority", validity: longValidity)
    static let leaf = try! authority.issue(
        LeafRequest(
            dnsNames: ["api.example.com", "*.wild.example.com"], ipAddresses: ["127.0.0.1", "::1"],
            validity: longValidity))

    static func server(
        _ certificate: IssuedCertificate = leaf, alpn: [String] = [], clientCAFile: String? = nil
    ) throws -> TLSServerContext {
        try TLSServerContext(
            certificateChainPEM: certificate.certificatePEM, privateKeyPEM: certificate.privateKeyPEM.exposed(),
            alpn: alpn, clientCAFile: clientCAFile)
    }

    static func client(
        alpn: [String] = [], minimumVersion: TLSVersion = .tls12, maximumVersion: TLSVersion? = nil,
        authority: CertificateAuthority = authority
    ) throws -> TLSClientContext {
        try TLSClientContext(
            TLSClientConfiguration(
                caPEM: authority.certificatePEM, alpn: alpn, minimumVersion: minimumVersion,
                maximumVersion: maximumVersion))
    }

    static func link(
        client: TLSClientContext? = nil, server: TLSServerContext? = nil, host: String = "api.example.com",
        session: TLSSession? = nil, stride: Int = .max
    ) throws -> Link {
        let client = try client ?? Self.client()
        let server = try server ?? Self.server()
        return Link(
            client: TLSEngine(client: client, host: host, session: session), server: TLSEngine(server: server),
            stride: stride)
    }

    static func pattern(_ count: Int) -> [UInt8] {
        (0..<count).map { UInt8(truncatingIfNeeded: $0 &* 31 &+ $0 >> 8) }
    }
}
