import Console
import OAuth
import Reactor
import Telemetry
import TokenStore

/// Drives the scheduler of due grants and the census.
extension Control {
    func perform(_ actions: [DueScheduler.Action]) {
        for action in actions {
            switch action {
            case .askDue(let before, let limit): askDue(before: before, limit: limit)
            case .askNext: askNext()
            case .load(let grant): loadDue(grant)
            case .armTimer(let time):
                if let timer = dueTimer { loop.cancel(timer) }
                dueTimer = loop.schedule(after: UInt64(max(0, time - moment.monotonic))) { [unowned self] in
                    dueTimer = nil
                    guard !isDraining else { return }
                    perform(due.timerFired(now: moment))
                }
            }
        }
    }

    private func askDue(before: Int64, limit: Int) {
        withStore(.read) { store throws(StoreError) in
            try store.due(before: before, limit: limit).map { DueGrant(grant: $0.grant, dueAt: $0.dueAt) }
        } then: { [unowned self] result in
            guard case .success(let list) = result else {
                perform(due.askFailed(now: moment))
                return
            }
            let isAlone = !(store?.isShared ?? false)
            let actions = due.dueArrived(list.map { ($0.grant, $0.dueAt) }, limit: limit, now: moment) { grant in
                if grants[grant] != nil { return .loaded }
                guard let name = TemplatedName(grant), let template = templates[name.template] else { return .orphan }
                return .resting(
                    provider: template.providerName, isOurs: isAlone || presence.prefers(grant))
            }
            perform(actions)
        }
    }

    private func askNext() {
        withStore(.read) { store throws(StoreError) in
            try store.nextDue()
        } then: { [unowned self] result in
            switch result {
            case .success(let next): perform(due.nextArrived(next, now: moment))
            case .failure: perform(due.askFailed(now: moment))
            }
        }
    }

    private func loadDue(_ grant: String) {
        guard !isDraining, entry(loading: grant) != nil else {
            perform(due.ended(grant, nextDue: nil, now: moment))
            return
        }
    }

    // MARK: Census

    func perform(_ actions: [GrantCensus.Action]) {
        for action in actions {
            switch action {
            case .readPage(let template, let after, let limit): countPage(template, after: after, limit: limit)
            case .armTimer(let time):
                if let timer = censusTimer { loop.cancel(timer) }
                censusTimer = loop.schedule(after: UInt64(max(0, time - moment.monotonic))) { [unowned self] in
                    censusTimer = nil
                    guard !isDraining else { return }
                    perform(census.timerFired(now: moment))
                }
            }
        }
    }

    private func countPage(_ template: String, after: String?, limit: Int) {
        let prefix = TemplatedName.prefix(of: template)
        withStore(.read) { store throws(StoreError) in
            let names = try store.names(prefix: prefix, after: after, limit: limit)
            var page = CensusPage(count: names.count, last: names.last)
            for name in names {
                // One that cannot be opened is counted by the readiness, when somebody needs it.
                guard let stored = try? store.read(grant: name),
                    let record = GrantRecord(payload: stored.payload, revision: stored.generation)
                else { continue }
                page.states[GrantStateLabel(record.state), default: 0] += 1
            }
            return page
        } then: { [unowned self] result in
            switch result {
            case .success(let page):
                perform(
                    census.pageArrived(
                        template: template, states: page.states, count: page.count, last: page.last, now: moment))
            case .failure: perform(census.failed(now: moment))
            }
        }
    }
}

private struct DueGrant: Sendable {
    var grant: String
    var dueAt: Int64
}

private struct CensusPage: Sendable {
    var count: Int
    var last: String?
    var states: [GrantStateLabel: Int] = [:]
}

extension GrantStateLabel {
    init(_ state: GrantRecord.State) {
        self =
            switch state {
            case .notConnected: .notConnected
            case .active: .active
            case .reauthorizationRequired: .reauthorizationRequired
            case .configurationError: .configurationError
            case .revoked: .revoked
            }
    }
}
