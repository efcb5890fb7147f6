"""What the store's surroundings do to it: a disk that takes no writes, a folder that is read-only, and PgBouncer between
the gateway and its database."""

import asyncio
import pwd
import re

import postgres
from oauthkit import *
from strict import Strict

place = Place()
cases = Cases()
# The gateways on one database have one key.
KEY = private_file(f"{place.folder}/shared.key", base64.b64encode(os.urandom(32)).decode())


def sections(server, folder, more=""):
    private_file(f"{folder}/client.secret", "client-secret-of-the-stores")
    return f"""
[provider.strict]
authorize_url = "{server.base}/authorize"
token_url = "{server.base}/token"
client_id = "stores"
client_secret_file = "{folder}/client.secret"
allow_plaintext = true
timeout = "10s"
{more}
[grant.crm]
provider = "strict"
[upstream.api]
url = "{server.base}"
allow_plaintext = true
[route.api]
path = "/api/*"
upstream = "api"
grant = "crm"
[timeouts]
credential = "5s"
"""


def consent(gateway):
    page = Browser().open(gateway.consent_link("crm"))
    check(page.status == 200, f"consent: {page.status} {page.url} {page.text[:600]}")
    check(gateway.grant("crm")["state"] == "active", f"{gateway.grant('crm')}")


async def in_thread(work, *arguments):
    return await asyncio.get_running_loop().run_in_executor(None, work, *arguments)


# MARK: Read-only

def limit_files(gateway, size):
    """From now on the process may not write behind this place of any file; its log included."""
    done = subprocess.run(["prlimit", "--pid", str(gateway.process.child.pid), f"--fsize={size}:unlimited"],
                          capture_output=True, text=True)
    check(done.returncode == 0, f"prlimit: {done.stderr}")


def no_writes(server):
    gateway = Gateway(place, place.folder_for("no-writes"), "")
    gateway.configure(sections(server, gateway.folder))
    gateway.start()
    consent(gateway)
    check(gateway.call("/api/before")[0] == 200, "before")
    limit_files(gateway, 0)
    calls = len(server.refreshes)
    # A refresh is wanted, and its result could not be kept.
    status, reply = gateway.ask("POST", "/api/v1/grants/crm/refresh", {})
    check(status == 503, f"an operator's refresh: {status} {reply}")
    check(gateway.call("/api/valid")[0] == 200, "a valid token flows on")
    status, reply = gateway.ask("GET", "/readyz")
    check(status == 503 and "grants.db" in json.dumps(reply), f"readiness: {status} {reply}")
    check("token_gateway_store_up 0" in gateway.ask("GET", "/metrics")[1], "the metric")

    def refused():
        status, fields, _ = gateway.call("/api/expired")
        return status != 200 and (status, fields.get("token-gateway-error"), int(fields.get("retry-after", "0")))
    status, code, wait = eventually(refused, "the token outlives its time")
    check((status, code) == (503, "token_unavailable") and wait >= 1, f"{status} {code} {wait}")
    check(len(server.refreshes) == calls and not server.thefts, "a single-use token was sent")
    limit_files(gateway, "unlimited")
    eventually(lambda: gateway.call("/api/back")[0] == 200, lambda: f"does not heal: {gateway.grant('crm')}")
    eventually(lambda: gateway.ask("GET", "/readyz")[0] == 200, "not ready again")
    check(len(server.refreshes) == calls + 1 and not server.thefts and server.replays == 0, "one use of each token")
    generation = gateway.grant("crm")["generation"]
    gateway.stop(signal.SIGKILL)
    gateway.start()
    check(gateway.grant("crm")["generation"] >= generation, "what was told as stored is stored")
    check(gateway.call("/api/restarted")[0] == 200, "after a restart")
    check(gateway.stop() == 0, "its end")


def refuses_to_start(gateway, arguments, words, **more):
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=PATIENCE, cwd="/", **more)
    told = done.stdout + done.stderr
    check(done.returncode not in (0, 1), f"it ended with {done.returncode}: {told}")
    check(re.search(words, told) and "grants.db" in told, f"it said: {told}")
    return True


def on_a_mount(gateway):
    """A mount of its own: permissions do not hold root back. False where none can be made."""
    mount = f"mount --bind {gateway.folder} {gateway.folder} && mount -o remount,bind,ro {gateway.folder}"
    space = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--mount", "--map-root-user"]
    if subprocess.run([*space, "sh", "-c", mount], capture_output=True).returncode != 0:
        return False
    start = f"{mount} && exec {place.program} run --config {gateway.folder}/gateway.conf"
    return refuses_to_start(gateway, [*space, "sh", "-c", start], r"Read-only|read-only")


