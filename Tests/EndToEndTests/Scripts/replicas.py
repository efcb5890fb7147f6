"""Three gateways, one PostgreSQL, one grant with single-use refresh tokens that live three seconds, 300 callers at once.
Replicas are killed, the database is restarted, and at the end nothing was lost.

E2E_REPLICA_SECONDS says how long the rough part takes; 120 by default."""

import asyncio
import concurrent.futures
import random
import statistics

import postgres
from oauthkit import *
from strict import Strict

SECONDS = float(os.environ.get("E2E_REPLICA_SECONDS", "120"))
CALLERS = int(os.environ.get("E2E_REPLICA_CALLERS", "300"))

place = Place()
cases = Cases()


class Cluster:
    """The gateways, as a load balancer sees them."""

    def __init__(self, server, database, count, name, store=""):
        self.server, self.database = server, database
        self.replicas = []
        folder = place.folder_for(name)
        self.public = free_port()
        key = private_file(f"{folder}/store.key", base64.b64encode(os.urandom(32)).decode())
        password = private_file(f"{folder}/password", database.password)
        secret = private_file(f"{folder}/client.secret", "client-secret-of-the-cluster")
        settings = f'url = "{database.url}"\npassword_file = "{password}"\nkey_file = "{key}"\n{store}'
        sections = f"""
[provider.strict]
authorize_url = "{server.base}/authorize"
token_url = "{server.base}/token"
client_id = "cluster"
client_secret_file = "{secret}"
client_auth = "client_secret_basic"
allow_plaintext = true
timeout = "10s"
user_agent = "REPLICA"
[grant.crm]
provider = "strict"
scopes = ["crm"]
[grant_template.t]
provider = "strict"
[upstream.api]
url = "{server.base}"
allow_plaintext = true
[route.api]
path = "/api/*"
upstream = "api"
grant = "crm"
[timeouts]
credential = "10s"
"""
        for number in range(count):
            own = place.folder_for(f"{name}/{number}")
            self.replicas.append(Gateway(place, own, sections.replace("REPLICA", f"replica-{number}"), store=settings))
        # The provider sends browsers to one address, whichever replica the consent began at.
        for number, replica in enumerate(self.replicas):
            replica.public_url = self.replicas[-1].public_url
            replica.configure(sections.replace("REPLICA", f"replica-{number}"))

    def start(self):
        for replica in self.replicas:
            replica.start()
        return self

    def stop(self):
        for replica in self.replicas:
            if replica.process and replica.process.is_running:
                check(replica.stop() == 0, f"a replica's end: {replica.process.tail()}")


async def call(port, timeout=20):
    """One request on a connection of its own: the status, the gateway's own code where it has one, the pair's number."""
    reader, writer = await asyncio.wait_for(asyncio.open_connection("127.0.0.1", port), timeout)
    try:
        writer.write(b"GET /api/x HTTP/1.1\r\nHost: gateway\r\nConnection: close\r\n\r\n")
        head = (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), timeout)).decode("latin-1")
        fields = dict(line.lower().split(": ", 1) for line in head.split("\r\n")[1:] if ": " in line)
        return int(head.split(" ")[1]), fields.get("token-gateway-error"), fields.get("x-pair")
    finally:
        writer.close()


class Traffic:
    """Callers behind a load balancer: one that dies or refuses to connect is not asked again for that request."""

    def __init__(self, cluster):
        self.cluster = cluster
        self.is_over = False
        self.good = 0
        self.moved = 0
        self.waits = []
        self.failures = []           # (time, replica, what)
        self.random = random.Random(11)

    async def caller(self):
        while not self.is_over:
            await self.request()
            await asyncio.sleep(self.random.uniform(0.1, 0.9))

    async def request(self):
        began = time.monotonic()
        order = self.random.sample(self.cluster.replicas, len(self.cluster.replicas))
        for replica in order:
            try:
                status, code, _ = await call(replica.port)
            except (OSError, asyncio.IncompleteReadError, asyncio.TimeoutError) as error:
                if isinstance(error, asyncio.TimeoutError):
                    self.failures.append((time.monotonic(), replica.port, "timeout"))
                    return
                self.moved += 1
                continue
            if status == 200:
                self.good += 1
                self.waits.append(time.monotonic() - began)
            else:
                self.failures.append((time.monotonic(), replica.port, f"{status} {code}"))
            return
        self.failures.append((time.monotonic(), 0, "no replica"))


async def in_thread(work, *arguments):
    return await asyncio.get_running_loop().run_in_executor(None, work, *arguments)


