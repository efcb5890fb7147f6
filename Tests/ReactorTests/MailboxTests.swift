import Reactor
import Testing

@Suite struct MailboxTests {
    @Test func `messages of several threads all arrive, each sender's in order`() throws {
        let mailbox = try Mailbox<Int>()
        let poller = try Poller(eventCapacity: 4)
        try poller.addListener(mailbox.descriptor, token: 9)
        let senders = 4
        let each = 5000
        let threads = try (0..<senders).map { sender in
            try WorkerThread.start(name: "sender-\(sender)") {
                for number in 0..<each { mailbox.post(sender * each + number) }
            }
        }
        var received: [Int] = []
        var list: [Int] = []
        while received.count < senders * each {
            try #require(poller.wait(timeoutMilliseconds: 10_000) == 1, "the mailbox woke nobody")
            #expect(poller.event(at: 0).token == 9)
            mailbox.drain(into: &list)
            received.append(contentsOf: list)
            list.removeAll(keepingCapacity: true)
        }
        threads.forEach { $0.join() }
        for sender in 0..<senders {
            let own = received.filter { $0 / each == sender }
            #expect(own == Array(sender * each..<(sender + 1) * each))
        }
    }

    @Test func `a drained mailbox is silent until the next post`() throws {
        let mailbox = try Mailbox<String>()
        let poller = try Poller()
        try poller.addListener(mailbox.descriptor, token: 1)
        #expect(poller.wait(timeoutMilliseconds: 0) == 0)
        mailbox.post("a")
        mailbox.post("b")
        #expect(poller.wait(timeoutMilliseconds: 1000) == 1)
        #expect(poller.wait(timeoutMilliseconds: 0) == 1, "level-triggered: told until it is drained")
        var list: [String] = []
        mailbox.drain(into: &list)
        #expect(list == ["a", "b"])
        #expect(poller.wait(timeoutMilliseconds: 0) == 0)
        mailbox.post("c")
        #expect(poller.wait(timeoutMilliseconds: 1000) == 1)
        mailbox.drain(into: &list)
        #expect(list == ["a", "b", "c"], "a list that is not empty is added to")
    }

    @Test func `draining exchanges two arrays for ever`() throws {
        let mailbox = try Mailbox<Int>()
        var list: [Int] = []
        list.reserveCapacity(64)
        var addresses: Set<UnsafeRawPointer> = []
        for round in 0..<20 {
            mailbox.post(round)
            mailbox.drain(into: &list)
            #expect(list == [round])
            list.withUnsafeBytes { bytes in _ = bytes.baseAddress.map { addresses.insert($0) } }
            list.removeAll(keepingCapacity: true)
        }
        #expect(addresses.count <= 2)
    }
}
