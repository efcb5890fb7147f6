"""An authorization server made of Authlib, for clients without a person. JWT bearer (RFC 7523) and client credentials are
Authlib's own; what RFC 8693 and RFC 8705 say is added to it, every parameter verified. It runs in a thread of the script,
which sees all that was asked."""

import flask
from authlib.integrations.flask_oauth2 import AuthorizationServer
from authlib.oauth2 import OAuth2Error
from authlib.oauth2.rfc6749 import (BaseGrant, ClientMixin, InvalidGrantError, InvalidRequestError, TokenEndpointMixin)
from authlib.oauth2.rfc6749.grants import ClientCredentialsGrant
from authlib.oauth2.rfc6750 import BearerTokenGenerator
from authlib.oauth2.rfc7523 import JWTBearerGrant
from joserfc import jwk, jwt
from joserfc.errors import JoseError
import werkzeug.serving

from oauthkit import *

os.environ["AUTHLIB_INSECURE_TRANSPORT"] = "1"    # loopback only
TOKEN_TYPE = "urn:ietf:params:oauth:token-type:"
EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"


class InvalidTarget(OAuth2Error):
    error = "invalid_target"
    status_code = 400


class Client(ClientMixin):
    def __init__(self, name, grant_types, method="none", secret=None, scopes="", keys=None, certificate=None):
        self.name, self.grant_types, self.method, self.secret = name, grant_types, method, secret
        self.scopes, self.keys, self.certificate = scopes.split(), keys, certificate

    def get_client_id(self):
        return self.name

    def get_allowed_scope(self, scope):
        return " ".join(word for word in (scope or "").split() if word in self.scopes)

    def check_client_secret(self, secret):
        return secret == self.secret

    def check_endpoint_auth_method(self, method, endpoint):
        return method == self.method

    def check_grant_type(self, kind):
        return kind in self.grant_types


