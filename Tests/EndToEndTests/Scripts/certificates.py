"""Clients that prove themselves by a certificate (RFC 8705), at servers that check it: glewlwyd with its OpenID Connect
plugin and Authlib, both behind nginx, which does TLS and hands the certificate on."""

import hashlib
import ssl

import glewlwyd
import issuer
from fronts import *
from jwcrypto import jwk

place = Place()
cases = Cases()
numbers = iter(range(1000))

# nginx gives a certificate with line ends, which no header field can have; glewlwyd reads it with spaces.
SCRIPT = """
export default { certificate: r => (r.variables.ssl_client_raw_cert || '').replace(/\\n/g, ' ') };
"""


def front(port, authority, server, verify, upstream):
    return f"""
js_import script from FOLDER/script.js;
js_set $certificate script.certificate;
server {{
    listen 127.0.0.1:{port} ssl;
    ssl_certificate {server}; ssl_certificate_key {key_of(server)};
    ssl_client_certificate {authority.certificate}; ssl_verify_client {verify};
    location / {{
        proxy_pass {upstream};
        proxy_set_header Host $http_host;
        proxy_set_header X-Certificate $certificate;
        proxy_set_header X-Certificate-Verified $ssl_client_verify;
        proxy_set_header X-Certificate-Subject $ssl_client_s_dn;
        proxy_set_header X-Certificate-Fingerprint $ssl_client_fingerprint;
    }}
}}
"""


def fingerprint(certificate):
    with open(certificate) as file:
        return hashlib.sha1(ssl.PEM_cert_to_DER_cert(file.read())).hexdigest()


class Glewlwyd(glewlwyd.Server):
    """glewlwyd whose outside is nginx."""

    def __init__(self, folder, verify):
        self.outside = free_port()
        self.authority = Authority(folder)
        self.trusted = self.authority.certificate
        self.nginx = None
        super().__init__(folder, {
            "iss": self.address(), "client-cert-source": "header", "client-cert-header-name": "X-Certificate",
            "client-cert-use-endpoint-aliases": True, "client-cert-self-signed-allowed": True})
        certificate = self.authority.issue("server", "/CN=127.0.0.1", "IP:127.0.0.1")
        inner = place.folder_for(f"nginx-{next(numbers)}")
        try:
            self.nginx = Nginx(inner, front(self.outside, self.authority, certificate, verify, self.base), SCRIPT).wait(
                "127.0.0.1", self.outside)
        except Failure:
            super().stop()
            raise

    def address(self):
        return f"https://127.0.0.1:{self.outside}/api/oidc"

    def settings(self):
        return super().settings().replace(f'external_url="{self.base}"', f'external_url="https://127.0.0.1:{self.outside}"')

    def stop(self):
        super().stop()
        if self.nginx:
            self.nginx.stop()


class Scene:
    """A gateway with one grant, `crm`, whose certificate is in `client.pem` and `client.key`."""

    def __init__(self, provider, grant, authority, certificate, is_good):
        self.folder = place.folder_for(f"certificates-{next(numbers)}")
        self.api = API(is_good)
        self.use(certificate)
        self.gateway = Gateway(place, self.folder, f"""
[provider.server]
ca_file = "{authority.certificate}"
client_certificate_file = "{self.folder}/client.pem"
client_certificate_key_file = "{self.folder}/client.key"
{provider}
[grant.crm]
provider = "server"
{grant}
{self.api.route("crm")}
""")

    def use(self, certificate):
        for source, name in [(certificate, "client.pem"), (key_of(certificate), "client.key")]:
            with open(source) as file:
                private_file(f"{self.folder}/{name}.new", file.read())
        for name in ["client.key", "client.pem"]:
            os.rename(f"{self.folder}/{name}.new", f"{self.folder}/{name}")

    def __enter__(self):
        self.gateway.start()
        return self

    def __exit__(self, *arguments):
        self.gateway.stop()

    def call(self, status=200, code=None):
        found, fields, text = self.gateway.call("/api/x")
        check(found == status and fields.get("token-gateway-error") == code,
              f"{found} {fields} {text[:500]} {self.gateway.grant('crm')} {self.gateway.log()[-1500:]}")
        return json.loads(text)["token"] if found == 200 else fields

    def refresh(self, status=200):
        found, reply = self.gateway.ask("POST", "/api/v1/grants/crm/refresh", {})
        check(found == status, f"refresh: {found} {reply} {self.gateway.grant('crm')} {self.gateway.log()[-1500:]}")
        return reply

    def reload(self):
        """Returns when it has been done."""
        done = lambda: self.gateway.log().count("the configuration was reloaded")
        before = done()
        self.gateway.process.child.send_signal(signal.SIGHUP)
        eventually(lambda: done() > before, lambda: f"no reload: {self.gateway.log()[-800:]}")

    def shown(self):
        status, output, errors = self.gateway.run("grants", "show", "crm")
        check(status == 0, f"grants show: {status} {output} {errors}")
        return output

    def heals(self):
        eventually(lambda: self.gateway.call("/api/x")[0] == 200,
                   lambda: f"does not heal: {self.gateway.grant('crm')} {self.gateway.log()[-1500:]}")


