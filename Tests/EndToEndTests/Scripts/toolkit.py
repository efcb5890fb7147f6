"""Django OAuth Toolkit, an authorization server from PyPI, in a Django project of one file, with a client and a person."""

from oauthkit import *

PROJECT = '''
import django, os, sys
from django.conf import settings

folder, port = os.environ["TOOLKIT_FOLDER"], os.environ["TOOLKIT_PORT"]
settings.configure(
    DEBUG=False, SECRET_KEY="only for this run", ALLOWED_HOSTS=["127.0.0.1"], ROOT_URLCONF="project", USE_TZ=True,
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": folder + "/toolkit.sqlite",
                           "OPTIONS": {"timeout": 20}}},
    INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "django.contrib.sessions",
                    "django.contrib.messages", "oauth2_provider"],
    MIDDLEWARE=["django.contrib.sessions.middleware.SessionMiddleware", "django.middleware.csrf.CsrfViewMiddleware",
                "django.contrib.auth.middleware.AuthenticationMiddleware",
                "django.contrib.messages.middleware.MessageMiddleware"],
    TEMPLATES=[{"BACKEND": "django.template.backends.django.DjangoTemplates", "DIRS": [folder], "APP_DIRS": True,
                "OPTIONS": {"context_processors": ["django.template.context_processors.request",
                                                   "django.contrib.auth.context_processors.auth",
                                                   "django.contrib.messages.context_processors.messages"]}}],
    LOGIN_URL="/login/", DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"],
    OAUTH2_PROVIDER={
        "SCOPES": {"read": "Read the CRM", "write": "Write to the CRM", "introspection": "Ask about tokens"},
        "ACCESS_TOKEN_EXPIRE_SECONDS": 600, "REFRESH_TOKEN_EXPIRE_SECONDS": 3600, "ROTATE_REFRESH_TOKEN": True,
        "REFRESH_TOKEN_REUSE_PROTECTION": True, "REFRESH_TOKEN_GRACE_PERIOD_SECONDS": 0, "PKCE_REQUIRED": True,
        "ALLOWED_REDIRECT_URI_SCHEMES": ["http", "https"],
    })
django.setup()

import json
from datetime import timedelta
from django.contrib.auth import get_user_model
from django.contrib.auth.views import LoginView
from django.http import JsonResponse
from django.urls import include, path
from django.utils import timezone
from oauth2_provider.models import get_access_token_model, get_application_model, get_refresh_token_model

calls = {"token": 0}

def count(view):
    def counted(request, *arguments, **named):
        if request.path == "/o/token/": calls["token"] += 1
        return view(request, *arguments, **named)
    return counted

def backdoor(request, word):
    """What the test does to the server: loopback only, and only for this run."""
    given = json.loads(request.body or b"{}")
    Access, Refresh, Application = get_access_token_model(), get_refresh_token_model(), get_application_model()
    if word == "client":
        Application.objects.update_or_create(client_id=given["client_id"], defaults={
            "client_secret": given["client_secret"], "name": "Gateway", "client_type": "confidential",
            "authorization_grant_type": "authorization-code", "redirect_uris": given["redirect_uri"]})
        return JsonResponse({})
    if word == "active":
        token = Access.objects.filter(token=given["token"]).first()
        return JsonResponse({"active": token is not None and not token.is_expired()})
    if word == "end_access":
        Access.objects.update(expires=timezone.now() - timedelta(seconds=5))
        return JsonResponse({})
    if word == "end_refresh":
        Refresh.objects.update(revoked=timezone.now() - timedelta(seconds=5))
        return JsonResponse({})
    return JsonResponse(calls)

from django.views.decorators.csrf import csrf_exempt
from oauth2_provider import urls as toolkit_urls
from oauth2_provider.views import TokenView

urlpatterns = [
    path("login/", LoginView.as_view(template_name="login.html")),
    path("backdoor/<str:word>", csrf_exempt(backdoor)),
    path("o/token/", csrf_exempt(count(TokenView.as_view()))),
    path("o/", include((toolkit_urls.urlpatterns, "oauth2_provider"), namespace="oauth2_provider")),
]

if __name__ == "__main__":
    sys.modules["project"] = sys.modules["__main__"]
    from django.core.management import call_command
    call_command("migrate", verbosity=0)
    get_user_model().objects.create_user("alice", password="wonderland")
    from django.core.wsgi import get_wsgi_application
    from wsgiref.simple_server import WSGIServer, WSGIRequestHandler, make_server
    from socketserver import ThreadingMixIn
    class Threaded(ThreadingMixIn, WSGIServer):
        daemon_threads = True
        request_queue_size = 128
    make_server("127.0.0.1", int(port), get_wsgi_application(), Threaded).serve_forever()
'''

LOGIN = '<form method="post">{% csrf_token %}{{ form }}<input type="submit" name="go" value="Sign in"></form>'


class Server:
    client_id = "gateway"
    client_secret = "toolkit secret +/&: with characters"
    scopes = ["read", "write"]

    def __init__(self, folder):
        self.port = free_port()
        self.base = f"http://127.0.0.1:{self.port}"
        self.issuer = self.base + "/o"
        # It publishes no metadata without OpenID Connect, so its endpoints are written down.
        self.configuration = f"""
authorize_url = "{self.issuer}/authorize/"
token_url = "{self.issuer}/token/"
revocation_url = "{self.issuer}/revoke_token/"
client_auth = "client_secret_basic"
"""
        with open(f"{folder}/project.py", "w") as file:
            file.write(PROJECT)
        with open(f"{folder}/login.html", "w") as file:
            file.write(LOGIN)
        environment = {"TOOLKIT_FOLDER": folder, "TOOLKIT_PORT": str(self.port)}
        self.process = Process([sys.executable, "project.py"], f"{folder}/toolkit.log", folder, environment)
        eventually(self.is_listening, lambda: f"no Django OAuth Toolkit: {self.process.tail(3000)}", 60)

    def is_listening(self):
        check(self.process.is_running, f"Django OAuth Toolkit ended: {self.process.tail(3000)}")
        try:
            return self.ask("calls") is not None
        except OSError:
            return False

    def ask(self, word, **given):
        request = urllib.request.Request(f"{self.base}/backdoor/{word}", json.dumps(given).encode())
        with urllib.request.urlopen(request, timeout=PATIENCE) as reply:
            return json.load(reply)

    def register(self, redirect_uri):
        self.ask("client", client_id=self.client_id, client_secret=self.client_secret, redirect_uri=redirect_uri)

    def consent(self, link):
        """Signs in and presses the button that allows."""
        browser = Browser()
        page = browser.open(link)
        if "/login/" in page.url:
            page = browser.submit(page, {"username": "alice", "password": "wonderland"})
        if "/authorize/" in page.url:
            page = browser.submit(page, {}, "allow")
        return page

    def is_active(self, token):
        return bool(token) and self.ask("active", token=token)["active"]

    def end_access(self, token):
        self.ask("end_access")

    def end_refresh(self):
        self.ask("end_refresh")

    def token_calls(self):
        return self.ask("calls")["token"]

    def stop(self):
        self.process.stop()
