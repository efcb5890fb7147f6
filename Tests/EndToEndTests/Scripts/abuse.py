"""Callers that do harm by what RFC 9113 allows: the connection ends with the right code, is counted, costs bounded memory,
and other callers are served all the while."""

import sys
import threading

import hpack

import calls
import origin
from kit import *

table = Table()
place = Place(sys.argv[1])
origins = {"h1": origin.Origin(place, place.h1, ["http/1.1"]), "h2": origin.Origin(place, place.h2, ["h2"])}
COUNTER = "token_gateway_http2_abuse_total"
MEMORY_KIB = 48 << 10
LONGEST = 2.0                   # seconds for a bystander's exchange; two cores are shared by all of this


class Bystander:
    """Another caller, who goes on while the abuse lasts."""

    def __enter__(self):
        self.is_over = threading.Event()
        self.served = 0
        self.longest = 0.0
        self.complaint = None
        # The first exchange is before the abuse: what it needs is there.
        self.wire = place.ready_caller("h2c")
        self._once()
        self.thread = start(self._go_on)
        return self

    def _once(self):
        started = time.monotonic()
        made = calls.FramedCall(place, "h2c", "/h1/echo", "GET", [], None, True, wire=self.wire)
        calls.expect(made)
        calls.expect(calls.call(place, "h1", "/h2/echo"))
        self.longest = max(self.longest, time.monotonic() - started)
        self.served += 1

    def _go_on(self):
        try:
            while not self.is_over.is_set():
                self._once()
        except Failure as failure:
            self.complaint = str(failure)
        except OSError as error:
            self.complaint = repr(error)

    def __exit__(self, kind, *_):
        self.is_over.set()
        self.thread.join(PATIENCE)
        if kind is None:
            self._once_more()

    def _once_more(self):
        check(self.complaint is None, f"a bystander was not served: {self.complaint}")
        self._once()
        check(self.longest < LONGEST, f"a bystander waited {self.longest:.2f} s")


def abuse(name, *kinds, codes=(ENHANCE_YOUR_CALM,)):
    """Registers a case. The function attacks on a connection until it is closed."""
    def register(function):
        def run(_):
            before = sum(place.metric(COUNTER, kind=kind) for kind in kinds)
            memory = place.resident()
            with Bystander():
                wire = place.ready_caller("h2c")
                function(wire)
                wire.wait_closed()
            check(wire.goaways, "closed without GOAWAY: " + wire.state()[:300])
            check(wire.goaways[-1][1] in codes, f"expected {'/'.join(map(code_name, codes))}: {wire.state()[:300]}")
            grown = place.resident() - memory
            check(grown < MEMORY_KIB, f"{grown} KiB more memory")
            now = sum(place.metric(COUNTER, kind=kind) for kind in kinds)
            check(now == before + 1, f"not counted as {kinds}")
        table.add(name, run)
        return function
    return register


def flood(wire, make, most, reads=True):
    """Sends what `make(i)` gives until the gateway ends it; fails after `most` of them."""
    for number in range(most):
        if wire.goaways or wire.is_closed:
            return
        if not wire.try_send(make(number)):
            return
        if reads:
            wire.pump(0)
    deadline = time.monotonic() + PATIENCE / 2
    while not wire.goaways and not wire.is_closed:
        check(time.monotonic() < deadline, f"{most} pieces were taken; {wire.state()[:200]}")
        wire.pump(0.1)


def paced(wire, make):
    """As flood, each piece when the gateway has reset the streams of the one before: never too many at once."""
    for number in range(1000):
        first = wire.next_id
        if not wire.try_send(make(number)):
            return
        streams = [wire.stream(s) for s in range(first, wire.next_id, 2)]
        wire.wait(lambda: wire.goaways or wire.is_closed or all(s.is_over for s in streams), "resets")
        if wire.goaways or wire.is_closed:
            return
    raise Failure("1,000 rounds were taken")


def get(path="/h1/echo", method="GET", *more):
    return request(path, method, "http", "gateway.test", *more)