# MARK: glewlwyd

def glewlwyd_scene(server, method, certificate, **client):
    scene = Scene(f"""
issuer = "{server.address()}"
client_id = "{server.client_id}"
client_auth = "{method}"
""", f"scopes = {json.dumps(server.scopes)}", server.authority, certificate,
        lambda scheme, token, request: server.is_active(token))
    server.register(scene.gateway.public_url + "/oauth/callback",
                    token_endpoint_auth_method=[method, "client_secret_basic"], **client)
    return scene


def life(scene, server, right, wrong):
    with scene:
        scene.use(wrong)
        scene.reload()
        page = server.consent(scene.gateway.consent_link("crm"))
        check(page.status >= 400 and "client_certificate_file" in page.text, f"{page.status} {page.url} {page.text[-600:]}")
        check("client_certificate_file" in scene.gateway.log(), scene.gateway.log()[-800:])
        scene.use(right)
        scene.reload()
        page = server.consent(scene.gateway.consent_link("crm"))
        view = scene.gateway.grant("crm")
        check(view["state"] == "active", f"not connected: {view} {page.status} {page.url} {page.text[-600:]}")
        token = scene.call()
        scene.refresh()
        check(scene.call() != token, "another token")
        server.end_access(None)
        scene.call()
        # A wrong certificate is refused without a word, as a dead refresh token is; both are said to be possible, and the
        # right certificate wakes the grant.
        scene.use(wrong)
        scene.reload()
        scene.refresh(409)
        check("certificate" in scene.shown(), scene.shown())
        check(scene.gateway.grant("crm")["state"] == "reauthorization_required", f"{scene.gateway.grant('crm')}")
        generation = scene.gateway.grant("crm")["generation"]
        scene.call()
        scene.use(right)
        scene.reload()
        eventually(lambda: scene.gateway.grant("crm")["generation"] > generation, lambda: f"{scene.gateway.grant('crm')}")
        scene.call()
        scene.gateway.stop()
        scene.gateway.start()
        token = scene.call()
        status, reply = scene.gateway.ask("POST", "/api/v1/grants/crm/revoke", {})
        check(status == 200 and reply.get("outcome") != "failed_kept_for_retry", f"revoke: {status} {reply}")
        check(not server.is_active(token), "revoked at the provider")


def glewlwyd_by_authority(server):
    right = server.authority.issue("right", "/O=Example/CN=gateway", "DNS:gateway.example")
    scene = glewlwyd_scene(server, "tls_client_auth", right, tls_client_auth_san_dns="gateway.example")
    life(scene, server, right, server.authority.issue("wrong", "/O=Example/CN=other", "DNS:other.example"))
    lines = server.nginx.lines()
    for name in ["token", "par", "revoke"]:
        check(any(f"/mtls/{name} " in line for line in lines), f"the alias of {name} is not used")
        check(not any(f"/oidc/{name} " in line for line in lines), f"the alias of {name} is not used everywhere")


def glewlwyd_self_signed(server):
    certificate = server.authority.self_signed("own", "/CN=gateway")
    with open(certificate, "rb") as file:
        pem = file.read()
    public = json.loads(jwk.JWK.from_pem(pem).export_public())
    chain = [base64.b64encode(ssl.PEM_cert_to_DER_cert(pem.decode())).decode()]
    scene = glewlwyd_scene(server, "self_signed_tls_client_auth", certificate,
                           jwks={"keys": [{**public, "kid": "own", "x5c": chain}]})
    life(scene, server, certificate, server.authority.self_signed("wrong", "/CN=gateway"))


# MARK: Authlib