def consent(cluster, begin, end):
    """Begins at one replica; the provider sends the browser to another one."""
    public = cluster.replicas[-1]
    link = cluster.replicas[begin].consent_link("crm")
    browser = Browser()
    place = link.replace(public.public_url, f"http://127.0.0.1:{cluster.replicas[begin].console}")
    page = browser.open(place) if begin == end else browser.open(link)
    check(page.status == 200, f"consent: {page.status} {page.url} {page.text[:800]}")
    for replica in cluster.replicas:
        eventually(lambda: replica.grant("crm")["state"] == "active",
                   lambda: f"replica {replica.console}: {replica.grant('crm')} {replica.process.tail()}")


async def rough(server, database, cluster):
    """Kills and restarts, one fault at a time, each healed before the next; returns when each began and ended."""
    dice = random.Random(int(os.environ.get("E2E_REPLICA_SEED", "3")))
    faults = []
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        await asyncio.sleep(dice.uniform(0.5, 2.5))
        began = time.monotonic()
        if dice.random() < 0.75:
            victim = dice.choice(cluster.replicas)
            await in_thread(victim.process.stop, signal.SIGKILL)
            await asyncio.sleep(dice.uniform(0, 1.5))
            await in_thread(victim.start)
            kind = "kill"
        else:
            number = dice.choice([signal.SIGINT, signal.SIGQUIT])
            await in_thread(database.stop, number)
            await asyncio.sleep(dice.uniform(0, 0.3))
            await in_thread(database.start)
            kind = "database"
        faults.append((kind, began, time.monotonic()))
    return faults


async def settled(server, cluster, within=12):
    """Token calls that gave a new pair, the same pair again, and the generation that every replica has: at a moment when
    no call is under way and the last one's result has reached all."""
    end = time.monotonic() + within
    while True:
        before = (len(server.refreshes), server.replays, server.calls)
        generations = {(await in_thread(replica.grant, "crm"))["generation"] for replica in cluster.replicas}
        is_quiet = server.answering == 0 and time.monotonic() - server.answered > 0.2
        if is_quiet and len(generations) == 1 and before == (len(server.refreshes), server.replays, server.calls):
            return before[0], before[1], generations.pop()
        check(time.monotonic() < end, f"never at rest: {generations}, {server.answering} calls under way")
        await asyncio.sleep(0.05)


async def storm():
    # Slow enough that kills come in the middle of its calls.
    server = Strict(delay=(0.05, 0.6))
    await server.start()
    database = await in_thread(postgres.Server, place.folder)
    try:
        cluster = Cluster(server, database, 3, "storm")
        await in_thread(cluster.start)
        await in_thread(consent, cluster, 0, 2)
        # Quiet: exactly one call for each generation, over all replicas.
        calls, replays, generation = await settled(server, cluster)
        check(replays == 0, f"{replays} replays before anything happened")
        traffic = Traffic(cluster)
        callers = [asyncio.create_task(traffic.caller()) for _ in range(CALLERS)]
        await asyncio.sleep(10)
        check(not traffic.failures, f"quiet: {traffic.failures[:5]} of {len(traffic.failures)}")
        check(server.replays == 0 and not server.thefts, f"quiet: {server.replays} replays, thefts {server.thefts}")
        first = (calls, generation)
        calls, replays, generation = await settled(server, cluster)
        made, grown = calls - first[0], generation - first[1]
        check(replays == 0 and made == grown, f"quiet: {made} token calls for {grown} generations, {replays} replays")
        check(2 <= made <= 8, f"{made} refreshes in 10 s")

        faults = await rough(server, database, cluster)
        await asyncio.sleep(4)
        calm = len(traffic.failures)
        before = await settled(server, cluster)
        await asyncio.sleep(6)
        after = await settled(server, cluster)
        traffic.is_over = True
        await asyncio.gather(*callers)
        kills = sum(1 for fault in faults if fault[0] == "kill")
        restarts = len(faults) - kills
        # A token of three seconds cannot outlive a database that is away for longer.
        away = [(began, ended + 3) for kind, began, ended in faults if kind == "database"]
        unexcused = [failure for failure in traffic.failures
                     if not any(began <= failure[0] <= ended for began, ended in away)]
        waits = sorted(traffic.waits)
        told = (f"{traffic.good} answered, {len(traffic.failures)} failed ({len(unexcused)} with the database there), "
                f"{traffic.moved} moved on, {kills} kills, {restarts} database restarts, {len(server.refreshes)} "
                f"refreshes, {server.replays} replays, thefts {len(server.thefts)}, p99 {waits[len(waits) * 99 // 100]:.2f} s, "
                f"longest {waits[-1]:.2f} s")
        print(json.dumps({"figures": told}), flush=True)
        check(not server.thefts, f"a refresh token was used twice: {told}")
        check(server.after_death == 0, f"calls after the end: {told}")
        check(server.replays <= kills + restarts, f"more replays than faults: {told}")
        check(not unexcused, f"{unexcused[:8]}: {told}")
        check(len(traffic.failures) == calm, f"failures in the calm at the end: {traffic.failures[calm:calm + 5]} {told}")
        views = [await in_thread(replica.grant, "crm") for replica in cluster.replicas]
        check(all(view["state"] in ("active", "refreshing") for view in views), f"{views}")
        # Each pair is a generation, also where its reply was lost and it was given again: then at most one more for each
        # time that it was given again, where nobody knows whether it had been stored.
        made, grown = after[0] - first[0], after[2] - first[1]
        check(made <= grown <= made + after[1], f"{made} new pairs for {grown} generations: {told}")
        # In the calm at the end it is one call for each generation again.
        made, again, grown = (late - early for late, early in zip(after, before))
        check(again == 0 and made == grown and made >= 1,
              f"calm: {made} token calls for {grown} generations, {again} replays: {told}")
        for replica in cluster.replicas:
            log = await in_thread(replica.log)
            for pair in server.pairs:
                check(pair.access not in log and pair.refresh not in log, "a token is in a log")
        await in_thread(cluster.stop)
        dump = await in_thread(database.query, "SELECT string_agg(encode(sealed, 'escape'), ' ') FROM token_gateway.grant_record")
        check(all(pair.refresh not in dump for pair in server.pairs), "a token is in the database in clear")
    finally:
        await in_thread(database.remove)