def without_permission(gateway):
    """The store in a folder of somebody who may not write in it. False where root has nobody else to be."""
    account = None
    if os.geteuid() == 0:
        account = next((entry for entry in pwd.getpwall() if entry.pw_name == "nobody"), None)
        if account is None:
            return False
    paths = [gateway.folder] + [f"{gateway.folder}/{name}" for name in os.listdir(gateway.folder)]
    before = {path: os.stat(path) for path in paths}
    parents = [gateway.folder]
    while (parent := os.path.dirname(parents[-1])) != parents[-1]:
        parents.append(parent)
    opened = {path: os.stat(path).st_mode for path in parents[1:] if account and not os.stat(path).st_mode & 0o001}
    identity = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []} if account else {}
    try:
        for path, mode in opened.items():
            os.chmod(path, mode | 0o001)
        for path in paths:
            if account:
                os.chown(path, account.pw_uid, account.pw_gid)
            os.chmod(path, 0o500 if os.path.isdir(path) else 0o400)
        probe = subprocess.run(["test", "-r", f"{gateway.folder}/gateway.conf", "-a", "!", "-w", gateway.folder],
                               cwd="/", **identity)
        if probe.returncode != 0 or subprocess.run([place.program, "version"], capture_output=True, cwd="/",
                                                   **identity).returncode != 0:
            return False
        arguments = [place.program, "run", "--config", f"{gateway.folder}/gateway.conf"]
        return refuses_to_start(gateway, arguments, r"written|writ(e|able)|permission|Permission", **identity)
    finally:
        for path in paths:
            os.chown(path, before[path].st_uid, before[path].st_gid)
            os.chmod(path, before[path].st_mode & 0o7777)
        for path, mode in opened.items():
            os.chmod(path, mode & 0o7777)


def read_only_start(server):
    gateway = Gateway(place, place.folder_for("read-only"), "")
    gateway.configure(sections(server, gateway.folder))
    gateway.start()
    consent(gateway)
    check(gateway.stop() == 0, "its end")
    calls = len(server.refreshes)
    ways = [way for way in (on_a_mount, without_permission) if way(gateway)]
    check(ways, "NOT RUN: here neither a mount can be made nor a program be run as somebody who may not write")
    check(len(server.refreshes) == calls, "a refresh was sent")
    gateway.start()
    eventually(lambda: gateway.call("/api/again")[0] == 200, lambda: f"the grant: {gateway.grant('crm')}")
    check(not server.thefts, "one use of each token")
    check(gateway.stop() == 0, "its end")


# MARK: Files that go under the running gateway

def deleted(server):
    gateway = Gateway(place, place.folder_for("deleted"), "")
    gateway.configure(sections(server, gateway.folder))
    gateway.start()
    consent(gateway)
    # Whatever of it is missing, in turn; each time a refresh follows, and a kill.
    for names in (["grants.db"], ["grants.db-wal"], ["grants.db", "grants.db-wal"]):
        for name in names:
            os.remove(f"{gateway.folder}/{name}")
        generation = gateway.grant("crm")["generation"]
        eventually(lambda: gateway.grant("crm")["generation"] > generation, lambda: f"no refresh: {gateway.log()[-900:]}")
        check("was deleted while the gateway runs" in gateway.log(), "nothing was said")
        gateway.stop(signal.SIGKILL)
        gateway.start()
        check(gateway.grant("crm")["generation"] > generation, f"{names}: lost {gateway.grant('crm')}")
        eventually(lambda: gateway.call("/api/after")[0] == 200, lambda: f"{names}: {gateway.grant('crm')}")
    check(not server.thefts, f"an old token was used: {server.thefts}")
    check(gateway.stop() == 0, "its end")


def replaced(server):
    gateway = Gateway(place, place.folder_for("replaced"), "")
    gateway.configure(sections(server, gateway.folder))
    gateway.start()
    consent(gateway)
    check(gateway.stop() == 0, "its end")
    with open(f"{gateway.folder}/grants.db", "rb") as file:
        backup = file.read()
    gateway.start()
    eventually(lambda: gateway.call("/api/before")[0] == 200, "no token")
    os.rename(f"{gateway.folder}/grants.db", f"{gateway.folder}/aside.db")
    with open(os.open(f"{gateway.folder}/grants.db", os.O_WRONLY | os.O_CREAT, 0o600), "wb") as file:
        file.write(backup)

    def told():
        status, reply = gateway.ask("GET", "/readyz")
        return status == 503 and "was replaced by another file" in json.dumps(reply)
    eventually(told, lambda: f"readiness: {gateway.ask('GET', '/readyz')}")
    check("token_gateway_store_up 0" in gateway.ask("GET", "/metrics")[1], "the metric")
    calls = len(server.refreshes)
    eventually(lambda: gateway.call("/api/expired")[0] == 503, "the token outlives its time")
    check(len(server.refreshes) == calls, "a single-use token was sent")
    os.rename(f"{gateway.folder}/aside.db", f"{gateway.folder}/grants.db")
    eventually(lambda: gateway.call("/api/back")[0] == 200, lambda: f"does not heal: {gateway.grant('crm')}")
    eventually(lambda: gateway.ask("GET", "/readyz")[0] == 200, "not ready again")
    check(not server.thefts, f"an old token was used: {server.thefts}")
    check(gateway.stop() == 0, "its end")


# MARK: PgBouncer

