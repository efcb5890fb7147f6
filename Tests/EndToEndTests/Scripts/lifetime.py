"""How the process begins, ends and answers, seen from outside: replies that come after SIGTERM, readiness while the last
callers are served, a second signal, a machine where only the store's folder can be written."""

import shutil

from oauthkit import *

place = Place()
cases = Cases()


class Provider:
    """Single-use refresh tokens without any grace. `hold(seconds)`: the next refresh acts at once and answers later."""

    def __init__(self):
        self.lock = threading.Lock()
        self.number = 0
        self.delay = 0.0
        self.refreshes = []
        self.thefts = 0
        self.in_flight = threading.Event()
        provider = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                path, _, query = self.path.partition("?")
                if path == "/authorize":
                    given = dict(urllib.parse.parse_qsl(query))
                    target = given["redirect_uri"] + "?" + urllib.parse.urlencode(
                        {"code": "the-code", "state": given["state"]})
                    self.send_response(302)
                    self.send_header("Location", target)
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                elif path == "/slow":
                    self.slow()
                else:
                    good = self.headers.get("Authorization") == f"Bearer access-{provider.number}"
                    self.answer(200 if good else 401, b"yes")

            def slow(self):
                """A download that goes on until the caller or the test ends it."""
                self.send_response(200)
                self.send_header("Content-Length", str(1 << 30))
                self.end_headers()
                try:
                    while not provider.is_over.wait(0.05):
                        self.wfile.write(b"x" * 1000)
                except OSError:
                    pass

            def do_POST(self):
                content = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
                status, body, delay = provider.token(dict(urllib.parse.parse_qsl(content)))
                time.sleep(delay)
                try:
                    self.answer(status, json.dumps(body).encode())
                except OSError:
                    pass

            def answer(self, status, body):
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *arguments):
                pass

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request, address):
                pass

        self.is_over = threading.Event()
        self.server = Server(("127.0.0.1", 0), Handler)
        self.base = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def token(self, given):
        with self.lock:
            delay = 0.0
            if given.get("grant_type") == "refresh_token":
                if given.get("refresh_token") != f"refresh-{self.number}":
                    self.thefts += 1
                    return 400, {"error": "invalid_grant"}, 0.0
                self.refreshes.append(given["refresh_token"])
                delay, self.delay = self.delay, 0.0
                self.in_flight.set()
            self.number += 1
            return 200, {"access_token": f"access-{self.number}", "refresh_token": f"refresh-{self.number}",
                         "token_type": "Bearer", "expires_in": 3600}, delay

    def hold(self, seconds):
        with self.lock:
            self.delay = seconds
            self.in_flight.clear()

    def sections(self, folder):
        private_file(f"{folder}/client.secret", "client-secret-of-lifetime")
        return f"""
[provider.strict]
authorize_url = "{self.base}/authorize"
token_url = "{self.base}/token"
client_id = "lifetime"
client_secret_file = "{folder}/client.secret"
client_auth = "client_secret_post"
allow_plaintext = true
replay_window = "0s"
[grant.crm]
provider = "strict"
scopes = ["crm"]
[upstream.api]
url = "{self.base}"
allow_plaintext = true
[route.api]
path = "/api/*"
strip_prefix = "/api"
upstream = "api"
grant = "crm"
"""


def connected(name, more="", log=""):
    """`log`: directives for the section that `Gateway` writes last."""
    provider = Provider()
    folder = place.folder_for(name)
    gateway = Gateway(place, folder, "")
    gateway.configure(log + provider.sections(folder) + more)
    gateway.start()
    Browser().open(gateway.consent_link("crm"))
    check(gateway.grant("crm")["state"] == "active", f"{gateway.grant('crm')}")
    return provider, gateway


def refresh(gateway):
    """A command that may find nobody who answers it any more."""
    try:
        gateway.ask("POST", "/api/v1/grants/crm/refresh", {})
    except (OSError, http.client.HTTPException):
        pass


def late_reply():
    """A provider without grace answers seven seconds after SIGTERM: the pair is in the store."""
    provider, gateway = connected("late-reply")
    try:
        provider.hold(7.0)
        threading.Thread(target=refresh, args=(gateway,), daemon=True).start()
        check(provider.in_flight.wait(PATIENCE), "the provider was not asked")
        began = time.monotonic()
        gateway.process.child.send_signal(signal.SIGTERM)
        eventually(lambda: "waiting for replies of providers" in gateway.log(), lambda: gateway.process.tail())
        # Commands that would need another token call are told to come back.
        status, reply = gateway.ask("POST", "/api/v1/grants/crm/refresh", {})
        check(status == 503 and "draining" in str(reply), f"{status} {reply}")
        # Another signal would cut it.
        check(gateway.process.child.wait(PATIENCE) == 0, f"{gateway.process.tail()}")
        took = time.monotonic() - began
        check(6.0 < took < 15.0, f"the end took {took:.1f} s")
        gateway.start()
        status, _, text = gateway.call("/api/after")
        check(status == 200, f"after the restart: {status} {text} {gateway.grant('crm')}")
        check(provider.refreshes == ["refresh-1"] and provider.thefts == 0, f"{provider.refreshes} {provider.thefts}")
    finally:
        gateway.stop()