class Site:
    """An authorization server made of Authlib behind nginx, and certificates: the right one, one of another client, and
    one of another authority."""

    def __init__(self, method):
        self.folder = place.folder_for(f"authlib-{next(numbers)}")
        self.authority = Authority(self.folder)
        self.server = issuer.Server()
        if method == "tls_client_auth":
            self.right = self.authority.issue("right", "/O=Example/CN=gateway", "DNS:gateway.example")
            self.wrong = self.authority.issue("wrong", "/O=Example/CN=other", "DNS:other.example")
            known = "CN=gateway,O=Example"
        else:
            self.right = self.authority.self_signed("right", "/CN=gateway")
            self.wrong = self.authority.self_signed("wrong", "/CN=gateway")
            known = fingerprint(self.right)
        self.stranger = Authority(self.folder, "Other").issue("stranger", "/O=Example/CN=gateway", "DNS:gateway.example")
        self.server.add("gateway", ["client_credentials"], method=method, certificate=known, scopes="crm")
        self.port = free_port()
        verify = "optional" if method == "tls_client_auth" else "optional_no_ca"
        certificate = self.authority.issue("server", "/CN=127.0.0.1", "IP:127.0.0.1")
        inner = place.folder_for(f"nginx-{next(numbers)}")
        self.nginx = Nginx(inner, front(self.port, self.authority, certificate, verify, self.server.base), SCRIPT).wait(
            "127.0.0.1", self.port)
        self.method = method

    def scene(self, certificate):
        return Scene(f"""
token_url = "https://127.0.0.1:{self.port}/token"
client_id = "gateway"
client_auth = "{self.method}"
""", 'type = "client_credentials"\nscopes = ["crm"]', self.authority, certificate,
            lambda scheme, token, request: self.server.is_active(token))

    def stop(self):
        self.nginx.stop()
        self.server.stop()


def refused(method):
    """The certificate of another client: told, asked once, mended by another file, with and without a reload."""
    site = Site(method)
    try:
        with site.scene(site.wrong) as scene:
            scene.call(503, "configuration_error")
            scene.call(503, "configuration_error")
            check(len(site.server.asked) == 1, f"{len(site.server.asked)} requests")
            check(scene.gateway.ask("GET", "/readyz")[0] == 503, "ready")
            shown = scene.shown()
            check("invalid_client" in shown and "client_certificate_file" in shown, shown)
            check("client_certificate_file" in scene.gateway.log(), scene.gateway.log()[-1500:])
            scene.use(site.right)
            scene.reload()
            scene.heals()
            token = scene.call()
            # While it has a token: calls go on, and the next refresh tells.
            scene.use(site.wrong)
            scene.reload()
            reply = scene.refresh(409)
            check("client_certificate_file" in json.dumps(reply), f"{reply}")
            check(scene.call() == token, "the valid token flows")
            # The file is looked at without a reload, too.
            scene.use(site.right)
            if method != "tls_client_auth":
                scene.reload()
            eventually(lambda: scene.gateway.grant("crm")["state"] == "active", lambda: f"{scene.gateway.grant('crm')}")
            scene.call()
    finally:
        site.stop()


def stranger():
    """nginx itself refuses what its authority has not signed, with a page."""
    site = Site("tls_client_auth")
    try:
        with site.scene(site.stranger) as scene:
            scene.call(503, "token_unavailable")
            check(not site.server.asked, "nginx let it through")
            shown = scene.shown()
            check("400" in shown and "client_certificate_file" in shown, shown)
            scene.use(site.right)
            scene.reload()
            scene.heals()
    finally:
        site.stop()


def handshake():
    """A server that refuses in the TLS handshake."""
    folder = place.folder_for(f"handshake-{next(numbers)}")
    authority = Authority(folder)
    certificate = authority.issue("server", "/CN=127.0.0.1", "IP:127.0.0.1")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=authority.certificate)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(certificate, key_of(certificate))
    server = issuer.Server(context=context)
    server.add("gateway", ["client_credentials"], method="tls_client_auth", certificate="checked in the handshake")
    stranger = Authority(folder, "Other").issue("stranger", "/O=Example/CN=gateway", "DNS:gateway.example")
    right = authority.issue("right", "/O=Example/CN=gateway", "DNS:gateway.example")
    try:
        scene = Scene(f"""
token_url = "{server.token_url}"
client_id = "gateway"
client_auth = "tls_client_auth"
""", 'type = "client_credentials"', authority, stranger, lambda scheme, token, request: server.is_active(token))
        with scene:
            scene.call(503, "token_unavailable")
            check(not server.asked, "let through")
            shown = scene.shown()
            # The server's alert, or the reset behind it where that was faster.
            check("client_certificate_file" in shown, shown)
            scene.use(right)
            scene.reload()
            scene.heals()
    finally:
        server.stop()


def main():
    server = Glewlwyd(place.folder_for("glewlwyd-authority"), "optional")
    try:
        cases.run("a certificate of an authority is the client's proof at glewlwyd, at its aliases", glewlwyd_by_authority,
                  server)
    finally:
        server.stop()
    server = Glewlwyd(place.folder_for("glewlwyd-own"), "optional_no_ca")
    try:
        cases.run("a self-signed certificate is the client's proof at glewlwyd", glewlwyd_self_signed, server)
    finally:
        server.stop()
    for method in ["tls_client_auth", "self_signed_tls_client_auth"]:
        cases.run(f"the wrong certificate for {method} is told and asks once; the right one heals", refused, method)
    cases.run("a certificate that a proxy refuses with a page is told, and another one heals", stranger)
    cases.run("a certificate that is refused in the handshake is told, and another one heals", handshake)
    cases.end()


main()
