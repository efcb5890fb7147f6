"""What APIs limit, and what they get (RFC 9113 5.1.2, 6.5.2, 6.9)."""

from upstreams_base import *


# MARK: Limits of the API (5.1.2, 6.5.2)

def one_at_a_time(wire, done, most):
    """Answers one request after the other, and counts how many are open at once, but for those that were sent before
    the limit was known."""
    early = set(wire.opened)
    while True:
        try:
            record = next_request(wire, done)
        except Failure:
            return
        wire.round_trip()
        most.append(sum(1 for s in wire.opened if s not in early and not wire.stream(s).is_answered))
        respond(wire, record.id)


@case("MAX_CONCURRENT_STREAMS of 1 is kept to by parallel requests", recovers=False)
def _(upstream, over):
    most = []
    upstream.script = lambda wire, number: one_at_a_time(wire, first(wire, (MAX_CONCURRENT_STREAMS, 1)), most)
    fine(upstream.call(over))
    made = [upstream.call(over) for _ in range(6)]
    # Further connections may be opened: their first requests come one by one, too.
    until(lambda: most or upstream.connections > 1, "a second request")
    for call in made:
        fine(call)
    check(not most or max(most) == 1, f"{max(most)} streams at once")


@case("MAX_CONCURRENT_STREAMS of 0 makes requests wait until it grows", recovers=False)
def _(upstream, over):
    def script(wire, number):
        first(wire)
        if number == 1:
            acknowledged = wire.acknowledged
            wire.settings((MAX_CONCURRENT_STREAMS, 0))
            wire.wait(lambda: wire.acknowledged > acknowledged, "acknowledgement")
            closed.set()
            check(asked.wait(PATIENCE), "no request")
            wire.round_trip()
            early.extend(wire.opened[1:])
            wire.settings((MAX_CONCURRENT_STREAMS, 10))
        serve(wire)
    early, closed, asked = [], threading.Event(), threading.Event()
    upstream.script = script
    fine(upstream.call(over))
    check(closed.wait(PATIENCE), "no acknowledgement")
    call = upstream.call(over)
    asked.set()
    fine(call)
    check(not early, "a stream before it was allowed")


@case("MAX_CONCURRENT_STREAMS of 0 from the start makes requests wait until it grows", recovers=False)
def _(upstream, over):
    def script(wire, number):
        wire.preface((MAX_CONCURRENT_STREAMS, 0))
        wire.wait(lambda: wire.acknowledged, "acknowledgement")
        for record in [wire.stream(s) for s in wire.opened]:
            wire.rst(record.id, REFUSED_STREAM)                # sent before it was known
        wire.settings((MAX_CONCURRENT_STREAMS, 10))
        serve(wire)
    upstream.script = script
    fine(upstream.call(over))


@case("MAX_CONCURRENT_STREAMS that shrinks is kept to by later requests", recovers=False)
def _(upstream, over):
    most, closed = [], threading.Event()

    def script(wire, number):
        done = first(wire, (MAX_CONCURRENT_STREAMS, 50))
        acknowledged = wire.acknowledged
        wire.settings((MAX_CONCURRENT_STREAMS, 1))
        wire.wait(lambda: wire.acknowledged > acknowledged, "acknowledgement")
        closed.set()
        one_at_a_time(wire, done, most)
    upstream.script = script
    fine(upstream.call(over))
    check(closed.wait(PATIENCE), "no acknowledgement")
    made = [upstream.call(over) for _ in range(4)]
    for call in made:
        fine(call)
    check(not most or max(most) == 1, f"{max(most)} streams at once")


@case("HEADER_TABLE_SIZE of 0, and one that changes, is kept to")
def _(upstream, over):
    def script(wire, number):
        wire.preface((HEADER_TABLE_SIZE, 0))
        wire.wait(lambda: wire.peer_settings and wire.acknowledged, "SETTINGS")
        done = set()
        for turn, size in enumerate([0, 0, 4096, 4096, 0, 64, 4096]):
            acknowledged = wire.acknowledged
            wire.settings((HEADER_TABLE_SIZE, size))
            wire.wait(lambda: wire.acknowledged > acknowledged, "acknowledgement")
            wire.decoder.max_allowed_table_size = size
            if turn:
                ready.release()
            record = next_request(wire, done)
            tokens.append(record.field("authorization"))
            respond(wire, record.id)
        serve(wire)
    ready, tokens = threading.Semaphore(0), []
    upstream.script = script
    for turn in range(7):
        if turn:
            check(ready.acquire(timeout=PATIENCE), f"the API is not ready {upstream.errors}")
        fine(upstream.call(over, fields=[("x-turn", "t"), ("x-other", "u" * 40)]))
    check(tokens == ["Bearer " + place.token] * 7, f"{tokens}")
    check(not upstream.errors, f"{upstream.errors}")


def uploaded(values, grow):
    """A script: the upload's windows are given by `grow(wire, record)` in a loop."""
    def script(wire, number):
        wire.gives_windows = False
        record = next_request(wire, first(wire, *values))
        while not record.is_ended:
            wire.round_trip()
            if not record.is_ended:
                grow(wire, record)
        wire.gives_windows = True
        respond(wire, record.id, bytes(record.content))
        serve(wire)
    return script


@case("an API's window of 1 octet is kept to")
def _(upstream, over):
    sizes = []

    def grow(wire, record):
        sizes.append(len(record.content))
        wire.window_update(record.id, 1)
    upstream.script = uploaded([(INITIAL_WINDOW_SIZE, 1)], grow)
    fine(upstream.call(over))
    fine(upstream.call(over, "POST", content=b"fifteen octets!"), b"fifteen octets!")
    check(all(size <= turn + 1 for turn, size in enumerate(sizes)), f"{sizes}")


