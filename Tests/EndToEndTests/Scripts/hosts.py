"""Upstreams whose host comes with the tokens: two behind nginx with TLS, at one port of two addresses. A token goes to the
host that came with it, and to no host that the operator has not allowed."""

from accounts import Accounts
from fronts import *

place = Place()
cases = Cases()
numbers = iter(range(1000))


class Scene:
    """APIs `eu` at localhost and `us` at 127.0.0.2, both behind nginx; `seen` tells which tokens each has had."""

    names = {"eu": "localhost", "us": "127.0.0.2"}

    def __init__(self, provider_hosts=("localhost", "127.0.0.2"), upstream_hosts=("localhost", "127.0.0.2")):
        """The provider's hosts get the port: others than 443 are allowed where they are written out."""
        self.server = Accounts()
        self.seen = {"eu": [], "us": []}
        self.folder = place.folder_for(f"hosts-{next(numbers)}")
        authority = Authority(self.folder)
        self.port = free_port()
        servers = ""
        self.apis = {}
        for region, name in self.names.items():
            address = "127.0.0.1" if name == "localhost" else name
            kind = "DNS" if name == "localhost" else "IP"
            certificate = authority.issue(region, f"/CN={name}", f"{kind}:{name}")
            self.apis[region] = API(self.judge(region))
            servers += f"""
server {{
    listen {address}:{self.port} ssl;
    ssl_certificate {certificate}; ssl_certificate_key {key_of(certificate)};
    location / {{ proxy_pass {self.apis[region].url}; proxy_set_header Host $http_host; }}
}}
"""
        inner = place.folder_for(f"hosts-{next(numbers)}")
        self.nginx = Nginx(inner, servers).wait("127.0.0.2", self.port)
        self.gateway = Gateway(place, self.folder, "")
        self.authority = authority
        self.configure(provider_hosts, upstream_hosts)

    def judge(self, region):
        def is_good(scheme, token, request):
            self.seen[region].append((token, request.headers["Host"]))
            return self.server.owner(token) is not None
        return is_good

    def configure(self, provider_hosts, upstream_hosts):
        self.gateway.configure(f"""
{self.server.provider(self.folder, f'''
response_capture.instance_url = "instance_url host required"
allowed_hosts = {json.dumps([f"{host}:{self.port}" for host in provider_hosts])}
''')}
[grant.crm]
provider = "accounts"
[upstream.api]
url = "https://{{instance_url}}:{self.port}/v1"
allowed_hosts = {json.dumps(upstream_hosts)}
ca_file = "{self.authority.certificate}"
[route.api]
path = "/api/*"
strip_prefix = "/api"
upstream = "api"
grant = "crm"
""")

    def __enter__(self):
        self.gateway.start()
        return self

    def __exit__(self, *arguments):
        self.gateway.stop()
        self.nginx.stop()

    def place_at(self, region):
        self.server.more["acme"] = {"instance_url": f"https://{self.names.get(region, region)}:{self.port}"}

    def consent(self):
        return self.server.consent(self.gateway.consent_link("crm"), "acme")

    def refresh(self):
        status, reply = self.gateway.ask("POST", "/api/v1/grants/crm/refresh", {})
        check(status == 200, f"refresh: {status} {reply} {self.gateway.log()[-1500:]}")

    def call(self, region):
        """A call that arrives there, and nowhere else."""
        before = {name: len(seen) for name, seen in self.seen.items()}
        status, fields, text = self.gateway.call("/api/x")
        check(status == 200, f"{status} {fields} {text[:400]} {self.gateway.log()[-1500:]}")
        check(json.loads(text)["path"] == "/v1/x", text)
        after = {name: len(seen) - before[name] for name, seen in self.seen.items()}
        check(after == {name: int(name == region) for name in self.names}, f"{region}: {after}")
        token, host = self.seen[region][-1]
        check(host == f"{self.names[region]}:{self.port}", host)
        return token

    def shown(self):
        status, output, errors = self.gateway.run("grants", "show", "crm")
        check(status == 0, f"grants show: {status} {output} {errors}")
        return output


