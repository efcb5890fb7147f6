import Configuration
import Console
import OAuth
import Proxy

/// A grant whose tokens come from a provider, with its machine in memory. Confined to the control thread.
final class GrantEntry {
    /// How asking the store for the record ended.
    enum ReadResult {
        case read
        /// A templated grant that nobody has made, or that was deleted.
        case absent
        case failed
    }

    let name: String
    var machine: GrantMachine
    var providerName: String
    var header: Snapshot.CredentialHeader
    /// nil: a grant of the file.
    let template: String?
    var timer: ControlLoop.Token?
    var credential: Proxy.Credential?
    /// Actions that are still to be performed; an event that comes while they are appends its own.
    var queue: [GrantAction] = []
    var isPerforming = false
    var lastConsent: GrantView.LastConsent?
    /// The store has been asked for its record, and has answered or failed.
    var isRead = false
    /// As the store has it, to the machine's knowledge; 0: it has none.
    var revision: UInt64 { machine.storedRevision }
    /// The operator's note and what fills templated URLs, out of the record.
    var label: String?
    var variables: [String: String] = [:]
    /// Of requests that wait.
    var waiters: Set<WaiterID> = []
    /// Monotonic milliseconds at which a request or an operator last named it; nil: only its own time has.
    var lastUsed: Int64?
    /// A worker has asked for it, so that workers must hear what is new. Always true for grants of the file.
    var isKnownToWorkers: Bool
    /// Once is enough: it is so with every token of the provider's.
    var hasToldUnknownLifetime = false
    /// Its record is being made: that there is none yet does not end it.
    var isBeingCreated = false
    /// So many grants of its template are there that it was not made; nil: it is not for want of room.
    var siblings: Int?
    var whenRead: [(ReadResult) -> Void] = []

    init(
        name: String, machine: GrantMachine, providerName: String, header: Snapshot.CredentialHeader,
        template: String? = nil
    ) {
        self.name = name
        self.machine = machine
        self.providerName = providerName
        self.header = header
        self.template = template
        isKnownToWorkers = template == nil
    }

    /// Takes over what the pages show of a record.
    func note(_ record: GrantRecord?) {
        label = record?.label
        variables = (record?.variables ?? [:]).merging(record?.captured ?? [:]) { $1 }
    }
}

/// A `[grant_template.NAME]`, as its grants use it.
struct GrantTemplate {
    var name: String
    var providerName: String
    /// Of a grant, but for its name.
    var settings: GrantSettings
    var provider: ProviderSettings
    var header: Snapshot.CredentialHeader
    var maxGrants: Int
    /// Variables that each grant must be given.
    var neededVariables: [Snapshot.RequiredVariable]

    func settings(for grant: String) -> GrantSettings {
        var copy = settings
        copy.name = grant
        return copy
    }
}

/// Look-ups by name in the snapshot in force.
struct SnapshotIndex {
    var grants: [String: Snapshot.Grant] = [:]
    /// The routes of each grant of the file.
    var routes: [String: [String]] = [:]
    /// The routes whose grants come from a template.
    var templateRoutes: [String: [String]] = [:]

    /// The grants of the file that exchange this one's token for theirs.
    var exchanges: [String: [String]] = [:]

    init() {}

    init(_ snapshot: Snapshot) {
        for grant in snapshot.grants {
            grants[grant.name] = grant
            guard case .tokenExchange(let exchange) = grant.acquisition else { continue }
            for case .grant(let subject)? in [exchange.subject, exchange.actor] {
                exchanges[subject, default: []].append(grant.name)
            }
        }
        for route in snapshot.routes {
            switch route.grantSelection {
            case .none: break
            case .fixed(let name): routes[name, default: []].append(route.name)
            case .template(let template, _): templateRoutes[template, default: []].append(route.name)
            }
        }
    }
}
