"""What the gateway makes of APIs that break RFC 9113, and of what they may do: seen by callers over HTTP/1.1 and h2c."""

import sys

from scripted import *
import scripted

table = Table()
place = Place(sys.argv[1])
scripted.call_is_stand_in = "stand_in" in place.values
OVER = {"h1": "HTTP/1.1 caller", "h2c": "h2c caller"}
indices = itertools.count()


def case(name, over=("h1", "h2c"), alpn=("h2",), recovers=True):
    """Registers a case for each kind of caller, each with an upstream of its own. Afterwards the API behaves, and the
    next request must be served."""
    def register(function):
        for kind in over:
            def run(_, kind=kind, index=next(indices)):
                upstream = Upstream(place, index, alpn)
                try:
                    function(upstream, kind)
                    if recovers:
                        upstream.script = good
                        fine(upstream.call(kind), None)
                except Failure as failure:
                    text = str(failure)
                    if upstream.errors:
                        text += f" [the API: {'; '.join(upstream.errors)[-600:]}]"
                    raise Failure(text) from None
                finally:
                    upstream.close()
            table.add(f"{name} ({OVER[kind]})", run)
        return function
    return register


STATUS = (":status", "200")


# MARK: Heads that are malformed

for name, pairs in [
    ("no :status", [("content-type", "text/plain")]),
    (":status twice", [STATUS, STATUS]),
    ("a :status that is no number", [(":status", "abc")]),
    ("a :status of two digits", [(":status", "20")]),
    ("a :status of four digits", [(":status", "2000")]),
    ("a :status after a field", [("x-first", "1"), STATUS]),
    ("a request's pseudo-field", [STATUS, (":path", "/")]),
    ("an unknown pseudo-field", [STATUS, (":unknown", "1")]),
    ("an upper-case name", [STATUS, ("X-Upper", "1")]),
    ("connection", [STATUS, ("connection", "close")]),
    ("transfer-encoding", [STATUS, ("transfer-encoding", "chunked")]),
    ("a value with CR and LF", [STATUS, ("x-odd", "a\r\nx-smuggled: 1")]),
    ("a value with NUL", [STATUS, ("x-odd", "a\0b")]),
    ("a name with a space", [STATUS, ("x odd", "1")]),
    ("two lengths", [STATUS, ("content-length", "4"), ("content-length", "5")]),
    ("a length that is no number", [STATUS, ("content-length", "four")]),
    ("a length and no content", [STATUS, ("content-length", "4")]),
]:
    @case(f"an answer with {name} is 502")
    def _(upstream, over, pairs=pairs):
        upstream.script = fields_only(*pairs)
        refused(upstream.call(over))


@case("content before the head is 502")
def _(upstream, over):
    upstream.script = after_request(lambda wire, stream: wire.send(frame(DATA, END_STREAM, stream, b"x")))
    refused(upstream.call(over))


@case("an informational answer that ends the stream is 502")
def _(upstream, over):
    upstream.script = fields_only((":status", "103"))
    refused(upstream.call(over))


@case("101 over HTTP/2 is 502")
def _(upstream, over):
    upstream.script = fields_only((":status", "101"), ends=False)
    refused(upstream.call(over))


@case("a field block that HPACK cannot read is 502, and the connection ends with COMPRESSION_ERROR")
def _(upstream, over):
    upstream.script = fields_only(block=b"\xff\xff\xff\xff\xff\xff")
    refused(upstream.call(over))
    until(lambda: upstream.wires[0].goaways, "GOAWAY")
    check(upstream.wires[0].goaways[-1][1] == COMPRESSION_ERROR, upstream.wires[0].state())


@case("a field section above the limit is 502")
def _(upstream, over):
    def action(wire, stream):
        wire.headers([STATUS, *[(f"x-{i}", "v" * 1000) for i in range(64)]], stream=stream)
    upstream.script = after_request(action)
    refused(upstream.call(over))


@case("a field section of 20 KiB in CONTINUATION frames arrives")
def _(upstream, over):
    def script(wire, number):
        hello(wire)
        record = next_request(wire, set())
        respond(wire, record.id, fields=[(f"x-{i}", "v" * 1000) for i in range(20)])
        serve(wire)
    upstream.script = script
    call = upstream.call(over)
    fine(call)
    check(sum(1 for n, v in call.fields if v == "v" * 1000) == 20, f"{len(call.fields)} fields")


# MARK: Content that is not what was said

