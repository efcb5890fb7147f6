/// One field of a request or a response.
package struct ConsoleField: Sendable, Equatable {
    package var name: String
    package var value: String

    package init(_ name: String, _ value: String) {
        self.name = name
        self.value = value
    }
}

/// A complete request to the console's listener, as the driver read it.
///
/// Nothing of it is trusted. The description leaves out fields, query and body, which may hold secrets.
package struct ConsoleRequest: Sendable, CustomStringConvertible {
    package var method: String
    /// The target's path as received, not decoded, without the query.
    package var path: String
    /// What follows the first `?`, without it.
    package var query: String?
    package var fields: [ConsoleField]
    package var body: [UInt8]
    /// The peer's address without the port, for the limit of wrong sign-ins.
    package var peer: String
    /// Whether the peer is on this machine: a loopback address or a Unix socket.
    package var isLoopbackPeer: Bool
    /// The id that the log line of this request carries; shown with errors.
    package var requestID: String

    package init(
        method: String, path: String, query: String? = nil, fields: [ConsoleField] = [], body: [UInt8] = [],
        peer: String, isLoopbackPeer: Bool, requestID: String
    ) {
        self.method = method
        self.path = path
        self.query = query
        self.fields = fields
        self.body = body
        self.peer = peer
        self.isLoopbackPeer = isLoopbackPeer
        self.requestID = requestID
    }

    package var description: String { "\(method) \(path) from \(peer)" }

    /// The value of a field that may stand once; `nil` where it is absent or stands twice (which says nothing certain).
    package func field(_ name: String) -> String? {
        let values = fields.filter { $0.name.lowercased() == name }
        return values.count == 1 ? values[0].value : nil
    }

    package func has(field name: String) -> Bool {
        fields.contains { $0.name.lowercased() == name }
    }
}

/// What the driver sends back. `Content-Length` is among the fields; a response to HEAD has it and an empty body.
///
/// The description is the status: fields and body may hold cookies and links.
package struct ConsoleResponse: Sendable, Equatable, CustomStringConvertible {
    package var description: String { "ConsoleResponse(\(status))" }

    package var status: Int
    package var fields: [ConsoleField]
    package var body: [UInt8]

    package init(status: Int, fields: [ConsoleField], body: [UInt8]) {
        self.status = status
        self.fields = fields
        self.body = body
    }

    package func field(_ name: String) -> String? {
        fields.first { $0.name.lowercased() == name.lowercased() }?.value
    }
}
