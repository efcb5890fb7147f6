/// What is said upstream about the caller.
package enum ForwardedStyle: Sendable { case off, xForwarded, rfc7239 }

/// The rule that picks upstream, grant and treatment for a request.
///
/// A value; its members live in one shared box, because each request hands rules from function to function and a copy
/// of two dozen members would cost a retain for each array among them.
package struct RouteRule: Sendable {
    package enum Path: Sendable, Equatable {
        case exact([UInt8])
        /// Everything that begins with it; it ends in "/".
        case prefix([UInt8])
    }

    private struct Members: Sendable {
        var name: String
        var path: Path
        var host: [UInt8]?
        var methods: [[UInt8]] = []
        var stripPrefix: [UInt8] = []
        var upstream: Int
        var grantSelection: GrantSelection
        var removesGrantHeader: Bool = true
        var removesGrantSegment: Bool = false
        var forwardAuthorization: Bool = false
        var forwardCookies: Bool = false
        var forwarded: ForwardedStyle = .xForwarded
        var via: Bool = true
        var retryStatuses: [UInt16] = [401]
        var retryBodyLimit: Int = 256 * 1024
        var requestBodyLimit: UInt64?
        var responseBodyLimit: UInt64?
        var allowFrom: [AddressBlock] = []
        var allowWebSocket: Bool = false
        var timeout: UInt64?
        var acceptsAnyChallenge: Bool = false
        var credentialHeader: [UInt8] = Array("authorization".utf8)
        /// What follows from the others, so that no request has to find it out.
        var injectsCredential = false
        var removedGrantHeader: [UInt8] = []
        var removedGrantSegment = 0

        mutating func conclude() {
            injectsCredential = grantSelection != .none
            removedGrantHeader = []
            if removesGrantHeader, case .template(_, .header(let name)) = grantSelection { removedGrantHeader = name }
            removedGrantSegment = 0
            if removesGrantSegment, case .template(_, .pathSegment(let number)) = grantSelection {
                removedGrantSegment = number
            }
        }
    }

    private final class Box: Sendable {
        let members: Members

        init(_ members: Members) {
            var members = members
            members.conclude()
            self.members = members
        }
    }

    private var box: Box

    package init(name: String, path: Path, upstream: Int, grantSelection: GrantSelection) {
        box = Box(Members(name: name, path: path, upstream: upstream, grantSelection: grantSelection))
    }

    /// - Parameter grant: the index of a grant in the snapshot; nil: nothing is injected.
    package init(name: String, path: Path, upstream: Int, grant: Int?) {
        self.init(name: name, path: path, upstream: upstream, grantSelection: grant.map { .fixed($0) } ?? .none)
    }

    /// Rules are made once and read for every request: a change makes a new box.
    private mutating func change(_ body: (inout Members) -> Void) {
        var members = box.members
        body(&members)
        box = Box(members)
    }

    package var name: String {
        get { box.members.name }
        set { change { $0.name = newValue } }
    }
    package var path: Path {
        get { box.members.path }
        set { change { $0.path = newValue } }
    }
    /// Lower case, without port; nil: every host.
    package var host: [UInt8]? {
        get { box.members.host }
        set { change { $0.host = newValue } }
    }
    /// Empty: every method.
    package var methods: [[UInt8]] {
        get { box.members.methods }
        set { change { $0.methods = newValue } }
    }
    package var stripPrefix: [UInt8] {
        get { box.members.stripPrefix }
        set { change { $0.stripPrefix = newValue } }
    }
    /// Index of the upstream in the snapshot.
    package var upstream: Int {
        get { box.members.upstream }
        set { change { $0.upstream = newValue } }
    }
    package var grantSelection: GrantSelection {
        get { box.members.grantSelection }
        set { change { $0.grantSelection = newValue } }
    }
    /// A credential goes with each request.
    package var injectsCredential: Bool { box.members.injectsCredential }
    /// The header field that names the grant does not go upstream.
    package var removesGrantHeader: Bool {
        get { box.members.removesGrantHeader }
        set { change { $0.removesGrantHeader = newValue } }
    }
    /// The name, in lower case, of the field that ``removesGrantHeader`` means here; empty: none.
    package var removedGrantHeader: [UInt8] { box.members.removedGrantHeader }
    /// The segment of the path that names the grant does not go upstream.
    package var removesGrantSegment: Bool {
        get { box.members.removesGrantSegment }
        set { change { $0.removesGrantSegment = newValue } }
    }
    /// The number, from 1, of the segment that ``removesGrantSegment`` means here; 0: none. It is behind
    /// ``stripPrefix``, which is the same for all requests.
    package var removedGrantSegment: Int { box.members.removedGrantSegment }
    package var forwardAuthorization: Bool {
        get { box.members.forwardAuthorization }
        set { change { $0.forwardAuthorization = newValue } }
    }
    package var forwardCookies: Bool {
        get { box.members.forwardCookies }
        set { change { $0.forwardCookies = newValue } }
    }
    package var forwarded: ForwardedStyle {
        get { box.members.forwarded }
        set { change { $0.forwarded = newValue } }
    }
    package var via: Bool {
        get { box.members.via }
        set { change { $0.via = newValue } }
    }
    package var retryStatuses: [UInt16] {
        get { box.members.retryStatuses }
        set { change { $0.retryStatuses = newValue } }
    }
    /// Whether a response with this status is a rejection of the credential.
    package func retries(_ status: UInt16) -> Bool { box.members.retryStatuses.contains(status) }
    package var retryBodyLimit: Int {
        get { box.members.retryBodyLimit }
        set { change { $0.retryBodyLimit = newValue } }
    }
    package var requestBodyLimit: UInt64? {
        get { box.members.requestBodyLimit }
        set { change { $0.requestBodyLimit = newValue } }
    }
    package var responseBodyLimit: UInt64? {
        get { box.members.responseBodyLimit }
        set { change { $0.responseBodyLimit = newValue } }
    }
    package var allowFrom: [AddressBlock] {
        get { box.members.allowFrom }
        set { change { $0.allowFrom = newValue } }
    }
    /// ``allowFrom`` is empty.
    package var allowsEveryone: Bool { box.members.allowFrom.isEmpty }
    package var allowWebSocket: Bool {
        get { box.members.allowWebSocket }
        set { change { $0.allowWebSocket = newValue } }
    }
    /// Milliseconds for the whole exchange; nil: no limit.
    package var timeout: UInt64? {
        get { box.members.timeout }
        set { change { $0.timeout = newValue } }
    }
    /// A rejection may carry any challenge: the credential is not a bearer token in the Authorization field, so the
    /// challenge need not name Bearer.
    package var acceptsAnyChallenge: Bool {
        get { box.members.acceptsAnyChallenge }
        set { change { $0.acceptsAnyChallenge = newValue } }
    }
    /// The name, in lower case, of the field that the grant's credential goes into.
    package var credentialHeader: [UInt8] {
        get { box.members.credentialHeader }
        set { change { $0.credentialHeader = newValue } }
    }
}
