import Foundation
import Testing

@testable import Reactor

@Suite struct FilesTests {
    @Test func `a file is read whole up to the limit and not beyond`() throws {
        let directory = try TemporaryDirectory()
        let path = try directory.write("12345", to: "file")
        #expect(try Files.read(path: path, limit: 5) == Array("12345".utf8))
        let error = #expect(throws: FileError(path: path, kind: .tooLarge(limit: 4))) {
            try Files.read(path: path, limit: 4)
        }
        #expect(error?.description == "cannot read \(path): it has more than 4 bytes")
        let large = try directory.write(String(repeating: "y", count: 100_000), to: "large")
        #expect(try Files.read(path: large, limit: 100_000).count == 100_000)
        #expect(try Files.read(path: directory.write("", to: "empty"), limit: 0) == [])
    }

    @Test func `files without a size are read as well`() throws {
        #expect(try !Files.read(path: "/proc/self/status", limit: 100_000).isEmpty)
    }

    @Test func `what cannot be read is told with its reason`() throws {
        let directory = try TemporaryDirectory()
        #expect(throws: FileError(path: directory.path, kind: .isDirectory)) {
            try Files.read(path: directory.path, limit: 1)
        }
        let missing = directory.path + "/missing"
        let error = #expect(throws: FileError(path: missing, kind: .failed(.noSuchFile))) {
            try Files.read(path: missing, limit: 1)
        }
        #expect(error?.description == "cannot read \(missing): No such file or directory (ENOENT)")
        #expect(throws: FileError(path: "/etc\0/x", kind: .failed(.invalidArgument))) {
            try Files.read(path: "/etc\0/x", limit: 1)
        }
    }

    @Test(arguments: [
        (0o600, false, false, false), (0o640, true, false, false), (0o644, true, true, false),
        (0o666, true, true, true),
    ])
    func `permissions are seen`(mode: Int, group: Bool, others: Bool, writable: Bool) throws {
        let directory = try TemporaryDirectory()
        let path = try directory.write("x", to: "file", mode: mode)
        let access = try #require(Files.access(of: path))
        #expect(access.mode == UInt32(mode))
        #expect(access.owner == getuid())
        #expect(access.isReadableByGroup == group)
        #expect(access.isReadableByOthers == others)
        #expect(access.isWritableByGroupOrOthers == writable)
        #expect(Files.isReadableByOthers(path) == others)
        #expect(Files.isReadableByOthers(path + "x") == nil)
    }

    @Test func `a stamp changes with the contents, the file and the target of a link`() throws {
        let directory = try TemporaryDirectory()
        let path = try directory.write("one", to: "file")
        let stamp = try #require(FileStamp.of(path: path))
        #expect(FileStamp.of(path: path) == stamp)
        let other = try directory.write("two", to: "other")
        #expect(FileStamp.of(path: other) != stamp)

        let link = directory.path + "/link"
        try FileManager.default.createSymbolicLink(atPath: link, withDestinationPath: path)
        #expect(FileStamp.of(path: link) == stamp)
        try FileManager.default.removeItem(atPath: link)
        try FileManager.default.createSymbolicLink(atPath: link, withDestinationPath: other)
        #expect(FileStamp.of(path: link) == FileStamp.of(path: other))

        _ = try directory.write("longer", to: "file")
        #expect(FileStamp.of(path: path) != stamp)
        #expect(FileStamp.of(path: path + "x") == nil)
    }

    @Test(
        arguments: [
            ("200000 100000\n", 2), ("150000 100000\n", 2), ("50000 100000\n", 1), ("max 100000\n", nil), ("", nil),
            ("0 100000", nil), ("100 0", nil), ("x y", nil), ("1 2 3", nil), ("18446744073709551615 1", Int.max),
        ] as [(String, Int?)])
    func `the quota of a control group is rounded up`(text: String, expected: Int?) {
        #expect(Processor.quota(fromCPUMax: text) == expected)
    }

    @Test(
        arguments: [
            ("0::/\n", "/"), ("12:cpu:/x\n0::/system.slice/a.service\n", "/system.slice/a.service"), ("", nil),
            ("1:name=systemd:/\n", nil),
        ] as [(String, String?)])
    func `the control group of the process is found`(text: String, expected: String?) {
        #expect(Processor.controlGroup(from: text) == expected)
    }

    @Test func `there is a processor`() {
        #expect((1...ProcessInfo.processInfo.processorCount).contains(Processor.availableCount))
    }
}

