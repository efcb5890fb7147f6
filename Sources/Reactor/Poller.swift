import CLinux

/// What a descriptor is ready for.
@usableFromInline
package struct Readiness: OptionSet, Hashable, Sendable {
    @usableFromInline package let rawValue: UInt32

    @inlinable
    package init(rawValue: UInt32) {
        self.rawValue = rawValue
    }

    // The kernel's bits, so that no translation is needed; CLinux.c asserts that they are.
    /// Bytes, a connection to accept, or the end of the stream can be read.
    @inlinable package static var readable: Readiness { Readiness(rawValue: 0x001) }
    @inlinable package static var writable: Readiness { Readiness(rawValue: 0x004) }
    /// An error waits in ``Socket/pendingError(of:)``.
    @inlinable package static var error: Readiness { Readiness(rawValue: 0x008) }
    /// Both directions are over.
    @inlinable package static var hangUp: Readiness { Readiness(rawValue: 0x010) }
    /// The peer will send no more; bytes that it sent before may still wait.
    @inlinable package static var peerClosed: Readiness { Readiness(rawValue: 0x2000) }
}

@usableFromInline
package struct PollEvent: Hashable, Sendable {
    /// What was given to ``Poller/add(_:token:)``.
    package let token: UInt64
    package let readiness: Readiness

    package init(token: UInt64, readiness: Readiness) {
        self.token = token
        self.readiness = readiness
    }
}

/// One epoll instance and its list of events. Loop only.
///
/// A token should name a connection and not a descriptor: the kernel reuses descriptors' numbers, and an event that was
/// collected before a close is still in the list after it. `eventCapacity` bounds the events of one tick.
@safe
package final class Poller {
    private let descriptor: Descriptor
    private let events: UnsafeMutableBufferPointer<tg_event>
    private var count = 0

    package init(eventCapacity: Int = 512) throws(Errno) {
        precondition(eventCapacity > 0, "a poller needs room for an event")
        descriptor = Descriptor(rawValue: try Errno.check(tg_epoll_create()))
        unsafe events = .allocate(capacity: eventCapacity)
        unsafe events.initialize(repeating: tg_event())
    }

    deinit {
        unsafe events.deallocate()
        descriptor.close()
    }

    /// Registers a connection for its whole life, edge-triggered: each change is told once, and the loop remembers what
    /// it has not used up. Closing the descriptor ends the registration.
    package func add(_ descriptor: Descriptor, token: UInt64) throws(Errno) {
        try add(descriptor, kind: TG_POLL_CONNECTION, token)
    }

    /// Registers a listener, mailbox, signal receiver: level-triggered, told on each wait while there is something to
    /// read. `shared`: several pollers have this very socket (a unix listener), and one of them is woken, not all.
    package func addListener(_ descriptor: Descriptor, token: UInt64, shared: Bool = false) throws(Errno) {
        try add(descriptor, kind: shared ? TG_POLL_SHARED_LISTENER : TG_POLL_LISTENER, token)
    }

    /// Ends a registration, also to pause a listener. One that is not registered is no error. Events of it that were
    /// collected before are still in the list.
    package func remove(_ descriptor: Descriptor) {
        _ = tg_epoll_remove(self.descriptor.rawValue, descriptor.rawValue)
    }

    /// Collects events and returns how many; -1 waits for ever, 0 only looks. A signal handler that ran gives 0.
    package func wait(timeoutMilliseconds: Int32) -> Int {
        let found = unsafe tg_epoll_wait(
            descriptor.rawValue, events.baseAddress, Int32(clamping: events.count), timeoutMilliseconds)
        // EBADF, EFAULT and EINVAL are all that is left, and all are our own mistakes.
        precondition(found >= 0, "epoll_wait failed: \(Errno(code: -found))")
        count = Int(found)
        return count
    }

    /// An event of the last wait.
    package func event(at index: Int) -> PollEvent {
        precondition(index >= 0 && index < count, "there is no event \(index)")
        let event = unsafe events[index]
        return PollEvent(token: event.token, readiness: Readiness(rawValue: event.bits))
    }

    private func add(_ descriptor: Descriptor, kind: Int, _ token: UInt64) throws(Errno) {
        _ = try Errno.check(tg_epoll_add(self.descriptor.rawValue, descriptor.rawValue, Int32(kind), token))
    }
}
