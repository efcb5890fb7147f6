"""How a client proves itself and how grants are had without a person at a browser, tried at glewlwyd: client secrets and
keys in JWTs, pushed authorization requests, proof of possession, client credentials, devices, and imported tokens."""

import hashlib

import glewlwyd
from jwcrypto import jwk, jws
from oauthkit import *

# glewlwyd wants the token endpoint as "aud", and knows assertions at that endpoint only: neither where requests are
# pushed nor where tokens are revoked.
JWT = """
assertion_audience = "token_endpoint"
pushed_requests = "off"
revocation_auth = "client_secret_basic"
"""

place = Place()
cases = Cases()
numbers = iter(range(1000))


def key_of(kind):
    """A private key as PEM, and its public half."""
    made = {
        "ES256": ["openssl", "ecparam", "-genkey", "-name", "prime256v1", "-noout"],
        "RS256": ["openssl", "genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"],
        "PS256": ["openssl", "genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"],
        "EdDSA": ["openssl", "genpkey", "-algorithm", "ed25519"],
    }[kind]
    private = subprocess.run(made, check=True, capture_output=True).stdout
    public = subprocess.run(["openssl", "pkey", "-pubout"], input=private, check=True, capture_output=True).stdout
    return private.decode(), public.decode()


class Scene:
    """A gateway before glewlwyd with one grant, `crm`."""

    def __init__(self, server, provider="", grant="", secret=True, is_good=None, scopes=None, **client):
        self.server = server
        self.folder = place.folder_for(f"methods-{next(numbers)}")
        self.api = API(is_good or (lambda scheme, token, request: scheme == "Bearer" and server.is_active(token)))
        self.gateway = Gateway(place, self.folder, "")
        # The API asks about tokens with Basic, whatever the gateway uses.
        methods = client.pop("token_endpoint_auth_method", []) + ["client_secret_basic"]
        server.register(
            self.gateway.public_url + "/oauth/callback", token_endpoint_auth_method=methods, **client)
        secret_line = ""
        if secret:
            private_file(f"{self.folder}/client.secret", server.client_secret)
            secret_line = f'client_secret_file = "{self.folder}/client.secret"'
        self.gateway.configure(f"""
[provider.server]
issuer = "{server.issuer}"
client_id = "{server.client_id}"
allow_plaintext = true
{secret_line}
{provider.replace("FOLDER", self.folder)}
[grant.crm]
provider = "server"
scopes = {json.dumps(server.scopes if scopes is None else scopes)}
{grant.replace("FOLDER", self.folder)}
{self.api.route("crm")}
""")

    def __enter__(self):
        self.gateway.start()
        return self

    def __exit__(self, *arguments):
        self.gateway.stop()

    def consent(self):
        page = self.server.consent(self.gateway.consent_link("crm"))
        view = self.gateway.grant("crm")
        check(view["state"] == "active", f"not connected: {view} {page.status} {page.url} {page.text[-600:]}")

    def call(self, status=200, **more):
        found, fields, text = self.gateway.call("/api/x", **more)
        check(found == status, f"{found} {fields} {text[:500]} {self.gateway.grant('crm')}")
        return json.loads(text) if found == 200 else fields

    def refresh(self):
        before = self.gateway.grant("crm")["generation"]
        status, reply = self.gateway.ask("POST", "/api/v1/grants/crm/refresh", {})
        check(status == 200, f"refresh: {status} {reply} {self.gateway.log()[-1500:]}")
        check(self.gateway.grant("crm")["generation"] == before + 1, "one generation more")

    def revoke(self):
        status, reply = self.gateway.ask("POST", "/api/v1/grants/crm/revoke", {})
        check(status == 200, f"revoke: {status} {reply}")

    def whole_life(self):
        self.consent()
        token = self.call()["token"]
        self.refresh()
        other = self.call()["token"]
        check(other != token, "another token")
        self.revoke()
        check(not self.server.is_active(other), "revoked at the provider")


def by_key(server, algorithm):
    private, public = key_of(algorithm)
    client = {"pubkey": public, "token_endpoint_auth_method": ["private_key_jwt"]}
    if algorithm == "EdDSA":
        # glewlwyd reads Ed25519 keys as JWK only.
        found = json.loads(jwk.JWK.from_pem(public.encode()).export_public())
        client = {"jwks": {"keys": [{**found, "kid": "one", "alg": "EdDSA"}]},
                  "token_endpoint_auth_method": ["private_key_jwt"]}
    scene = Scene(server, f"""
client_auth = "private_key_jwt"
{JWT}
client_key_file = "FOLDER/client.key"
client_key_id = "one"
client_key_algorithm = "{algorithm}"
""", **client)
    private_file(f"{scene.folder}/client.key", private)
    with scene:
        scene.whole_life()


