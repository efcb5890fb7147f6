import Testing

@Test func `the suite has a test`() {
    #expect(Bool(true))
}
