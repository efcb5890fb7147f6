import OpenSSLKit

/// TLS records on an established connection (TLS 1.3, OpenSSL's choice of cipher), and handshakes.
func tlsBenchmarks() -> [Benchmark] {
    var all: [Benchmark] = []
    for size in [256, 1400, 16384] {
        all.append(seal("TLS: seal \(size) octets", size))
        all.append(sealAndOpen("TLS: seal and open \(size) octets", size))
    }
    all.append(handshake("TLS: full handshake, both ends"))
    return all
}

/// Two engines that have shaken hands.
private final class Pair {
    let client: TLSEngine
    let server: TLSEngine
    let output = TLSOutputBuffer()
    private var inFlight: [UInt8] = []
    private var space = [UInt8](repeating: 0, count: 17 * 1024)

    init(_ contexts: Contexts) {
        client = TLSEngine(client: contexts.client, host: "api.example.com")
        server = TLSEngine(server: contexts.server)
        // Hello; hello to Finished; Finished; session tickets, which the client takes as records.
        let hello = step(client, [])
        let finished = step(client, step(server, hello))
        let tickets = step(server, finished)
        output.removeAll()
        expect(open(client, tickets) == 0, "tickets are no content")
        expect(seal(server, [1]) > 0, "the server has shaken hands")
        expect(open(client) == 1, "the client has, too")
    }

    private func step(_ engine: TLSEngine, _ input: [UInt8]) -> [UInt8] {
        _ = input.withUnsafeBytes { engine.handshake($0, output: output) }
        defer { output.removeAll() }
        return Array(output.bytes)
    }

    /// Returns the octets of the record, which wait in `output`.
    func seal(_ engine: TLSEngine, _ plaintext: [UInt8]) -> Int {
        output.removeAll()
        _ = plaintext.withUnsafeBytes { engine.send($0, output: output) }
        return output.count
    }

    /// Opens what `seal` made; returns the octets of plaintext.
    func open(_ engine: TLSEngine) -> Int {
        inFlight.removeAll(keepingCapacity: true)
        inFlight.append(contentsOf: output.bytes)
        output.removeAll()
        return open(engine, inFlight)
    }

    private func open(_ engine: TLSEngine, _ records: [UInt8]) -> Int {
        records.withUnsafeBytes { input in
            space.withUnsafeMutableBytes { engine.receive(input, into: $0, output: output).produced }
        }
    }
}

private final class Contexts {
    let client: TLSClientContext
    let server: TLSServerContext

    init() {
        do {
            let validity = Validity(notBefore: 946_684_800, notAfter: 4_102_444_800)
            let authority = try CertificateAuthority(commonName: "Benchmarks", validity: validity)
            let leaf = try authority.issue(
                LeafRequest(dnsNames: ["api.example.com"], ipAddresses: [], validity: validity))
            client = try TLSClientContext(TLSClientConfiguration(caPEM: authority.certificatePEM))
            server = try TLSServerContext(
                certificateChainPEM: leaf.certificatePEM, privateKeyPEM: leaf.privateKeyPEM.exposed())
        } catch {
            fatalError("no TLS contexts: \(error)")
        }
    }
}

private func seal(_ name: String, _ size: Int) -> Benchmark {
    let plaintext = [UInt8](repeating: 0x61, count: size)
    let pair = Pair(Contexts())
    return Benchmark(name, bytes: size) { count in
        for _ in 0..<count { expect(pair.seal(pair.client, plaintext) > size, "a record is made") }
    }
}

private func sealAndOpen(_ name: String, _ size: Int) -> Benchmark {
    let plaintext = [UInt8](repeating: 0x61, count: size)
    let pair = Pair(Contexts())
    return Benchmark(name, bytes: size) { count in
        for _ in 0..<count {
            expect(pair.seal(pair.server, plaintext) > size, "a record is made")
            expect(pair.open(pair.client) == size, "and opened")
        }
    }
}

private func handshake(_ name: String) -> Benchmark {
    let contexts = Contexts()
    return Benchmark(name) { count in
        for _ in 0..<count { keep(Pair(contexts)) }
    }
}
