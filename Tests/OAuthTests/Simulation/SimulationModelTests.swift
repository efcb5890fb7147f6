import Testing

@testable import OAuth

/// The model itself: what its excuses rest on.
struct SimulationModelTests {
    /// Seed 3322 was a fault of the model: the request that a dead process had sent arrived when its successor's successor
    /// was in use, the server ended the grant, and the model took the request for one that somebody still waited for.
    @Test func `nobody waits for the token call of a process that has died`() {
        let world = World(seed: 3322)
        let call = TokenCall(
            id: CallID(owner: .grant("crm"), number: 1), kind: .refresh(refreshToken: Secret("r0"), scopes: ["read"]))
        world.replicas[0].flight = .init(
            call: call, sentAt: world.replicas[0].moment(at: 0), trueTime: 0, family: 0)
        world.crash(0)
        #expect(!world.replicas[0].isAlive)
        #expect(world.replicas[0].flight == nil)
    }

    /// Seed 13716: two replicas of an unattended grant.
    @Test func `only who knows of no record keeps what it asked for before a deletion`() {
        let world = World(seed: 13716)
        let (unknowing, knowing) = (world.server.newFamily(), world.server.newFamily())
        world.beginnings = [unknowing: world.replicas[0].life, knowing: world.replicas[1].life]
        _ = world.replicas[1].machine.recordLoaded(GrantDriver.record(), now: world.replicas[1].moment(at: 0))
        world.tokensEnded()
        #expect(world.ended[unknowing] == nil && world.ended[knowing] != nil)
        world.crash(0)
        world.tokensEnded()
        #expect(world.ended[unknowing] != nil)
    }
}
