"""Grants at authorization servers that are not ours, through their whole life: glewlwyd from Debian and Django OAuth
Toolkit from PyPI. Both rotate refresh tokens, and take the use of an old one for theft."""

import shutil

import glewlwyd
import toolkit
from oauthkit import *

place = Place()
cases = Cases()


def life(server, name, more="", connect=None, secret=None):
    """Consent, calls, refresh by age and by command, revocation; leaves a revoked grant."""
    folder = place.folder_for(name.replace(" ", "-"))
    api = API(lambda scheme, token, request: server.is_active(token))
    private_file(f"{folder}/client.secret", secret or server.client_secret)
    gateway = Gateway(place, folder, "")
    server.register(gateway.public_url + "/oauth/callback")
    gateway.configure(f"""
[provider.server]
issuer = "{server.issuer}"
client_id = "{server.client_id}"
client_secret_file = "{folder}/client.secret"
allow_plaintext = true
refresh_skew = "1s"
{server.configuration}
{more}
[grant.crm]
provider = "server"
scopes = {json.dumps(server.scopes)}
{api.route("crm")}
""")
    gateway.start()
    try:
        status, _, text = gateway.call("/api/before")
        check(status == 503, f"before consent: {status} {text}")
        page = server.consent(gateway.consent_link("crm"))
        view = gateway.grant("crm")
        check(view["state"] == "active", f"not connected: {view} {page.url} {page.status} {page.text[:600]}")

        status, _, text = gateway.call("/api/hello")
        check(status == 200, f"first call: {status} {text} {gateway.grant('crm')}")
        first = json.loads(text)["token"]

        status, reply = gateway.ask("POST", "/api/v1/grants/crm/refresh", {})
        check(status == 200, f"refresh: {status} {reply}")
        check(gateway.grant("crm")["generation"] == view["generation"] + 1, "one generation more")
        token = json.loads(gateway.call("/api/again")[2])["token"]
        check(token != first, "another token after the refresh")

        server.end_access(token)
        status, _, text = gateway.call("/api/rejected", "POST", body=b"x" * 5000)
        check(status == 200, f"401, refresh, retry: {status} {text} {gateway.grant('crm')}")
        check(json.loads(text)["length"] == 5000, "the whole content again")
        last = json.loads(text)["token"]

        gateway.stop()
        gateway.start()
        status, _, text = gateway.call("/api/restarted")
        check(status == 200, f"after a restart: {status} {text}")

        status, reply = gateway.ask("POST", "/api/v1/grants/crm/revoke", {})
        check(status == 200, f"revoke: {status} {reply}")
        check(not server.is_active(last), "the provider knows that the token is revoked")
        status, fields, _ = gateway.call("/api/revoked")
        check(status == 503 and fields.get("token-gateway-error") == "not_connected", f"{status} {fields}")
        log = gateway.log()
        for word in (first, token, last, server.client_secret):
            check(word not in log, "a secret is in the log")
        return reply
    finally:
        gateway.stop()


def connected(server, name):
    """A gateway whose grant is connected."""
    folder = place.folder_for(name.replace(" ", "-"))
    api = API(lambda scheme, token, request: server.is_active(token))
    private_file(f"{folder}/client.secret", server.client_secret)
    gateway = Gateway(place, folder, "")
    server.register(gateway.public_url + "/oauth/callback")
    gateway.configure(f"""
[provider.server]
issuer = "{server.issuer}"
client_id = "{server.client_id}"
client_secret_file = "{folder}/client.secret"
allow_plaintext = true
{server.configuration}
[grant.crm]
provider = "server"
scopes = {json.dumps(server.scopes)}
{api.route("crm")}
""")
    gateway.start()
    try:
        server.consent(gateway.consent_link("crm"))
        check(gateway.grant("crm")["state"] == "active", f"{gateway.grant('crm')}")
    except BaseException:
        gateway.stop()
        raise
    return gateway


def death(server, name):
    """A refresh token that the server ended: consent is needed, and nobody is asked again."""
    gateway = connected(server, name)
    try:
        server.end_refresh()
        status, reply = gateway.ask("POST", "/api/v1/grants/crm/refresh", {})
        check(status >= 400, f"a refresh with a dead token: {status} {reply}")
        stays_dead(server, gateway)
    finally:
        gateway.stop()


def stays_dead(server, gateway):
    """The latch holds over a restart, and a consent releases it."""
    view = gateway.grant("crm")
    check(view["state"] == "reauthorization_required", f"{view}")
    calls = server.token_calls()
    gateway.stop()
    gateway.start()
    server.end_access(None)
    for _ in range(5):
        status, fields, _ = gateway.call("/api/dead")
        check(fields.get("token-gateway-error") == "reauthorization_required", f"{status} {fields}")
    check(server.token_calls() == calls, "the provider is left alone, over a restart too")
    server.consent(gateway.consent_link("crm"))
    status, _, text = gateway.call("/api/alive")
    check(status == 200, f"after another consent: {status} {text}")


def backup(server, name):
    """A store from before two rotations is put back: its refresh token is used up. One call shows that, no more."""
    gateway = connected(server, name)
    try:
        gateway.stop()
        store = f"{gateway.folder}/grants.db"
        shutil.copy2(store, f"{gateway.folder}/backup.db")
        gateway.start()
        for _ in range(2):
            status, reply = gateway.ask("POST", "/api/v1/grants/crm/refresh", {})
            check(status == 200, f"refresh: {status} {reply}")
        gateway.stop()
        for end in ("-wal", "-shm"):
            if os.path.exists(store + end):
                os.remove(store + end)
        shutil.copy2(f"{gateway.folder}/backup.db", store)
        server.end_access(None)
        calls = server.token_calls()
        gateway.start()
        status, fields, text = gateway.call("/api/restored")
        check(status == 503 and fields.get("token-gateway-error") == "reauthorization_required",
              f"{status} {fields} {text}")
        check(server.token_calls() == calls + 1, "one call shows that the token is used up")
        stays_dead(server, gateway)
    finally:
        gateway.stop()


def main():
    first = glewlwyd.Server(place.folder_for("glewlwyd"))
    try:
        cases.run("a grant lives and ends at glewlwyd", life, first, "glewlwyd life")
        cases.run("a dead refresh token of glewlwyd, told by 400 without a body, ends the grant", death, first,
                  "glewlwyd death")
        cases.run("a backup of the store from before two rotations asks for consent after one call to glewlwyd", backup,
                  first, "glewlwyd backup")
    finally:
        first.stop()
    second = toolkit.Server(place.folder_for("toolkit"))
    try:
        cases.run("a grant lives and ends at Django OAuth Toolkit", life, second, "toolkit life")
        cases.run("a dead refresh token of Django OAuth Toolkit ends the grant", death, second, "toolkit death")
        cases.run("a backup of the store from before two rotations asks for consent after one call to Django OAuth "
                  "Toolkit", backup, second, "toolkit backup")
    finally:
        second.stop()
    cases.end()


main()
