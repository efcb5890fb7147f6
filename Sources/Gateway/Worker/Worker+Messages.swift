import HTTP
import OpenSSLKit
import Proxy
import Reactor
import Telemetry

extension Worker {
    func receive(_ message: WorkerMessage) {
        switch message {
        case .credential(let grant, let state):
            grants.changed(grant, state)
        case .credentialAnswer(let waiter, let result):
            credentialAnswered(waiter, result)
        case .configuration(let configuration):
            reconfigure(configuration)
        case .resolved(let lookup, let result):
            if let runtime = lookups.removeValue(forKey: lookup) { addressesFound(runtime, result) }
        case .certificates(let name, let settings):
            certificatesChanged(name, settings)
        case .collectCounters(let reply):
            reply(counters.snapshot())
        case .inspect(let look):
            look(self)
        case .drain(let milliseconds):
            startDraining(within: milliseconds)
        }
    }

    /// Takes a configuration over. What fails leaves the old one as it is.
    func adopt(_ new: WorkerConfiguration) throws {
        var kept: [String: UpstreamPlace] = [:]
        for place in places { kept[place.settings.name] = place }
        var next: [UpstreamPlace] = []
        next.reserveCapacity(new.upstreams.count)
        for settings in new.upstreams {
            if let place = kept[settings.name], place.settings == settings {
                next.append(place)
                kept[settings.name] = nil
            } else if let template = settings.template {
                next.append(.captured(try CapturedUpstream(settings: settings, template: template)))
            } else {
                next.append(.fixed(try UpstreamRuntime(settings: settings)))
            }
        }
        places = next
        for place in kept.values {
            switch place {
            case .fixed(let runtime):
                retire(runtime)
            case .captured(let upstream):
                let runtimes = upstream.retire()
                capturedHosts -= runtimes.count
                for runtime in runtimes { retire(runtime) }
            }
        }
        configuration = new
        counters.extend(to: new.names)
        grants.adopt(new)
    }

    private func reconfigure(_ new: WorkerConfiguration) {
        // The snapshot was checked before it was sent; a CA file that has vanished since keeps the old configuration.
        do {
            try adopt(new)
        } catch {
            log.begin(
                level: .error, unixMilliseconds: WallClock.milliseconds(),
                message: "the new configuration was not taken over by a worker")
            log.field("reason", "\(error)")
            log.end()
        }
    }

    private func credentialAnswered(_ waiter: CredentialWaiter, _ result: Result<Credential, CredentialUnavailable>) {
        guard let id = waiters.removeValue(forKey: waiter.serial) else { return }
        counters.credentialWaitersChanged(by: -1)
        let exchange = exchanges[id]
        exchange.waiterSerial = 0
        exchange.credentialWait += MonotonicClock.nanoseconds() - exchange.credentialAskedAt
        stopWait(exchange, caller: .credential)
        guard let grant = exchange.grant else { return }
        grants.answered(grant, result, now: now)
        switch result {
        case .success where grant.isSuperseded:
            perform(exchange, exchange.machine.credentialUnavailable(.unchanged))
        case .success(let credential):
            exchange.credential = credential
            perform(exchange, exchange.machine.credentialReady(generation: credential.generation))
        case .failure(let unavailable):
            perform(exchange, exchange.machine.credentialUnavailable(unavailable.refusal))
        }
    }

    /// Callers that connect from now on are shown the new certificates.
    private func certificatesChanged(_ name: String, _ settings: TLSServerSettings) {
        for slot in listenerSlots {
            guard case .listener(let listener) = slots[slot], listener.settings.name == name else { continue }
            do {
                listener.context = try TLSServerContext(settings)
            } catch {
                log.begin(
                    level: .error, unixMilliseconds: WallClock.milliseconds(),
                    message: "new certificates were not taken over by a worker")
                log.field("listener", name)
                log.field("reason", error.reason)
                log.end()
            }
        }
    }

    // MARK: Draining

    private func startDraining(within milliseconds: UInt64) {
        guard !isDraining else {
            drainDeadline = min(drainDeadline, now + milliseconds)
            return
        }
        isDraining = true
        drainDeadline = now + milliseconds
        listenerSlots.removeAll()
        for slot in slots.indices {
            switch slots[slot] {
            case .listener(let listener):
                poller.remove(listener.descriptor)
                listener.descriptor.close()
                freeSlot(slot)
            case .caller(let connection):
                switch connection.mode {
                case .reading:
                    if connection.wire.inbound.isEmpty { closeAfterFlush(connection, linger: false) }
                case .multiplexed: drainSession(connection)
                case .handshaking, .exchange, .closing, .lingering, .closed: break
                }
            case .mailbox:
                arm(slot: slot, at: drainDeadline)
            case .upstream(let connection):
                if connection.state == .idle || connection.state == .multiplexed && connection.streamCount == 0 {
                    closeUpstream(connection)
                }
            case .exchange, .free:
                break
            }
        }
    }

    /// At the worker's end, when no exchange is left.
    func closeUpstreams() {
        for slot in slots.indices {
            if case .upstream(let connection) = slots[slot] { closeUpstream(connection) }
        }
    }

    func checkDrained() {
        guard callerCount > 0 else {
            isStopped = true
            return
        }
        guard now >= drainDeadline else { return }
        for slot in slots.indices {
            if case .caller(let connection) = slots[slot] { callerGone(connection) }
        }
        isStopped = true
    }

    // MARK: Log

    func flushLog() {
        flush(&accessLog, to: services.log)
        flush(&log, to: services.messages)
    }

    private func flush(_ lines: inout LineWriter, to sink: LogSink) {
        guard !lines.bytes.isEmpty else { return }
        let dropped = sink.write(lines.bytes)
        if dropped > 0 { counters.logLinesDropped(dropped) }
        lines.removeAll()
    }
}