@case("an API's window that SETTINGS make negative is kept to")
def _(upstream, over):
    def script(wire, number):
        wire.gives_windows = False
        record = next_request(wire, first(wire, (INITIAL_WINDOW_SIZE, 1000)))
        wire.wait(lambda: len(record.content) >= 1000, "the first 1000 octets")
        acknowledged = wire.acknowledged
        wire.settings((INITIAL_WINDOW_SIZE, 100))
        wire.wait(lambda: wire.acknowledged > acknowledged, "acknowledgement")
        wire.window_update(record.id, 900)
        wire.round_trip()
        check(len(record.content) == 1000, f"{len(record.content)} octets with a window of 0")
        wire.window_update(record.id, 10)
        wire.wait(lambda: len(record.content) >= 1010, "10 octets more")
        wire.round_trip()
        check(len(record.content) == 1010, f"{len(record.content)} octets with a window of 1010")
        wire.window_update(record.id, 100000)
        whole(wire, record)
        respond(wire, record.id, b"%d" % len(record.content))
        serve(wire)
    upstream.script = script
    fine(upstream.call(over))
    fine(upstream.call(over, "POST", content=b"x" * 5000), b"5000")
    check(not upstream.errors, f"{upstream.errors}")


@case("the connection's window of an API is kept to over its streams")
def _(upstream, over):
    def script(wire, number):
        wire.gives_windows = False
        record = next_request(wire, first(wire, (INITIAL_WINDOW_SIZE, 1 << 20)))
        wire.wait(lambda: len(record.content) >= 65535, "the first window's content")
        wire.round_trip()
        check(len(record.content) == 65535, f"{len(record.content)} octets with a window of 65535")
        wire.window_update(0, 1 << 20)
        whole(wire, record)
        respond(wire, record.id, b"%d" % len(record.content))
        serve(wire)
    upstream.script = script
    fine(upstream.call(over))
    fine(upstream.call(over, "POST", content=b"x" * 100000), b"100000")
    check(not upstream.errors, f"{upstream.errors}")


@case("the gateway offers an API no push and gives its windows back")
def _(upstream, over):
    def script(wire, number):
        hello(wire)
        check(wire.peer.get(ENABLE_PUSH) == 0, f"ENABLE_PUSH {wire.peer}")
        record = next_request(wire, set())
        respond(wire, record.id, origin_pattern)
        serve(wire)
    origin_pattern = bytes(range(256)) * 12000
    upstream.script = script
    check(calls.expect(upstream.call(over)) == origin_pattern, "other content")
    check(not upstream.errors, f"{upstream.errors}")


@case("content beyond the gateway's window ends with FLOW_CONTROL_ERROR")
def _(upstream, over):
    def script(wire, number):
        hello(wire)
        record = next_request(wire, set())
        wire.headers([STATUS], stream=record.id, ends=False)
        piece = frame(DATA, 0, record.id, bytes(16384))
        sent = 0
        while sent < 128 << 20 and record.reset is None and not wire.goaways and wire.try_send(piece):
            sent += 16384
            wire.pump(0)
        if not wire.is_closed and record.reset is None:
            wire.wait(lambda: wire.goaways or record.reset is not None, "an error of the gateway")
        verdict.append((record.reset, [g[1] for g in wire.goaways], sent))
        record.is_answered = True
        serve(wire)
    verdict = []
    upstream.script = script
    call = upstream.begin(over, "GET", ends=True)
    call.head()                                       # and then the caller does not read
    until(lambda: verdict, "the gateway's verdict")
    reset_code, goaways, sent = verdict[0]
    check(FLOW_CONTROL_ERROR in (reset_code, *goaways), f"{verdict}")
    check(sent < 96 << 20, f"{sent} octets were taken")
    call.close()


# MARK: What the API gets

@case("requests are well-formed, and the token costs little from the third on")
def _(upstream, over):
    def script(wire, number):
        hello(wire)
        done = set()
        for _ in range(4):
            record = next_request(wire, done)
            heads.append((record.head, sum(wire.block_frames)))
            respond(wire, record.id)
        serve(wire)
    heads = []
    upstream.script = script
    for _ in range(4):
        fine(upstream.call(over, fields=[("te", "trailers"), ("authorization", "Bearer own"), ("cookie", "a=b")]))
    for head, _ in heads:
        names = [n for n, _ in head]
        check(set(names[:4]) == {":method", ":scheme", ":authority", ":path"}, f"{names}")
        check(not any(n.startswith(":") for n in names[4:]) and all(n == n.lower() for n in names), f"{names}")
        check(dict(head)[":scheme"] == "https" and dict(head)[":path"].endswith("/x"), f"{head}")
        check([v for n, v in head if n == "authorization"] == ["Bearer " + place.token], f"{head}")
        hop = {"connection", "host", "keep-alive", "transfer-encoding", "upgrade", "cookie", "proxy-connection"}
        check(not hop & set(names), f"{names}")
        check(dict(head).get("te", "trailers") == "trailers", f"{head}")
    check(heads[3][1] < max(len(place.token) // 3, 400), f"{[size for _, size in heads]} octets of field blocks")


@case("many requests share one connection")
def _(upstream, over):
    upstream.script = good
    for _ in range(10):
        fine(upstream.call(over))
    check(upstream.connections == 1, f"{upstream.connections} connections")
