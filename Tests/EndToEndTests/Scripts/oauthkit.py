"""What the scripts about grants share: gateway processes, a person with a browser, and an API that asks who a token is.

A script gets one argument, a JSON file {"gateway": the program, "folder": where to work}, and prints one JSON line per
case: {"case": sentence, "ok": bool, "detail": text, "ms": number}, and {"done": count} at its end. Further arguments pick
the cases whose sentence contains one of them.
"""

import base64
import html.parser
import http.client
import http.cookiejar
import http.server
import json
import os
import secrets
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
import traceback
import urllib.error
import urllib.parse
import urllib.request

# Every wait is for a fact; this only ends a test that fails.
PATIENCE = float(os.environ.get("E2E_PATIENCE", "20"))


class Failure(Exception):
    """What a case expected did not come."""


def check(condition, what):
    if not condition:
        raise Failure(what)


def eventually(fact, what, within=None):
    """Asks again until `fact` gives something true, and returns that."""
    end = time.monotonic() + (within or PATIENCE)
    while True:
        found = fact()
        if found:
            return found
        if time.monotonic() >= end:
            raise Failure(what() if callable(what) else what)
        time.sleep(0.02)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Place:
    """Where a script works, from its arguments."""

    def __init__(self):
        with open(sys.argv[1]) as file:
            given = json.load(file)
        self.program = given["gateway"]
        self.folder = given["folder"]

    def folder_for(self, name):
        path = os.path.join(self.folder, name)
        os.makedirs(path, mode=0o700)
        return path


class Cases:
    """Runs cases one after the other, each told in one line."""

    def __init__(self):
        self.count = 0
        self.lock = threading.Lock()
        self.wanted = sys.argv[2:]

    def run(self, sentence, body, *arguments):
        if self.wanted and not any(part in sentence for part in self.wanted):
            return
        began = time.monotonic()
        ok, detail = True, ""
        try:
            body(*arguments)
        except Failure as failure:
            ok, detail = False, str(failure)
        except Exception:
            ok, detail = False, traceback.format_exc()
        line = {"case": sentence, "ok": ok, "detail": detail[:4000], "ms": int((time.monotonic() - began) * 1000)}
        with self.lock:
            self.count += 1
            print(json.dumps(line), flush=True)

    def together(self, *cases):
        """Cases that mostly wait, at the same time."""
        threads = [threading.Thread(target=self.run, args=case) for case in cases]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def end(self):
        print(json.dumps({"done": self.count}), flush=True)


# MARK: Processes

class Process:
    """A program whose output goes to a file, and that does not outlive the script."""

    def __init__(self, arguments, log, folder, environment=None):
        self.log = log
        with open(log, "ab") as output:
            self.child = subprocess.Popen(
                arguments, stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=folder,
                env={**os.environ, **(environment or {})})

    @property
    def is_running(self):
        return self.child.poll() is None

    def tail(self, length=1500):
        with open(self.log, errors="replace") as file:
            return file.read()[-length:]

    def stop(self, number=signal.SIGTERM, within=20):
        if self.is_running:
            self.child.send_signal(number)
        try:
            return self.child.wait(within)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()
            raise Failure(f"did not end: {self.tail()}")


def private_file(path, text):
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    return path


class Gateway:
    """A gateway with a configuration of its own; `sections` are those beyond listener, console and log."""

    def __init__(self, place, folder, sections, port=None, console=None, public_url=None, store=None):
        self.place = place
        self.folder = folder
        self.port = port or free_port()
        self.console = console or free_port()
        self.secret = secrets.token_urlsafe(24)
        self.environment = {}
        self.process = None
        private_file(f"{folder}/console.secret", self.secret)
        if store is None:
            private_file(f"{folder}/store.key", base64.b64encode(os.urandom(32)).decode())
            store = f'path = "{folder}/grants.db"\nkey_file = "{folder}/store.key"'
        self.store = store
        self.public_url = public_url or f"http://127.0.0.1:{self.console}"
        self.configure(sections)

    def configure(self, sections):
        private_file(f"{self.folder}/gateway.conf", f"""
workers = 1
[listener.internal]
address = "127.0.0.1:{self.port}"
[console]
address = "127.0.0.1:{self.console}"
public_url = "{self.public_url}"
secret_file = "{self.folder}/console.secret"
[store]
{self.store}
[log]
level = "debug"
format = "json"
{sections}
""")

    def start(self, ready=True):
        log = f"{self.folder}/gateway.log"
        self.process = Process(
            [self.place.program, "run", "--config", f"{self.folder}/gateway.conf"], log, self.folder, self.environment)
        eventually(lambda: self.is_live() or not self.process.is_running, lambda: f"no gateway: {self.process.tail()}")
        check(self.process.is_running, f"the gateway ended: {self.process.tail(3000)}")
        return self

    def is_live(self):
        try:
            return self.ask("GET", "/livez")[0] == 200
        except OSError:
            return False

    def stop(self, number=signal.SIGTERM):
        return self.process.stop(number)

    def log(self):
        with open(f"{self.folder}/gateway.log", errors="replace") as file:
            return file.read()

    def ask(self, method, path, body=None):
        """The console, with its secret: (status, parsed JSON or text)."""
        connection = http.client.HTTPConnection("127.0.0.1", self.console, timeout=PATIENCE)
        try:
            fields = {"Authorization": f"Bearer {self.secret}"}
            if body is not None:
                fields["Content-Type"] = "application/json"
                body = json.dumps(body)
            connection.request(method, path, body, fields)
            reply = connection.getresponse()
            text = reply.read().decode()
        finally:
            connection.close()
        try:
            return reply.status, json.loads(text)
        except ValueError:
            return reply.status, text

    def grant(self, name):
        status, view = self.ask("GET", f"/api/v1/grants/{name}")
        check(status == 200, f"grant {name}: {status} {view}")
        return view

    def call(self, path, method="GET", fields=None, body=None, timeout=None):
        """A caller's request: (status, header fields, content)."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout or PATIENCE)
        try:
            connection.request(method, path, body, fields or {})
            reply = connection.getresponse()
            return reply.status, dict((name.lower(), value) for name, value in reply.getheaders()), reply.read()
        finally:
            connection.close()

    def consent_link(self, grant):
        status, reply = self.ask("POST", f"/api/v1/grants/{grant}/authorize", {"mode": "link"})
        check(status == 200, f"no link for {grant}: {status} {reply}")
        return reply["authorize_url"]

    def run(self, *arguments, stdin=None, within=60):
        """One of the program's commands: (exit status, standard output, standard error)."""
        done = subprocess.run(
            [self.place.program, *arguments, "--config", f"{self.folder}/gateway.conf"], input=stdin,
            capture_output=True, text=True, timeout=within, cwd=self.folder)
        return done.returncode, done.stdout, done.stderr