@case("content shorter than content-length is cut for the caller")
def _(upstream, over):
    upstream.script = after_request(lambda wire, stream: respond(wire, stream, b"short", [("content-length", "10")]))
    broken_or_refused(upstream.call(over))


@case("content longer than content-length is never taken for complete by an h2c caller", over=("h2c",))
def _(upstream, over):
    upstream.script = after_request(lambda wire, stream: respond(wire, stream, b"too long", [("content-length", "3")]))
    broken_or_refused(upstream.call(over))


@case("content longer than content-length does not run into what follows", over=("h1",))
def _(upstream, over):
    upstream.script = after_request(lambda wire, stream: respond(wire, stream, b"too long", [("content-length", "3")]))
    call = upstream.call(over)
    try:
        if call.head() == 200:
            check(call.read_all() in (b"too", b""), "more than content-length")
    except calls.Cut:
        pass


@case("a second head that does not end the stream is cut for the caller")
def _(upstream, over):
    def action(wire, stream):
        wire.headers([STATUS], stream=stream, ends=False)
        wire.data(stream, b"part")
        wire.headers([(":status", "200"), ("x-second", "1")], stream=stream, ends=False)
        wire.try_send(frame(DATA, END_STREAM, stream, b"rest"))
    upstream.script = after_request(action)
    broken_or_refused(upstream.call(over))


@case("trailers with a pseudo-field are cut for the caller")
def _(upstream, over):
    def action(wire, stream):
        wire.headers([STATUS], stream=stream, ends=False)
        wire.data(stream, b"part")
        wire.headers([(":status", "200")], stream=stream)
    upstream.script = after_request(action)
    broken_or_refused(upstream.call(over))


@case("DATA and HEADERS after the end harm no complete answer")
def _(upstream, over):
    def action(wire, stream):
        respond(wire, stream)
        wire.try_send(frame(DATA, END_STREAM, stream, b"more"))
        wire.try_send(frame(HEADERS, END_STREAM | END_HEADERS, stream, literal(b"x-late", b"1")))
    upstream.script = after_request(action)
    fine(upstream.call(over))


@case("HEAD: a length and no content is complete")
def _(upstream, over):
    upstream.script = fields_only(STATUS, ("content-length", "1000"))
    call = upstream.call(over, "HEAD")
    fine(call, b"")
    check(call.field("content-length") == "1000", f"{call.fields}")


@case("HEAD: content is not forwarded")
def _(upstream, over):
    upstream.script = after_request(lambda wire, stream: respond(wire, stream, b"content"))
    call = upstream.call(over, "HEAD")
    try:
        call.head()
        check(call.read_all() == b"", "content")
    except calls.Cut:
        pass


@case("an answer that ends with its head, without a length, is complete")
def _(upstream, over):
    upstream.script = fields_only(STATUS, ("content-type", "text/plain"))
    call = upstream.call(over)
    check(calls.expect(call) == b"", f"{call.content!r}")


for number in ["204", "304"]:
    @case(f"{number} with a length and no content is complete")
    def _(upstream, over, number=number):
        fields = [(":status", number)] + ([("content-length", "100")] if number == "304" else [])
        upstream.script = fields_only(*fields)
        fine(upstream.call(over), b"", int(number))

    @case(f"{number} with content forwards none of it")
    def _(upstream, over, number=number):
        upstream.script = after_request(lambda wire, stream: respond(wire, stream, b"content", status=number))
        call = upstream.call(over)
        try:
            if call.head() == int(number):
                check(call.read_all() == b"", "content")
        except calls.Cut:
            pass


@case("content with padding and empty DATA frames arrives as it is")
def _(upstream, over):
    def action(wire, stream):
        wire.headers([STATUS], stream=stream, ends=False)
        wire.send(frame(DATA, PADDED, stream, b"\x10go" + bytes(16)), frame(DATA, 0, stream),
                  frame(DATA, PADDED, stream, b"\x00od"), frame(0x99, 7, stream, b"?"), frame(DATA, END_STREAM, stream))
    upstream.script = after_request(action)
    call = upstream.call(over)
    check(calls.expect(call) == b"good", f"{call.content!r}")


# MARK: Streams that break off

@case("RST_STREAM before the head is 502")
def _(upstream, over):
    upstream.script = after_request(lambda wire, stream: wire.rst(stream, INTERNAL_ERROR))
    refused(upstream.call(over, "POST", content=b"abc"), codes=("upstream_protocol", "upstream_unreachable"))


