import Console
import DemoServices
import Glibc
import Reactor

/// What runs during the demo: the two services in this process, and the gateway, which is this same program, beside it.
final class DemoStage {
    static let grant = "orders"
    static let accessTokenSeconds: Int64 = 8

    let place: DemoPlace
    let interruption: Interruption
    let services: DemoServices
    let api: AdminAPI
    /// Our own program, so that the demo shows the one that was built.
    let program: String
    private(set) var gateway: ChildProcess?

    init(place: DemoPlace, interruption: Interruption) throws(DemoFailure) {
        self.place = place
        self.interruption = interruption
        program = Self.ownPath()
        var options = DemoOptions()
        options.issuerPort = place.issuerPort
        options.apiPort = place.apiPort
        options.redirectURIs = [place.redirectURI]
        options.accessTokenSeconds = Self.accessTokenSeconds
        do {
            services = try DemoServices.start(options)
        } catch {
            throw .cannotStart("the demo's services cannot start: \(error)")
        }
        api = AdminAPI(
            client: ConsoleClient(endpoint: ConsoleEndpoint(.loopback(port: place.consolePort))),
            configuredGrants: [Self.grant], configurationPath: place.configuration)
        try place.write(for: services)
    }

    private static func ownPath() -> String {
        var room = [CChar](repeating: 0, count: Int(PATH_MAX))
        let count = readlink("/proc/self/exe", &room, room.count)
        guard count > 0 else { return "/proc/self/exe" }
        return String(decoding: room[..<count].map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    func end() {
        gateway?.stop(within: 5000)
        services.stop()
    }

    // MARK: The gateway

    /// Starts it, and returns when it answers.
    func startGateway() throws(DemoFailure) {
        let child = try ChildProcess(
            [program, "run", "--config", place.configuration, "--end-with-parent", "\(getpid())"],
            output: .null, errors: .file(place.log))
        gateway = child
        try interruption.until("the start of the gateway", within: 15_000) { () throws(DemoFailure) in
            if let end = child.poll() {
                throw .stepFailed("the gateway ended at its start (\(end))")
            }
            let reply = try? api.client.request("GET", "/livez", milliseconds: 1000)
            return reply?.status == 200 ? () : nil
        }
    }

    /// A command of the program, with this configuration.
    func command(_ arguments: [String]) throws(DemoFailure) -> ChildProcess {
        try ChildProcess(
            [program] + arguments + ["--config", place.configuration], output: .pipe, errors: .file(place.log))
    }

    func grantView() throws(DemoFailure) -> GrantView {
        do throws(CommandFailure) {
            return try api.grant(Self.grant)
        } catch {
            throw .stepFailed(error.message)
        }
    }

    // MARK: A person

    /// Does what a person with a browser would: follows the link, signs in, consents, and comes back.
    func consent(link: String) throws(DemoFailure) {
        let complaint: String?
        do throws(DemoClientError) {
            complaint = try visit(link)
        } catch {
            complaint = "\(error)"
        }
        if let complaint { throw .stepFailed(complaint) }
    }

    /// Returns what went wrong.
    private func visit(_ link: String) throws(DemoClientError) -> String? {
        let browser = DemoClient(caPEM: services.caPEM)
        let start = try browser.request("GET", link)
        guard let provider = start.field("location"),
            let cookie = start.field("set-cookie")?.split(separator: ";").first
        else { return "the link was answered with \(start.status) and leads nowhere" }
        let callback = try services.consentAutomatically(authorizationURL: provider)
        var page = try browser.request("GET", callback, fields: [("Cookie", String(cookie))])
        // On to an address without code and state.
        if page.status == 303, let last = page.field("location") {
            page = try browser.request("GET", last.hasPrefix("/") ? place.consoleURL + last : last)
        }
        return page.status == 200 ? nil : "the way back from the provider ended with \(page.status)"
    }
}