class Server:
    users = {"alice@example.com"}

    def __init__(self, lifetime=600, context=None):
        self.lifetime = lifetime
        self.context = context
        self.port = free_port()
        self.base = f"{'https' if context else 'http'}://127.0.0.1:{self.port}"
        self.token_url = self.base + "/token"
        self.clients = {}
        self.tokens = {}             # access token: what it is for
        self.asked = []              # each token request: (monotonic time, its form as lists, the answer's status)
        self.used = set()            # jti
        self.targets = {"https://billing.example.com"}
        self.subject_keys = None     # who signs subject tokens
        self.app = self.application()
        self.start()

    def start(self):
        self.server = werkzeug.serving.make_server("127.0.0.1", self.port, self.app, threaded=True, ssl_context=self.context)
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    def stop(self):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    def add(self, *arguments, **more):
        client = Client(*arguments, **more)
        self.clients[client.name] = client
        return client

    def is_active(self, token, audience=None):
        facts = self.tokens.get(token)
        return bool(facts) and time.monotonic() < facts["until"] and (audience is None or audience in facts["audience"])

    def end_access(self):
        for facts in self.tokens.values():
            facts["until"] = 0

    def last(self):
        return self.asked[-1][1]

    # MARK: Inside

    def application(self):
        app = flask.Flask("issuer")
        logging = __import__("logging")
        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        server = AuthorizationServer(app, query_client=self.clients.get, save_token=self.save)
        server.register_token_generator("default", BearerTokenGenerator(
            lambda **facts: secrets.token_urlsafe(32), expires_generator=lambda client, grant_type: self.lifetime))
        for method in ["tls_client_auth", "self_signed_tls_client_auth"]:
            server.register_client_auth_method(
                method, lambda query, request, method=method: self.by_certificate(query, request, method))

        class Credentials(ClientCredentialsGrant):
            TOKEN_ENDPOINT_AUTH_METHODS = [
                "client_secret_basic", "tls_client_auth", "self_signed_tls_client_auth"]

        for grant in [Credentials, self.bearer(), self.exchange()]:
            server.register_grant(grant)

        @app.post("/token")
        def token():
            form = flask.request.form.to_dict(flat=False)
            answer = server.create_token_response()
            self.asked.append((time.monotonic(), form, answer.status_code))
            return answer

        return app

    def save(self, token, request):
        facts = getattr(request, "facts", {})
        self.tokens[token["access_token"]] = {
            "until": time.monotonic() + self.lifetime, "scope": token.get("scope"), "user": request.user,
            "client": request.client.get_client_id(), "audience": [], "actor": None, **facts}

    def by_certificate(self, query, request, method):
        """The certificate as nginx hands it on, after it has checked it as `method` wants."""
        client = query((request.form or {}).get("client_id"))
        if not client or client.method != method:
            return None
        has_chain = request.headers.get("X-Certificate-Verified") == "SUCCESS"
        if client.certificate == "checked in the handshake":
            is_right = True
        elif method == "tls_client_auth":
            is_right = has_chain and request.headers.get("X-Certificate-Subject") == client.certificate
        else:
            is_right = request.headers.get("X-Certificate-Fingerprint") == client.certificate
        return client if is_right else None

    def bearer(self):
        issuer = self

        class Bearer(JWTBearerGrant):
            CLAIMS_OPTIONS = {name: {"essential": True} for name in ["iss", "aud", "exp", "iat", "jti"]}

            def process_assertion_claims(self, assertion):
                claims = super().process_assertion_claims(assertion)
                if claims["jti"] in issuer.used:
                    raise InvalidGrantError("An assertion is good once.")
                if claims["exp"] - claims["iat"] > 3600:
                    raise InvalidGrantError("An assertion is good for an hour at most.")
                issuer.used.add(claims["jti"])
                self.claims = claims
                return claims

            def validate_requested_scope(self):
                """Google's way has the scopes in the assertion."""
                scope = self.claims.get("scope") or self.request.payload.scope
                self.server.validate_requested_scope(scope)
                self.request.facts = {"scope": scope}

            def resolve_issuer_client(self, name):
                return issuer.clients.get(name)

            def resolve_client_public_key(self, client):
                return client.keys

            def authenticate_user(self, subject):
                return subject if subject in issuer.users else None

            def has_granted_permission(self, client, user):
                return True

            def get_audiences(self):
                return [issuer.token_url]

        return Bearer

    def exchange(self):
        issuer = self

        class Exchange(BaseGrant, TokenEndpointMixin):
            GRANT_TYPE = EXCHANGE
            TOKEN_ENDPOINT_AUTH_METHODS = ["client_secret_basic"]

            def validate_token_request(self):
                self.request.client = self.authenticate_token_endpoint_client()
                given = self.request.payload.datalist
                known = {"grant_type", "subject_token", "subject_token_type", "actor_token", "actor_token_type",
                         "requested_token_type", "audience", "resource", "scope"}
                for name, values in given.items():
                    if name not in known:
                        raise InvalidRequestError(f"Nobody knows {name}.")
                    if len(values) > 1 and name not in ("audience", "resource"):
                        raise InvalidRequestError(f"{name} is there twice.")
                one = lambda name: given.get(name, [None])[0]
                if bool(one("actor_token")) != bool(one("actor_token_type")):
                    raise InvalidRequestError("actor_token and its type belong together.")
                if one("requested_token_type") not in (None, TOKEN_TYPE + "access_token"):
                    raise InvalidRequestError("There are access tokens only.")
                targets = given.get("audience", []) + given.get("resource", [])
                if not targets or not set(targets) <= issuer.targets:
                    raise InvalidTarget("Tokens for that are not had here.")
                self.request.user = self.who(one("subject_token"), one("subject_token_type"), "subject")
                actor = one("actor_token")
                self.request.facts = {
                    "audience": targets, "scope": one("scope"),
                    "actor": self.who(actor, one("actor_token_type"), "actor") if actor else None}

            def who(self, token, kind, role):
                if not token or not kind:
                    raise InvalidRequestError(f"The {role} token or its type is missing.")
                if kind == TOKEN_TYPE + "access_token":
                    if not issuer.is_active(token):
                        raise InvalidRequestError(f"The {role} token is not valid.")
                    return issuer.tokens[token]["user"] or issuer.tokens[token]["client"]
                if kind != TOKEN_TYPE + "jwt":
                    raise InvalidRequestError(f"The type of the {role} token is not known.")
                try:
                    claims = jwt.decode(token, issuer.subject_keys).claims
                    jwt.JWTClaimsRegistry(
                        exp={"essential": True}, aud={"essential": True, "value": issuer.token_url},
                        sub={"essential": True}).validate(claims)
                except (JoseError, ValueError) as error:
                    raise InvalidRequestError(f"The {role} token is not valid: {error}")
                return claims["sub"]

            def create_token_response(self):
                token = self.generate_token(scope=self.request.facts["scope"], include_refresh_token=False)
                self.save_token(token)
                return 200, {**token, "issued_token_type": TOKEN_TYPE + "access_token"}, self.TOKEN_RESPONSE_HEADER

        return Exchange


def keys():
    """A private RSA key as PEM, and the set of public keys that has it."""
    made = jwk.RSAKey.generate_key(2048, {"kid": "key-1"}, private=True)
    return made.as_pem(private=True).decode(), jwk.KeySet([jwk.RSAKey.import_key(made.as_dict(private=False))])