def by_secret(server, method, registered):
    quirks = JWT if method.endswith("jwt") else ""
    with Scene(server, f'client_auth = "{method}"\n{quirks}', client_secret=server.client_secret,
               token_endpoint_auth_method=registered) as scene:
        scene.whole_life()


def pushed(server):
    with Scene(server, 'pushed_requests = "required"') as scene:
        link = scene.gateway.consent_link("crm")

        seen = []
        browser = server.person()

        class Look(urllib.request.BaseHandler):
            handler_order = 1

            def http_request(self, request):
                seen.append(request.full_url)
                return request

        browser.opener.add_handler(Look())
        page = browser.open(link)
        if "login.html" in page.url:
            query = urllib.parse.parse_qs(urllib.parse.urlparse(page.url).query)
            page = browser.open(query["callback_url"][0] + "&g_continue")
        asked = [urllib.parse.parse_qs(urllib.parse.urlparse(url).query) for url in seen if "/oidc/auth" in url][0]
        check(set(asked) == {"client_id", "request_uri"}, f"what went through the browser: {sorted(asked)}")
        check(scene.gateway.grant("crm")["state"] == "active", f"{scene.gateway.grant('crm')} {page.url} {page.text[:300]}")
        scene.call()


def possession(server):
    """DPoP with nonces at the authorization server; the API checks each proof, and wants a nonce of its own."""
    seen = set()
    nonce = ["first-nonce"]
    wrong = []

    def is_good(scheme, token, request):
        proof = request.headers.get("DPoP")
        if scheme != "DPoP" or not proof:
            wrong.append(f"scheme {scheme}, proof {bool(proof)}")
            return False
        envelope = jws.JWS()
        envelope.deserialize(proof)
        head = json.loads(envelope.objects["protected"])
        key = jwk.JWK(**head["jwk"])
        envelope.verify(key)
        claims = json.loads(envelope.payload)
        digest = base64.urlsafe_b64encode(hashlib.sha256(token.encode()).digest()).rstrip(b"=").decode()
        faults = [
            name for name, held in [
                ("typ", head["typ"] == "dpop+jwt"), ("public only", "d" not in head["jwk"]),
                ("htm", claims["htm"] == request.command), ("ath", claims["ath"] == digest),
                ("htu", claims["htu"] == f"{scene.api.url}{request.path.partition('?')[0]}"),
                ("jti", claims["jti"] not in seen), ("iat", abs(claims["iat"] - time.time()) < 30),
                ("cnf", server.introspect(token).get("cnf", {}).get("jkt") == key.thumbprint()),
            ] if not held]
        seen.add(claims["jti"])
        if faults:
            wrong.append(f"{faults} {head} {claims}")
            return False
        return claims.get("nonce") == nonce[0]

    scene = Scene(server, 'dpop = "on"', is_good=is_good)
    # The API's refusal asks for its nonce.
    handler = scene.api.server.RequestHandlerClass
    plain = handler.send_header

    def send_header(self, name, value):
        if name == "WWW-Authenticate":
            plain(self, "DPoP-Nonce", nonce[0])
            value = 'DPoP error="use_dpop_nonce"'
        plain(self, name, value)

    handler.send_header = send_header
    with scene:
        scene.consent()
        reply = scene.call(method="POST", body=b"x" * 3000)
        check(reply["length"] == 3000, "the whole content went with the nonce")
        for _ in range(3):
            scene.call()
        check(not wrong, f"{wrong[:2]}")
        before = len(scene.api.requests)
        scene.call()
        check(len(scene.api.requests) == before + 1, "the nonce is kept")
        nonce[0] = "second-nonce"
        scene.call()
        scene.refresh()
        scene.call()
        scene.gateway.stop()
        scene.gateway.start()
        scene.call()
        check(not wrong, f"{wrong[:2]}")


def unattended(server):
    with Scene(server, 'client_auth = "client_secret_basic"', 'type = "client_credentials"', scopes=["crm"]) as scene:
        token = scene.call()["token"]
        check(scene.gateway.grant("crm")["state"] == "active", f"{scene.gateway.grant('crm')}")
        server.end_access(token)
        other = scene.call()["token"]
        check(other != token, "another token after the 401")
        scene.gateway.stop()
        scene.gateway.start()
        check(scene.call()["token"] == other, "the token is kept over a restart")


