"""glewlwyd, the authorization server that Debian has, with its OpenID Connect plugin, a client and a person."""

from oauthkit import *

SCHEMA = "/usr/share/dbconfig-common/data/glewlwyd/install/sqlite3"
MODULES = "/usr/lib/glewlwyd"


class Server:
    client_id = "gateway"
    # glewlwyd does not form-decode the Basic credentials (RFC 6749 2.3.1), so a secret with other characters would
    # have to go by client_secret_post.
    client_secret = "glewlwyd-client-secret"
    configuration = ""
    trusted = None
    scopes = ["openid", "crm"]

    def __init__(self, folder, plugin=None):
        self.folder = folder
        self.port = free_port()
        self.base = f"http://127.0.0.1:{self.port}"
        self.issuer = self.base + "/api/oidc"
        self.database = f"{folder}/glewlwyd.db"
        with open(SCHEMA) as schema:
            subprocess.run(["sqlite3", self.database], stdin=schema, check=True)
        with open(f"{folder}/glewlwyd.conf", "w") as file:
            file.write(self.settings())
        self.process = Process(["glewlwyd", "-c", f"{folder}/glewlwyd.conf"], f"{folder}/output.log", folder)
        self.admin = Browser()
        eventually(self.is_listening, lambda: f"no glewlwyd: {self.process.tail()}")
        self.ask("POST", "auth/", {"username": "admin", "password": "password"})
        self.ask("POST", "mod/plugin/", {
            "module": "oidc", "name": "oidc", "display_name": "OIDC", "parameters": {**self.plugin(), **(plugin or {})}})
        self.ask("POST", "scope/", {"name": "crm", "display_name": "CRM", "description": "The CRM"})
        self.add_person("alice")

    def add_person(self, name):
        self.ask("POST", "user/", {
            "username": name, "password": "wonderland", "name": name, "email": f"{name}@example.com",
            "scope": ["openid", "crm", "g_profile"], "enabled": True})

    def settings(self):
        return f"""
port={self.port}
bind_address="127.0.0.1"
external_url="{self.base}"
login_url="login.html"
api_prefix="api"
log_mode="file"
log_level="INFO"
log_file="{self.folder}/glewlwyd.log"
cookie_secure=0
session_expiration=2419200
session_key="SESSION"
admin_session_authentication="cookie"
profile_session_authentication="cookie"
login_api_enabled=true
admin_scope="g_admin"
profile_scope="g_profile"
user_module_path="{MODULES}/user"
client_module_path="{MODULES}/client"
user_auth_scheme_module_path="{MODULES}/scheme"
plugin_module_path="{MODULES}/plugin"
hash_algorithm="SHA512"
database = {{ type="sqlite3" path="{self.database}" }}
"""

    def plugin(self):
        key = subprocess.run(["openssl", "ecparam", "-genkey", "-name", "prime256v1", "-noout"], check=True,
                             capture_output=True).stdout
        public = subprocess.run(["openssl", "ec", "-pubout"], input=key, check=True, capture_output=True).stdout
        return {
            "iss": self.issuer, "jwt-type": "ecdsa", "jwt-key-size": "256", "key": key.decode(), "cert": public.decode(),
            "access-token-duration": 600, "refresh-token-duration": 3600, "code-duration": 60,
            "refresh-token-rolling": True, "refresh-token-one-use": "always", "allow-non-oidc": True,
            "auth-type-client-enabled": True, "auth-type-code-enabled": True, "auth-type-code-revoke-replayed": True,
            "auth-type-password-enabled": False, "auth-type-refresh-enabled": True, "auth-type-token-enabled": False,
            "auth-type-id-token-enabled": False, "auth-type-none-enabled": False, "auth-type-device-enabled": True,
            "device-authorization-expiration": 120, "device-authorization-interval": 1, "scope": [],
            "additional-parameters": [], "claims": [], "jwks-show": True, "jwks-x5c": [], "subject-type": "public",
            "client-refresh-token-one-use-parameter": "", "pkce-allowed": True, "pkce-method-plain-allowed": False,
            "introspection-revocation-allowed": True, "introspection-revocation-allow-target-client": True,
            "introspection-revocation-auth-scope": [], "register-client-allowed": False,
            "session-management-allowed": False, "request-parameter-allow": True, "request-maximum-exp": 600,
            "request-parameter-ietf-strict": False, "request-uri-allow-https-non-secure": False,
            "request-parameter-allow-encrypted": False, "client-pubkey-parameter": "pubkey",
            "client-jwks-parameter": "jwks", "client-jwks_uri-parameter": "jwks_uri", "oauth-dpop-allowed": True,
            "oauth-dpop-iat-duration": 60, "oauth-par-allowed": True, "oauth-par-required": False,
            "oauth-par-duration": 90, "oauth-par-request_uri-prefix": "urn:ietf:params:oauth:request_uri:",
            "resource-allowed": False, "oauth-as-iss-id": True, "name-claim": "no", "email-claim": "no",
            "scope-claim": "no", "address-claim": {"type": "no"},
        }

    def is_listening(self):
        try:
            return self.admin.open(self.base + "/config").status < 500
        except OSError:
            return False

    def ask(self, method, path, body=None, person=None):
        page = (person or self.admin).send(
            method, f"{self.base}/api/{path}", json.dumps(body).encode() if body is not None else None)
        check(page.status == 200, f"glewlwyd {method} {path}: {page.status} {page.text}")
        return page.text

    def register(self, redirect_uri, **more):
        """Our client, anew with each place that consents come back to."""
        with sqlite(self.database) as row:
            known = row("SELECT count(*) FROM g_client WHERE gc_client_id = ?", self.client_id)[0]
        client = {
            "client_id": self.client_id, "name": "Gateway", "password": self.client_secret, "confidential": True,
            "redirect_uri": [redirect_uri], "scope": ["crm"], "enabled": True,
            "authorization_type": ["code", "refresh_token", "client_credentials", "device_authorization"],
            "token_endpoint_auth_method": ["client_secret_basic", "client_secret_post"], **more}
        self.ask("PUT" if known else "POST", f"client/{self.client_id}" if known else "client/", client)

    def person(self, name="alice"):
        """Somebody, signed in, who has allowed the client what it asks: what glewlwyd's own page does by script."""
        browser = Browser(trusted=self.trusted)
        self.ask("POST", "auth/", {"username": name, "password": "wonderland"}, browser)
        self.ask("PUT", f"auth/grant/{self.client_id}", {"scope": " ".join(self.scopes)}, browser)
        return browser

    def consent(self, link, name="alice"):
        """Opens the link; after signing in and allowing, the page sends the browser on with `g_continue`."""
        browser = self.person(name)
        page = browser.open(link)
        if "login.html" in page.url:
            query = urllib.parse.parse_qs(urllib.parse.urlparse(page.url).query)
            place = query["callback_url"][0]
            page = browser.open(place + ("&" if "?" in place else "?") + "g_continue")
        return page

    def introspect(self, token):
        pair = base64.b64encode(f"{self.client_id}:{self.client_secret}".encode()).decode()
        request = urllib.request.Request(
            self.issuer + "/introspect", urllib.parse.urlencode({"token": token}).encode(),
            {"Authorization": "Basic " + pair})
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE) as reply:
                return json.load(reply)
        except urllib.error.HTTPError:
            return {}

    def is_active(self, token):
        return bool(token) and self.introspect(token).get("active") is True

    def end_access(self, token):
        """The access token is dead before its time."""
        with sqlite(self.database) as row:
            row("UPDATE gpo_access_token SET gpoa_enabled = 0")

    def end_refresh(self):
        with sqlite(self.database) as row:
            row("UPDATE gpo_refresh_token SET gpor_enabled = 0")

    def token_calls(self):
        """How often a refresh token was refused."""
        with open(f"{self.folder}/glewlwyd.log") as file:
            return file.read().count("Token invalid")

    def stop(self):
        self.process.stop()


class sqlite:
    """The server's own database; `row` runs one statement and gives its first row."""

    def __init__(self, path):
        import sqlite3
        self.connection = sqlite3.connect(path, timeout=PATIENCE)

    def __enter__(self):
        return lambda statement, *values: self.connection.execute(statement, values).fetchone()

    def __exit__(self, *arguments):
        self.connection.commit()
        self.connection.close()
