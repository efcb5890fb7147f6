import CPostgreSQL

/// A parameter of a statement. It travels in binary form beside the text of the statement, never inside it.
enum SQLValue {
    case text(String)
    case optionalText(String?)
    case integer(Int64)
    case optionalInteger(Int64?)
    case bytes([UInt8])
    case texts([String])
    case integers([Int64])
    case byteStrings([[UInt8]])

    private static let byteString: Oid = 17
    private static let bigInteger: Oid = 20
    private static let characters: Oid = 25

    /// The server's number of the type.
    var type: Oid {
        switch self {
        case .text, .optionalText: Self.characters
        case .integer, .optionalInteger: Self.bigInteger
        case .bytes: Self.byteString
        case .texts: 1009
        case .integers: 1016
        case .byteStrings: 1001
        }
    }

    /// `nil`: the value is NULL.
    var wire: [UInt8]? {
        switch self {
        case .text(let text): Array(text.utf8)
        case .optionalText(let text): text.map { Array($0.utf8) }
        case .integer(let number): Self.bigEndian(number)
        case .optionalInteger(let number): number.map { Self.bigEndian($0) }
        case .bytes(let bytes): bytes
        case .texts(let list): Self.array(Self.characters, list.map { Array($0.utf8) })
        case .integers(let list): Self.array(Self.bigInteger, list.map { Self.bigEndian($0) })
        case .byteStrings(let list): Self.array(Self.byteString, list)
        }
    }

    /// One dimension from 1, no NULL: dimensions, flags, type of the elements, count, lower bound, elements.
    private static func array(_ type: Oid, _ elements: [[UInt8]]) -> [UInt8] {
        if elements.isEmpty { return bigEndian(Int32(0)) + bigEndian(Int32(0)) + bigEndian(type) }
        var bytes = bigEndian(Int32(1)) + bigEndian(Int32(0)) + bigEndian(type)
        bytes += bigEndian(Int32(elements.count)) + bigEndian(Int32(1))
        for element in elements { bytes += bigEndian(Int32(element.count)) + element }
        return bytes
    }

    private static func bigEndian(_ value: some FixedWidthInteger) -> [UInt8] {
        withUnsafeBytes(of: value.bigEndian) { Array($0) }
    }
}

/// What a statement returned, copied from libpq. Columns are read without trust.
struct Rows {
    private let cells: [[UInt8]?]
    private let columns: Int
    let count: Int

    /// Nothing at all.
    init() {
        cells = []
        columns = 0
        count = 0
    }

    /// Copies; the result stays the caller's.
    init(_ result: OpaquePointer) {
        count = Int(PQntuples(result))
        columns = Int(PQnfields(result))
        var cells: [[UInt8]?] = []
        cells.reserveCapacity(count * columns)
        for row in 0..<Int32(count) {
            for column in 0..<Int32(columns) {
                guard PQgetisnull(result, row, column) == 0, let start = PQgetvalue(result, row, column) else {
                    cells.append(nil)
                    continue
                }
                let bytes = UnsafeRawBufferPointer(start: start, count: Int(PQgetlength(result, row, column)))
                cells.append(Array(bytes))
            }
        }
        self.cells = cells
    }

    var isEmpty: Bool { count == 0 }

    func bytes(_ row: Int, _ column: Int) throws(ServerFailure) -> [UInt8] {
        guard row < count, column < columns, let bytes = cells[row * columns + column] else { throw Self.wrongType }
        return bytes
    }

    func text(_ row: Int, _ column: Int) throws(ServerFailure) -> String {
        String(decoding: try bytes(row, column), as: UTF8.self)
    }

    func integer(_ row: Int, _ column: Int) throws(ServerFailure) -> Int64 {
        let bytes = try bytes(row, column)
        guard bytes.count == 8 else { throw Self.wrongType }
        return Int64(bitPattern: bytes.reduce(0) { $0 << 8 | UInt64($1) })
    }

    func optionalText(_ row: Int, _ column: Int) throws(ServerFailure) -> String? {
        guard row < count, column < columns, cells[row * columns + column] != nil else { return nil }
        return try text(row, column)
    }

    /// An integer that is never negative.
    func number(_ row: Int, _ column: Int) throws(ServerFailure) -> UInt64 {
        guard let number = UInt64(exactly: try integer(row, column)) else { throw Self.wrongType }
        return number
    }

    func optionalInteger(_ row: Int, _ column: Int) throws(ServerFailure) -> Int64? {
        guard row < count, column < columns, cells[row * columns + column] != nil else { return nil }
        return try integer(row, column)
    }

    func flag(_ row: Int, _ column: Int) throws(ServerFailure) -> Bool { try bytes(row, column) == [1] }

    private static let wrongType = ServerFailure.refused(state: "XX001", text: "a column has the wrong type")
}
