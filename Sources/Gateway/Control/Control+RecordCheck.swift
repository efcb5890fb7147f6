import Logging
import Telemetry
import TokenStore

/// Drives the check of the records of an embedded store.
extension Control {
    /// What several gateways share looks after itself: a database has checks of its own.
    func beginRecordCheck() {
        guard let store, !store.isShared else { return }
        perform(recordCheck.begin())
    }

    private func perform(_ actions: [RecordCheck.Action]) {
        for action in actions {
            switch action {
            case .verify(let after, let limit): verifyRecords(after: after, limit: limit)
            case .wait(let time):
                recordCheckTimer = loop.schedule(after: UInt64(max(0, time))) { [unowned self] in
                    recordCheckTimer = nil
                    guard !isDraining else { return }
                    perform(recordCheck.timerFired())
                }
            case .tell(let unreadable):
                for (grant, reason) in unreadable.sorted(by: { $0.key < $1.key }) {
                    logger.error(
                        "a record in the store is damaged", metadata: ["grant": "\(grant)", "reason": "\(reason)"])
                }
            case .done(let records, let damaged):
                let level: Logger.Level = damaged > 0 ? .error : .info
                logger.log(
                    level: level, "all records of the store were checked",
                    metadata: ["records": "\(records)", "damaged": "\(damaged)"])
            }
        }
    }

    private func verifyRecords(after: String?, limit: Int) {
        withStore(.read) { store throws(StoreError) in
            try store.verify(after: after, limit: limit)
        } then: { [unowned self] result in
            guard !isDraining else { return }
            switch result {
            case .success(let page):
                perform(
                    recordCheck.pageArrived(
                        checked: page.checked, last: page.last, unreadable: page.unreadable.mapValues(\.message)))
            case .failure: perform(recordCheck.failed())
            }
        }
    }
}
