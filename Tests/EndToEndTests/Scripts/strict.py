"""An authorization server that takes the use of an old refresh token for theft, and an API that asks it.

Each refresh gives a new refresh token. The one before may be sent again for a while, and only until the new pair is
used (RFC 9700 4.14.2): then it gets the same pair again. Any other use of an old one ends the grant. Everything that
happens is counted, so that a test can tell one call too many. It runs on the script's event loop."""

import asyncio
import random

from oauthkit import *


class Pair:
    def __init__(self, number, lifetime):
        self.number = number
        self.access = f"access-{number}-{secrets.token_urlsafe(12)}"
        self.refresh = f"refresh-{number}-{secrets.token_urlsafe(12)}"
        self.expires = time.monotonic() + lifetime
        self.is_used = False


class Strict:
    def __init__(self, lifetime=3.0, grace=20.0, delay=(0.02, 0.12)):
        self.lifetime, self.grace, self.delay = lifetime, grace, delay
        self.pairs = []
        self.codes = {}
        self.is_alive = True
        self.refreshes = []          # (time, number of the pair that it gave)
        self.replays = 0             # the same refresh token again, in its window
        self.thefts = []             # any other use of an old one
        self.after_death = 0
        self.expired_uses = 0        # an expired or unknown token came to the API
        self.random = random.Random(7)
        self.agents = []             # the User-Agent of each refresh, when it comes
        self.has_refresh = asyncio.Event()
        self.calls = 0               # of the token endpoint
        self.answering = 0           # of them, those whose answer is still to be sent
        self.answered = 0.0          # when the last answer went out

    async def start(self):
        server = await asyncio.start_server(self.serve, "127.0.0.1", 0, backlog=512)
        self.server = server
        self.base = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"

    async def serve(self, reader, writer):
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                lines = head.decode("latin-1").split("\r\n")
                method, target, _ = lines[0].split(" ", 2)
                fields = {}
                for line in lines[1:]:
                    name, _, value = line.partition(":")
                    fields[name.strip().lower()] = value.strip()
                content = await reader.readexactly(int(fields.get("content-length") or 0))
                status, more, body = await self.answer(method, target, fields, content)
                writer.write((f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\n"
                              + "".join(f"{name}: {value}\r\n" for name, value in more.items()) + "\r\n").encode()
                             + body)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def answer(self, method, target, fields, content):
        path, _, query = target.partition("?")
        if path.startswith("/api"):
            return self.call(fields)
        if path == "/authorize":
            given = dict(urllib.parse.parse_qsl(query))
            code = secrets.token_urlsafe(16)
            self.codes[code] = given
            place = given["redirect_uri"] + "?" + urllib.parse.urlencode({"code": code, "state": given["state"]})
            return 302, {"Location": place}, b""
        if path == "/token":
            return await self.token(dict(urllib.parse.parse_qsl(content.decode())), fields.get("user-agent"))
        return 404, {}, b""

    def call(self, fields):
        token = (fields.get("authorization") or "").partition(" ")[2]
        pair = next((pair for pair in reversed(self.pairs) if pair.access == token), None)
        if not self.is_alive or pair is None or time.monotonic() > pair.expires:
            self.expired_uses += 1
            return 401, {"WWW-Authenticate": 'Bearer error="invalid_token"'}, b"no"
        pair.is_used = True
        return 200, {"X-Pair": str(pair.number)}, b"yes"

    async def token(self, given, agent):
        if given.get("grant_type") == "refresh_token":
            self.agents.append(agent)
            self.has_refresh.set()
        # The server acts at once; its answer takes a while, and may find nobody there any more.
        self.calls += 1
        self.answering += 1
        try:
            status, body = self.act(given)
            await asyncio.sleep(self.random.uniform(*self.delay))
        finally:
            self.answering -= 1
            self.answered = time.monotonic()
        return status, {"Content-Type": "application/json"}, json.dumps(body).encode()

    def act(self, given):
        if given.get("grant_type") == "authorization_code":
            if given.get("code") not in self.codes:
                return 400, {"error": "invalid_grant"}
            del self.codes[given["code"]]
            self.is_alive = True
            return self.issue()
        if not self.is_alive:
            self.after_death += 1
            return 400, {"error": "invalid_grant"}
        token = given.get("refresh_token")
        if token == self.pairs[-1].refresh:
            self.pairs[-1].is_used = True
            self.refreshes.append((time.monotonic(), len(self.pairs)))
            return self.issue()
        is_previous = len(self.pairs) > 1 and token == self.pairs[-2].refresh
        if is_previous and not self.pairs[-1].is_used and time.monotonic() - self.refreshes[-1][0] <= self.grace:
            self.replays += 1
            self.pairs[-1].expires = time.monotonic() + self.lifetime
            return self.reply(self.pairs[-1])
        self.thefts.append((time.monotonic(), token))
        self.is_alive = False
        return 400, {"error": "invalid_grant"}

    def issue(self):
        self.pairs.append(Pair(len(self.pairs), self.lifetime))
        return self.reply(self.pairs[-1])

    def reply(self, pair):
        return 200, {"access_token": pair.access, "refresh_token": pair.refresh, "token_type": "Bearer",
                     "expires_in": int(self.lifetime)}
