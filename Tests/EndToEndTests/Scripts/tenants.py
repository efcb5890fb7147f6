"""Many grants behind one route: made by command, named by a field, a segment of the path or the caller's certificate,
each with its own token whatever happens at once; over restarts, reloads and two gateways on one PostgreSQL."""

import random
import ssl

import glewlwyd
import postgres
from accounts import Accounts
from fronts import *

place = Place()
cases = Cases()
numbers = iter(range(1000))
TENANTS = [f"tenant-{number}" for number in range(8)]


class Site:
    """An API behind three routes, and a listener whose callers have certificates. The API answers with whose token came;
    `mixed` has what came with the token of another one than the caller meant."""

    def __init__(self, lifetime=600):
        self.server = Accounts(lifetime)
        self.mixed = []
        self.expired = 0
        self.api = API(self.is_good)
        self.folder = place.folder_for(f"tenants-{next(numbers)}")
        self.authority = Authority(self.folder)
        self.certificate = self.authority.issue("listener", "/CN=localhost", "DNS:localhost,IP:127.0.0.1")

    def is_good(self, scheme, token, request):
        owner = self.server.owner(token or request.headers.get("X-Token"))
        meant = request.headers.get("X-Meant")
        if owner is None:
            self.expired += 1
        elif meant and meant != owner:
            self.mixed.append((meant, owner, request.path))
        return owner is not None

    def sections(self, secure, grant="", template="crm"):
        source = f'upstream = "api"\ngrant_template = "{template}"'
        return f"""
[listener.secure]
address = "127.0.0.1:{secure}"
certificate_file = "{self.certificate}"
key_file = "{key_of(self.certificate)}"
client_ca_file = "{self.authority.certificate}"
{self.server.provider(self.folder)}
[grant_template.{template}]
provider = "accounts"
{grant}
[upstream.api]
url = "{self.api.url}"
allow_plaintext = true
[route.header]
path = "/header/*"
grant_from = "header:X-Tenant"
{source}
[route.path]
path = "/path/*"
grant_from = "path:2"
{source}
[route.caller]
path = "/caller/*"
grant_from = "caller"
{source}
"""

    def gateway(self, **more):
        gateway = Gateway(place, place.folder_for(f"tenants-{next(numbers)}"), "", **more)
        gateway.secure = free_port()
        gateway.configure(self.sections(gateway.secure))
        return gateway

    def connect(self, gateway, tenant):
        """Made by command, and consented by the account of the same name."""
        command(gateway, "grants", "create", tenant, "--template", "crm", "--label", f"Label of {tenant}")
        page = self.server.consent(gateway.consent_link(f"crm:{tenant}"), tenant)
        eventually(lambda: gateway.grant(f"crm:{tenant}")["state"] == "active",
                   lambda: f"not connected: {gateway.grant(f'crm:{tenant}')} {page.status} {page.url} {page.text[:600]}")


def command(gateway, *arguments, status=0):
    found, output, errors = gateway.run(*arguments)
    check(found == status, f"{arguments}: {found} {output} {errors}")
    return output + errors


def by_header(gateway, tenant, **more):
    return gateway.call("/header/x", fields={"X-Tenant": tenant, "X-Meant": tenant}, **more)


def by_path(gateway, tenant, **more):
    return gateway.call(f"/path/{tenant}/x", fields={"X-Meant": tenant}, **more)


def by_caller(site, gateway, tenant):
    """The caller's certificate says who it is."""
    path = f"{site.folder}/caller-{tenant}.pem"
    if not os.path.exists(path):
        site.authority.issue(f"caller-{tenant}", f"/O=Callers/CN={tenant}", "DNS:caller.example")
    context = ssl.create_default_context(cafile=site.authority.certificate)
    context.load_cert_chain(path, key_of(path))
    connection = http.client.HTTPSConnection("127.0.0.1", gateway.secure, timeout=PATIENCE, context=context)
    try:
        connection.request("GET", "/caller/x", headers={"X-Meant": tenant})
        reply = connection.getresponse()
        return reply.status, dict((name.lower(), value) for name, value in reply.getheaders()), reply.read()
    finally:
        connection.close()


def good(site, answer, tenant):
    status, fields, text = answer
    check(status == 200, f"{tenant}: {status} {fields} {text[:400]}")
    reply = json.loads(text)
    owner = site.server.access[reply["token"]][0]
    check(owner == tenant, f"{tenant} had the token of {owner}")
    return reply


def refused(answer, status, code):
    found, fields, text = answer
    check((found, fields.get("token-gateway-error")) == (status, code), f"{found} {fields} {text[:400]}")
    return json.loads(text)


