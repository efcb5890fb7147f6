import FoundationEssentials

/// The admin API's JSON: sorted keys, so that the same facts are the same bytes.
package enum ConsoleJSON {
    package static func encode(_ value: some Encodable) -> [UInt8] {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        // Our views hold strings, integers and enums only: there is nothing in them that JSON cannot say.
        guard let data = try? encoder.encode(value) else { return Array("{}".utf8) }
        return Array(data) + [UInt8(ascii: "\n")]
    }

    /// Throws `DecodingError`; unknown members are ignored, so that an older client reads a newer gateway.
    package static func decode<Value: Decodable>(_ type: Value.Type, from bytes: [UInt8]) throws -> Value {
        try JSONDecoder().decode(type, from: Data(bytes))
    }
}