def part(seen, then):
    """A script: a head and a part of the content, and when the caller has that, `then`."""
    def action(wire, stream):
        wire.headers([STATUS], stream=stream, ends=False)
        wire.data(stream, b"part")
        check(seen.wait(PATIENCE), "the caller has not seen the part")
        then(wire, stream)
    return after_request(action)


for name, then in [
    ("RST_STREAM", lambda wire, stream: wire.rst(stream, INTERNAL_ERROR)),
    ("RST_STREAM with NO_ERROR", lambda wire, stream: wire.rst(stream, NO_ERROR)),
    ("RST_STREAM with CANCEL", lambda wire, stream: wire.rst(stream, CANCEL)),
    ("the loss of the connection", lambda wire, stream: wire.close()),
    ("a GOAWAY with an error and the connection's end",
     lambda wire, stream: (wire.goaway(stream, INTERNAL_ERROR), wire.close())),
    ("a GOAWAY below the stream", lambda wire, stream: wire.goaway(0, NO_ERROR)),
]:
    @case(f"{name} after a part of the answer cuts it for the caller")
    def _(upstream, over, then=then):
        seen = threading.Event()
        upstream.script = part(seen, then)
        broken_after(upstream.call(over), seen)


@case("a whole answer before the request's end, then RST_STREAM with NO_ERROR, arrives")
def _(upstream, over):
    def script(wire, number):
        hello(wire)
        record = next_request(wire, set())
        respond(wire, record.id, b"early")
        wire.rst(record.id, NO_ERROR)
        serve(wire)
    upstream.script = script
    call = upstream.begin(over, "POST", length=100000)
    call.send(b"x" * 1000)
    fine(call, b"early")


@case("a connection lost before the head is 502 for a POST, which is sent once")
def _(upstream, over):
    seen = []

    def action(wire, stream):
        seen.append(stream)
        wire.close()
    upstream.script = after_request(action)
    refused(upstream.call(over, "POST", content=b"abc"), codes=("upstream_protocol", "upstream_unreachable"))
    check(len(seen) == 1, f"sent {len(seen)} times")


@case("RST_STREAM with HTTP_1_1_REQUIRED is 502 or is followed by HTTP/1.1")
def _(upstream, over):
    upstream.script = after_request(lambda wire, stream: wire.rst(stream, HTTP_1_1_REQUIRED))
    status = upstream.call(over).head()
    check(status in (502, 200), f"status {status}")


@case("the caller's leaving reaches the API as RST_STREAM, and the connection serves on")
def _(upstream, over):
    def script(wire, number):
        hello(wire)
        taken = set()
        record = next_request(wire, taken)
        wire.headers([STATUS], stream=record.id, ends=False)
        wire.data(record.id, b"part")
        wire.wait(lambda: record.reset is not None, "RST_STREAM")
        record.is_answered = True
        codes.append(record.reset)
        serve(wire)
    codes = []
    upstream.script = script
    call = upstream.call(over)
    call.read_to(4)
    call.cancel()
    until(lambda: codes, "RST_STREAM at the API")
    check(codes[0] in (CANCEL, NO_ERROR), code_name(codes[0]))
    fine(upstream.call(over), b"good")
    check(upstream.connections == 1, f"{upstream.connections} connections")


# MARK: Refusals and GOAWAY (8.7, 6.8)

@case("REFUSED_STREAM is tried again, a POST with its content too")
def _(upstream, over):
    seen = []

    def script(wire, number):
        hello(wire)
        taken = set()
        while True:
            record = next_request(wire, taken)
            seen.append(record.id)
            if len(seen) == 1:
                wire.rst(record.id, REFUSED_STREAM)
            else:
                whole(wire, record)
                respond(wire, record.id, bytes(record.content))
    upstream.script = script
    fine(upstream.call(over, "POST", content=b"the content"), b"the content")
    check(len(seen) == 2, f"{len(seen)} attempts")


@case("REFUSED_STREAM for ever is given up", recovers=False)
def _(upstream, over):
    seen = []

    def script(wire, number):
        hello(wire)
        taken = set()
        while True:
            record = next_request(wire, taken)
            seen.append(record.id)
            wire.rst(record.id, REFUSED_STREAM)
    upstream.script = script
    refused(upstream.call(over), (502, 503),
            ("upstream_protocol", "upstream_unreachable", "overloaded"))
    check(1 < len(seen) <= 4, f"{len(seen)} attempts")