def stop(site, *gateways):
    for gateway in gateways:
        if gateway.process and gateway.process.is_running:
            gateway.stop()


class Load:
    """Callers of all tenants at once, at any of the gateways, while tokens end before their time."""

    def __init__(self, site, gateways, tenants, threads=16):
        self.site, self.gateways, self.tenants = site, gateways, tenants
        self.failures = []
        self.good = 0
        self.is_over = False
        self.threads = [threading.Thread(target=self.caller, args=(random.Random(number),)) for number in range(threads)]

    def caller(self, dice):
        while not self.is_over:
            gateway, tenant = dice.choice(self.gateways), dice.choice(self.tenants)
            try:
                answer = dice.choice([by_header, by_path])(gateway, tenant)
                good(self.site, answer, tenant)
                self.good += 1
            except (Failure, OSError) as failure:
                self.failures.append(str(failure))

    def run(self, seconds):
        for thread in self.threads:
            thread.start()
        dice = random.Random(5)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            time.sleep(dice.uniform(0.1, 0.4))
            self.site.server.end_access(dice.choice(self.tenants))
        time.sleep(0.5)
        self.is_over = True
        for thread in self.threads:
            thread.join()
        server = self.site.server
        told = (f"{self.good} good, {len(self.failures)} failed, refreshes {sum(server.refreshes.values())}, "
                f"{self.site.expired} rejected")
        print(json.dumps({"figures": told}), flush=True)
        check(not self.site.mixed, f"tokens were mixed: {self.site.mixed[:3]} {told}")
        check(not server.thefts, f"a refresh token was used twice: {server.thefts[:3]} {told}")
        # A token that is ended between a refresh and the retry with it is rejected a second time: that 401 is the API's.
        failures = [failure for failure in self.failures if ": 401 " not in failure]
        check(not failures and len(self.failures) <= self.good // 100, f"{self.failures[:3]} {told}")
        check(self.good > 100 and set(server.refreshes) == set(self.tenants), f"{told} {sorted(server.refreshes)}")


# MARK: Cases

def named():
    """A grant's whole life, at each of the three ways to name it."""
    site = Site()
    gateway = site.gateway().start()
    try:
        check("unknown_grant" in refused(by_header(gateway, "acme"), 404, "unknown_grant")["code"], "unknown")
        told = command(gateway, "grants", "create", "acme", "--template", "crm", "--label", "ACME Ltd")
        check("authorize crm:acme" in told, f"what to do next is not told: {told}")
        refused(by_header(gateway, "acme"), 503, "not_connected")
        told = command(gateway, "grants", "create", "acme", "--template", "crm", status=1)
        check("There is a grant of that name" in told, told)
        told = command(gateway, "grants", "create", "acme", "--template", "other", status=64)
        check("template" in told, told)
        told = command(gateway, "grants", "create", "a/b", "--template", "crm", status=64)

        link = command(gateway, "authorize", "crm:acme", "--no-wait")
        link = next(word for word in link.split() if word.startswith("http"))
        site.server.consent(link, "acme")
        site.connect(gateway, "globex")
        shown = command(gateway, "grants", "show", "crm:acme")
        check("ACME Ltd" in shown and "active" in shown and "acme" in shown, shown)
        seen = set()
        for tenant in ["acme", "globex"]:
            reply = good(site, by_header(gateway, tenant), tenant)
            check("x-tenant" not in reply["fields"], "the field went to the upstream")
            seen.add(reply["token"])
            check(good(site, by_path(gateway, tenant), tenant)["path"] == f"/path/{tenant}/x", "the path")
            good(site, by_caller(site, gateway, tenant), tenant)
        check(len(seen) == 2, "each has its own token")
        # What the caller's certificate says counts, whatever else the request says.
        refused(by_caller(site, gateway, "stranger"), 404, "unknown_grant")
        refused(gateway.call("/header/x"), 400, "grant_not_named")
        refused(gateway.call("/header/x", fields={"X-Tenant": "a b"}), 400, "grant_not_named")
        refused(gateway.call("/path/"), 400, "grant_not_named")
        refused(gateway.call("/caller/x"), 400, "grant_not_named")
        refused(gateway.call("/path/acme%2Fglobex/x"), 400, "grant_not_named")

        # Another account than the first one is refused, and the grant goes on.
        page = site.server.consent(gateway.consent_link("crm:acme"), "globex")
        check(page.status != 200 and "account" in page.text, f"{page.status} {page.text[:400]}")
        good(site, by_header(gateway, "acme"), "acme")

        listed = command(gateway, "grants", "list", "--template", "crm")
        check("crm:acme" in listed and "crm:globex" in listed, listed)
        command(gateway, "grants", "delete", "crm:globex", "--yes")
        refused(by_header(gateway, "globex"), 404, "unknown_grant")
        refused(by_path(gateway, "globex"), 404, "unknown_grant")
        good(site, by_header(gateway, "acme"), "acme")
        check("crm:globex" not in command(gateway, "grants", "list", "--template", "crm"), "deleted")
        told = command(gateway, "grants", "show", "crm:globex", status=64)
        gateway.stop()
        gateway.start()
        good(site, by_header(gateway, "acme"), "acme")
        refused(by_header(gateway, "globex"), 404, "unknown_grant")
        # One of the same name is another grant.
        site.connect(gateway, "globex")
        good(site, by_path(gateway, "globex"), "globex")
        check(not site.mixed and not site.server.thefts and not site.server.refreshes, f"{site.mixed} {site.server.thefts}")
        log = gateway.log()
        check(not any(word in log for word in [*site.server.access, *site.server.refresh]), "a token is in the log")
    finally:
        stop(site, gateway)


def users():
    """Three users of glewlwyd, which knows whose each token is."""
    server = glewlwyd.Server(place.folder_for("glewlwyd"))
    folder = place.folder_for(f"tenants-{next(numbers)}")
    mixed = []

    def is_good(scheme, token, request):
        facts = server.introspect(token)
        if facts.get("active") and facts.get("username") != request.headers["X-Meant"]:
            mixed.append((facts, request.headers["X-Meant"]))
        return facts.get("active") is True

    api = API(is_good)
    gateway = Gateway(place, folder, "")
    server.register(gateway.public_url + "/oauth/callback")
    private_file(f"{folder}/client.secret", server.client_secret)
    gateway.configure(f"""
[provider.server]
issuer = "{server.issuer}"
client_id = "{server.client_id}"
client_secret_file = "{folder}/client.secret"
allow_plaintext = true
rejection_cooldown = "0s"
[grant_template.crm]
provider = "server"
scopes = {json.dumps(server.scopes)}
[upstream.api]
url = "{api.url}"
allow_plaintext = true
[route.api]
path = "/header/*"
upstream = "api"
grant_template = "crm"
grant_from = "header:X-Tenant"
""")
    names = ["alice", "bob", "carol"]
    gateway.start()
    try:
        for name in names[1:]:
            server.add_person(name)
        for name in names:
            command(gateway, "grants", "create", name, "--template", "crm")
            page = server.consent(gateway.consent_link(f"crm:{name}"), name)
            check(gateway.grant(f"crm:{name}")["state"] == "active", f"{name}: {page.status} {page.text[:400]}")
        for turn in range(2):
            answers = {}
            threads = [threading.Thread(target=lambda name=name, key=key: answers.update({key: by_header(gateway, name)}))
                       for key, name in enumerate(names * 4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            check(all(answer[0] == 200 for answer in answers.values()), f"{[answer[:2] for answer in answers.values()]}")
            tokens = {json.loads(answer[2])["token"] for answer in answers.values()}
            check(len(tokens) == 3, f"{len(tokens)} tokens")
            if turn == 0:
                server.end_access(None)
        gateway.stop()
        gateway.start()
        status, reply = gateway.ask("POST", "/api/v1/grants/crm:bob/revoke", {})
        check(status == 200, f"revoke: {status} {reply}")
        refused(by_header(gateway, "bob"), 503, "not_connected")
        check(by_header(gateway, "carol")[0] == 200, "the others go on")
        check(not mixed, f"{mixed[:2]}")
    finally:
        gateway.stop()
        server.stop()


def load():
    site = Site(lifetime=3)
    gateway = site.gateway().start()
    try:
        for tenant in TENANTS:
            site.connect(gateway, tenant)
        Load(site, [gateway], TENANTS).run(4)
        gateway.stop()
        gateway.start()
        for tenant in TENANTS:
            good(site, by_header(gateway, tenant), tenant)
        check(not site.mixed and not site.server.thefts, f"{site.mixed} {site.server.thefts}")
    finally:
        stop(site, gateway)


def reloads():
    site = Site()
    gateway = site.gateway().start()

    def reload(fact, what, **changes):
        gateway.configure(site.sections(gateway.secure, **changes))
        gateway.process.child.send_signal(signal.SIGHUP)
        eventually(fact, lambda: f"{what}: {by_header(gateway, 'acme')} {gateway.log()[-1500:]}")

    try:
        for tenant in ["acme", "globex"]:
            site.connect(gateway, tenant)
        # How the token is sent.
        site.server.more.clear()
        good(site, by_header(gateway, "acme"), "acme")
        seen = lambda: json.loads(by_header(gateway, "acme")[2])["fields"]
        gateway.configure(site.sections(gateway.secure, grant='header = "X-Token"'))
        gateway.process.child.send_signal(signal.SIGHUP)
        eventually(lambda: "x-token" in seen(), lambda: f"{seen()}")
        token = seen()["x-token"]
        check(site.server.owner(token) == "acme" and "authorization" not in seen(), f"{seen()}")
        reload(lambda: by_header(gateway, "acme")[0] == 200, "back")
        good(site, by_path(gateway, "globex"), "globex")
        # The template goes: the routes have another one, which knows nobody.
        reload(lambda: by_header(gateway, "acme")[1].get("token-gateway-error") == "unknown_grant", "away",
               template="others")
        status, shown, errors = gateway.run("grants", "show", "crm:acme")
        check(status != 0 and "crm" in shown + errors, f"{status} {shown} {errors}")
        # It is back, with all that it had.
        reload(lambda: by_header(gateway, "acme")[0] == 200, "back again")
        check(good(site, by_header(gateway, "acme"), "acme")["token"] == token, "the same token")
        good(site, by_path(gateway, "globex"), "globex")
        check(not site.server.refreshes, "nobody was asked")
    finally:
        stop(site, gateway)


def replicas():
    site = Site(lifetime=3)
    database = postgres.Server(place.folder)
    gateways = []
    try:
        key = private_file(f"{site.folder}/store.key", base64.b64encode(os.urandom(32)).decode())
        password = private_file(f"{site.folder}/password", database.password)
        store = f'url = "{database.url}"\npassword_file = "{password}"\nkey_file = "{key}"'
        second = site.gateway(store=store)
        first = site.gateway(store=store, public_url=second.public_url)
        gateways = [first, second]
        first.configure(site.sections(first.secure))
        for gateway in gateways:
            gateway.start()
        # Not there at both; made at one, it is there at the other one, which is told or looks after a second.
        refused(by_header(second, "tenant-0"), 404, "unknown_grant")
        command(first, "grants", "create", "tenant-0", "--template", "crm")
        eventually(lambda: by_header(second, "tenant-0")[1].get("token-gateway-error") == "not_connected",
                   lambda: f"{by_header(second, 'tenant-0')}")
        site.server.consent(first.consent_link("crm:tenant-0"), "tenant-0")
        good(site, by_header(second, "tenant-0"), "tenant-0")
        began = time.monotonic()
        eventually(lambda: by_header(first, "tenant-0")[0] == 200, lambda: f"{by_header(first, 'tenant-0')}")
        print(json.dumps({"figures": f"a consent reached the other gateway in {time.monotonic() - began:.3f} s"}), flush=True)
        good(site, by_header(first, "tenant-0"), "tenant-0")
        for tenant in TENANTS[1:]:
            site.connect(first, tenant)
            good(site, by_path(second, tenant), tenant)
        Load(site, gateways, TENANTS).run(4)
        # Deleted at one, whatever the other one is doing with it.
        site.server.delay = 0.5
        for tenant in ["tenant-1", "tenant-3", "tenant-5"]:
            site.server.end_access(tenant)
            refreshes = site.server.refreshes[tenant]
            refreshing = threading.Thread(target=by_header, args=(first, tenant))
            refreshing.start()
            eventually(lambda: site.server.refreshes[tenant] > refreshes, "no refresh")
            command(second, "grants", "delete", f"crm:{tenant}", "--yes")
            refreshing.join()
            began = time.monotonic()
            eventually(lambda: by_header(first, tenant)[1].get("token-gateway-error") == "unknown_grant",
                       lambda: f"{by_header(first, tenant)}")
            took = time.monotonic() - began
            print(json.dumps({"figures": f"a deletion reached the other gateway in {took:.3f} s"}), flush=True)
        site.server.delay = 0
        # Killed, and started again.
        first.stop(signal.SIGKILL)
        good(site, by_header(second, "tenant-2"), "tenant-2")
        first.start()
        good(site, by_header(first, "tenant-2"), "tenant-2")
        check(not site.mixed and not site.server.thefts, f"{site.mixed} {site.server.thefts}")
    finally:
        stop(site, *gateways)
        database.remove()


cases.run("a grant of a template is made, named in three ways, deleted, and made again", named)
cases.run("three users of glewlwyd each have their own tokens, through rejections and a restart", users)
cases.run("tenants never have each other's tokens while all are refreshed and rejected at once", load)
cases.run("a reload changes a template, takes it away and brings it back with its grants", reloads)
cases.run("a grant that was made at one gateway serves at the other, and each refresh is made once", replicas)
cases.end()
