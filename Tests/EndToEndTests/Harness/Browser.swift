import Foundation

/// A person's browser: keeps cookies, follows redirects, sends `Referer` as the page allows, submits forms.
/// It runs no scripts.
final class Browser {
    struct Page {
        var url: String
        var reply: Reply
        var forms: [Form] { Form.all(in: reply.text) }
    }

    /// Every answer, redirects included, oldest first.
    private(set) var history: [Page] = []
    private(set) var page: Page?

    private let jar = Workspace.newFile("cookies")
    private let curl: Curl

    init(authority: String) {
        curl = Curl(authority: authority, options: ["-b", jar, "-c", jar])
    }

    deinit { unlink(jar) }

    /// Goes to an address and on to where it leads. Stops before an address that starts with `border`, which stands
    /// for a redirect target that is not to be fetched; returns that address, else the page's.
    @discardableResult
    func open(_ url: String, border: String? = nil) async throws -> String {
        try await fetch(url, [], border: border)
    }

    /// Submits the page's form that has a field or a button called `field`.
    @discardableResult
    func submit(
        formWith field: String, _ answers: [String: String] = [:], pressing value: String? = nil,
        border: String? = nil
    ) async throws -> String {
        guard let page, let form = page.forms.first(where: { $0.has(field) }) else {
            throw HarnessError(
                "no form with '\(field)' on \(page?.url ?? "no page"): \(page?.reply.text.prefix(2000) ?? "")")
        }
        let button = value == nil ? form.buttons.first : form.buttons.first { $0.value == value }
        if let value, button == nil { throw HarnessError("no button '\(value)' on \(page.url)") }
        let sent = form.filled(answers, pressing: button)
        let target = form.action.isEmpty ? page.url : try resolve(form.action, against: page.url)
        guard form.method == "POST" else { throw HarnessError("a form with method \(form.method) on \(page.url)") }
        let option = form.isMultipart ? "--form-string" : "--data-urlencode"
        return try await fetch(target, sent.flatMap { [option, "\($0.name)=\($0.value)"] }, border: border)
    }

    /// Presses the button of the page's form that goes to an address with this end.
    @discardableResult
    func press(formTo end: String, border: String? = nil) async throws -> String {
        guard let page, let form = page.forms.first(where: { $0.action.hasSuffix(end) }) else {
            throw HarnessError("no form to '\(end)' on \(page?.url ?? "no page")")
        }
        let sent = form.filled([:], pressing: form.buttons.first)
        return try await fetch(
            try resolve(form.action, against: page.url),
            sent.flatMap { ["--data-urlencode", "\($0.name)=\($0.value)"] }, border: border)
    }

    /// What a foreign page makes the browser send: its cookies, but not what is on our pages.
    func forge(_ url: String, _ options: [String]) async throws -> Reply {
        try await curl.call(url, options)
    }

    private func fetch(_ start: String, _ content: [String], border: String?) async throws -> String {
        var url = start
        var options = content
        for _ in 0..<10 {
            let reply = try await curl.call(url, options + referrer(for: url))
            guard reply.exitCode == 0 else { throw HarnessError("browser, \(url): \(reply.errors)") }
            let here = Page(url: url, reply: reply)
            history.append(here)
            guard [301, 302, 303, 307].contains(reply.status), let location = reply.field("location") else {
                page = here
                return url
            }
            url = try resolve(location, against: url)
            options = []
            if let border, url.hasPrefix(border) { return url }
        }
        throw HarnessError("browser: too many redirects from \(start)")
    }

    private func referrer(for url: String) -> [String] {
        guard let page, page.reply.field("referrer-policy") != "no-referrer", origin(page.url) == origin(url)
        else { return [] }
        return ["-e", page.url]
    }

    private func origin(_ url: String) -> String? {
        URLComponents(string: url).map { "\($0.scheme ?? "")://\($0.host ?? ""):\($0.port ?? 0)" }
    }

    private func resolve(_ reference: String, against base: String) throws -> String {
        guard let url = URL(string: reference, relativeTo: URL(string: base)) else {
            throw HarnessError("browser: bad address '\(reference)'")
        }
        return url.absoluteString
    }
}

extension Form {
    fileprivate func has(_ name: String) -> Bool { hasField(name) || buttons.contains { $0.name == name } }
}

extension String {
    /// A parameter of the URL's query, decoded.
    func queryParameter(_ name: String) -> String? {
        URLComponents(string: self)?.queryItems?.first { $0.name == name }?.value
    }
}