# MARK: A person

class Page(html.parser.HTMLParser):
    """The forms of a page."""

    def __init__(self, url, status, text):
        super().__init__()
        self.url, self.status, self.text = url, status, text
        self.forms = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        if tag == "form":
            self.forms.append({"action": given.get("action") or self.url, "method": given.get("method", "get").lower(),
                               "fields": {}, "buttons": []})
        elif self.forms and tag == "input" and given.get("name"):
            kind = given.get("type", "text")
            if kind == "submit":
                self.forms[-1]["buttons"].append((given["name"], given.get("value", "")))
            elif kind != "checkbox" or "checked" in given:
                self.forms[-1]["fields"][given["name"]] = given.get("value", "")


class Browser:
    """Follows redirects, keeps cookies, submits forms. Stops before an address that begins with `border`. Trusts the
    authorities in the file `trusted`."""

    def __init__(self, border=None, trusted=None):
        self.border = border

        class Redirects(urllib.request.HTTPRedirectHandler):
            def redirect_request(handler, request, file, code, message, headers, url):
                if border and url.startswith(border):
                    return None
                return super().redirect_request(request, file, code, message, headers, url)

        self.opener = urllib.request.build_opener(
            urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar()), Redirects, urllib.request.ProxyHandler({}),
            urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=trusted)))

    def send(self, method, url, body=None, kind="application/json"):
        request = urllib.request.Request(url, method=method, data=body, headers={"Content-Type": kind} if body else {})
        try:
            with self.opener.open(request, timeout=PATIENCE) as reply:
                return Page(reply.geturl(), reply.status, reply.read().decode(errors="replace"))
        except urllib.error.HTTPError as error:
            place = error.headers.get("Location") or error.geturl()
            return Page(place, error.code, error.read().decode(errors="replace"))

    def open(self, url):
        return self.send("GET", url)

    def submit(self, page, values, button=None):
        form = page.forms[0]
        fields = {**form["fields"], **values}
        if button:
            fields[button] = dict(form["buttons"]).get(button, "")
        target = urllib.parse.urljoin(page.url, form["action"])
        body = urllib.parse.urlencode(fields).encode()
        return self.send("POST", target, body, "application/x-www-form-urlencoded")


# MARK: The API

class API:
    """Answers with what it was asked, 401 for a token that `is_good` does not know. `seen` counts by token."""

    def __init__(self, is_good):
        self.is_good = is_good
        self.lock = threading.Lock()
        self.requests = []
        api = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self):
                length = int(self.headers.get("Content-Length") or 0)
                content = self.rfile.read(length)
                given = self.headers.get("Authorization") or ""
                scheme, _, token = given.partition(" ")
                good = api.is_good(scheme, token, self)
                with api.lock:
                    api.requests.append((time.time(), self.command, self.path, token, good))
                body = json.dumps({
                    "method": self.command, "path": self.path, "length": len(content), "scheme": scheme,
                    "token": token, "fields": {name.lower(): value for name, value in self.headers.items()},
                }).encode()
                self.send_response(200 if good else 401)
                if not good:
                    self.send_header("WWW-Authenticate", 'Bearer error="invalid_token"')
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_POST = do_PUT = do_DELETE = answer

            def log_message(self, *arguments):
                pass

        class Server(http.server.ThreadingHTTPServer):
            request_queue_size = 512
            daemon_threads = True

            def handle_error(self, request, address):
                """A gateway that is stopped leaves its connections."""

        self.server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def route(self, grant, path="/api"):
        return f"""
[upstream.api]
url = "{self.url}"
allow_plaintext = true
[route.api]
path = "{path}/*"
strip_prefix = "{path}"
upstream = "api"
grant = "{grant}"
"""
