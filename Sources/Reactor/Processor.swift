import CLinux

package enum Processor {
    /// How many workers make sense: the processors that this process may run on, and no more than the quota of its
    /// control group (a container with "2 CPUs" on a large machine has all of the processors and a quota of two).
    package static var availableCount: Int {
        let allowed = max(1, Int(tg_processor_count()))
        guard let groups = text(of: "/proc/self/cgroup"), let group = controlGroup(from: groups),
            let limit = text(of: "/sys/fs/cgroup" + group + "/cpu.max"), let quota = quota(fromCPUMax: limit)
        else { return allowed }
        return min(allowed, quota)
    }

    private static func text(of path: String) -> String? {
        guard let bytes = try? Files.read(path: path, limit: 16_384) else { return nil }
        return String(decoding: bytes, as: UTF8.self)
    }

    /// Finds the version 2 group in `/proc/self/cgroup`: the line `0::/system.slice/x.service`. In a container it is `/`.
    static func controlGroup(from text: String) -> String? {
        let line = text.split(separator: "\n").first { $0.hasPrefix("0::/") }
        return line.map { String($0.dropFirst(3)) }
    }

    /// Reads `200000 100000` (microseconds per period; here 2) of a version 2 control group, rounded up. Nil for `max`.
    static func quota(fromCPUMax text: String) -> Int? {
        let fields = text.split { $0 == " " || $0 == "\n" }
        guard fields.count == 2, let time = UInt64(fields[0]), let period = UInt64(fields[1]), time > 0, period > 0
        else { return nil }
        let (whole, rest) = time.quotientAndRemainder(dividingBy: period)
        return Int(clamping: rest == 0 ? whole : whole + 1)
    }
}