def device(server):
    with Scene(server, 'client_auth = "client_secret_basic"') as scene:
        command = subprocess.Popen(
            [place.program, "authorize", "crm", "--device", "--config", f"{scene.folder}/gateway.conf"],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=scene.folder)
        try:
            code = None
            shown = ""

            def shows():
                status, view = scene.gateway.ask("GET", "/api/v1/grants/crm/device")
                return view.get("prompt") if status == 200 and isinstance(view, dict) else None

            view = eventually(shows, lambda: f"no code: {scene.gateway.log()[-1500:]}")
            code = view["user_code"]
            person = server.person()
            page = person.open(f"{server.issuer}/device?code={urllib.parse.quote(code)}")
            person.open(f"{server.issuer}/device?code={urllib.parse.quote(code)}&g_continue")
            output, errors = command.communicate(timeout=40)
            check(command.returncode == 0, f"{command.returncode} {output} {errors}")
            check(code in output + errors, f"the command does not show the code: {output} {errors}")
        finally:
            if command.poll() is None:
                command.kill()
        scene.call()
        scene.refresh()
        scene.call()


def imported(server):
    """A refresh token that another program had is taken over, and checked before it is kept."""
    with Scene(server, 'client_auth = "client_secret_basic"') as scene:
        browser = server.person()
        verifier = secrets.token_urlsafe(40)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
        redirect = scene.gateway.public_url + "/oauth/callback"
        query = urllib.parse.urlencode({
            "response_type": "code", "client_id": server.client_id, "redirect_uri": redirect, "scope": "openid crm",
            "state": "s", "nonce": "n", "code_challenge": challenge, "code_challenge_method": "S256", "g_continue": ""})
        border = Browser(border=redirect)
        border.opener = browser.opener
        # The address that the browser is sent to is all that is wanted.
        code = None
        request = urllib.request.Request(f"{server.issuer}/auth?{query}")

        class Stop(urllib.request.HTTPRedirectHandler):
            def redirect_request(self, *arguments):
                return None

        opener = urllib.request.build_opener(Stop, *[
            handler for handler in browser.opener.handlers if isinstance(handler, urllib.request.HTTPCookieProcessor)])
        try:
            opener.open(request, timeout=PATIENCE)
        except urllib.error.HTTPError as error:
            code = urllib.parse.parse_qs(urllib.parse.urlparse(error.headers["Location"]).query)["code"][0]
        pair = base64.b64encode(f"{server.client_id}:{server.client_secret}".encode()).decode()
        request = urllib.request.Request(
            server.issuer + "/token", urllib.parse.urlencode({
                "grant_type": "authorization_code", "code": code, "redirect_uri": redirect,
                "code_verifier": verifier}).encode(), {"Authorization": "Basic " + pair})
        token = json.load(urllib.request.urlopen(request, timeout=PATIENCE))["refresh_token"]

        status, output, errors = scene.gateway.run("import", "crm", stdin="not-a-token-of-this-server\n")
        check(status != 0, f"a token that is none was taken: {output} {errors}")
        check(scene.gateway.grant("crm")["state"] != "active", f"{scene.gateway.grant('crm')}")
        status, output, errors = scene.gateway.run("import", "crm", stdin=token + "\n")
        check(status == 0, f"import: {status} {output} {errors} {scene.gateway.log()[-1500:]}")
        check(token not in output + errors + scene.gateway.log(), "the token is shown")
        scene.call()
        scene.refresh()
        scene.call()


def main():
    server = glewlwyd.Server(place.folder_for("glewlwyd-methods"))
    try:
        for method, registered in [("client_secret_post", ["client_secret_post"]),
                                   ("client_secret_jwt", ["client_secret_jwt"])]:
            cases.run(f"{method} is accepted for codes, refreshes and revocation", by_secret, server, method, registered)
        for algorithm in ["RS256", "PS256", "ES256", "EdDSA"]:
            cases.run(f"private_key_jwt signed by {algorithm} is accepted", by_key, server, algorithm)
        cases.run("client credentials need no consent", unattended, server)
        cases.run("a device is authorized with the code that the command shows", device, server)
        cases.run("a refresh token is imported from standard input, and only if it works", imported, server)
    finally:
        server.stop()
    server = glewlwyd.Server(place.folder_for("glewlwyd-pushed"), {"oauth-par-required": True})
    try:
        cases.run("only client_id and request_uri go through the browser where requests are pushed", pushed, server)
    finally:
        server.stop()
    server = glewlwyd.Server(place.folder_for("glewlwyd-possession"), {
        "oauth-dpop-nonce-mandatory": True, "oauth-dpop-nonce-counter": 3, "oauth-dpop-iat-gap-duration": 10})
    try:
        cases.run("tokens are bound to a key, with nonces at both servers, over refreshes and a restart", possession,
                  server)
    finally:
        server.stop()
    cases.end()


main()