@case("a request above GOAWAY's last stream is sent again, a POST with its content too")
def _(upstream, over):
    def script(wire, number):
        hello(wire)
        record = next_request(wire, set())
        if number == 1:
            wire.goaway(0)
            return drain(wire)
        whole(wire, record)
        respond(wire, record.id, bytes(record.content))
        serve(wire)
    upstream.script = script
    fine(upstream.call(over, "POST", content=b"the content"), b"the content")
    check(upstream.connections == 2, f"{upstream.connections} connections")


@case("a graceful GOAWAY lets the request end, and the next one has another connection")
def _(upstream, over):
    def script(wire, number):
        hello(wire)
        if number > 1:
            return serve(wire)
        record = next_request(wire, set())
        wire.goaway(0x7FFFFFFF)
        wire.headers([STATUS], stream=record.id, ends=False)
        wire.round_trip()
        wire.goaway(record.id)
        wire.data(record.id, b"good", ends=True)
        drain(wire)
        check(len(wire.opened) == 1, "a stream after GOAWAY")
    upstream.script = script
    fine(upstream.call(over))
    fine(upstream.call(over))
    check(upstream.connections == 2 and not upstream.errors, f"{upstream.connections} connections {upstream.errors}")


@case("a GOAWAY that covers the request, then the end, is 502 for a POST, which is sent once")
def _(upstream, over):
    seen = []

    def action(wire, stream):
        seen.append(stream)
        wire.goaway(stream, NO_ERROR)
        wire.close()
    upstream.script = after_request(action)
    refused(upstream.call(over, "POST", content=b"abc"), codes=("upstream_protocol", "upstream_unreachable"))
    check(len(seen) == 1, f"sent {len(seen)} times")


@case("an idle connection with GOAWAY is not used again")
def _(upstream, over):
    told = threading.Event()

    def script(wire, number):
        hello(wire)
        if number > 1:
            return serve(wire)
        record = next_request(wire, set())
        respond(wire, record.id)
        wire.goaway(record.id)
        wire.wait_closed()
        told.set()
    upstream.script = script
    fine(upstream.call(over))
    check(told.wait(PATIENCE), "the gateway keeps the connection")
    fine(upstream.call(over))


@case("an idle connection that the API closes is not used again")
def _(upstream, over):
    def script(wire, number):
        hello(wire)
        if number > 1:
            return serve(wire)
        record = next_request(wire, set())
        respond(wire, record.id)
    upstream.script = script
    fine(upstream.call(over))
    until(lambda: upstream.wires[0].is_closed, "the API closes")
    fine(upstream.call(over))
    fine(upstream.call(over, "POST", content=b"abc"))


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


# MARK: What breaks the connection

for name, octets, codes in [
    ("a frame above 2^14", lambda s: frame(DATA, 0, s, bytes(16385)), (FRAME_SIZE_ERROR,)),
    ("PUSH_PROMISE", lambda s: frame(PUSH_PROMISE, END_HEADERS, s, struct.pack(">I", 2) + b"\x82\x86\x84\x41\x01a"),
     (PROTOCOL_ERROR,)),
    ("CONTINUATION of another stream", lambda s: frame(HEADERS, 0, s, b"\x88") + frame(CONTINUATION, END_HEADERS, s + 2),
     (PROTOCOL_ERROR,)),
    ("DATA on a stream that was never opened", lambda s: frame(DATA, 0, s + 100, b"x"), (PROTOCOL_ERROR,)),
    ("HEADERS on a stream of its own", lambda s: frame(HEADERS, END_HEADERS, 2, b"\x88"), (PROTOCOL_ERROR,)),
    ("an INITIAL_WINDOW_SIZE above 2^31-1",
     lambda s: frame(SETTINGS, 0, 0, settings_payload([(INITIAL_WINDOW_SIZE, 1 << 31)])), (FLOW_CONTROL_ERROR,)),
    ("ENABLE_PUSH from a server", lambda s: frame(SETTINGS, 0, 0, settings_payload([(ENABLE_PUSH, 1)])),
     (PROTOCOL_ERROR,)),
    ("a WINDOW_UPDATE of 0 for the connection", lambda s: frame(WINDOW_UPDATE, 0, 0, bytes(4)), (PROTOCOL_ERROR,)),
    ("a connection's window above 2^31-1", lambda s: frame(WINDOW_UPDATE, 0, 0, b"\x7f\xff\xff\xff"),
     (FLOW_CONTROL_ERROR,)),
    ("a PING of 7 octets", lambda s: frame(PING, 0, 0, bytes(7)), (FRAME_SIZE_ERROR,)),
    ("padding longer than DATA",
     lambda s: frame(HEADERS, END_HEADERS, s, b"\x88") + frame(DATA, PADDED, s, b"\xffabc"), (PROTOCOL_ERROR,)),
]:
    @case(f"{name} from an API ends the connection and the request")
    def _(upstream, over, octets=octets, codes=codes):
        upstream.script = after_request(lambda wire, stream: wire.send(octets(stream)))
        broken_or_refused(upstream.call(over, "POST", content=b"abc"))
        wire = upstream.wires[0]
        until(lambda: wire.goaways or wire.is_closed, "GOAWAY")
        check(wire.goaways and wire.goaways[-1][1] in codes, wire.state())