def impatient():
    """Readiness says no while a download goes on; a second signal cuts it, and the exit is 0."""
    provider, gateway = connected("impatient", '[timeouts]\ndrain = "60s"\n')
    try:
        status, _ = gateway.ask("GET", "/readyz")
        check(status == 200, f"ready: {status}")
        caller = socket.create_connection(("127.0.0.1", gateway.port), PATIENCE)
        caller.sendall(b"GET /api/slow HTTP/1.1\r\nHost: gateway\r\n\r\n")
        received = b""
        while len(received) < 5000:
            received += caller.recv(4096)
        check(received.startswith(b"HTTP/1.1 200"), f"{received[:100]}")
        gateway.process.child.send_signal(signal.SIGTERM)
        status, reply = eventually(
            lambda: next((found for found in [gateway.ask("GET", "/readyz")] if found[0] == 503), None),
            "readiness while draining")
        check(reply.get("draining") is True, f"{reply}")
        check(gateway.ask("GET", "/livez")[0] == 200, "alive while draining")
        metrics = gateway.ask("GET", "/metrics")[1]
        check("token_gateway_draining 1" in metrics, "the metric says so, too")
        check(len(caller.recv(4096)) > 0 and gateway.process.is_running, "the download goes on")
        began = time.monotonic()
        code = gateway.stop()
        took = time.monotonic() - began
        check(code == 0, f"exit {code}: {gateway.process.tail()}")
        check(took < 10, f"the second signal took {took:.1f} s")
        caller.settimeout(PATIENCE)
        try:
            while caller.recv(65536):
                pass
        except ConnectionError:
            pass
    finally:
        provider.is_over.set()
        gateway.stop()


def request_ids():
    """The request_id of a problem finds its line in the log."""
    provider, gateway = connected("request-ids", log='access = "stderr"\n')
    try:
        gateway.ask("POST", "/api/v1/grants/crm/revoke", {})
        found = []
        for path, fields in (("/api/x", {}), ("/nowhere", {}), ("/api/x", {"Content-Length": "x"})):
            status, _, text = gateway.call(path, fields=fields)
            problem = json.loads(text)
            check(status == problem["status"], f"{status} {problem}")
            found.append((problem["request_id"], status))
        # One that is refused before anything of it is known.
        with socket.create_connection(("127.0.0.1", gateway.port), PATIENCE) as caller:
            caller.sendall(b"no request at all\r\n\r\n")
            reply = b""
            while block := caller.recv(4096):
                reply += block
        problem = json.loads(reply.partition(b"\r\n\r\n")[2])
        found.append((problem["request_id"], problem["status"]))
        check(len({number for number, _ in found}) == 4, f"{found}")
        for number, status in found:
            lines = eventually(
                lambda: [line for line in gateway.log().splitlines() if f'"request_id":"{number}"' in line],
                f"no line for {number}: {gateway.process.tail()}")
            check(len(lines) == 1 and json.loads(lines[0])["status"] == status, f"{number} {status}: {lines}")
    finally:
        gateway.stop()


def read_only():
    """Where only the store's folder can be written: start, consent, refresh, reload, restart."""
    provider = Provider()
    folder = place.folder_for("read-only")
    state = f"{folder}/state"
    os.mkdir(state, 0o700)
    gateway = Gateway(place, folder, "")
    gateway.store = f'path = "{state}/grants.db"\nkey_file = "{folder}/store.key"'
    gateway.configure(provider.sections(folder))
    # Every file system but those of the kernel becomes read-only, and then the store's folder writable again.
    script = f"""
set -e
mount --bind {state} {state}
findmnt -rno TARGET,FSTYPE | while read -r target kind; do
  case "$kind" in proc|sysfs|devpts|mqueue|cgroup*|bpf|securityfs|debugfs|tracefs) continue;; esac
  [ "$target" = {state} ] || mount -o remount,bind,ro "$target" 2>/dev/null || true
done
cd /
if touch {folder}/probe /probe 2>/dev/null; then echo still writable >&2; exit 9; fi
touch {state}/probe && rm {state}/probe
exec env -i {place.program} run --config {folder}/gateway.conf
"""
    isolate = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--map-root-user", "--mount"]
    if not shutil.which("findmnt") or subprocess.run([*isolate, "true"], capture_output=True).returncode != 0:
        # No namespaces here: at least the folder where it starts is not its own.
        isolate, script = [], f"cd /proc && exec env -i {place.program} run --config {folder}/gateway.conf"

    def start():
        log = f"{folder}/gateway.log"
        gateway.process = Process([*isolate, "sh", "-c", script], log, folder)
        eventually(lambda: gateway.is_live() or not gateway.process.is_running, lambda: gateway.process.tail())
        check(gateway.process.is_running, f"the gateway ended: {gateway.process.tail(3000)}")

    start()
    try:
        Browser().open(gateway.consent_link("crm"))
        status, _, text = gateway.call("/api/first")
        check(status == 200, f"{status} {text} {gateway.grant('crm')}")
        status, reply = gateway.ask("POST", "/api/v1/grants/crm/refresh", {})
        check(status == 200, f"refresh: {status} {reply}")
        gateway.process.child.send_signal(signal.SIGHUP)
        eventually(lambda: "the configuration was reloaded" in gateway.log(), lambda: gateway.process.tail())
        check(gateway.stop() == 0, f"{gateway.process.tail()}")
        start()
        status, _, text = gateway.call("/api/second")
        check(status == 200, f"after a restart: {status} {text}")
        written = sorted(name for name in os.listdir(folder) if name not in ("state", "gateway.log"))
        check(written == ["client.secret", "console.secret", "gateway.conf", "store.key"], f"{written}")
    finally:
        gateway.stop()


def main():
    cases.run("a reply that comes seven seconds after SIGTERM is stored", late_reply)
    cases.run("readiness says no while a download goes on, and a second signal cuts it", impatient)
    cases.run("the request_id of a problem is that of its line in the log", request_ids)
    cases.run("only the store's folder need be writable", read_only)
    cases.end()


main()
