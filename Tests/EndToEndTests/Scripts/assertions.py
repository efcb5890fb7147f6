"""Grants without a person through their whole life, at an authorization server made of Authlib: JWT bearer, as Google's
service accounts use it, and token exchange. Tokens live a few seconds."""

import issuer
from joserfc import jwk, jwt
from issuer import EXCHANGE, TOKEN_TYPE
from oauthkit import *

place = Place()
cases = Cases()
numbers = iter(range(1000))
ACCOUNT = "robot@project.example.com"


class Scene:
    """A gateway with one grant, `job`, and what it is made of."""

    def __init__(self, server, provider, grant, more="", is_good=None):
        self.server = server
        self.folder = place.folder_for(f"assertions-{next(numbers)}")
        self.api = API(is_good or (lambda scheme, token, request: scheme == "Bearer" and server.is_active(token)))
        self.parts = (provider, grant, more)
        self.gateway = Gateway(place, self.folder, "")

    def configure(self, replace=("", "")):
        provider, grant, more = self.parts
        self.gateway.configure(f"""
[provider.server]
allow_plaintext = true
{provider}
[grant.job]
provider = "server"
{grant}
{more}
{self.api.route("job")}
""".replace("FOLDER", self.folder).replace("TOKEN_URL", self.server.token_url).replace(*replace))

    def __enter__(self):
        self.configure()
        self.gateway.start()
        return self

    def __exit__(self, *arguments):
        self.gateway.stop()
        self.server.stop()

    def call(self, status=200, code=None):
        found, fields, text = self.gateway.call("/api/x")
        check(found == status and fields.get("token-gateway-error") == code,
              f"{found} {fields} {text[:500]} {self.gateway.grant('job')} {self.server.asked[-1:]}")
        return json.loads(text)["token"] if found == 200 else fields

    def flows(self, seconds):
        """Calls without pause; the tokens that they had, in their order."""
        tokens = []
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            token = self.call()
            if token not in tokens[-1:]:
                tokens.append(token)
            time.sleep(0.05)
        return tokens

    def refused(self):
        """Calls until no token is left: the status and fields of the first answer that is none of the API's. A token
        may end on its way there."""
        def ended():
            status, fields, _ = self.gateway.call("/api/x")
            return (status, fields) if status not in (200, 401) else None
        return eventually(ended, "calls go on")

    def shown(self):
        status, output, errors = self.gateway.run("grants", "show", "job")
        check(status == 0, f"grants show: {status} {output} {errors}")
        return output

    def heals(self):
        eventually(lambda: self.gateway.call("/api/x")[0] == 200,
                   lambda: f"does not heal: {self.gateway.grant('job')} {self.server.asked[-1:]}")


def service_account(server, key, name="key-1"):
    return json.dumps({
        "type": "service_account", "project_id": "project", "private_key_id": name, "private_key": key,
        "client_email": ACCOUNT, "client_id": "1", "token_uri": server.token_url})


def account_scene(lifetime, subject=""):
    server = issuer.Server(lifetime)
    private, public = issuer.keys()
    server.add(ACCOUNT, [issuer.JWTBearerGrant.GRANT_TYPE], scopes="crm.read crm.write", keys=public)
    scene = Scene(server, f"""
profile = "google-service-account"
service_account_file = "FOLDER/robot.json"
token_url = "{server.token_url}"
""", f"""
type = "jwt_bearer"
scopes = ["crm.read", "crm.write"]
{subject}
""")
    private_file(f"{scene.folder}/robot.json", service_account(server, private))
    return scene, private


def unattended_life(scene, asked):
    """Refresh ahead of expiry, a 401, a restart: no call fails, and each new token costs one request."""
    server = scene.server
    first = scene.call()
    check(len(server.asked) == 1, f"{server.asked}")
    asked(server.last())
    tokens = scene.flows(server.lifetime * 1.2)
    check(len(tokens) >= 2 and tokens[0] == first, f"no refresh ahead of expiry: {len(tokens)}")
    check(all(entry[4] for entry in scene.api.requests), "an expired token came to the API")
    check(len(server.asked) == len(server.tokens), "each request gave a token")

    server.lifetime = 600
    server.end_access()
    before = len(server.asked)
    token = scene.call()
    check(len(server.asked) == before + 1, f"{server.asked[before:]}")
    scene.gateway.stop()
    scene.gateway.start()
    check(scene.call() == token, "the token is kept over a restart")
    check(len(server.asked) == before + 1, "nobody is asked after a restart")
    log = scene.gateway.log()
    check(not any(word in log for word in server.tokens), "a token is in the log")
    return token