class Pooler:
    """PgBouncer in front of the database; it does not run as root."""

    def __init__(self, database, mode):
        self.port = free_port()
        self.folder = os.path.join(database.folder, mode)
        os.makedirs(self.folder, mode=0o700)
        users = private_file(f"{self.folder}/users.txt", f'"{database.user}" "{database.password}"\n')
        configuration = private_file(f"{self.folder}/pgbouncer.ini", f"""
[databases]
{database.database} = host=127.0.0.1 port={database.port}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {self.port}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = {users}
pool_mode = {mode}
""")
        if database.owner:
            account = pwd.getpwnam("postgres")
            for path in (self.folder, users, configuration):
                os.chown(path, account.pw_uid, account.pw_gid)
        program = next((path for path in ("/usr/sbin/pgbouncer", "/usr/bin/pgbouncer") if os.path.exists(path)), None)
        check(program, "no PgBouncer is installed")
        self.process = Process(database.owner + [program, configuration], f"{place.folder}/pgbouncer-{mode}.log", "/")
        self.url = f"postgresql://{database.user}@127.0.0.1:{self.port}/{database.database}"
        eventually(self.listens, lambda: f"no PgBouncer: {self.process.tail()}")

    def listens(self):
        check(self.process.is_running, f"PgBouncer ended: {self.process.tail()}")
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


def pooled(server, database, pooler, name):
    """A gateway of two that share the database through the pooler."""
    folder = place.folder_for(name)
    password = private_file(f"{folder}/password", database.password)
    gateway = Gateway(place, folder, "", store=f'url = "{pooler.url}"\npassword_file = "{password}"\nkey_file = "{KEY}"')
    gateway.configure(sections(server, folder))
    return gateway


def session_pooling(server, database):
    pooler = Pooler(database, "session")
    try:
        share(server, database, pooler)
    finally:
        if pooler.process.is_running:
            pooler.process.stop()


def share(server, database, pooler):
    one, other = (pooled(server, database, pooler, f"session-{number}").start() for number in (1, 2))
    consent(one)
    eventually(lambda: other.grant("crm")["state"] == "active", lambda: f"no news: {other.grant('crm')}", within=5)
    for number in range(40):
        for gateway in (one, other):
            status, _, text = gateway.call("/api/x")
            check(status == 200, f"{number}: {status} {text} {gateway.grant('crm')}")
        time.sleep(0.2)
    check(len(server.refreshes) >= 2 and not server.thefts and server.replays == 0,
          f"{len(server.refreshes)} refreshes, thefts {server.thefts}")
    began = time.monotonic()
    check(one.ask("POST", "/api/v1/grants/crm/revoke", {})[0] == 200, "revoke")
    eventually(lambda: other.call("/api/revoked")[0] == 503, "the other goes on", within=5)
    check(time.monotonic() - began < 2, "news come at once")
    # A pooler that is restarted is a database that was away.
    pooler.process.stop()
    eventually(lambda: one.ask("GET", "/readyz")[0] == 503, "readiness")
    pooler.process = Process(pooler.process.child.args, pooler.process.log, "/")
    eventually(lambda: one.ask("GET", "/readyz")[1].get("store_open"), lambda: f"{one.ask('GET', '/readyz')}")
    for gateway in (one, other):
        check(gateway.stop() == 0, f"its end: {gateway.process.tail()}")


def transaction_pooling(server, database):
    pooler = Pooler(database, "transaction")
    gateway = pooled(server, database, pooler, "transaction")
    log = f"{gateway.folder}/gateway.log"
    process = Process([place.program, "run", "--config", f"{gateway.folder}/gateway.conf"], log, gateway.folder)
    try:
        eventually(lambda: not process.is_running, lambda: f"it runs: {process.tail()}")
        status = process.child.returncode
        told = process.tail()
        check(status not in (0, 1), f"it ended with {status}: {told}")
        check("pool_mode" in told and "session" in told, f"it said: {told}")
    finally:
        if process.is_running:
            process.stop()
        pooler.process.stop()


async def alone(case):
    server = Strict(lifetime=4.0)
    await server.start()
    await in_thread(case, server)


async def with_database(case):
    server = Strict()
    await server.start()
    database = await in_thread(postgres.Server, place.folder_for(case.__name__))
    try:
        await in_thread(case, server, database)
    finally:
        await in_thread(database.remove)


cases.run("a disk that takes no writes: valid tokens flow, no single-use token is sent, readiness tells, all heals",
          lambda: asyncio.run(alone(no_writes)))
cases.run("a folder that is read-only stops the start by name, and harms nothing",
          lambda: asyncio.run(alone(read_only_start)))
cases.run("a store's file or log that is deleted under the running gateway is written again, and nothing is lost",
          lambda: asyncio.run(alone(deleted)))
cases.run("a backup that is moved over the open store stops refreshes until it is away again",
          lambda: asyncio.run(alone(replaced)))
cases.run("two gateways share a database through PgBouncer's sessions",
          lambda: asyncio.run(with_database(session_pooling)))
cases.run("PgBouncer that hands out single transactions is refused by name",
          lambda: asyncio.run(with_database(transaction_pooling)))
cases.end()
