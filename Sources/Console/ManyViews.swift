package import Telemetry

/// Which grants are listed.
package struct GrantsQuery: Sendable, Equatable {
    /// `nil`: the grants of the file.
    package var template: String?
    /// Only names behind this one, in the order of names. For a template: with or without its prefix.
    package var after: String?
    package var limit: Int

    package init(template: String? = nil, after: String? = nil, limit: Int = ConsoleLimits.pageGrants) {
        self.template = template
        self.after = after
        self.limit = limit
    }
}

/// Body of `POST /api/v1/grants`.
package struct CreateGrantOrder: Codable, Sendable, Equatable {
    package var name: String
    package var template: String
    /// The operator's note.
    package var label: String?
    /// For templated URLs.
    package var variables: [String: String]?

    package init(name: String, template: String, label: String? = nil, variables: [String: String]? = nil) {
        self.name = name
        self.template = template
        self.label = label
        self.variables = variables
    }

    /// Why it cannot be taken.
    package var refusal: ConsoleFailure? {
        if let problem = TemplatedName.problem(of: name) { return ConsoleFailure(.invalidName, detail: problem) }
        if let problem = labelProblem { return ConsoleFailure(.invalidLabel, detail: problem) }
        return variableProblem.map { ConsoleFailure(.invalidVariable, detail: $0) }
    }

    private var labelProblem: String? {
        guard let label else { return nil }
        if label.utf8.count > ConsoleLimits.labelBytes {
            return "A label has at most \(ConsoleLimits.labelBytes) bytes."
        }
        let isPlain = !label.unicodeScalars.contains { $0.properties.generalCategory == .control }
        return isPlain ? nil : "A label is one line without control characters."
    }

    private var variableProblem: String? {
        guard let variables else { return nil }
        guard variables.count <= ConsoleLimits.variables else {
            return "A grant has at most \(ConsoleLimits.variables) variables."
        }
        for (name, value) in variables.sorted(by: { $0.key < $1.key }) {
            let isPlain = name.utf8.allSatisfy { byte in
                switch byte {
                case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                    UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "_"), UInt8(ascii: "-"):
                    true
                default: false
                }
            }
            guard isPlain, (1...64).contains(name.utf8.count) else {
                return "A variable's name has 1 to 64 letters, digits, _ and -."
            }
            guard value.utf8.count <= ConsoleLimits.variableBytes, value.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7F })
            else { return "The variable \(name) has a value that is too long or is not plain text without spaces." }
        }
        return nil
    }
}

/// The grants of one template, counted.
package struct TemplateView: Codable, Sendable, Equatable {
    package var name: String
    package var provider: String
    package var grants: Int
    /// How many are in which state, as of `countedAt`; empty before the first count.
    package var states: [String: Int]
    package var countedAt: Timestamp?
    package var limit: Int

    package init(
        name: String, provider: String, grants: Int, states: [String: Int], countedAt: Timestamp?, limit: Int
    ) {
        self.name = name
        self.provider = provider
        self.grants = grants
        self.states = states
        self.countedAt = countedAt
        self.limit = limit
    }

    private enum CodingKeys: String, CodingKey {
        case name
        case provider
        case grants
        case states
        case countedAt = "counted_at"
        case limit
    }
}

/// The store, as far as an operator wants to know.
package struct StoreView: Codable, Sendable, Equatable {
    /// Several replicas use it.
    package var shared: Bool
    package var open: Bool
    package var reason: String?
    /// Grants whose machines are in memory.
    package var grantsLoaded: Int
    /// This process's name in the store.
    package var instance: String
    /// The replicas that are alive, where that is known.
    package var instances: [String]?

    package init(
        shared: Bool, open: Bool, reason: String?, grantsLoaded: Int, instance: String, instances: [String]?
    ) {
        self.shared = shared
        self.open = open
        self.reason = reason
        self.grantsLoaded = grantsLoaded
        self.instance = instance
        self.instances = instances
    }

    private enum CodingKeys: String, CodingKey {
        case shared
        case open
        case reason
        case grantsLoaded = "grants_loaded"
        case instance
        case instances
    }
}

/// Body of `POST /api/v1/rekey`.
package struct RekeyOrder: Codable, Sendable, Equatable {
    /// The id of a key to take off the store's list when nothing is sealed under it any more.
    package var retire: String?

    package init(retire: String? = nil) {
        self.retire = retire
    }
}

/// Answer to `GET /api/v1/keys` and `POST /api/v1/rekey`.
package struct KeysReply: Codable, Sendable, Equatable {
    package struct Key: Codable, Sendable, Equatable {
        package var id: String
        /// New values are sealed under it.
        package var active: Bool
        /// The configuration has it. Rows of a key that it lacks cannot be opened here.
        package var configured: Bool
        package var rows: Int

        package init(id: String, active: Bool, configured: Bool, rows: Int) {
            self.id = id
            self.active = active
            self.configured = configured
            self.rows = rows
        }
    }

    package struct Progress: Codable, Sendable, Equatable {
        package enum State: String, Codable, Sendable {
            case running, done, failed
        }

        package var state: State
        package var resealed: Int
        /// Why it failed; calling it again goes on where it ended.
        package var reason: String?

        package init(state: State, resealed: Int, reason: String? = nil) {
            self.state = state
            self.resealed = resealed
            self.reason = reason
        }
    }

    package var keys: [Key]
    /// The last rekey of this process.
    package var rekey: Progress?

    package init(keys: [Key], rekey: Progress? = nil) {
        self.keys = keys
        self.rekey = rekey
    }
}