def account_life():
    scene, private = account_scene(3, 'subject = "alice@example.com"')

    def asked(form):
        check(set(form) == {"grant_type", "assertion"}, f"what was asked: {sorted(form)}")
        head = json.loads(base64.urlsafe_b64decode(form["assertion"][0].split(".")[0] + "=="))
        check(head == {"alg": "RS256", "typ": "JWT", "kid": "key-1"}, f"{head}")

    with scene:
        token = unattended_life(scene, asked)
        facts = scene.server.tokens[token]
        check((facts["user"], facts["scope"]) == ("alice@example.com", "crm.read crm.write"), f"{facts}")
        check(private.split("\n")[1] not in scene.gateway.log(), "the key is in the log")


def outage(scene):
    """The provider goes and comes back."""
    server = scene.server
    with scene:
        scene.call()
        server.stop()
        began = time.monotonic()
        scene.flows(server.lifetime * 0.6)
        status, fields = scene.refused()
        check((status, fields["token-gateway-error"]) == (503, "token_unavailable"), f"{status} {fields}")
        check(int(fields["retry-after"]) >= 1, f"{fields}")
        check(time.monotonic() - began > server.lifetime * 0.7, "the valid token was not used to its end")
        late = [entry for entry in scene.api.requests if not entry[4]]
        check(len(late) <= 2, f"{len(late)} expired tokens came to the API")
        view = scene.gateway.grant("job")
        check("refused" in json.dumps(view["last_error"]), f"{view}")
        shown = scene.shown()
        check("not reached" in shown, shown)
        server.start()
        scene.heals()


def account_outage():
    outage(account_scene(3)[0])


def account_key():
    """Another key than the provider knows: told, not asked again and again; the right file wakes the grant."""
    scene, private = account_scene(600)
    wrong, _ = issuer.keys()
    private_file(f"{scene.folder}/robot.json", service_account(scene.server, wrong))
    with scene:
        fields = scene.call(503, "configuration_error")
        asked = len(scene.server.asked)
        for _ in range(5):
            scene.call(503, "configuration_error")
        check(len(scene.server.asked) == asked == 1, f"{len(scene.server.asked)} requests")
        shown = scene.shown()
        check("refused the assertion" in shown and "key" in shown, shown)
        check(scene.gateway.ask("GET", "/readyz")[0] == 503, "ready")
        log = scene.gateway.log()
        check("refused the assertion" in log, log[-1500:])
        check(wrong.split("\n")[1] not in log, "the key is in the log")
        # No reload: the file is looked at.
        private_file(f"{scene.folder}/robot.json", service_account(scene.server, private))
        scene.heals()
        check(scene.gateway.ask("GET", "/readyz")[0] == 200, "not ready")
        # At a refresh, too: the provider forgets the key, then knows it again.
        client = scene.server.clients[ACCOUNT]
        right, client.keys = client.keys, issuer.keys()[1]
        status, reply = scene.gateway.ask("POST", "/api/v1/grants/job/refresh", {})
        check(status == 409, f"{status} {reply}")
        check(scene.gateway.grant("job")["state"] == "configuration_error", f"{scene.gateway.grant('job')}")
        scene.call()
        client.keys = right
        scene.gateway.stop()
        scene.gateway.start()
        scene.call()
        status, output, errors = scene.gateway.run("refresh", "job")
        check(status == 0, f"refresh: {status} {output} {errors}")
        check(scene.gateway.grant("job")["state"] == "active", f"{scene.gateway.grant('job')}")


def account_subject():
    scene, _ = account_scene(600, 'subject = "mallory@example.com"')
    with scene:
        scene.call(503, "configuration_error")
        shown = scene.shown()
        check("subject" in shown, shown)
        scene.configure(("mallory@", "alice@"))
        scene.gateway.process.child.send_signal(signal.SIGHUP)
        scene.heals()


# MARK: Token exchange

class Workload:
    """Who writes the subject tokens: another program, into a file."""

    def __init__(self, server):
        self.server = server
        self.key = jwk.ECKey.generate_key("P-256", {"kid": "workload"}, private=True)
        server.subject_keys = jwk.KeySet([jwk.ECKey.import_key(self.key.as_dict(private=False))])

    def token(self, subject, lifetime=600):
        now = int(time.time())
        return jwt.encode({"alg": "ES256", "kid": "workload"},
                          {"sub": subject, "aud": self.server.token_url, "iat": now, "exp": now + lifetime}, self.key)

    def write(self, path, token):
        private_file(path + ".new", token + "\n")
        os.rename(path + ".new", path)


def exchange_scene(lifetime, grant='audience = "https://billing.example.com"', more=""):
    server = issuer.Server(lifetime)
    server.add("exchanger", [EXCHANGE, "client_credentials"], method="client_secret_basic", secret="exchanger-secret",
               scopes="billing")
    scene = Scene(server, f"""
token_url = "{server.token_url}"
client_id = "exchanger"
client_secret_file = "FOLDER/client.secret"
client_auth = "client_secret_basic"
""", f"""
type = "token_exchange"
{grant}
""", more, lambda scheme, token, request: server.is_active(token, "https://billing.example.com"))
    private_file(f"{scene.folder}/client.secret", "exchanger-secret")
    scene.workload = Workload(server)
    scene.path = f"{scene.folder}/subject.jwt"
    return scene