async def bereft():
    """Each time a replica has sent a refresh, it is killed before the answer: another one takes over, with the same
    refresh token, and callers notice no more than a wait."""
    server = Strict(delay=(0.3, 0.4))
    await server.start()
    database = await in_thread(postgres.Server, place.folder)
    try:
        cluster = Cluster(server, database, 3, "bereft")
        await in_thread(cluster.start)
        await in_thread(consent, cluster, 0, 2)
        traffic = Traffic(cluster)
        callers = [asyncio.create_task(traffic.caller()) for _ in range(60)]
        gaps = []
        for round in range(6):
            await asyncio.sleep(4)
            server.has_refresh.clear()
            known = len(server.refreshes) + server.replays
            await asyncio.wait_for(server.has_refresh.wait(), 10)
            victim = cluster.replicas[int(server.agents[-1].split("-")[1])]
            victim.process.child.kill()
            began = time.monotonic()
            async def taken_over():
                while len(server.refreshes) + server.replays < known + 2:
                    await asyncio.sleep(0.02)
            await asyncio.wait_for(taken_over(), 15)
            gaps.append(time.monotonic() - began)
            await in_thread(victim.process.stop, signal.SIGKILL)
            await in_thread(victim.start)
        await asyncio.sleep(4)
        traffic.is_over = True
        await asyncio.gather(*callers)
        waits = sorted(traffic.waits)
        told = (f"{traffic.good} answered, {len(traffic.failures)} failed, {len(server.refreshes)} refreshes, "
                f"{server.replays} replays, taken over after {', '.join(f'{gap:.1f}' for gap in gaps)} s, "
                f"longest wait {waits[-1]:.2f} s, {traffic.failures[:3]}")
        print(json.dumps({"figures": told}), flush=True)
        check(not server.thefts and server.after_death == 0, f"a refresh token was used twice: {told}")
        check(server.replays >= 4, f"nobody was killed in the middle of a call: {told}")
        check(not traffic.failures, f"requests failed: {told}")
        await in_thread(cluster.stop)
    finally:
        await in_thread(database.remove)


