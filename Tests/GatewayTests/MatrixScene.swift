import OpenSSLKit
import Reactor
import Telemetry
import Testing

@testable import Gateway
@testable import HTTP

/// A worker with a caller and an upstream on either side, all played by one test thread: what one of them waits for the
/// others do at the same time.
final class Scene {
    let pair: PeerPair
    let plane: Plane
    private let poller: Poller
    private var links: [Int: PeerLink] = [:]
    private var nextToken = 1
    /// Connections of the gateway in the order in which they came.
    private(set) var upstreams: [PeerLink] = []
    private var taken: Set<ObjectIdentifier> = []
    /// For connections from now on.
    var upstreamSettings = HTTP2Settings()
    /// What the upstream speaks by TLS.
    var upstreamALPN: [String]
    /// Shown to the gateway from now on.
    var upstreamCertificate = PlaneCertificates.api
    /// Connections are taken, and their handshakes not answered.
    var holdsHandshakes = false
    private let clientContext: TLSClientContext?
    let listenerSettings: ListenerSettings
    let setup: PlaneSetup
    private var acceptedAt: [UInt64] = []

    /// Milliseconds since a connection of the gateway has come.
    func age(of upstream: Int) -> UInt64 { MonotonicClock.milliseconds() - acceptedAt[upstream] }

    init(
        _ pair: PeerPair, _ setup: PlaneSetup = PlaneSetup(), listener: ListenerSettings? = nil,
        control rule: @escaping @Sendable (StubControl.Question) -> StubControl.Answer = {
            .generation(($0.rejected ?? 0) + 1)
        }
    ) throws {
        self.pair = pair
        var setup = setup
        setup.isTLS = pair.isTLS
        if !setup.upstream.contains("protocol =") {
            if !pair.isTLS, pair.upstream == .http2 { setup.upstream += "\nprotocol = \"http2\"" }
        }
        upstreamALPN = pair.upstream == .http2 ? ["h2", "http/1.1"] : ["http/1.1"]
        listenerSettings = try listener ?? (pair.isTLS ? Self.secureListener() : .plain)
        self.setup = setup
        plane = try Plane(setup, listener: listenerSettings, control: rule)
        poller = try Poller()
        clientContext =
            pair.isTLS
            ? try TLSClientContext(
                TLSClientConfiguration(
                    caPEM: PlaneCertificates.authority.certificatePEM,
                    alpn: pair.caller == .http2 ? ["h2", "http/1.1"] : ["http/1.1"])) : nil
        upstreamSettings.allowsConnectProtocol = true
        try poller.addListener(plane.upstream.listener, token: 0)
    }

    static func secureListener(_ certificate: IssuedCertificate = PlaneCertificates.api) throws -> ListenerSettings {
        ListenerSettings(
            name: "internal",
            tls: TLSServerSettings(identities: [try TLSIdentity(certificate)], alpn: ["h2", "http/1.1"]))
    }

    // MARK: Connections

    /// A caller's connection.
    ///
    /// - Parameter identity: what it presents by TLS.
    func connect(
        _ settings: HTTP2Settings = HTTP2Settings(), host: String = "api.test", identity: TLSIdentity? = nil
    ) throws -> PeerLink {
        let descriptor = try WireEnd(connectingTo: plane.address).giveAway()
        let link: PeerLink
        if var clientContext {
            if let identity {
                var own = clientContext.configuration
                own.clientIdentity = identity
                clientContext = try TLSClientContext(own)
            }
            link = PeerLink(
                descriptor, isCaller: true, engine: TLSEngine(client: clientContext, host: host), version: nil,
                settings: settings)
            link.startHandshake()
        } else {
            link = PeerLink(descriptor, isCaller: true, engine: nil, version: pair.caller, settings: settings)
        }
        try add(link)
        if clientContext != nil { try wait("the handshake") { link.isSecure || link.inputEnded } }
        return link
    }

    private func add(_ link: PeerLink) throws {
        try poller.add(link.descriptor, token: UInt64(nextToken))
        links[nextToken] = link
        nextToken += 1
    }

    private func accept() throws {
        while case .accepted(let descriptor, _) = Socket.accept(plane.upstream.listener) {
            var engine: TLSEngine?
            if pair.isTLS {
                let identity = try TLSIdentity(upstreamCertificate)
                engine = TLSEngine(
                    server: try TLSServerContext(TLSServerSettings(identities: [identity], alpn: upstreamALPN)))
            }
            let link = PeerLink(
                descriptor, isCaller: false, engine: engine, version: nil, settings: upstreamSettings)
            link.reads = !holdsHandshakes
            upstreams.append(link)
            acceptedAt.append(MonotonicClock.milliseconds())
            try add(link)
        }
    }

    // MARK: Time

    /// Lets everybody go on until it is so.
    func wait(
        _ what: String, location: SourceLocation = #_sourceLocation, until isTrue: () throws -> Bool
    ) throws {
        let deadline = MonotonicClock.milliseconds() + UInt64(WireEnd.patience)
        pump()
        while try !isTrue() {
            let now = MonotonicClock.milliseconds()
            try #require(now < deadline, "this never came: \(what); \(state)", sourceLocation: location)
            for index in 0..<poller.wait(timeoutMilliseconds: Int32(min(deadline - now, 20))) {
                let token = Int(poller.event(at: index).token)
                if token == 0 { try accept() }
                links[token]?.canRead = true
                links[token]?.canWrite = true
            }
            pump()
        }
    }