def followed():
    with Scene() as scene:
        scene.place_at("eu")
        page = scene.consent()
        check(scene.gateway.grant("crm")["state"] == "active", f"{page.status} {page.text[:400]}")
        first = scene.call("eu")
        scene.gateway.stop()
        scene.gateway.start()
        check(scene.call("eu") == first, "the token and its host are kept over a restart")
        check("localhost" in scene.shown(), f"the host is not shown: {scene.shown()}")
        # The provider moves the account: the new token goes to the new place, and the old one never.
        scene.place_at("us")
        scene.refresh()
        second = scene.call("us")
        scene.gateway.stop()
        scene.gateway.start()
        scene.call("us")
        scene.server.end_access("acme")
        scene.place_at("eu")
        status, fields, text = scene.gateway.call("/api/x", "POST", body=b"x" * 3000)
        check(status == 200 and json.loads(text)["length"] == 3000, f"{status} {fields} {text[:300]}")
        check([name for name in scene.seen if scene.seen[name][-1][0] == json.loads(text)["token"]] == ["eu"],
              "the retry went to the host of its own token")
        check(second not in [token for token, _ in scene.seen["eu"]], "an older token came to the new host")
        check(first not in [token for token, _ in scene.seen["us"]], "an older token came to the new host")


def refused_at_consent():
    with Scene() as scene:
        for host in ["evil.example.com", "localhost.evil.example.com", "127.0.0.3"]:
            scene.place_at(host)
            page = scene.consent()
            check(page.status >= 400, f"{host}: {page.status} {page.text[:300]}")
            check("instance_url" in page.text and "allowed_hosts" in page.text, f"{host}: {page.text}")
            view = scene.gateway.grant("crm")
            check(view["state"] == "not_connected", f"{host}: {view}")
        check("allowed_hosts" in scene.gateway.log(), "not in the log")
        check(scene.gateway.call("/api/x")[0] == 503, "a call")
        scene.place_at("eu")
        scene.consent()
        scene.call("eu")
        # A consent with such a host does not harm the grant that is there.
        scene.place_at("evil.example.com")
        page = scene.consent()
        check(page.status >= 400, f"{page.status}")
        scene.call("eu")


def refused_at_refresh():
    with Scene() as scene:
        scene.place_at("eu")
        scene.consent()
        first = scene.call("eu")
        scene.place_at("evil.example.com")
        scene.refresh()
        second = scene.call("eu")
        check(second != first, "another token")
        log = scene.gateway.log()
        check("instance_url" in log and "allowed_hosts" in log, f"not told: {log[-2000:]}")


def refused_at_upstream():
    with Scene(upstream_hosts=["localhost"]) as scene:
        scene.place_at("us")
        scene.consent()
        check(scene.gateway.grant("crm")["state"] == "active", f"{scene.gateway.grant('crm')}")
        status, fields, text = scene.gateway.call("/api/x")
        check((status, fields.get("token-gateway-error")) == (502, "upstream_not_named"), f"{status} {fields} {text}")
        check("allowed hosts" in json.loads(text)["detail"] or "allowed_hosts" in json.loads(text)["detail"], text)
        check(not scene.seen["us"] and not scene.seen["eu"], "something was sent")
        scene.configure(("localhost", "127.0.0.2"), ("localhost", "127.0.0.2"))
        scene.gateway.process.child.send_signal(signal.SIGHUP)
        eventually(lambda: scene.gateway.call("/api/x")[0] == 200, lambda: f"{scene.gateway.call('/api/x')}")
        scene.call("us")


cases.run("a token goes to the host that came with it, over restarts, refreshes and a 401", followed)
cases.run("a consent whose host is not allowed is refused, and says so", refused_at_consent)
cases.run("a refresh whose host is not allowed leaves the host as it was, and says so", refused_at_refresh)
cases.run("a host that the upstream does not allow gets nothing, and a reload that allows it heals", refused_at_upstream)
cases.end()