@abuse("rapid reset: requests that are reset at once", "rapid_reset")
def _(wire):
    """CVE-2023-44487."""
    def make(number):
        pieces = []
        for _ in range(50):
            stream, wire.next_id = wire.next_id, wire.next_id + 2
            pieces += [frame(HEADERS, END_HEADERS | END_STREAM, stream, wire.encode(get("/h1/hold/never"))),
                       frame(RST_STREAM, 0, stream, struct.pack(">I", CANCEL))]
        return b"".join(pieces)
    flood(wire, make, 400)


@abuse("rapid reset with content to come", "rapid_reset")
def _(wire):
    def make(number):
        pieces = []
        for _ in range(50):
            stream, wire.next_id = wire.next_id, wire.next_id + 2
            pieces += [frame(HEADERS, END_HEADERS, stream, wire.encode(get("/h2/echo", "POST"))),
                       frame(DATA, 0, stream, b"x"), frame(RST_STREAM, 0, stream, struct.pack(">I", CANCEL))]
        return b"".join(pieces)
    flood(wire, make, 400)


for name, fault in [
    # CVE-2025-8671: faults that make the server reset streams for which it has begun to work.
    ("a stream's window above its limit", lambda stream: frame(WINDOW_UPDATE, 0, stream, b"\x7f\xff\xff\xff")),
    ("content beyond content-length", lambda stream: frame(DATA, END_STREAM, stream, b"too long")),
    ("trailers with a pseudo-field", lambda stream: frame(HEADERS, END_HEADERS | END_STREAM, stream, b"\x84")),
]:
    @abuse(f"made you reset: {name}", "provoked_reset", "rapid_reset")
    def _(wire, fault=fault):
        def make(number):
            pieces = []
            for _ in range(20):
                stream, wire.next_id = wire.next_id, wire.next_id + 2
                fields = get("/h1/hold/never", "POST", ("content-length", "3"))
                pieces += [frame(HEADERS, END_HEADERS, stream, wire.encode(fields)), fault(stream)]
            return b"".join(pieces)
        paced(wire, make)


@abuse("malformed requests without end", "provoked_reset", "rapid_reset")
def _(wire):
    def make(number):
        pieces = []
        for _ in range(50):
            stream, wire.next_id = wire.next_id, wire.next_id + 2
            pieces.append(frame(
                HEADERS, END_HEADERS | END_STREAM, stream, wire.encode(get()) + literal(b"X-Upper", b"1")))
        return b"".join(pieces)
    paced(wire, make)


@abuse("CONTINUATION without end, large frames", "continuation_flood", "header_bomb",
       codes=(ENHANCE_YOUR_CALM, COMPRESSION_ERROR))
def _(wire):
    """VU#421644."""
    stream = wire.new_id()
    wire.send(frame(HEADERS, END_STREAM, stream, wire.encode(get())))
    piece = frame(CONTINUATION, 0, stream, literal(b"x-more", b"v" * 16000))
    flood(wire, lambda _: piece, 4000)


@abuse("CONTINUATION without end, small and empty frames", "continuation_flood", "header_bomb")
def _(wire):
    stream = wire.new_id()
    wire.send(frame(HEADERS, END_STREAM, stream, wire.encode(get())))
    piece = (frame(CONTINUATION, 0, stream, b"") + frame(CONTINUATION, 0, stream, literal(b"x", b"1"))) * 500
    flood(wire, lambda _: piece, 1000)


@abuse("SETTINGS without end", "settings_flood")
def _(wire):
    piece = frame(SETTINGS, 0, 0, settings_payload([(INITIAL_WINDOW_SIZE, 65535)])) * 500
    flood(wire, lambda _: piece, 2000)


@abuse("SETTINGS without end, acknowledgements unread", "settings_flood")
def _(wire):
    piece = frame(SETTINGS) * 500
    flood(wire, lambda _: piece, 2000, reads=False)


@abuse("SETTINGS that change a window for 100 streams without end", "settings_flood")
def _(wire):
    for _ in range(100):
        wire.headers(get("/h1/hold/never"))
    pieces = [frame(SETTINGS, 0, 0, settings_payload([(INITIAL_WINDOW_SIZE, 65535 + n % 2)])) for n in range(500)]
    flood(wire, lambda _: b"".join(pieces), 2000)


