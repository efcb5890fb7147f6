/// Writes the Prometheus text format, version 0.0.4: one family at a time, HELP and TYPE first, then its samples.
///
/// The order is the order of the calls, so a caller that sorts its names gets the same bytes for the same numbers.
package struct PrometheusWriter {
    package enum Kind: String, Sendable {
        case counter, gauge, histogram
    }

    /// One label; the value may be any text and is escaped, the name is ours.
    package typealias Label = (name: StaticString, value: String)

    package private(set) var bytes: [UInt8] = []
    private var family: String = ""

    package init() {}

    /// Starts a family. `name` is complete, suffixes such as `_total` included, except a histogram's.
    package mutating func beginFamily(_ name: String, _ kind: Kind, help: StaticString) {
        family = name
        bytes.append(ascii: "# HELP ")
        bytes.append(contentsOf: name.utf8)
        bytes.append(UInt8(ascii: " "))
        help.withUTF8Buffer { text in
            for byte in text { appendEscaped(byte, quotes: false) }
        }
        bytes.append(ascii: "\n# TYPE ")
        bytes.append(contentsOf: name.utf8)
        bytes.append(UInt8(ascii: " "))
        bytes.append(contentsOf: kind.rawValue.utf8)
        bytes.append(UInt8(ascii: "\n"))
    }

    package mutating func sample(_ value: some BinaryInteger) {
        sample([], value)
    }

    package mutating func sample(_ value: Double) {
        sample([], value)
    }

    package mutating func sample(_ labels: [Label], _ value: some BinaryInteger) {
        beginSample(suffix: "", labels: labels)
        bytes.append(decimal: value)
        bytes.append(UInt8(ascii: "\n"))
    }

    package mutating func sample(_ labels: [Label], _ value: Double) {
        beginSample(suffix: "", labels: labels)
        append(value)
        bytes.append(UInt8(ascii: "\n"))
    }

    /// The `_bucket`, `_sum` and `_count` samples of one histogram.
    package mutating func sample(_ labels: [Label], _ histogram: DurationHistogram) {
        var cumulative: UInt64 = 0
        for (index, count) in histogram.buckets.enumerated() {
            cumulative &+= count
            let bound = index < DurationHistogram.boundCount ? Self.seconds(ofBound: index) : "+Inf"
            beginSample(suffix: "_bucket", labels: labels + [("le", bound)])
            bytes.append(decimal: cumulative)
            bytes.append(UInt8(ascii: "\n"))
        }
        beginSample(suffix: "_sum", labels: labels)
        bytes.append(secondsFromNanoseconds: histogram.totalNanoseconds)
        bytes.append(UInt8(ascii: "\n"))
        beginSample(suffix: "_count", labels: labels)
        bytes.append(decimal: cumulative)
        bytes.append(UInt8(ascii: "\n"))
    }

    /// `0.001`, `0.002` … `65.536`.
    private static func seconds(ofBound index: Int) -> String {
        let milliseconds = 1 << index
        let fraction = String(milliseconds % 1_000)
        return "\(milliseconds / 1_000).\(String(repeating: "0", count: 3 - fraction.count))\(fraction)"
    }

    private mutating func beginSample(suffix: StaticString, labels: [Label]) {
        bytes.append(contentsOf: family.utf8)
        bytes.append(ascii: suffix)
        for (index, label) in labels.enumerated() {
            bytes.append(index == 0 ? UInt8(ascii: "{") : UInt8(ascii: ","))
            bytes.append(ascii: label.name)
            bytes.append(ascii: "=\"")
            for byte in label.value.utf8 { appendEscaped(byte, quotes: true) }
            bytes.append(UInt8(ascii: "\""))
        }
        if !labels.isEmpty { bytes.append(UInt8(ascii: "}")) }
        bytes.append(UInt8(ascii: " "))
    }

    /// HELP texts escape the backslash and the line feed; label values the quote as well.
    private mutating func appendEscaped(_ byte: UInt8, quotes: Bool) {
        switch byte {
        case UInt8(ascii: "\\"): bytes.append(ascii: "\\\\")
        case UInt8(ascii: "\n"): bytes.append(ascii: "\\n")
        case UInt8(ascii: "\"") where quotes: bytes.append(ascii: "\\\"")
        default: bytes.append(byte)
        }
    }

    private mutating func append(_ value: Double) {
        if value.isNaN {
            bytes.append(ascii: "NaN")
        } else if value.isInfinite {
            bytes.append(ascii: value < 0 ? "-Inf" : "+Inf")
        } else {
            bytes.append(contentsOf: value.description.utf8)
        }
    }
}
