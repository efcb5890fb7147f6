"""An authorization server with many accounts, and the APIs that ask it. Each account has its own line of refresh tokens;
each is good once, and the use of an old one ends the account's grant. Who consents is who the browser says it is."""

from oauthkit import *


class Accounts:
    client_id = "gateway"
    client_secret = "secret of the gateway"

    def __init__(self, lifetime=600):
        self.lifetime = lifetime
        self.delay = 0               # from the act to the answer
        self.lock = threading.Lock()
        self.codes = {}
        self.access = {}             # access token: (account, when it ends)
        self.current = {}            # account: its refresh token
        self.refresh = {}            # refresh token: its account
        self.refreshes = {}          # account: how many
        self.thefts = []
        self.more = {}               # account: further members of its replies
        self.refused = []            # what came without the client's secret
        server = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self):
                content = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
                status, fields, body = server.answer(self, content)
                self.send_response(status)
                for name, value in fields.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_POST = answer

            def log_message(self, *arguments):
                pass

        class Server(http.server.ThreadingHTTPServer):
            request_queue_size = 512
            daemon_threads = True

            def handle_error(self, request, address):
                """A gateway that is stopped leaves its connections."""

        self.server = Server(("127.0.0.1", 0), Handler)
        self.base = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def provider(self, folder, more=""):
        private_file(f"{folder}/client.secret", self.client_secret)
        return f"""
[provider.accounts]
authorize_url = "{self.base}/authorize"
token_url = "{self.base}/token"
client_id = "{self.client_id}"
client_secret_file = "{folder}/client.secret"
client_auth = "client_secret_post"
allow_plaintext = true
rejection_cooldown = "0s"
paths.account = "account"
{more}
"""

    def consent(self, link, account):
        browser = Browser()
        browser.opener.addheaders = [("X-Account", account)]
        return browser.open(link)

    def answer(self, request, content):
        place = urllib.parse.urlparse(request.path)
        if place.path == "/authorize":
            given = dict(urllib.parse.parse_qsl(place.query))
            code = secrets.token_urlsafe(16)
            with self.lock:
                self.codes[code] = request.headers["X-Account"]
            query = urllib.parse.urlencode({"code": code, "state": given["state"]})
            return 302, {"Location": given["redirect_uri"] + "?" + query}, b""
        given = dict(urllib.parse.parse_qsl(content))
        with self.lock:
            status, reply = self.token(given)
        time.sleep(self.delay)
        return status, {"Content-Type": "application/json"}, json.dumps(reply).encode()

    def token(self, given):
        if (given.get("client_id"), given.get("client_secret")) != (self.client_id, self.client_secret):
            self.refused.append(given)
            return 401, {"error": "invalid_client"}
        if given["grant_type"] == "authorization_code":
            account = self.codes.pop(given["code"], None)
            return self.issue(account) if account else (400, {"error": "invalid_grant"})
        account = self.refresh.get(given["refresh_token"])
        if account is None or self.current.get(account) != given["refresh_token"]:
            self.thefts.append((account, given["refresh_token"]))
            self.current.pop(account, None)
            return 400, {"error": "invalid_grant"}
        self.refreshes[account] = self.refreshes.get(account, 0) + 1
        return self.issue(account)

    def issue(self, account):
        access, refresh = secrets.token_urlsafe(24), secrets.token_urlsafe(24)
        self.access[access] = (account, time.monotonic() + self.lifetime)
        self.refresh[refresh] = account
        self.current[account] = refresh
        return 200, {"access_token": access, "refresh_token": refresh, "token_type": "Bearer", "account": account,
                     "expires_in": self.lifetime, **self.more.get(account, {})}

    def owner(self, token):
        """Whose valid token it is."""
        account, end = self.access.get(token, (None, 0))
        return account if time.monotonic() < end else None

    def end_access(self, account):
        with self.lock:
            for token, (owner, _) in list(self.access.items()):
                if owner == account:
                    self.access[token] = (owner, 0)