@Suite struct SpoolFileTests {
    private func append(_ text: String, to file: SpoolFile) throws {
        try Array(text.utf8).withUnsafeBytes { bytes throws in try file.append(bytes) }
    }

    private func read(_ file: SpoolFile, at offset: Int64, _ count: Int) -> (IOResult, String) {
        var buffer = [UInt8](repeating: 0, count: count)
        let result = buffer.withUnsafeMutableBytes { file.read(at: offset, into: $0) }
        guard case .bytes(let count) = result else { return (result, "") }
        return (result, String(decoding: buffer[..<count], as: UTF8.self))
    }

    @Test func `what was appended is read again from anywhere`() throws {
        let directory = try TemporaryDirectory()
        let file = try SpoolFile(directory: directory.path)
        #expect(read(file, at: 0, 4) == (.endOfFile, ""))
        try append("hello ", to: file)
        try append("", to: file)
        try append("world", to: file)
        #expect(file.count == 11)
        #expect(read(file, at: 0, 64) == (.bytes(11), "hello world"))
        #expect(read(file, at: 6, 3) == (.bytes(3), "wor"))
        #expect(read(file, at: 11, 3) == (.endOfFile, ""))
        #expect(read(file, at: 1000, 3) == (.endOfFile, ""))
        #expect(read(file, at: -1, 3) == (.failed(.invalidArgument), ""))
        #expect(read(file, at: 0, 0) == (.bytes(0), ""))
        #expect(read(file, at: 0, 5).1 == "hello", "reading moves nothing")
    }

    @Test func `the file has no name and is for its owner only`() throws {
        let directory = try TemporaryDirectory()
        let before = openSpools(in: directory)
        let file = try SpoolFile(directory: directory.path)
        try append("secret", to: file)
        #expect(directory.entries.isEmpty)
        #expect(before.isEmpty)
        let spools = openSpools(in: directory)
        #expect(spools.count == 1)
        #expect(Files.access(of: try #require(spools.first))?.mode == 0o600)
        _ = consume file
        #expect(openSpools(in: directory).isEmpty, "closed with its last owner")
    }

    /// The `/proc` names of this process's descriptors that point into the directory.
    private func openSpools(in directory: TemporaryDirectory) -> [String] {
        let names = (try? FileManager.default.contentsOfDirectory(atPath: "/proc/self/fd")) ?? []
        return names.map { "/proc/self/fd/" + $0 }.filter {
            let target = try? FileManager.default.destinationOfSymbolicLink(atPath: $0)
            return target?.hasPrefix(directory.path) == true && target?.hasSuffix("(deleted)") == true
        }
    }

    @Test func `a full disk is an error and leaves the contents`() throws {
        let full = open("/dev/full", O_RDWR | O_CLOEXEC)
        try #require(full >= 0)
        let file = SpoolFile(adopting: Descriptor(rawValue: full))
        #expect(throws: Errno.noSpaceLeft) { try append("lost", to: file) }
        #expect(file.count == 0)
        #expect(read(file, at: 0, 4) == (.endOfFile, ""))
    }

    @Test func `a file system without nameless files gets one that is unlinked`() throws {
        let directory = try TemporaryDirectory()
        let file = SpoolFile(adopting: try SpoolFile.openAndUnlink(in: directory.path))
        try append("secret", to: file)
        #expect(directory.entries.isEmpty)
        #expect(Files.access(of: try #require(openSpools(in: directory).first))?.mode == 0o600)
        #expect(read(file, at: 0, 9).1 == "secret")
        #expect(throws: Errno.noSuchFile) { try SpoolFile.openAndUnlink(in: "/nonexistent").close() }
    }

    @Test func `a directory that cannot be used is an error`() {
        #expect(throws: Errno.noSuchFile) { try SpoolFile(directory: "/nonexistent") }
        #expect(throws: Errno.invalidArgument) { try SpoolFile(directory: "") }
    }
}
