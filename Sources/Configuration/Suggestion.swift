/// Finds the name that was probably meant.
package enum Suggestion {
    /// `; did you mean "x"?`, or nothing when no name is near.
    package static func hint(for word: String, among names: some Sequence<String>) -> String {
        nearest(to: word, among: names).map { "; did you mean \"\($0)\"?" } ?? ""
    }

    /// The name with the fewest edits, at most about a third of the longer one's letters; else the first name that
    /// holds the whole word.
    static func nearest(to word: String, among names: some Sequence<String>) -> String? {
        let letters = Array(word.lowercased().utf8.prefix(64))
        var best: (name: String, distance: Int)?
        for name in names {
            let candidate = Array(name.lowercased().utf8.prefix(64))
            let longer = max(letters.count, candidate.count)
            let distance = self.distance(letters, candidate)
            guard longer > 2, distance <= (longer + 1) / 3 else { continue }
            if distance < best?.distance ?? .max { best = (name, distance) }
        }
        if best == nil, letters.count > 3 { return names.first { $0.contains(word.lowercased()) } }
        return best?.name
    }

    /// Insertions, deletions, replacements and swaps of neighbours; O(left * right).
    private static func distance(_ left: [UInt8], _ right: [UInt8]) -> Int {
        var before: [Int] = []
        var previous = Array(0...right.count)
        for row in 0..<left.count {
            var current = [row + 1]
            for column in 0..<right.count {
                let replaced = previous[column] + (left[row] == right[column] ? 0 : 1)
                var cost = min(replaced, previous[column + 1] + 1, current[column] + 1)
                if row > 0, column > 0, left[row] == right[column - 1], left[row - 1] == right[column] {
                    cost = min(cost, before[column - 1] + 1)
                }
                current.append(cost)
            }
            before = previous
            previous = current
        }
        return previous[right.count]
    }
}
