/// What is known of one grant at the moment of a scrape. Times are Unix seconds; `nil` is not known.
package struct GrantMetrics: Sendable {
    package var name: String
    package var state: GrantStateLabel
    package var generation: UInt64
    package var accessTokenExpiry: Int64?
    package var refreshTokenExpiry: Int64?
    package var lastRefreshSuccess: Int64?
    package var nextAttempt: Int64?
    /// How many of the scopes that were asked for are not granted.
    package var missingScopes: Int

    package init(
        name: String, state: GrantStateLabel, generation: UInt64, accessTokenExpiry: Int64? = nil,
        refreshTokenExpiry: Int64? = nil, lastRefreshSuccess: Int64? = nil, nextAttempt: Int64? = nil,
        missingScopes: Int = 0
    ) {
        self.name = name
        self.state = state
        self.generation = generation
        self.accessTokenExpiry = accessTokenExpiry
        self.refreshTokenExpiry = refreshTokenExpiry
        self.lastRefreshSuccess = lastRefreshSuccess
        self.nextAttempt = nextAttempt
        self.missingScopes = missingScopes
    }
}

/// The grants that were made from one template, counted: one of many has no series of its own.
package struct TemplateMetrics: Sendable {
    package var name: String
    package var states: [GrantStateLabel: Int]
    /// Those whose machines are in memory.
    package var loaded: Int

    package init(name: String, states: [GrantStateLabel: Int], loaded: Int) {
        self.name = name
        self.states = states
        self.loaded = loaded
    }
}

/// A listener's certificate. Of several with the same labels the page shows the one that expires first.
package struct CertificateMetrics: Sendable {
    package var listener: String
    /// Its first DNS name, or its subject.
    package var name: String
    /// Unix seconds.
    package var expiry: Int64

    package init(listener: String, name: String, expiry: Int64) {
        self.listener = listener
        self.name = name
        self.expiry = expiry
    }
}

/// Facts about the process and its build, read by the driver.
package struct ProcessFacts: Sendable {
    package var version: String
    /// The text of the loaded library, for example `OpenSSL 3.0.22`.
    package var openSSL: String
    /// Unix seconds.
    package var startTime: Double
    package var residentBytes: UInt64?
    package var openFileDescriptors: Int?
    package var maxFileDescriptors: Int?
    package var cpuSeconds: Double?
    package var workers: Int

    package init(
        version: String, openSSL: String, startTime: Double, workers: Int, residentBytes: UInt64? = nil,
        openFileDescriptors: Int? = nil, maxFileDescriptors: Int? = nil, cpuSeconds: Double? = nil
    ) {
        self.version = version
        self.openSSL = openSSL
        self.startTime = startTime
        self.workers = workers
        self.residentBytes = residentBytes
        self.openFileDescriptors = openFileDescriptors
        self.maxFileDescriptors = maxFileDescriptors
        self.cpuSeconds = cpuSeconds
    }
}

/// All that one metrics page shows.
package struct MetricsInput: Sendable {
    package var totals: CounterTotals
    package var control: ControlCounters
    package var grants: [GrantMetrics]
    package var process: ProcessFacts
    package var certificates: [CertificateMetrics]
    /// Whether the file that was read last is the one in force.
    package var lastReloadSuccessful: Bool
    /// Unix seconds of the last configuration that was taken into force.
    package var lastReloadSuccess: Int64
    package var isDraining: Bool
    package var isReady: Bool
    package var templates: [TemplateMetrics] = []
    /// nil: there is no store.
    package var storeWorks: Bool?
    package var isRekeying = false
    /// nil: there is no store, or one that checks itself.
    package var damagedRecords: Int?

    package init(
        totals: CounterTotals, control: ControlCounters, grants: [GrantMetrics], process: ProcessFacts,
        certificates: [CertificateMetrics] = [], lastReloadSuccessful: Bool, lastReloadSuccess: Int64, isDraining: Bool,
        isReady: Bool
    ) {
        self.totals = totals
        self.control = control
        self.grants = grants
        self.process = process
        self.certificates = certificates
        self.lastReloadSuccessful = lastReloadSuccessful
        self.lastReloadSuccess = lastReloadSuccess
        self.isDraining = isDraining
        self.isReady = isReady
    }
}
