"""Streams that break off, refusals and GOAWAY (RFC 9113 5.4, 6.8, 8.7)."""

from upstreams_base import *


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


for name, late in [
    ("a whole answer", lambda wire, stream: wire.headers([STATUS, ("x-late", "1")], stream=stream)),
    ("a head and content", lambda wire, stream: wire.send(
        frame(HEADERS, END_HEADERS, stream, wire.encode([STATUS])), frame(DATA, 0, stream, b"late"),
        frame(DATA, END_STREAM, stream, b"er"))),
    ("WINDOW_UPDATE and RST_STREAM", lambda wire, stream: wire.send(
        frame(WINDOW_UPDATE, 0, stream, struct.pack(">I", 100)), frame(RST_STREAM, 0, stream, struct.pack(">I", 8)))),
]:
    @case(f"{name} for a request that the caller has given up is ignored, and the connection serves on")
    def _(upstream, over, late=late):
        def script(wire, number):
            hello(wire)
            taken = set()
            for _ in range(3):
                record = next_request(wire, taken)
                asked.release()
                wire.wait(lambda: record.reset is not None, "RST_STREAM")
                late(wire, record.id)                       # on its way when RST_STREAM came
                record.is_answered = True
                answered.release()
            serve(wire)
        asked, answered = threading.Semaphore(0), threading.Semaphore(0)
        upstream.script = script
        for _ in range(3):
            call = upstream.begin(over, "GET", ends=True)
            check(asked.acquire(timeout=PATIENCE), "the request does not reach the API")
            call.cancel()
            check(answered.acquire(timeout=PATIENCE), "no RST_STREAM at the API")
        fine(upstream.call(over))
        check(upstream.connections == 1, f"{upstream.connections} connections; {upstream.wires[0].state()}")


@case("answers that cross the caller's leaving harm no other stream")
def _(upstream, over):
    turns = 100

    def script(wire, number):
        hello(wire)
        if number > 1:
            return serve(wire)
        taken = set()
        for _ in range(turns):
            record = next_request(wire, taken)
            both.wait(PATIENCE)
            record.is_answered = True
            wire.send(frame(HEADERS, END_HEADERS | END_STREAM, record.id, wire.encode([STATUS])))
        serve(wire)
    both = threading.Barrier(2)
    upstream.script = script
    for _ in range(turns):
        call = upstream.begin(over, "GET", ends=True)
        try:
            both.wait(PATIENCE)
        except threading.BrokenBarrierError:
            ends = [wire.goaways for wire in upstream.wires]
            raise Failure(f"the connection to the API did not last: GOAWAY {ends}") from None
        call.cancel()
    fine(upstream.call(over))
    ends = [wire.state()[:200] for wire in upstream.wires if wire.goaways]
    check(upstream.connections == 1 and not ends, f"{upstream.connections} connections; {ends}")


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
