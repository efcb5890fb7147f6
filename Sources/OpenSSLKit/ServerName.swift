/// Host names as certificates and SNI have them: ASCII, with internationalised names as A-labels (RFC 6066 3).
enum ServerName {
    /// Lower case, without the dot at the end; nil for what cannot be a host's name.
    static func normalized(_ text: some Collection<UInt8>) -> String? {
        var octets = text.map { $0 >= 0x41 && $0 <= 0x5a ? $0 | 0x20 : $0 }
        if octets.last == 0x2e { octets.removeLast() }
        guard !octets.isEmpty, octets.count <= 253, octets.allSatisfy({ $0 > 0x20 && $0 < 0x7f }) else { return nil }
        return String(decoding: octets, as: UTF8.self)
    }

    static func normalized(_ text: String) -> String? { normalized(text.utf8) }
}

/// Which certificate of several answers which name: exact names before wildcards, and where two certificates have the
/// same name the earlier. A wildcard is the whole first label and stands for exactly one (RFC 9525 6.3).
struct ServerNameTable {
    private var exact: [String: Int] = [:]
    /// By what comes after `*.`.
    private var wildcards: [String: Int] = [:]

    /// - Parameter names: of each certificate, normalized.
    init(_ names: [[String]]) {
        for (index, list) in names.enumerated() {
            for name in list {
                if name.hasPrefix("*.") {
                    let parent = String(name.dropFirst(2))
                    if wildcards[parent] == nil { wildcards[parent] = index }
                } else if exact[name] == nil {
                    exact[name] = index
                }
            }
        }
    }

    /// - Parameter name: normalized.
    /// - Returns: nil where no certificate is for it.
    func index(of name: String) -> Int? {
        if let index = exact[name] { return index }
        guard !wildcards.isEmpty, let dot = name.firstIndex(of: "."), dot > name.startIndex else { return nil }
        return wildcards[String(name[name.index(after: dot)...])]
    }
}
