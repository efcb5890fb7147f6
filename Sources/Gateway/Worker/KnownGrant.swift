import Proxy

/// What a worker knows of one grant; worker thread only. Exchanges hold it from their routing to their end, so that what
/// control says of the grant in between reaches them.
final class KnownGrant {
    /// A grant's name in the file, or `template:name`.
    let id: String
    /// What makes its tokens these and no others: under the same id another configuration may mean other tokens.
    let source: String?
    var state: CredentialState = .unknown
    /// Its id means other tokens by now: those are not for the exchanges that hold this.
    var isSuperseded = false
    /// Until then nobody has made a grant of this name; monotonic milliseconds.
    var missingUntil: UInt64 = 0
    /// Of the worker's table of templated grants; -1: it is not there.
    var tablePlace = -1
    /// Where the credential leads that it was last asked for.
    var upstreamPlace: CapturedPlace?

    init(id: String, source: String?) {
        self.id = id
        self.source = source
    }
}

/// What a worker knows of grants: those of the file for good, those made from templates as long as there is room.
struct KnownGrants {
    /// By the index that routes use.
    private(set) var fixed: [KnownGrant] = []
    private var byName: [String: KnownGrant] = [:]
    private var table: NameTable
    /// By their places in `table`.
    private var templated: [KnownGrant?] = []

    /// What is remembered of grants that no exchange uses.
    static let capacity = 10_000
    /// How long it is believed that there is no grant of a name. One that is made here is told of; one that is made at
    /// another replica is found after this, at the latest.
    static let missingMilliseconds: UInt64 = 1000

    init(capacity: Int = KnownGrants.capacity) {
        table = NameTable(capacity: capacity)
    }

    /// Grants made from templates that are known.
    var templatedCount: Int { table.count }

    // MARK: Requests

    /// The grant of a template, for an exchange; ``letGo(_:)`` must follow. Allocates only for one that is not known.
    mutating func take(_ id: UnsafeRawBufferPointer, of template: WorkerConfiguration.GrantTemplate) -> KnownGrant {
        if let place = table.find(id), let grant = templated[place] {
            table.use(place)
            return grant
        }
        let grant = KnownGrant(id: String(decoding: id, as: UTF8.self), source: template.source)
        let place = table.add(id)
        table.use(place)
        grant.tablePlace = place
        if place == templated.count { templated.append(grant) } else { replace(place, by: grant) }
        return grant
    }

    private mutating func replace(_ place: Int, by grant: KnownGrant) {
        templated[place]?.tablePlace = -1
        templated[place] = grant
    }

    mutating func letGo(_ grant: KnownGrant) {
        let place = grant.tablePlace
        guard place >= 0 else { return }
        // Names that callers have made up do not push out those that are in use.
        table.letGo(place, isWorthless: grant.missingUntil > 0)
        if !table.isTaken(place) { forget(place) }
    }

    private mutating func forget(_ place: Int) {
        templated[place]?.tablePlace = -1
        templated[place] = nil
    }

    // MARK: News

    /// What control says of a grant. Of those made from templates only the ones that are known here are of interest.
    mutating func changed(_ id: String, _ state: CredentialState) {
        if let grant = find(id) {
            grant.state = state
            grant.missingUntil = 0
        } else if !id.utf8.contains(0x3A) {
            let grant = KnownGrant(id: id, source: nil)
            grant.state = state
            byName[id] = grant
        }
    }

    func find(_ id: String) -> KnownGrant? {
        guard id.utf8.contains(0x3A) else { return byName[id] }
        var id = id
        return id.withUTF8 { table.find(UnsafeRawBufferPointer($0)) }.flatMap { templated[$0] }
    }

    /// What control has answered for an exchange that holds `grant`; a worker that had forgotten the grant may have
    /// missed the news of it.
    func answered(_ grant: KnownGrant, _ result: Result<Credential, CredentialUnavailable>, now: UInt64) {
        guard grant.tablePlace >= 0, !grant.isSuperseded else { return }
        switch (result, grant.state) {
        case (.success(let credential), .unknown):
            grant.state = .ready(credential)
            grant.missingUntil = 0
        case (.success(let credential), .ready(let known)) where known.generation < credential.generation:
            grant.state = .ready(credential)
        case (.failure(let unavailable), .unknown) where unavailable.refusal == .unknownGrant:
            grant.missingUntil = now &+ Self.missingMilliseconds
        case (.success, .ready), (.success, .refused), (.failure, .unknown), (.failure, .ready), (.failure, .refused):
            break
        }
    }

    // MARK: Configuration

    /// Takes a configuration over. What is known of a grant stays known, unless its id means other tokens now.
    mutating func adopt(_ configuration: WorkerConfiguration) {
        fixed = configuration.grants.map { name in
            let source = configuration.grantSources[name]
            guard let known = byName[name], known.source == source || source == nil else {
                return renew(name, source)
            }
            return known
        }
        let sources = Dictionary(configuration.templates.map { ($0.name, $0.source) }) { first, _ in first }
        for place in templated.indices {
            guard let grant = templated[place], let name = grant.id.split(separator: ":").first,
                let source = sources[String(name)], source != grant.source
            else { continue }
            grant.isSuperseded = true
            table.remove(place)
            forget(place)
        }
    }

    private mutating func renew(_ name: String, _ source: String?) -> KnownGrant {
        let grant = KnownGrant(id: name, source: source)
        if let old = byName.updateValue(grant, forKey: name) {
            old.isSuperseded = true
            grant.state = old.state
        }
        return grant
    }
}
