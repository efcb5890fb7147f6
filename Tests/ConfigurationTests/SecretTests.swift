import Foundation
import Testing

@testable import Configuration

struct SecretTests {
    private func load(_ text: String, mode: UInt32 = 0o600) -> Result<LoadedSecret, SecretError> {
        SecretLoader(environment: environment(files: ["/s": text], modes: ["/s": mode])).load(.file(path: "/s"))
    }

    @Test(arguments: [("abc", "abc"), ("abc\n", "abc"), ("abc\r\n", "abc"), ("a b", "a b"), (" abc", " abc")])
    func `a secret is one line without its line end`(_ text: String, _ secret: String) throws {
        #expect(try load(text).get().bytes == Array(secret.utf8))
    }

    @Test(arguments: [
        ("", "the file \"/s\" is empty"), ("\n", "the file \"/s\" is empty"),
        ("a\n\n", "the file \"/s\" must hold one line of printable ASCII"),
        ("a\u{0}", "the file \"/s\" must hold one line of printable ASCII"),
        ("é", "the file \"/s\" must hold one line of printable ASCII"),
    ])
    func `a secret that could not be sent is refused`(_ text: String, _ reason: String) {
        #expect(throws: SecretError(reason)) { try load(text).get() }
    }

    @Test(arguments: [0o600, 0o400, 0o640, 0o660] as [UInt32])
    func `a file that owner and group can read is accepted`(_ mode: UInt32) throws {
        #expect(try load("x", mode: mode).get().bytes == [0x78])
    }

    @Test(arguments: [(0o644, "644"), (0o604, "604"), (0o602, "602"), (0o777, "777")] as [(UInt32, String)])
    func `a file that is open to others is refused with the command that closes it`(_ mode: UInt32, _ text: String) {
        #expect(throws: SecretError("the file \"/s\" is open to every user (mode 0\(text)); run: chmod o-rwx /s")) {
            try load("x", mode: mode).get()
        }
    }

    @Test(arguments: ["client_secret_file = \"/k/secret\"", "key_file = \"/k/store.key\""])
    func `a world-readable secret file is an error at its place`(_ directive: String) {
        let world = environment(modes: ["/k/secret": 0o644, "/k/store.key": 0o644])
        let line = full.split(separator: "\n").firstIndex(of: Substring(directive)).map { $0 + 1 } ?? 0
        let column = directive.prefix { $0 != "\"" }.count + 1
        #expect(mistakes(full, world).contains { $0.hasPrefix("\(line):\(column): error: the file") })
    }

    @Test func `a world-readable token file is an error, an absent one a warning`() {
        let expected = #"5:14: error: the file "/k/token" is open to every user (mode 0644); run: chmod o-rwx /k/token"#
        #expect(mistakes(minimal, environment(modes: ["/k/token": 0o644])) == [expected])
        let absent = environment(unreadable: ["/k/token": .notFound])
        #expect(
            mistakes(minimal, absent) == [#"5:14: warning: the file "/k/token" cannot be read: there is no such file"#])
        let forbidden = environment(unreadable: ["/k/token": .notPermitted])
        #expect(
            mistakes(minimal, forbidden) == [
                #"5:14: error: the file "/k/token" cannot be read: this user may not read it"#
            ])
    }

    @Test func `a store key that is none is told at its own place in the list`() {
        var world = environment(files: ["/k/old.key": "pass phrase"])
        world.storeKeyProblem = { content, source in
            content.count == 32 ? nil : "\(source): \(content.count) bytes are no key"
        }
        #expect(mistakes(full, world) == [])
        let list = full.replacing(
            #"key_file = "/k/store.key""#, with: #"key_file = ["/k/store.key", "/k/old.key"]"#)
        #expect(mistakes(list, world) == [#"8:29: error: the file "/k/old.key": 11 bytes are no key"#])
        let single = full.replacing("/k/store.key", with: "/k/old.key")
        #expect(mistakes(single, world) == [#"8:12: error: the file "/k/old.key": 11 bytes are no key"#])
    }

    @Test func `a token holds no spaces`() {
        let loader = SecretLoader(environment: environment(files: ["/t": "Bearer abc"]))
        #expect(throws: SecretError("the file \"/t\" must hold a token without spaces")) {
            try loader.loadToken(path: "/t").get()
        }
    }

    @Test func `a binary key is taken as it is, line ends included`() throws {
        let loader = SecretLoader(environment: environment(files: ["/s": "\u{0}\n\n"]))
        #expect(try loader.loadKey(.file(path: "/s")).get().bytes == [0, 10, 10])
        #expect(throws: SecretError.self) { try loader.loadKey(.file(path: "/none")).get() }
    }

    @Test func `secrets come from variables and systemd's credentials`() throws {
        let world = environment(
            variables: ["S": "one", "CREDENTIALS_DIRECTORY": "/run/c"], files: ["/run/c/s": "two\n"])
        let loader = SecretLoader(environment: world)
        #expect(try loader.load(.environment(name: "S")).get().bytes == Array("one".utf8))
        #expect(try loader.load(.credential(name: "s")).get().bytes == Array("two".utf8))
        #expect(throws: SecretError("the environment variable T is not set")) {
            try loader.load(.environment(name: "T")).get()
        }
    }

    @Test func `a secret file that is too large is refused`() {
        #expect(throws: SecretError("the file \"/s\" cannot be read: it is larger than 64KiB")) {
            try load(String(repeating: "a", count: 65_537)).get()
        }
    }

    @Test func `a loaded secret does not show itself`() {
        let secret = LoadedSecret(bytes: Array("hunter2".utf8))
        var dumped = ""
        dump([secret], to: &dumped)
        for text in ["\(secret)", String(reflecting: secret), String(describing: [secret]), dumped] {
            #expect(!text.contains("hunter2") && !text.contains("104"))
        }
    }

    @Test func `the real environment reads modes, limits and kinds of files`() throws {
        let path = FileManager.default.temporaryDirectory.appending(path: "token-gateway-\(UUID().uuidString)").path
        defer { try? FileManager.default.removeItem(atPath: path) }
        try Data("abc".utf8).write(to: URL(filePath: path))
        #expect(chmod(path, 0o640) == 0)
        let system = ConfigurationEnvironment.system
        let contents = try system.readFile(path, 3).get()
        #expect(contents.bytes == Array("abc".utf8) && contents.mode == 0o640 && contents.owner == getuid())
        #expect(throws: FileProblem.tooLarge(limit: 2)) { try system.readFile(path, 2).get() }
        #expect(throws: FileProblem.notFound) { try system.readFile(path + ".no", 2).get() }
        #expect(throws: FileProblem.notFound) { try system.readFile(path + "/x", 2).get() }
        #expect(throws: FileProblem.notRegular) { try system.readFile("/dev/null", 2).get() }
        #expect(throws: FileProblem.notRegular) { try system.readFile("/tmp", 2).get() }
        #expect(system.isDirectory("/tmp") && !system.isDirectory(path))
        #expect(system.processorCount >= 1 && system.processorCount <= ProcessInfo.processInfo.processorCount)
        #expect(system.variable("PATH") != nil && system.variable("TOKEN_GATEWAY_NO_SUCH") == nil)
    }

    @Test func `a named pipe does not hang the reader`() throws {
        let path = FileManager.default.temporaryDirectory.appending(path: "token-gateway-\(UUID().uuidString)").path
        defer { unlink(path) }
        try #require(mkfifo(path, 0o600) == 0)
        #expect(throws: FileProblem.notRegular) { try ConfigurationEnvironment.system.readFile(path, 2).get() }
    }
}
