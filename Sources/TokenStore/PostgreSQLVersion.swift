import CPostgreSQL

package enum PostgreSQLVersion {
    /// The client library in use, for example "15.18".
    package static var text: String {
        let number = Int(PQlibVersion())
        return "\(number / 10_000).\(number % 10_000)"
    }
}
