internal import Glibc

/// The names of users.
package enum UserName {
    /// The name of a user; nil when it has none, or when the system cannot say. May block for as long as the system's
    /// sources of names like: keep the answer.
    package static func find(_ user: UInt32) -> String? {
        let capacity = 16 * 1024
        return unsafe withUnsafeTemporaryAllocation(of: CChar.self, capacity: capacity) { text in
            var entry = unsafe passwd()
            var found: UnsafeMutablePointer<passwd>?
            guard let base = text.baseAddress, unsafe getpwuid_r(user, &entry, base, capacity, &found) == 0,
                unsafe found != nil, let name = unsafe entry.pw_name
            else { return nil }
            return unsafe String(validatingCString: name)
        }
    }
}
