"""What breaks a connection, and ALPN."""

from upstreams_base import *


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
