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
            case .askDue(let after, let before, let limit): askDue(after: after, before: before, limit: limit)
            case .askNext(let after): askNext(after: after)
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

    private func askDue(after: DuePosition?, before: Int64, limit: Int) {
        withStore(.read) { store throws(StoreError) in
            try store.due(after: after, before: before, limit: limit).map { DueGrant(grant: $0.grant, dueAt: $0.dueAt) }
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

    private func askNext(after: DuePosition?) {
        withStore(.read) { store throws(StoreError) in
            try store.nextDue(after: after)
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

    // MARK: Latched grants

    /// At the start, and whenever what a provider refused may be mended.
    func walkOverLatched() {
        for template in templates.keys {
            var walk = latchedWalks.removeValue(forKey: template) ?? LatchedWalk()
            let actions = walk.begin()
            latchedWalks[template] = walk
            perform(actions, walkOver: template)
        }
    }

    private func perform(_ actions: [LatchedWalk.Action], walkOver template: String) {
        for action in actions {
            switch action {
            case .readPage(let after, let limit): readLatched(template, after: after, limit: limit)
            case .load(let grant):
                // One that is loaded has heard of the change by itself.
                let isNeeded = grants[grant] == nil && !isDraining
                if !isNeeded || entry(loading: grant) == nil { latchedWalkEnded(grant) }
            case .wait(let time):
                loop.schedule(after: UInt64(max(0, time))) { [unowned self] in
                    guard !isDraining else { return }
                    step(walkOver: template) { $0.timerFired() }
                }
            }
        }
    }

    private func readLatched(_ template: String, after: String?, limit: Int) {
        let prefix = TemplatedName.prefix(of: template)
        withStore(.read) { store throws(StoreError) in
            try store.names(
                prefix: prefix, state: GrantStateLabel.configurationError.rawValue, after: after, limit: limit)
        } then: { [unowned self] result in
            switch result {
            case .success(let names): step(walkOver: template) { $0.pageArrived(names) }
            case .failure: step(walkOver: template) { $0.failed() }
            }
        }
    }

    private func step(walkOver template: String, _ event: (inout LatchedWalk) -> [LatchedWalk.Action]) {
        guard var walk = latchedWalks[template] else { return }
        let actions = event(&walk)
        latchedWalks[template] = walk.isOver ? nil : walk
        perform(actions, walkOver: template)
    }

    /// The grant rests again, or is gone.
    func latchedWalkEnded(_ grant: String) {
        guard !latchedWalks.isEmpty, let name = TemplatedName(grant),
            latchedWalks[name.template]?.active.contains(grant) == true
        else { return }
        step(walkOver: name.template) { $0.ended(grant) }
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
            var page = try store.states(prefix: prefix, after: after, limit: limit)
            let notes = try Self.missingNotes(page.unnoted, store)
            for note in notes { page.states[note.state, default: 0] += 1 }
            // Counted all the same where they cannot be noted: on a full disk, say.
            try? store.noteStates(notes)
            return page
        } then: { [unowned self] result in
            switch result {
            case .success(let page):
                // A newer program may know other words.
                let states = page.states.compactMap { word, count in GrantStateLabel(rawValue: word).map { ($0, count) }
                }
                perform(
                    census.pageArrived(
                        template: template, states: Dictionary(uniqueKeysWithValues: states), count: page.count,
                        last: page.last, now: moment))
            case .failure: perform(census.failed(now: moment))
            }
        }
    }

    /// Of records that were written before states were kept beside them.
    private static func missingNotes(
        _ grants: [String], _ store: any TokenStore
    ) throws(StoreError) -> [StateNote] {
        var notes: [StateNote] = []
        for grant in grants {
            do throws(StoreError) {
                guard let stored = try store.read(grant: grant),
                    let record = GrantRecord(payload: stored.payload, revision: stored.generation)
                else { continue }
                let state = GrantStateLabel(record.state).rawValue
                notes.append(StateNote(grant: grant, generation: stored.generation, state: state))
            } catch {
                // One that cannot be opened is told by the readiness, when somebody needs it.
                guard error.concernsOneRecord else { throw error }
            }
        }
        return notes
    }
}

private struct DueGrant: Sendable {
    var grant: String
    var dueAt: Int64
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