    /// Lets everybody go on until the worker's counters say so.
    func waitForCounters(
        _ what: String, location: SourceLocation = #_sourceLocation, until isTrue: (CounterSnapshot) -> Bool
    ) throws {
        try wait(what, location: location) { isTrue(try plane.counters()) }
    }

    /// All that was sent has been seen by the worker, and all that it sent then has been taken.
    func settle() throws {
        for _ in 0..<3 {
            pump()
            try plane.seen()
            for index in 0..<poller.wait(timeoutMilliseconds: 0) {
                let token = Int(poller.event(at: index).token)
                if token == 0 { try accept() }
                links[token]?.canRead = true
                links[token]?.canWrite = true
            }
        }
        pump()
    }

    func pump() {
        var goesOn = true
        var rounds = 0
        while goesOn, rounds < 64 {
            goesOn = false
            rounds += 1
            for (token, link) in links {
                if link.pump() { goesOn = true }
                if link.isClosed { links[token] = nil }
            }
        }
    }

    private var state: String {
        links.values.map { link in
            "\(link.isCaller ? "caller" : "upstream") \(link.version?.rawValue ?? "-")"
                + (link.inputEnded ? " ended" : "") + (link.tlsFailure ?? "")
                + link.streams.suffix(3).map {
                    " [\($0.id) \($0.head?.status ?? -1) \($0.content.count) ended \($0.isEnded) cut \($0.isCut) sent \($0.isSent)]"
                }.joined()
        }.joined(separator: "; ")
    }

    // MARK: Requests

    /// The next request that has reached an upstream.
    ///
    /// - Parameter target: of the request, where several come in no order.
    func served(_ target: String? = nil, location: SourceLocation = #_sourceLocation) throws -> PeerStream {
        var found: PeerStream?
        try wait("a request upstream", location: location) {
            for link in upstreams {
                for stream in link.streams where !taken.contains(ObjectIdentifier(stream)) {
                    if target == nil || stream.head?.target == target { found = found ?? stream }
                }
            }
            return found != nil
        }
        let stream = try #require(found)
        taken.insert(ObjectIdentifier(stream))
        return stream
    }

    /// Whether a request has reached an upstream that ``served(location:)`` has not given out.
    var hasRequest: Bool {
        upstreams.contains { $0.streams.contains { !taken.contains(ObjectIdentifier($0)) } }
    }

    /// Waits for all of a message.
    func finish(_ stream: PeerStream, location: SourceLocation = #_sourceLocation) throws {
        try wait("the end of a message", location: location) { stream.isOver }
    }

    /// A request from a new connection that is answered with 200, to see that all is well.
    func check(on caller: PeerLink, location: SourceLocation = #_sourceLocation) throws {
        let call = caller.request("GET", "/check")
        let served = try served(location: location)
        #expect(served.head?.target == "/check", sourceLocation: location)
        served.answer()
        try finish(call, location: location)
        #expect(call.head?.status == 200 && call.content.text == "ok", sourceLocation: location)
    }

    /// Ends the worker: nothing is left in it.
    func end(location: SourceLocation = #_sourceLocation) throws {
        #expect(try plane.stop() == PlaneEnd(), sourceLocation: location)
    }
}

extension TLSIdentity {
    init(_ certificate: IssuedCertificate) throws {
        try self.init(
            chainPEM: certificate.certificatePEM, keyPEM: SecretBytes(certificate.privateKeyPEM.exposed().utf8))
    }
}

/// What a worker holds of its peers' content.
struct Holdings: Sendable {
    /// All buffers together.
    var octets = 0
    /// The largest single one.
    var largest = 0
    var what = ""

    mutating func add(_ count: Int, _ name: String) {
        octets += count
        if count > largest {
            largest = count
            what = name
        }
    }

    init(_ worker: Worker) {
        for slot in worker.slots {
            switch slot {
            case .caller(let connection):
                add(connection.wire.inbound.count, "caller inbound")
                add(connection.wire.outbound.count, "caller outbound")
                add(connection.wire.ciphertext.count, "caller ciphertext")
                if let session = connection.session { add(session, "caller") }
            case .upstream(let connection):
                add(connection.wire.inbound.count, "upstream inbound")
                add(connection.wire.outbound.count, "upstream outbound")
                add(connection.wire.ciphertext.count, "upstream ciphertext")
                if let session = connection.session { add(session, "upstream") }
            case .exchange(let exchange):
                add(exchange.kept.count, "kept")
            case .free, .mailbox, .listener:
                break
            }
        }
    }

    private mutating func add(_ session: HTTP2Session, _ name: String) {
        add(session.pending.count, "\(name) pending")
        for stream in session.streams {
            add(stream.outbound.count, "\(name) stream outbound")
            add(stream.inbound.count, "\(name) stream inbound")
        }
    }
}

extension Plane {
    /// Asks the worker, in its own thread.
    func inspect<Value: Sendable>(_ body: @escaping @Sendable (Worker) -> Value) throws -> Value {
        let box = PlaneBox<Value>()
        let mailbox = try Mailbox<Void>()
        post(
            .inspect {
                box.set(body($0))
                mailbox.post(())
            })
        let poller = try Poller(eventCapacity: 1)
        try poller.addListener(mailbox.descriptor, token: 0)
        try #require(poller.wait(timeoutMilliseconds: WireEnd.patience) > 0, "the worker does not answer")
        return try #require(box.value)
    }

    func holdings() throws -> Holdings { try inspect { Holdings($0) } }
}
