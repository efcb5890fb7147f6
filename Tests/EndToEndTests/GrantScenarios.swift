import Testing

extension EndToEnd {
    /// Grants at other servers and over several gateways, each a script of cases that starts what it needs.
    @Suite("Grants", .serialized, .timeLimit(.minutes(10)))
    struct GrantScenarios {
        @Test func `a grant lives and ends at glewlwyd and at Django OAuth Toolkit`() async throws {
            try await script("servers.py", atLeast: 6)
        }

        @Test func `every method of client authentication, pushed requests, proofs and grants without a person`()
            async throws
        {
            try await script("methods.py", atLeast: 11)
        }

        @Test func `a certificate is a client's proof, and a wrong one is told and mended`() async throws {
            try await script("certificates.py", atLeast: 6)
        }

        @Test func `service accounts and exchanged tokens live through outages and mistakes`() async throws {
            try await script("assertions.py", atLeast: 9)
        }

        @Test func `tenants behind one route have tokens of their own, whatever happens at once`() async throws {
            try await script("tenants.py", atLeast: 5)
        }

        @Test func `a token goes to the host that came with it, and nowhere else`() async throws {
            try await script("hosts.py", atLeast: 4)
        }

        @Test func `a store that takes no writes, and a database behind PgBouncer`() async throws {
            try await script("stores.py", atLeast: 6)
        }

        @Test func `three gateways and one database lose nothing while each of them is killed`() async throws {
            try await script("replicas.py", atLeast: 6)
        }

        @Test func `the process ends without losing a reply, says that it ends, and writes nowhere but to its store`()
            async throws
        {
            try await script("lifetime.py", atLeast: 4)
        }

        private func script(_ name: String, atLeast: Int) async throws {
            let folder = try Workspace.newFolder(name)
            try await Script.run(
                name, place: ["gateway": RunningGateway.program, "folder": folder], folder: folder, atLeast: atLeast,
                within: .seconds(420))
        }
    }
}