@case("a stream's window above 2^31-1 from an API ends the request with FLOW_CONTROL_ERROR")
def _(upstream, over):
    def script(wire, number):
        hello(wire)
        record = next_request(wire, set())
        wire.send(frame(WINDOW_UPDATE, 0, record.id, b"\x7f\xff\xff\xff"))
        wire.wait(lambda: record.reset is not None or wire.goaways, "error")
        verdict.append((record.reset, [g[1] for g in wire.goaways]))
        record.is_answered = True
        serve(wire)
    verdict = []
    upstream.script = script
    call = upstream.begin(over, "POST", length=10)
    call.send(b"abc")
    broken_or_refused(call)
    until(lambda: verdict, "verdict")
    check(FLOW_CONTROL_ERROR in (verdict[0][0], *verdict[0][1]), f"{verdict}")


@case("a first frame that is not SETTINGS is 502")
def _(upstream, over):
    def script(wire, number):
        wire.send(frame(PING, 0, 0, bytes(8)))
        drain(wire)
    upstream.script = script
    refused(upstream.call(over, "POST", content=b"abc"), codes=("upstream_protocol", "upstream_unreachable"))


@case("HTTP/1.1 after ALPN h2 is 502")
def _(upstream, over):
    def script(wire, number):
        wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK")
        drain(wire)
    upstream.script = script
    refused(upstream.call(over, "POST", content=b"abc"), codes=("upstream_protocol", "upstream_unreachable"))


@case("1,000 informational answers neither hang nor break the caller")
def _(upstream, over):
    def action(wire, stream):
        for _ in range(1000):
            if not wire.try_send(frame(HEADERS, END_HEADERS, stream, literal(b":status", b"103"))):
                return
        try:
            respond(wire, stream)
        except Failure:
            pass
    upstream.script = after_request(action)
    call = upstream.call(over)
    status = call.head()
    check(status in (200, 502), f"status {status}")


@case("PING and SETTINGS of an API are answered, unknown frames ignored")
def _(upstream, over):
    def script(wire, number):
        hello(wire)
        record = next_request(wire, set())
        wire.send(frame(0x99, 0xFF, 0, b"?"), frame(0x0A, 0, 0, b"\0\0x"), frame(0x0C, 0, 0, b"\0\x01o"))
        wire.round_trip()
        acknowledged = wire.acknowledged
        wire.settings((0x0A0A, 1))
        wire.wait(lambda: wire.acknowledged > acknowledged, "acknowledgement")
        respond(wire, record.id)
        serve(wire)
    upstream.script = script
    fine(upstream.call(over))
    check(not upstream.errors, f"{upstream.errors}")


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


# MARK: ALPN

def plain_answers(connection, number):
    import plain
    reader = plain.Reader(connection)
    while True:
        try:
            line, fields = reader.head()
        except plain.Ended:
            return
        for _ in reader.content(fields):
            pass
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood")


for name, alpn in [("an API that chooses http/1.1 by ALPN", ("http/1.1",)), ("an API without ALPN", None)]:
    @case(f"{name} is spoken to in HTTP/1.1", alpn=alpn)
    def _(upstream, over):
        upstream.plain_script = plain_answers
        for _ in range(3):
            fine(upstream.call(over))
        fine(upstream.call(over, "POST", content=b"abc"))


@case("an API that changes from h2 to http/1.1 and back is followed")
def _(upstream, over):
    def once(wire, number):
        hello(wire)
        respond(wire, whole(wire, next_request(wire, set())).id)
        wire.goaway(1)
        wire.wait_closed()
    upstream.plain_script = plain_answers
    upstream.script = once
    both, plain_only = upstream.identity, place.identity(["http/1.1"])
    fine(upstream.call(over))
    upstream.identity = plain_only
    until(lambda: upstream.wires[0].is_closed, "the end of the connection")
    fine(upstream.call(over))
    upstream.identity = both


table.run(place)
