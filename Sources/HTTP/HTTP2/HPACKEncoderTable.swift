internal import Glibc

/// The dynamic table of an ``HPACKEncoder`` (RFC 7541 2.3.2), and what it remembers of fields that are not in it.
///
/// A ring of entries with their octets in a second ring, and hash chains through the entries. Chains run from newer to
/// older entries, so that an evicted one is at the end of its chain and need not be taken out: a walk ends at the first
/// number that is too old. All in one block of memory, made once.
@safe
struct HPACKEncoderTable: ~Copyable {
    static let maximumSize = 4096
    /// RFC 7541 4.1.
    static let overhead = 32
    /// Indexes up to this one are the static table's (RFC 7541 2.3.3).
    private static let staticCount = 61
    /// No more fit: each counts at least ``overhead``.
    private static let entryCount: UInt32 = 128
    private static let bucketCount = 128
    private static let recentCount = 128

    private struct Entry {
        /// Of name and value; of a credential its key.
        var hash: UInt64
        /// The number of the next older entry of the same chain.
        var next: UInt32
        var offset: UInt16
        var nameLength: UInt16
        var valueLength: UInt16
        /// By the rule of RFC 7541 4.1; credentials have one and no octets here.
        var size: UInt16
        var isCredential: Bool
    }

    /// What the entries may count in all.
    private(set) var limit = HPACKEncoderTable.maximumSize
    private(set) var size = 0
    private(set) var count: UInt32 = 0
    /// Entries are numbered from 1 as they come; the number wraps around.
    private var newest: UInt32 = 0
    private var octetsEnd = 0
    private let memory: UnsafeMutableRawPointer
    private let entries: UnsafeMutablePointer<Entry>
    /// By hash: the number of the newest entry of a chain.
    private let buckets: UnsafeMutablePointer<UInt32>
    /// By hash: a part of the hash of the field that was sent last as a literal.
    private let recent: UnsafeMutablePointer<UInt32>
    private let octets: UnsafeMutableRawPointer

    init() {
        let entryBytes = Int(Self.entryCount) * MemoryLayout<Entry>.stride
        let bucketBytes = Self.bucketCount * 4
        let recentBytes = Self.recentCount * 4
        unsafe memory = calloc(1, entryBytes + bucketBytes + recentBytes + Self.maximumSize)!
        unsafe entries = memory.bindMemory(to: Entry.self, capacity: Int(Self.entryCount))
        unsafe buckets = (memory + entryBytes).bindMemory(to: UInt32.self, capacity: Self.bucketCount)
        unsafe recent = (memory + entryBytes + bucketBytes).bindMemory(to: UInt32.self, capacity: Self.recentCount)
        unsafe octets = memory + entryBytes + bucketBytes + recentBytes
    }

    deinit {
        unsafe free(memory)
    }

    /// - Parameter limit: at most ``maximumSize``.
    mutating func setLimit(_ limit: Int) {
        self.limit = limit
        evict(for: 0)
    }

    private mutating func evict(for wanted: Int) {
        while count > 0, size + wanted > limit {
            size -= unsafe Int(entries[Self.slot(newest &- (count - 1))].size)
            count -= 1
        }
    }

    private static func slot(_ number: UInt32) -> Int { Int(number & (entryCount - 1)) }
    private static func bucket(_ hash: UInt64) -> Int { Int(truncatingIfNeeded: hash) & (bucketCount - 1) }
    /// Keys of credentials are small numbers in a row.
    private static func hash(of key: UInt64) -> UInt64 { HPACKOctets.mix(key, 0x9E37_79B9_7F4A_7C15) }

    /// Whether a field that is not in the table was sent not long ago; from now on it was.
    mutating func isSecondSight(_ hash: UInt64) -> Bool {
        let slot = Int(truncatingIfNeeded: hash >> 7) & (Self.recentCount - 1)
        let mark = UInt32(truncatingIfNeeded: hash >> 32)
        let isSame = unsafe recent[slot] == mark
        unsafe recent[slot] = mark
        return isSame
    }

    // MARK: Finding

