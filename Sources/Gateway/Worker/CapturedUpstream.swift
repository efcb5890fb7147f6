import OpenSSLKit
import Proxy

/// An upstream of the configuration, as a worker has it.
enum UpstreamPlace {
    case fixed(UpstreamRuntime)
    case captured(CapturedUpstream)

    var settings: UpstreamSettings {
        switch self {
        case .fixed(let runtime): runtime.settings
        case .captured(let upstream): upstream.settings
        }
    }

    /// Of each host.
    var runtimes: [UpstreamRuntime] {
        switch self {
        case .fixed(let runtime): [runtime]
        case .captured(let upstream): Array(upstream.runtimes.values)
        }
    }
}

/// Where a grant's credential leads at an upstream whose URL has captured values in it. Made once for a credential.
final class CapturedPlace {
    let upstream: CapturedUpstream
    /// Of the credential.
    let key: UInt64
    let runtime: UpstreamRuntime
    /// The host as for all its grants, the path as for this one.
    let identity: UpstreamIdentity

    init(upstream: CapturedUpstream, key: UInt64, runtime: UpstreamRuntime, identity: UpstreamIdentity) {
        self.upstream = upstream
        self.key = key
        self.runtime = runtime
        self.identity = identity
    }
}

/// An upstream whose host comes of what a grant has captured: each host has addresses, pools and TLS sessions of its own,
/// made when a credential first leads there. They share the settings, and the TLS context, which is what they verify by
/// and present: no file is read for a new host.
final class CapturedUpstream {
    let settings: UpstreamSettings
    let template: UpstreamTemplate
    private let contexts: UpstreamContexts
    /// By host.
    private(set) var runtimes: [String: UpstreamRuntime] = [:]
    /// The configuration does not have it any more.
    private(set) var isRetired = false

    init(settings: UpstreamSettings, template: UpstreamTemplate) throws(TLSConfigurationError) {
        self.settings = settings
        self.template = template
        contexts = try UpstreamContexts(settings)
    }

    /// The runtime of a host that the template gave, and whether it is new.
    func runtime(of host: String, now: UInt64) -> (UpstreamRuntime, isNew: Bool) {
        if let known = runtimes[host] {
            known.usedAt = now
            return (known, false)
        }
        var own = settings
        own.host = host
        own.allowsPrivate = settings.allowsPrivate || template.isWrittenOut(host)
        if settings.identity.authority.isEmpty {
            own.identity.authority = Array(host.utf8)
            let usual: UInt16 = settings.tls == nil ? 80 : 443
            if settings.port != usual { own.identity.authority += Array(":\(settings.port)".utf8) }
        }
        let runtime = UpstreamRuntime(settings: own, contexts: contexts)
        runtime.usedAt = now
        runtime.isRetired = isRetired
        if !isRetired { runtimes[host] = runtime }
        return (runtime, true)
    }

    /// The host that no request has gone to for the longest time.
    func leastUsed(except newest: UpstreamRuntime) -> UpstreamRuntime? {
        runtimes.values.filter { $0 !== newest }.min { $0.usedAt < $1.usedAt }
    }

    func drop(_ runtime: UpstreamRuntime) {
        runtimes[runtime.settings.host] = nil
    }

    /// Gives all its runtimes out, for their connections to be closed.
    func retire() -> [UpstreamRuntime] {
        isRetired = true
        defer { runtimes = [:] }
        return Array(runtimes.values)
    }
}

/// Upstreams whose hosts come with credentials.
extension Worker {
    /// Hosts of all such upstreams together that are remembered.
    static let capturedHostLimit = 1000
    /// A host that no request has gone to for so long is forgotten when another one comes; milliseconds.
    static let capturedHostIdle: UInt64 = 10 * 60_000

    /// Sets where the attempt goes, from the credential that it will carry; the reason when that leads nowhere.
    func findPlace(_ exchange: Exchange) -> StaticString? {
        guard let upstream = exchange.captured else { return nil }
        exchange.runtime = nil
        exchange.place = nil
        guard let credential = exchange.credential, let grant = exchange.grant else {
            return "the route has no grant that names the upstream's host"
        }
        if let known = grant.upstreamPlace, known.key == credential.key, known.upstream === upstream,
            !known.runtime.isRetired
        {
            known.runtime.usedAt = now
            exchange.place = known
            exchange.runtime = known.runtime
            return nil
        }
        do {
            let found = try upstream.template.place(credential.captured)
            let runtime = capturedRuntime(upstream, found.host)
            var identity = runtime.settings.identity
            identity.basePath = found.basePath
            let place = CapturedPlace(upstream: upstream, key: credential.key, runtime: runtime, identity: identity)
            grant.upstreamPlace = place
            exchange.place = place
            exchange.runtime = runtime
            return nil
        } catch {
            return error.reason
        }
    }

    private func capturedRuntime(_ upstream: CapturedUpstream, _ host: String) -> UpstreamRuntime {
        let (runtime, isNew) = upstream.runtime(of: host, now: now)
        guard isNew, !upstream.isRetired else { return runtime }
        capturedHosts += 1
        guard capturedHosts > capturedHostLimit || now >= capturedSweepAt else { return runtime }
        capturedSweepAt = now &+ 60_000
        for case .captured(let other) in places {
            for old in other.runtimes.values where now &- old.usedAt > Self.capturedHostIdle { drop(old, of: other) }
        }
        while capturedHosts > capturedHostLimit, dropLeastUsed(except: runtime) {}
        return runtime
    }

    private func dropLeastUsed(except newest: UpstreamRuntime) -> Bool {
        var found: (CapturedUpstream, UpstreamRuntime)?
        for case .captured(let upstream) in places {
            guard let runtime = upstream.leastUsed(except: newest) else { continue }
            if found.map({ runtime.usedAt < $0.1.usedAt }) ?? true { found = (upstream, runtime) }
        }
        guard let found else { return false }
        drop(found.1, of: found.0)
        return true
    }

    private func drop(_ runtime: UpstreamRuntime, of upstream: CapturedUpstream) {
        upstream.drop(runtime)
        capturedHosts -= 1
        retire(runtime)
    }

    /// Its connections are closed as they become idle; exchanges that have it go on.
    func retire(_ runtime: UpstreamRuntime) {
        runtime.isRetired = true
        for slot in runtime.pool.takeIdle() + runtime.streams.drainAll() {
            if case .upstream(let connection) = slots[slot] { closeUpstream(connection) }
        }
    }
}