async def away():
    """The database goes, and comes back: what is specified for that time."""
    server = Strict(lifetime=6.0)
    await server.start()
    database = await in_thread(postgres.Server, place.folder)
    try:
        cluster = Cluster(server, database, 2, "away")
        await in_thread(cluster.start)
        await in_thread(consent, cluster, 1, 1)
        check((await call(cluster.replicas[0].port))[0] == 200, "before")
        await in_thread(database.stop)
        calls = len(server.refreshes)
        status, code, _ = await call(cluster.replicas[0].port)
        check(status == 200, f"a valid token flows on: {status} {code}")
        for replica in cluster.replicas:
            ready = await in_thread(lambda: eventually(
                lambda: replica.ask("GET", "/readyz")[0] == 503, "readiness does not tell that the store is away"))
            check(ready, "not ready")
        async def refusal():
            while True:
                status, code, _ = await call(cluster.replicas[0].port)
                if status != 200:
                    return status, code
                await asyncio.sleep(0.1)
        status, code = await asyncio.wait_for(refusal(), 15)
        check((status, code) == (503, "token_unavailable"), f"when it has expired: {status} {code}")
        began = time.monotonic()
        await call(cluster.replicas[1].port)
        check(time.monotonic() - began < 3, "callers are not kept waiting for a database that is away")
        check(len(server.refreshes) == calls, "a single-use token is not refreshed when its result cannot be kept")
        await in_thread(database.start)
        async def heals():
            while (await call(cluster.replicas[1].port))[0] != 200:
                await asyncio.sleep(0.1)
        await asyncio.wait_for(heals(), 15)
        for replica in cluster.replicas:
            await in_thread(lambda: eventually(
                lambda: replica.ask("GET", "/readyz")[0] == 200, lambda: f"{replica.ask('GET', '/readyz')}"))
        check(not server.thefts and server.replays == 0, "one use of each token")
        # A revocation at one replica ends the token at the other.
        began = time.monotonic()
        status, reply = await in_thread(lambda: cluster.replicas[0].ask("POST", "/api/v1/grants/crm/revoke", {}))
        check(status == 200, f"{status} {reply}")
        async def stops():
            while (await call(cluster.replicas[1].port))[0] == 200:
                await asyncio.sleep(0.01)
        await asyncio.wait_for(stops(), 5)
        took = time.monotonic() - began
        check(took < 1, f"the other replica went on for {took:.2f} s")
        print(json.dumps({"figures": f"revocation reached the other replica in {took * 1000:.0f} ms"}), flush=True)
        await in_thread(cluster.stop)
    finally:
        await in_thread(database.remove)


async def frozen():
    """The database's machine hangs: connections stay, nothing is answered."""
    server = Strict(lifetime=60.0)
    await server.start()
    database = await in_thread(postgres.Server, place.folder)
    try:
        cluster = Cluster(server, database, 2, "frozen", store='statement_timeout = "2s"\nconnect_timeout = "2s"')
        await in_thread(cluster.start)
        await in_thread(consent, cluster, 1, 1)
        first = cluster.replicas[0]
        check((await call(first.port))[0] == 200, "before")
        # Until the replicas know of one another: from then on somebody looks at the database all the time.
        for replica in cluster.replicas:
            await in_thread(lambda: eventually(
                lambda: len(replica.ask("GET", "/api/v1/status")[1]["store"].get("instances") or []) == 2, "no presence"))
        await in_thread(database.freeze)
        began = time.monotonic()
        def ask(name):
            start = time.monotonic()
            return first.ask("GET", f"/api/v1/grants?template=t&after={name}"), time.monotonic() - start
        listings = [asyncio.create_task(in_thread(ask, f"n{index}")) for index in range(8)]
        waits = []
        while time.monotonic() - began < 3:
            start = time.monotonic()
            status, code, _ = await call(first.port)
            waits.append(time.monotonic() - start)
            check(status == 200, f"a valid token is no matter of the database: {status} {code}")
            await asyncio.sleep(0.02)
        check(max(waits) < 0.5, f"callers waited {max(waits):.2f} s")
        for (status, reply), took in await asyncio.gather(*listings):
            check(status == 503, f"{status} {reply}")
            check(took < 3, f"one that waits behind another waited {took:.2f} s")
        for replica in cluster.replicas:
            await in_thread(lambda: eventually(
                lambda: replica.ask("GET", "/readyz")[0] == 503, "readiness does not tell that the database hangs",
                within=max(1, began + 6 - time.monotonic())))
        for index in range(20):
            (status, reply), took = await in_thread(ask, f"m{index}")
            check(status == 503 and took < 0.5, f"at once from then on: {status} {reply} {took:.2f} s")
        await in_thread(database.resume)
        began = time.monotonic()
        for replica in cluster.replicas:
            await in_thread(lambda: eventually(
                lambda: replica.ask("GET", "/readyz")[0] == 200, lambda: f"{replica.ask('GET', '/readyz')}"))
        took = time.monotonic() - began
        status, reply = await in_thread(lambda: first.ask("POST", "/api/v1/grants/crm/refresh", {}))
        check(status == 200, f"{status} {reply}")
        print(json.dumps({"figures": f"longest wait of a caller {max(waits) * 1000:.0f} ms, healed after {took:.1f} s"}),
              flush=True)
        check(not server.thefts and server.replays == 0, "one use of each token")
        await in_thread(cluster.stop)
    finally:
        await in_thread(database.remove)