FROM_FILE = """
subject_token_file = "FOLDER/subject.jwt"
subject_token_type = "jwt"
requested_token_type = "access_token"
scopes = ["billing"]
audience = "https://billing.example.com"
"""


def exchange_life():
    scene = exchange_scene(3, FROM_FILE)
    subject = scene.workload.token("workload-1")
    scene.workload.write(scene.path, subject)

    def asked(form):
        check(form == {
            "grant_type": [EXCHANGE], "subject_token": [subject], "subject_token_type": [TOKEN_TYPE + "jwt"],
            "requested_token_type": [TOKEN_TYPE + "access_token"], "audience": ["https://billing.example.com"],
            "scope": ["billing"]}, f"what was asked: {form}")

    with scene:
        unattended_life(scene, asked)
        # The other program has written another token: the next call takes that.
        scene.workload.write(scene.path, scene.workload.token("workload-2"))
        scene.server.end_access()
        facts = scene.server.tokens[scene.call()]
        check(facts["user"] == "workload-2", f"{facts}")
        log = scene.gateway.log()
        check(subject not in log and "exchanger-secret" not in log, "a secret is in the log")


def exchange_outage():
    scene = exchange_scene(3, FROM_FILE)
    scene.workload.write(scene.path, scene.workload.token("workload-1"))
    outage(scene)


def exchange_subject():
    """What is wrong with the subject token: no file, an expired one. Both mend themselves when the file is there."""
    scene = exchange_scene(600, FROM_FILE)
    with scene:
        fields = scene.call(503, "token_unavailable")
        check("subject.jwt" in scene.shown(), scene.shown())
        check(not scene.server.asked, "asked without a subject token")
        scene.workload.write(scene.path, scene.workload.token("workload-1", -100))
        eventually(lambda: scene.server.asked or (scene.gateway.call("/api/x") and None), "nobody was asked")
        check("Look at the subject token first" in eventually(
            lambda: (lambda text: text if "subject token" in text else None)(scene.shown()), scene.shown), "told")
        scene.workload.write(scene.path, scene.workload.token("workload-1"))
        scene.heals()


def exchange_target():
    scene = exchange_scene(600, FROM_FILE.replace("billing.example.com", "other.example.com"))
    scene.workload.write(scene.path, scene.workload.token("workload-1"))
    with scene:
        scene.call(503, "configuration_error")
        scene.call(503, "configuration_error")
        check(len(scene.server.asked) == 1, "asked again")
        shown = scene.shown()
        check("invalid_target" in shown and "audience" in shown, shown)
        scene.configure(("other.example.com", "billing.example.com"))
        scene.gateway.process.child.send_signal(signal.SIGHUP)
        scene.heals()


def exchange_grants():
    """Subject and actor are tokens of other grants, and stay valid under it."""
    scene = exchange_scene(3, """
subject_token_grant = "person"
actor_token_grant = "machine"
audience = "https://billing.example.com"
""", """
[provider.accounts]
profile = "google-service-account"
service_account_file = "FOLDER/robot.json"
token_url = "TOKEN_URL"
allow_plaintext = true
[grant.person]
provider = "accounts"
type = "jwt_bearer"
subject = "alice@example.com"
[grant.machine]
provider = "server"
type = "client_credentials"
""")
    private, public = issuer.keys()
    scene.server.add(ACCOUNT, [issuer.JWTBearerGrant.GRANT_TYPE], keys=public)
    private_file(f"{scene.folder}/robot.json", service_account(scene.server, private))
    with scene:
        # The others must have theirs first.
        scene.heals()
        scene.flows(4)
        facts = scene.server.tokens[scene.call()]
        check((facts["user"], facts["actor"]) == ("alice@example.com", "exchanger"), f"{facts}")
        check(all(entry[4] for entry in scene.api.requests), "an expired token came to the API")
        refused = [entry for entry in scene.server.asked if entry[2] != 200]
        check(not refused, f"a token that was over was exchanged: {refused[:2]}")


def main():
    cases.together(
        ("a service account's key has tokens ahead of their end, anew after a 401, and over a restart", account_life),
        ("a service account's token flows while the provider is away, then 503, and all heals", account_outage),
        ("a token of a file is exchanged ahead of the end, after a 401, and anew when the file changes", exchange_life),
        ("an exchanged token flows while the provider is away, then 503, and all heals", exchange_outage),
        ("tokens of other grants are exchanged, while all of them are refreshed", exchange_grants))
    cases.together(
        ("a wrong key is told, asks once, and the right file wakes the grant", account_key),
        ("a subject that the provider does not know is told, and a reload with another one heals", account_subject),
        ("a subject token that is missing or over is told, and a good one heals", exchange_subject),
        ("an audience that the provider does not know is told, and a reload with another one heals", exchange_target))
    cases.end()


main()