    /// The index of the field for the wire; 0 when it is not in the table.
    ///
    /// - Parameter isLowered: the name is in lower case.
    func find(
        _ hash: UInt64, _ name: UnsafeRawBufferPointer, _ value: UnsafeRawBufferPointer, isLowered: Bool = false
    ) -> Int {
        var age = unsafe newest &- buckets[Self.bucket(hash)]
        while age < count {
            let entry = unsafe entries[Self.slot(newest &- age)]
            if entry.hash == hash, !entry.isCredential, unsafe holds(entry, name, value, isLowered) {
                return Self.staticCount + 1 + Int(age)
            }
            let next = newest &- entry.next
            // A number of before the last wrap may look young; the chain goes to older ones only.
            guard next > age else { break }
            age = next
        }
        return 0
    }

    func find(credential key: UInt64) -> Int {
        var age = unsafe newest &- buckets[Self.bucket(Self.hash(of: key))]
        while age < count {
            let entry = unsafe entries[Self.slot(newest &- age)]
            if entry.hash == key, entry.isCredential { return Self.staticCount + 1 + Int(age) }
            let next = newest &- entry.next
            guard next > age else { break }
            age = next
        }
        return 0
    }

    private func holds(
        _ entry: borrowing Entry, _ name: UnsafeRawBufferPointer, _ value: UnsafeRawBufferPointer, _ isLowered: Bool
    ) -> Bool {
        guard Int(entry.nameLength) == name.count, Int(entry.valueLength) == value.count else { return false }
        let start = Int(entry.offset)
        if start + name.count + value.count <= Self.maximumSize {
            return unsafe HPACKOctets.equal(value, octets + start + name.count)
                && HPACKOctets.equalLowered(name, octets + start, isLowered: isLowered)
        }
        for index in 0..<name.count {
            guard unsafe octet(start + index) == Octet.lowercased(name[index]) else { return false }
        }
        for index in 0..<value.count {
            guard unsafe octet(start + name.count + index) == value[index] else { return false }
        }
        return true
    }

    private func octet(_ position: Int) -> UInt8 {
        unsafe octets.load(fromByteOffset: position & (Self.maximumSize - 1), as: UInt8.self)
    }

    // MARK: Inserting

    /// Puts a field that ``find(_:_:_:)`` has not found into the table.
    mutating func insert(_ hash: UInt64, _ name: UnsafeRawBufferPointer, _ value: UnsafeRawBufferPointer) {
        let length = name.count + value.count
        evict(for: length + Self.overhead)
        guard size + length + Self.overhead <= limit else { return }
        let start = octetsEnd
        if start + length <= Self.maximumSize {
            unsafe HPACKOctets.copyLowered(name, to: octets + start)
            if let base = value.baseAddress, value.count > 0 {
                unsafe (octets + start + name.count).copyMemory(from: base, byteCount: value.count)
            }
        } else {
            for index in 0..<name.count { unsafe store(Octet.lowercased(name[index]), at: start + index) }
            for index in 0..<value.count { unsafe store(value[index], at: start + name.count + index) }
        }
        octetsEnd = (start + length) & (Self.maximumSize - 1)
        append(
            Entry(
                hash: hash, next: 0, offset: UInt16(truncatingIfNeeded: start),
                nameLength: UInt16(truncatingIfNeeded: name.count),
                valueLength: UInt16(truncatingIfNeeded: value.count),
                size: UInt16(truncatingIfNeeded: length + Self.overhead), isCredential: false), chain: hash)
    }

    /// - Parameter size: by the rule of RFC 7541 4.1, and at most ``limit``.
    mutating func insert(credential key: UInt64, size: Int) {
        evict(for: size)
        guard self.size + size <= limit else { return }
        append(
            Entry(
                hash: key, next: 0, offset: 0, nameLength: 0, valueLength: 0, size: UInt16(truncatingIfNeeded: size),
                isCredential: true), chain: Self.hash(of: key))
    }

    private mutating func append(_ entry: Entry, chain hash: UInt64) {
        newest &+= 1
        count += 1
        size += Int(entry.size)
        var entry = entry
        unsafe entry.next = buckets[Self.bucket(hash)]
        unsafe entries[Self.slot(newest)] = entry
        unsafe buckets[Self.bucket(hash)] = newest
    }

    private func store(_ octet: UInt8, at position: Int) {
        unsafe octets.storeBytes(of: octet, toByteOffset: position & (Self.maximumSize - 1), as: UInt8.self)
    }
}