async def dropped():
    """Somebody drops the schema, lets an empty store be made in its place, and puts the backup back at last."""
    server = Strict(lifetime=60.0)
    await server.start()
    database = await in_thread(postgres.Server, place.folder)
    try:
        cluster = Cluster(server, database, 2, "dropped")
        await in_thread(cluster.start)
        await in_thread(consent, cluster, 1, 1)
        first, other = cluster.replicas
        backup = await in_thread(database.dump)
        await in_thread(database.query, "DROP SCHEMA token_gateway CASCADE")
        def reason(replica, words):
            status, told = replica.ask("GET", "/readyz")
            return status == 503 and words in str(told)
        for replica in cluster.replicas:
            await in_thread(lambda: eventually(
                lambda: reason(replica, "schema token_gateway was dropped"), lambda: f"{replica.ask('GET', '/readyz')}"))
            check((await call(replica.port))[0] == 200, "valid tokens flow")
        check(database.query("SELECT count(*) FROM pg_namespace WHERE nspname = 'token_gateway'") == "0", "made anew")
        # A replica that starts makes an empty store: the one that runs does not take it for its own.
        await in_thread(other.stop)
        await in_thread(other.start)
        await in_thread(lambda: eventually(
            lambda: reason(first, "another store than the one"), lambda: f"{first.ask('GET', '/readyz')}"))
        await asyncio.sleep(2)
        check((await call(first.port))[0] == 200, "valid tokens flow")
        await in_thread(other.stop)
        await in_thread(database.query, "DROP SCHEMA token_gateway CASCADE")
        await in_thread(database.restore, backup)
        await in_thread(other.start)
        for replica in cluster.replicas:
            await in_thread(lambda: eventually(
                lambda: replica.ask("GET", "/readyz")[0] == 200, lambda: f"{replica.ask('GET', '/readyz')}"))
            check((await call(replica.port))[0] == 200, "all is as before")
        status, reply = await in_thread(lambda: first.ask("POST", "/api/v1/grants/crm/refresh", {}))
        check(status == 200, f"{status} {reply}")
        await in_thread(cluster.stop)
    finally:
        await in_thread(database.remove)


async def callback():
    """The browser comes back twice, and the load balancer sends it elsewhere."""
    server = Strict(lifetime=60.0)
    await server.start()
    database = await in_thread(postgres.Server, place.folder)
    try:
        cluster = Cluster(server, database, 2, "callback")
        await in_thread(cluster.start)
        first, last = cluster.replicas
        def walk():
            address = last.public_url + "/oauth/callback"
            browser = Browser(border=address)
            stop = browser.open(last.consent_link("crm"))
            check(stop.url.startswith(address), f"{stop.status} {stop.url} {stop.text[:400]}")
            query = stop.url[len(address):]
            def at(replica):
                return browser.open(f"http://127.0.0.1:{replica.console}/oauth/callback{query}")
            # At once, and then again and again.
            with concurrent.futures.ThreadPoolExecutor(2) as pool:
                pages = list(pool.map(at, [last, first]))
            pages += [at(replica) for replica in (first, last, first)]
            return [(page.status, page.url, page.text) for page in pages]
        rounds = 12
        for _ in range(rounds):
            for status, url, text in await in_thread(walk):
                check(status == 200 and "not waited for" not in text, f"{status} {url} {text[:600]}")
        check(len(server.pairs) == rounds, f"{rounds} codes were used {len(server.pairs)} times")
        await in_thread(cluster.stop)
    finally:
        await in_thread(database.remove)


cases.run("a callback that comes again at another replica is shown the first one's outcome",
          lambda: asyncio.run(callback()))
cases.run("a database that hangs: callers with a valid token notice nothing, all else fails in time, all heals",
          lambda: asyncio.run(frozen()))
cases.run("tables that are dropped are not made anew; all heals when they are put back",
          lambda: asyncio.run(dropped()))
cases.run("a database that is away: valid tokens flow, single-use ones are kept, readiness tells, all heals",
          lambda: asyncio.run(away()))
cases.run("a replica that dies between its refresh and the answer is replaced within the server's grace",
          lambda: asyncio.run(bereft()))
cases.run("no request is lost and no token is used twice while replicas are killed and the database is restarted",
          lambda: asyncio.run(storm()))
cases.end()