@abuse("PING without end", "ping_flood")
def _(wire):
    piece = frame(PING, 0, 0, b"12345678") * 500
    flood(wire, lambda _: piece, 2000)


@abuse("PING without end, answers unread", "ping_flood")
def _(wire):
    piece = frame(PING, 0, 0, b"12345678") * 500
    flood(wire, lambda _: piece, 2000, reads=False)


@abuse("empty DATA frames without end", "empty_frames")
def _(wire):
    """CVE-2019-9518."""
    stream = wire.headers(get("/h1/echo", "POST"), ends=False)
    piece = frame(DATA, 0, stream) * 500
    flood(wire, lambda _: piece, 2000)


@abuse("DATA of nothing but padding without end", "empty_frames", codes=(ENHANCE_YOUR_CALM, FLOW_CONTROL_ERROR))
def _(wire):
    stream = wire.headers(get("/h1/echo", "POST"), ends=False)
    piece = frame(DATA, PADDED, stream, b"\x00") * 500
    flood(wire, lambda _: piece, 2000)


@abuse("WINDOW_UPDATE without end", "window_flood")
def _(wire):
    stream = wire.headers(get("/h1/hold/never"))
    piece = (frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", 1)) + frame(WINDOW_UPDATE, 0, stream, struct.pack(">I", 1)))
    flood(wire, lambda _: piece * 500, 2000)


@abuse("PRIORITY without end", "frame_flood")
def _(wire):
    """CVE-2019-9513."""
    pieces = [frame(PRIORITY, 0, 1 + 2 * n, struct.pack(">IB", 0, n % 256)) for n in range(1000)]
    flood(wire, lambda _: b"".join(pieces), 2000)


@abuse("frames of unknown types without end", "frame_flood")
def _(wire):
    piece = frame(0x99, 0, 0, b"") * 1000
    flood(wire, lambda _: piece, 2000)


@abuse("RST_STREAM for streams that are gone without end", "frame_flood", "rapid_reset")
def _(wire):
    stream = wire.headers(get())
    wire.wait(lambda: wire.stream(stream).is_ended, "answer")
    piece = frame(RST_STREAM, 0, stream, struct.pack(">I", CANCEL)) * 1000
    flood(wire, lambda _: piece, 2000)


# MARK: What is no flood of frames

def bystanding(name):
    """A case whose connection need not end; others are served, memory stays bounded."""
    def register(function):
        def run(_):
            memory = place.resident()
            with Bystander():
                function(lambda most=MEMORY_KIB: check(
                    place.resident() - memory < most, f"{place.resident() - memory} KiB more memory"))
        table.add(name, run)
        return function
    return register


@bystanding("a field section that HPACK blows up to 64 MiB is refused")
def _(bounded):
    """CVE-2016-6581: one octet for each repetition of a large entry of the table."""
    wire = place.ready_caller("h2c")
    large = wire.encoder.encode([*[(n.encode(), v.encode()) for n, v in get()], (b"x-large", b"v" * 3900)])
    wire.send(frame(HEADERS, END_HEADERS | END_STREAM, wire.new_id(), large))
    wire.wait(lambda: wire.stream(1).is_over, "first answer")
    repeated = wire.encode(get()) + b"\xbe" * 16000
    for _ in range(20):
        stream = wire.new_id()
        if not wire.try_send(frame(HEADERS, END_HEADERS | END_STREAM, stream, repeated)):
            break
        record = wire.stream(stream)
        wire.wait(lambda: record.is_over or wire.goaways or wire.is_closed, "refusal")
        bounded()
        if wire.goaways:
            check(wire.goaways[-1][1] in (ENHANCE_YOUR_CALM, COMPRESSION_ERROR, PROTOCOL_ERROR), wire.state())
            break
        check(record.status == 431 or record.reset is not None, wire.state(stream))


def slow_readers(bounded, over_connection):
    """100 downloads of 20 MiB whose caller gives no window."""
    name = unique("endless")
    sent = [0]
    lock = threading.Lock()

    def endless(exchange, *_):
        exchange.head(200, [("content-length", str(20 << 20))])
        piece = origin.pattern(1 << 16)
        for _ in range(320):
            exchange.send(piece)
            with lock:
                sent[0] += len(piece)
        exchange.finish()
    for one in origins.values():
        one.handlers[name] = endless
    wire = place.ready_caller("h2c", *([] if over_connection else [(INITIAL_WINDOW_SIZE, 0)]))
    wire.gives_windows = False
    streams = [wire.headers(get(f"/{'h1' if n % 2 else 'h2'}/{name}")) for n in range(100)]
    wire.wait(lambda: all(wire.stream(s).head for s in streams) or wire.goaways, "100 heads")
    check(not wire.goaways, wire.state()[:300])
    # The APIs come to a stand-still: no more octets while 20 other exchanges go through.
    quiet, before = 0, -1
    deadline = time.monotonic() + PATIENCE
    while quiet < 20:
        calls.expect(calls.call(place, "h1", "/h1/status/200"))
        quiet, before = (quiet + 1, before) if sent[0] == before else (0, sent[0])
        check(time.monotonic() < deadline, f"{sent[0]} octets and no end")
    # Each exchange may hold its share: a stream's window (256 KiB at first) or a socket's buffers.
    bounded(96 << 10)
    total = sum(len(wire.stream(s).content) for s in streams)
    check(total == (65535 if over_connection else 0), f"{total} octets beyond the windows")
    wire.close()


@bystanding("100 downloads without a stream's window hold the APIs back")
def _(bounded):
    slow_readers(bounded, False)


@bystanding("100 downloads without the connection's window hold the APIs back")
def _(bounded):
    slow_readers(bounded, True)


@bystanding("a caller that sends and never reads is not buffered for")
def _(bounded):
    """Answers pile up at a socket that nobody reads."""
    wire = place.caller("h2c", receive_buffer=4096)
    wire.preface((INITIAL_WINDOW_SIZE, 0x7FFFFFFF))
    wire.answers = False
    wire.send(frame(SETTINGS, ACK), frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", 0x7FFF0000 - 65535)))
    for _ in range(90):
        wire.send(frame(HEADERS, END_HEADERS | END_STREAM, wire.new_id(), wire.encode(get("/h1/sized/3000000"))))
    until(lambda: len(origins["h1"].seen("3000000")) >= 1, "the requests at the API")
    for _ in range(20):
        calls.expect(calls.call(place, "h1", "/h1/status/200"))
    bounded(96 << 10)
    wire.close()


@bystanding("uploads that the API does not take are not buffered")
def _(bounded):
    gate = unique("stall")
    wire = place.ready_caller("h2c")
    streams = [wire.headers(get(f"/h2/stall/{gate}", "POST"), ends=False) for _ in range(50)]
    sent = 0
    quiet = 0
    while quiet < 3:
        wire.round_trip()
        grew = False
        for stream in streams:
            room = min(wire.send_window, wire.send_window_of(wire.stream(stream)))
            if room > 0:
                wire.data(stream, bytes(min(room, 1 << 18)))
                sent += min(room, 1 << 18)
                grew = True
        quiet = 0 if grew else quiet + 1
        check(sent < 256 << 20, f"{sent} octets were taken")
    bounded(96 << 10)
    origins["h2"].gate(gate).set()
    wire.close()


@bystanding("200 connections that say nothing or half of a preface are borne")
def _(bounded):
    made = [place.connect(place.plain) for _ in range(200)]
    for connection in made[100:]:
        connection.sendall(PREFACE[:11])
    calls.expect(calls.call(place, "h1", "/h1/echo"))
    bounded()
    for connection in made:
        connection.close()


@table.case("after all of it the gateway serves as before and has no exchange left")
def _(_):
    for gate in list(origins["h1"].gates.values()) + [origins["h1"].gate("never")]:
        gate.set()
    for over in calls.PROTOCOLS:
        for upstream in ["h1", "h2"]:
            calls.expect(calls.call(place, over, f"/{upstream}/sized/100000"))


table.run(place)
