import Console
import OAuth
import Telemetry
import Testing

@testable import TokenGateway

@Suite struct DeviceConsentTests {
    private static let reply = DeviceReply(
        userCode: "WDJB-MJHT", verificationURI: "https://as.example/device", verificationURIComplete: nil,
        expiresAt: Timestamp(unixSeconds: 10_900), interval: 5)

    @Test func `the link and the code are what standard output gets`() {
        let lines = DeviceText.lines(Self.reply, now: Timestamp(unixSeconds: 10_000))
        #expect(
            lines == [
                .words("Open this link in a browser on any device:"), .value("https://as.example/device"),
                .words("and enter this code, which is good for 15 min:"), .value("WDJB-MJHT"),
            ])
        var complete = Self.reply
        complete.verificationURIComplete = "https://as.example/device?c=WDJB-MJHT"
        let more = DeviceText.lines(complete, now: Timestamp(unixSeconds: 20_000))
        #expect(more.contains(.words("and enter this code, which is good for 0 s:")))
        #expect(more.last == .value("https://as.example/device?c=WDJB-MJHT"))
    }

    @Test(
        arguments: [
            (DeviceStatus(.waiting), nil), (DeviceStatus(.waiting, prompt: reply), nil),
            (DeviceStatus(.connected), .connected(notes: [])),
            (DeviceStatus(.connected, notes: ["x"]), .connected(notes: ["x"])),
            (
                DeviceStatus(.failed, reason: "it broke"),
                .failed(.failed, code: "failed", words: "it broke")
            ),
        ] as [(DeviceStatus, DeviceWatch.End?)])
    func `a state is the end or not`(status: DeviceStatus, end: DeviceWatch.End?) {
        var watch = DeviceWatch(Self.reply)
        #expect(watch.seen(status) == end)
    }

    @Test(
        arguments: [
            (.denied, "access_denied", .failed), (.expired, "expired", .temporary),
            (.cancelled, "cancelled", .failed), (.none, "not_waited_for", .temporary),
        ] as [(DeviceStatus.State, String, CommandStatus)])
    func `an end without a grant has its code and status`(
        state: DeviceStatus.State, code: String, status: CommandStatus
    ) {
        var watch = DeviceWatch(Self.reply)
        guard case .failed(let found, let foundCode, let words) = watch.seen(DeviceStatus(state)) else {
            Issue.record("no end")
            return
        }
        #expect(found == status && foundCode == code && !words.isEmpty)
    }

    @Test func `another code than the one that was shown is another consent`() {
        var watch = DeviceWatch(Self.reply)
        var other = Self.reply
        other.userCode = "OTHR-CODE"
        guard case .failed(_, "cancelled", _) = watch.seen(DeviceStatus(.waiting, prompt: other)) else {
            Issue.record("not seen")
            return
        }
    }

    @Test func `a gateway that is gone is waited for, not for ever`() {
        var watch = DeviceWatch(Self.reply)
        let times: [UInt64] = [1000, 1000 + DeviceWatch.patience - 1, 1000 + DeviceWatch.patience]
        let isPatient = times.map { watch.missed(at: $0) }
        #expect(isPatient == [true, true, false])
        _ = watch.seen(DeviceStatus(.waiting))
        let again = watch.missed(at: 1_000_000)
        #expect(again)
    }

    @Test func `the API is asked as it is documented`() throws {
        let status = DeviceStatus(.waiting, prompt: Self.reply)
        try withConsole([answer(200, Self.reply), answer(200, status)]) { api, console in
            let started = try api.startDevice("crm")
            let found = try api.deviceStatus("crm")
            #expect(started == Self.reply && found == status)
            #expect(console.requests[0].hasPrefix("POST /api/v1/grants/crm/device HTTP/1.1\r\n"))
            #expect(console.requests[1].hasPrefix("GET /api/v1/grants/crm/device HTTP/1.1\r\n"))
        }
    }

    @Test func `a refresh token goes into the body alone`() throws {
        try withConsole([answer(200, GrantView(state: .active))]) { api, console in
            let view = try api.importToken("crm", Secret("r/1"))
            #expect(view.state == .active)
            let request = try #require(console.requests.first)
            #expect(request.hasPrefix("POST /api/v1/grants/crm/import HTTP/1.1\r\n"))
            #expect(request.hasSuffix("\r\n\r\n{\"refresh_token\":\"r/1\"}\n"))
        }
    }

    // MARK: Typing

    private func typed(_ keys: [UInt8]) -> HiddenLine {
        var line = HiddenLine()
        for key in keys where line.isOpen { line.typed(key) }
        return line
    }

    @Test func `a line ends with return or Control-D, and can be mended while it is typed`() {
        for end: UInt8 in [10, 13, 4] {
            let line = typed(Array("abc".utf8) + [end, 0x64])
            #expect(line.bytes == Array("abc".utf8) && !line.isOpen && !line.wasInterrupted)
        }
        #expect(typed([0x61, 0x62, 127, 8, 8, 0x63]).bytes == [0x63])
        #expect(typed([0x61, 0x62, 21, 0x63]).bytes == [0x63])
        var open = typed([0x61])
        #expect(open.isOpen)
        open.ended()
        #expect(!open.isOpen)
    }

    @Test(arguments: [3, 28] as [UInt8])
    func `an interruption ends the line`(key: UInt8) {
        let line = typed([0x61, key, 0x62])
        #expect(line.wasInterrupted && !line.isOpen)
    }

    @Test func `no more is kept than a token may have`() {
        let line = typed([UInt8](repeating: 0x61, count: TokenText.limitBytes + 100))
        #expect(line.bytes.count == TokenText.limitBytes + 1 && !line.isOpen)
    }
}
