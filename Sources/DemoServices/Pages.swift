/// The pages of the demo authorization server: plain words, no script, nothing from elsewhere.
enum Pages {
    static let fields: [(name: String, value: String)] = [
        ("Cache-Control", "no-store"), ("Referrer-Policy", "no-referrer"), ("X-Content-Type-Options", "nosniff"),
        (
            "Content-Security-Policy",
            "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'"
        ),
    ]

    static var tooLate: DemoResponse {
        problem(400, "This page has been used already, is too old, or belongs to another browser. Start again.")
    }

    static func start(issuer: String) -> DemoResponse {
        page(
            "Demo sign-in service",
            """
            <p>This is the authorization server of the Token Gateway demonstration. It lives in memory and forgets
            everything when it ends.</p>
            <p>Its metadata: <a href="/.well-known/oauth-authorization-server">\(escaped(issuer))</a></p>
            """)
    }

    static func signIn(transaction: String, options: DemoOptions, isRetry: Bool) -> DemoResponse {
        let complaint = isRetry ? "<p class=\"wrong\">The name or the password is not right.</p>" : ""
        return page(
            "Sign in",
            """
            <p>This is a demonstration, so the name and the password are filled in for you.</p>\(complaint)
            <form method="post" action="/sign-in">
            <input type="hidden" name="transaction" value="\(escaped(transaction))">
            <label>Name <input name="account" value="\(escaped(options.account))" autocomplete="username"></label>
            <label>Password <input name="password" type="password" value="\(escaped(options.password))"
            autocomplete="current-password"></label>
            <button class="yes">Sign in</button>
            </form>
            """, status: isRetry ? 403 : 200)
    }

    static func consent(transaction: String, client: String, account: String, scope: String) -> DemoResponse {
        let scopes = scope.split(separator: " ").map { "<li>\(escaped(String($0)))</li>" }.joined()
        return page(
            "Allow access?",
            """
            <p><b>\(escaped(client))</b> asks to use the demo API in the name of <b>\(escaped(account))</b>, with:</p>
            <ul>\(scopes)</ul>
            <p>It will keep this permission until it is revoked.</p>
            <form method="post" action="/consent">
            <input type="hidden" name="transaction" value="\(escaped(transaction))">
            <button class="yes" name="decision" value="allow">Allow</button>
            <button name="decision" value="deny">Do not allow</button>
            </form>
            """)
    }

    static func problem(_ status: Int, _ words: String) -> DemoResponse {
        page(status == 200 ? "Notice" : "This did not work", "<p>\(escaped(words))</p>", status: status)
    }

    private static func page(_ title: String, _ body: String, status: Int = 200) -> DemoResponse {
        let html = """
            <!DOCTYPE html>
            <html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
            <title>\(escaped(title))</title><style>
            :root{color-scheme:light dark}
            body{font:16px/1.5 system-ui,sans-serif;margin:12vh auto;max-width:26rem;padding:0 1.5rem}
            main{border:1px solid #8885;border-radius:12px;padding:1.5rem 2rem;box-shadow:0 2px 16px #0001}
            h1{font-size:1.4rem;margin:0 0 .5rem}label{display:block;margin:.8rem 0}
            input:not([type=hidden]){display:block;width:100%;box-sizing:border-box;font:inherit;padding:.5rem;
            border:1px solid #8888;border-radius:6px}
            button{font:inherit;padding:.5rem 1.2rem;border:1px solid #8888;border-radius:6px;background:none;
            margin:.6rem .4rem 0 0;cursor:pointer}button.yes{background:#1a6b4a;border-color:#1a6b4a;color:#fff}
            .wrong{color:#c0392b}
            </style></head><body><main><h1>\(escaped(title))</h1>
            \(body)
            </main></body></html>

            """
        return DemoResponse(
            status: status, fields: [("Content-Type", "text/html; charset=utf-8")] + fields,
            body: .bytes(Array(html.utf8)))
    }
}
