import Foundation
import Proxy
import Reactor
import Testing

@testable import Gateway

/// A worker keeps what control told it; what has expired meanwhile is not sent (pains 12).
@Suite struct DataPlaneExpiryTests {
    private func credential(_ generation: UInt64, for milliseconds: UInt64) -> Credential {
        Credential(
            headerName: "Authorization", headerValue: Array("Bearer token-\(generation)".utf8), generation: generation,
            expiry: MonotonicClock.milliseconds() + milliseconds)
    }

    private func waitForEnd(of credential: Credential) {
        while MonotonicClock.milliseconds() <= credential.expiry { usleep(5000) }
    }

    @Test func `a token that expires in a worker's hands is not sent, and control is asked`() throws {
        let plane = try Plane { _ in .generation(2) }
        let short = credential(1, for: 400)
        plane.post(.credential(grant: "fixed", .ready(short)))
        let caller = try plane.connect()
        caller.write(get("/"))
        let api = try plane.upstream.accept()
        #expect(api.readMessage().field("authorization") == "Bearer token-1")
        api.write(ok("first"))
        #expect(caller.readMessage().content == "first")
        waitForEnd(of: short)
        caller.write(get("/"))
        #expect(api.readMessage().field("authorization") == "Bearer token-2")
        api.write(ok("second"))
        #expect(caller.readMessage().content == "second")
        #expect(plane.control.questions.count == 1)
    }

    @Test func `a token that expires while its request waits for a connection is replaced by the newer one`() throws {
        let (plane, door, short, caller) = try waiting()
        plane.post(.credential(grant: "fixed", .ready(credential(2, for: 60_000))))
        try plane.seen()
        waitForEnd(of: short)
        door.open()
        let api = try plane.upstream.accept()
        #expect(api.readMessage().field("authorization") == "Bearer token-2")
        // A 401 is about the token that was sent.
        api.write(unauthorized)
        let question = try plane.control.waitForQuestions(1)
        #expect(question.first?.rejected == 2)
        #expect(try plane.answer("GET ").field("authorization") == "Bearer token-3")
        #expect(caller.readMessage().status == 200)
    }

    @Test func `a token that expires while its request waits, without a newer one, is not sent`() throws {
        let (plane, door, short, caller) = try waiting()
        waitForEnd(of: short)
        door.open()
        let response = caller.readMessage()
        #expect(response.status == 503 && response.field("token-gateway-error") == "token_unavailable")
        #expect(response.field("retry-after") == "1")
        withExtendedLifetime(plane) {}
    }

    /// A request with a token, whose upstream's name is being looked up.
    private func waiting() throws -> (Plane, Door, Credential, WireEnd) {
        let door = Door()
        let plane = try Plane(
            PlaneSetup(host: "api.test"), control: { .generation(($0.rejected ?? 0) + 1) },
            lookup: { _ in
                door.wait()
                return .success([.loopback(port: 0)])
            })
        let short = credential(1, for: 300)
        plane.post(.credential(grant: "fixed", .ready(short)))
        let caller = try plane.connect()
        caller.write(get("/"))
        try plane.seen()
        return (plane, door, short, caller)
    }
}
