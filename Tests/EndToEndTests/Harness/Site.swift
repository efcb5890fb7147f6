import Foundation

/// Everything on the other side of a gateway: canaille and the API, with a seat for each scenario. Started once, when
/// the first scenario asks for it, and gone with the test process.
final class Site: Sendable {
    /// Tokens that live an hour.
    static let lasting = Task { try await Site(lifetime: 3600) }
    /// Tokens that live for seconds.
    static let brief = Task { try await Site(lifetime: briefLifetime) }
    /// The authorization server without TLS on a loopback address.
    static let plain = Task { try await Site(lifetime: 3600, hasTLS: false) }
    static let briefLifetime = 8

    let canaille: Canaille
    let nginx: Nginx
    let certificates: Certificates
    private let seats: [String: Seat]

    private init(lifetime: Int, hasTLS: Bool = true) async throws {
        certificates = try await Certificates.make()
        let names = SeatName.allCases.map(\.rawValue)
        let seats = try names.map { try Seat(name: $0, hasTLS: hasTLS) }
        self.seats = Dictionary(uniqueKeysWithValues: seats.map { ($0.name, $0) })
        let port = try Ports.next()
        let front = try Ports.next()
        let issuer = hasTLS ? "https://localhost:\(front)" : "http://127.0.0.1:\(front)"
        let reader = (id: "api", secret: randomText(32))
        nginx = try await Nginx.start(
            certificates, canaille: port, front: front, issuer: issuer, seats: seats, reader: reader)
        canaille = try await Canaille.start(
            port: port, issuer: issuer, lifetime: lifetime, seats: seats, reader: reader)
    }

    func seat(_ name: SeatName) -> Seat { seats[name.rawValue]! }

    /// The caller, who trusts the site's certificates.
    var curl: Curl { Curl(authority: certificates.authority) }

    /// A browser without any cookie.
    func browser() -> Browser { Browser(authority: certificates.authority) }

    /// Opens the address that starts a consent, signs in and answers canaille's question, as far as it asks (who is
    /// signed in or has consented before is not asked again). Returns where the browser ends.
    @discardableResult
    func consent(
        _ browser: Browser, from start: String, as seat: Seat, answer: String = "accept", border: String? = nil
    ) async throws -> String {
        var place = try await browser.open(start, border: border)
        for _ in 0..<3 {
            if let border, place.hasPrefix(border) { return place }
            guard let form = browser.page?.forms.first, place.hasPrefix(canaille.issuer) else { return place }
            if form.hasField("login") {
                place = try await browser.submit(formWith: "login", ["login": seat.name], border: border)
            } else if form.hasField("password") {
                place = try await browser.submit(formWith: "password", ["password": seat.password], border: border)
            } else {
                place = try await browser.submit(formWith: "answer", pressing: answer, border: border)
            }
        }
        return place
    }

    /// What canaille's introspection says about a token, asked through the API.
    func isActive(_ token: String) async throws -> Bool {
        let reply = try await curl.call(nginx.apiURL + "/echo", ["-H", "Authorization: Bearer \(token)"])
        switch reply.status {
        case 200: return true
        case 401: return false
        default: throw HarnessError("the API answered \(reply.status) when asked about a token")
        }
    }
}

/// The scenarios that have a seat.
enum SeatName: String, CaseIterable, Sendable {
    case probe1, probe2, probe3, probe4, probe5
    case consent, replay, other, denied, paste, command, plain
    case equality, credentials, drain
    case expiry, idle, retry, rejected, large, asked, herd, transient
    case kill, second, key, revoke, dead
    case leaks
    case buttons, reload, file
}
