import GRDB

package enum SQLiteVersion {
    /// The library in use, for example "3.40.1".
    package static var text: String {
        let number = Int(Database.sqliteLibVersionNumber)
        return "\(number / 1_000_000).\(number / 1000 % 1000).\(number % 1000)"
    }
}
