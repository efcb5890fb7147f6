"""What RFC 9113, 7541 and 8441 demand of a server, tried on the gateway's caller side, over h2c and over TLS."""

import os
import signal
import struct
import sys

import warnings

import hyperframe.exceptions
from hpack.hpack import encode_integer

import origin
from kit import *

warnings.simplefilter("ignore", DeprecationWarning)        # weak TLS is asked for on purpose
table = Table()
place = Place(sys.argv[1])
origins = {"h1": origin.Origin(place, place.h1, ["http/1.1"]), "h2": origin.Origin(place, place.h2, ["h2"])}
OVER = ["h2c", "h2"]
BOTH = {"h2c": "h2c", "h2": "TLS"}


def case(name):
    """Registers a case for both kinds of listeners."""
    def register(function):
        for over in OVER:
            table.add(f"{name} ({BOTH[over]})", lambda _, over=over: function(over))
        return function
    return register


def ready(over, *values):
    return place.ready_caller(over, *values)


def get(path="/h1/echo", *more, method="GET", authority="gateway.test"):
    return request(path, method, "http", authority, *more)


def answered(wire, stream, status=200):
    """A whole answer."""
    record = wire.stream(stream)
    wire.wait(lambda: record.is_over, f"answer on stream {stream}")
    check(record.is_ended and record.status == status, f"expected {status}: {wire.state(stream)}")
    return record


def survives(wire):
    """The connection's next request is served."""
    answered(wire, wire.headers(get()))


def connection_error(wire, *codes):
    """GOAWAY with one of the codes, and the connection is closed."""
    wire.wait_closed()
    check(wire.goaways, "closed without GOAWAY: " + wire.state())
    check(wire.goaways[-1][1] in codes, f"expected {'/'.join(map(code_name, codes))}: {wire.state()}")


def stream_error(wire, stream, *codes):
    """RST_STREAM with one of the codes; other streams go on."""
    record = wire.stream(stream)
    wire.wait(lambda: record.reset is not None or wire.goaways, f"RST_STREAM on stream {stream}")
    check(record.reset in codes, f"expected RST {'/'.join(map(code_name, codes))}: {wire.state()}")
    survives(wire)


def either_error(wire, stream, *codes):
    """A stream error, or a connection error (RFC 9113 5.4.1 leaves the choice)."""
    record = wire.stream(stream)
    wire.wait(lambda: record.reset is not None or wire.goaways, "error")
    if record.reset is not None and not wire.goaways:
        check(record.reset in codes, f"expected RST {'/'.join(map(code_name, codes))}: {wire.state()}")
        survives(wire)
    else:
        connection_error(wire, *codes)


def open_stream(wire):
    """A stream whose request is not at its end and whose answer has not come."""
    stream = wire.headers(get("/h1/echo", method="POST"), ends=False)
    wire.round_trip()
    return stream


def held(wire):
    """A stream whose request is at its end and whose answer waits for a gate; returns both."""
    gate = unique("gate")
    return wire.headers(get(f"/h1/hold/{gate}")), origins["h1"].gate(gate)


def refused(over, fields, ends=True, block=None, statuses=(400,), codes=(PROTOCOL_ERROR,), and_then=None):
    """A malformed request is a stream error or an answer of 4xx, never forwarded, and the connection lives."""
    wire = ready(over)
    mark = unique("mark")
    fields = [(n, v.replace("MARK", mark) if isinstance(v, str) else v) for n, v in fields]
    stream = wire.headers(fields, ends=ends, block=block(mark) if block else None)
    if and_then:
        and_then(wire, stream)
    record = wire.stream(stream)
    wire.wait(lambda: record.is_over or wire.goaways, "refusal")
    check(not wire.goaways, "the whole connection ends: " + wire.state())
    if record.reset is not None and record.head is None:
        check(record.reset in codes, f"expected RST {'/'.join(map(code_name, codes))}: {wire.state()}")
    else:
        check(record.status in statuses, f"expected a refusal: {wire.state()}")
    survives(wire)
    complete = [e for e in origins["h1"].seen(mark) + origins["h2"].seen(mark) if e.is_complete]
    check(not complete, "the request was forwarded")


def raw_block(*pairs):
    """A block of literals with octets that the encoder would not let through."""
    def make(mark):
        return b"".join(literal(to_octets(n), to_octets(v).replace(b"MARK", mark.encode())) for n, v in pairs)
    return make


PLAIN = [(":method", "GET"), (":scheme", "http"), (":path", "/h1/echo/MARK"), (":authority", "gateway.test")]


# MARK: Preface and SETTINGS (3.4, 6.5)

@case("the gateway begins with SETTINGS and acknowledges the caller's")
def _(over):
    wire = ready(over)
    check(wire.first == SETTINGS, "the first frame is not SETTINGS")
    check(wire.acknowledged == 1, "acknowledged more than once")
    survives(wire)


@case("the gateway announces at most 100 streams and a bounded field section, and no push")
def _(over):
    wire = ready(over)
    check(wire.peer.get(MAX_CONCURRENT_STREAMS) == 100, f"MAX_CONCURRENT_STREAMS {wire.peer}")
    check(1024 <= wire.peer.get(MAX_HEADER_LIST_SIZE, 0) <= 1 << 20, f"MAX_HEADER_LIST_SIZE {wire.peer}")
    check(wire.peer.get(ENABLE_PUSH, 0) == 0, "ENABLE_PUSH")


@case("a preface in single octets is understood")
def _(over):
    wire = place.caller(over)
    for octet in PREFACE + frame(SETTINGS):
        wire.send(bytes([octet]))
    survives(wire)


@case("preface, SETTINGS and a request in one segment are understood")
def _(over):
    wire = place.caller(over)
    wire.send(PREFACE, frame(SETTINGS), frame(HEADERS, END_HEADERS | END_STREAM, 1, wire.encode(get())))
    answered(wire, 1)


@case("a wrong preface ends the connection")
def _(over):
    wire = place.caller(over)
    wire.send(b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n" + frame(SETTINGS))
    try:
        wire.wait_closed()
    except hyperframe.exceptions.HyperframeError:
        pass                                              # an answer in HTTP/1.1 is as good


@case("a first frame that is not SETTINGS ends the connection")
def _(over):
    wire = place.caller(over)
    wire.send(PREFACE, frame(HEADERS, END_HEADERS | END_STREAM, 1, wire.encode(get())))
    connection_error(wire, PROTOCOL_ERROR)


@case("SETTINGS on a stream is PROTOCOL_ERROR")
def _(over):
    wire = ready(over)
    wire.send(frame(SETTINGS, 0, 1))
    connection_error(wire, PROTOCOL_ERROR)


@case("SETTINGS of a length that is not a multiple of six is FRAME_SIZE_ERROR")
def _(over):
    wire = ready(over)
    wire.send(frame(SETTINGS, 0, 0, bytes(5)))
    connection_error(wire, FRAME_SIZE_ERROR)


@case("an acknowledgement of SETTINGS with content is FRAME_SIZE_ERROR")
def _(over):
    wire = ready(over)
    wire.send(frame(SETTINGS, ACK, 0, bytes(6)))
    connection_error(wire, FRAME_SIZE_ERROR)


for name, setting, value, code in [
    ("ENABLE_PUSH of 2", ENABLE_PUSH, 2, PROTOCOL_ERROR),
    ("INITIAL_WINDOW_SIZE above 2^31-1", INITIAL_WINDOW_SIZE, 1 << 31, FLOW_CONTROL_ERROR),
    ("MAX_FRAME_SIZE below 2^14", MAX_FRAME_SIZE, 16383, PROTOCOL_ERROR),
    ("MAX_FRAME_SIZE above 2^24-1", MAX_FRAME_SIZE, 1 << 24, PROTOCOL_ERROR),
    ("ENABLE_CONNECT_PROTOCOL of 2", ENABLE_CONNECT_PROTOCOL, 2, PROTOCOL_ERROR),
]:
    @case(f"{name} is {CODES[code]}")
    def _(over, setting=setting, value=value, code=code):
        wire = ready(over)
        wire.settings((setting, value))
        connection_error(wire, code)


@case("an unknown setting is ignored and acknowledged")
def _(over):
    wire = ready(over)
    wire.settings((0x0A0A, 7), (0xF000, 0xFFFFFFFF))
    wire.wait(lambda: wire.acknowledged == 2, "acknowledgement")
    survives(wire)


@case("of one setting twice in a frame the last value counts")
def _(over):
    wire = ready(over)
    wire.settings((INITIAL_WINDOW_SIZE, 100), (INITIAL_WINDOW_SIZE, 7))
    stream = wire.headers(get("/h1/sized/50"))
    record = wire.stream(stream)
    wire.gives_windows = False
    wire.wait(lambda: len(record.content) >= 7, "content")
    wire.round_trip()
    check(len(record.content) == 7, wire.state())


@case("stream 101 of 100 is refused, and one that ends makes room")
def _(over):
    wire = ready(over)
    gate = unique("gate")
    streams = [wire.headers(get(f"/h1/hold/{gate}")) for _ in range(100)]
    extra = wire.headers(get("/h1/echo"))
    record = wire.stream(extra)
    wire.wait(lambda: record.is_over or wire.goaways, "refusal")
    if wire.goaways:
        origins["h1"].gate(gate).set()
        return connection_error(wire, PROTOCOL_ERROR)
    check(record.reset in (REFUSED_STREAM, PROTOCOL_ERROR) and record.head is None, wire.state(extra))
    origins["h1"].gate(gate).set()
    for stream in streams:
        answered(wire, stream)
    survives(wire)


# MARK: Frames (4.2, 6)

@case("DATA above MAX_FRAME_SIZE is FRAME_SIZE_ERROR")
def _(over):
    wire = ready(over)
    stream = open_stream(wire)
    wire.send(frame(DATA, 0, stream, bytes(16385)))
    either_error(wire, stream, FRAME_SIZE_ERROR)


@case("HEADERS above MAX_FRAME_SIZE is FRAME_SIZE_ERROR")
def _(over):
    wire = ready(over)
    block = wire.encode(get()) + literal(b"x-large", b"v" * 16384)
    wire.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, block))
    connection_error(wire, FRAME_SIZE_ERROR)


for name, kind, length, on_stream in [
    ("PING", PING, 7, False), ("PING", PING, 9, False), ("RST_STREAM", RST_STREAM, 3, True),
    ("RST_STREAM", RST_STREAM, 5, True), ("WINDOW_UPDATE", WINDOW_UPDATE, 3, False),
    ("WINDOW_UPDATE", WINDOW_UPDATE, 5, True), ("GOAWAY", GOAWAY, 7, False),
]:
    @case(f"{name} of {length} octets is FRAME_SIZE_ERROR")
    def _(over, kind=kind, length=length, on_stream=on_stream):
        wire = ready(over)
        wire.send(frame(kind, 0, open_stream(wire) if on_stream else 0, bytes(length)))
        connection_error(wire, FRAME_SIZE_ERROR)


@case("PRIORITY of 4 octets is FRAME_SIZE_ERROR")
def _(over):
    wire = ready(over)
    stream = open_stream(wire)
    wire.send(frame(PRIORITY, 0, stream, bytes(4)))
    either_error(wire, stream, FRAME_SIZE_ERROR)


@case("the gateway's frames hold at most 2^14 octets, whatever the caller allows")
def _(over):
    wire = ready(over, (MAX_FRAME_SIZE, 1 << 20), (INITIAL_WINDOW_SIZE, 1 << 20))
    record = answered(wire, wire.headers(get("/h1/sized/200000")))
    check(bytes(record.content) == origin.pattern(200000), "other content")
    check(max(record.frame_sizes) <= 1 << 20, "too large a frame")


@case("a field section above a frame is continued in CONTINUATION frames")
def _(over):
    wire = ready(over)
    record = answered(wire, wire.headers(get("/h1/fields/20/1000")))
    check(sum(1 for n, _ in record.head if n.startswith("x-field-")) == 20, "fields are missing")
    check(len(wire.block_frames) > 1 and max(wire.block_frames) <= 16384, f"{wire.block_frames}")


for kind, name in [(DATA, "DATA"), (HEADERS, "HEADERS"), (PRIORITY, "PRIORITY"), (RST_STREAM, "RST_STREAM"),
                   (CONTINUATION, "CONTINUATION"), (PUSH_PROMISE, "PUSH_PROMISE")]:
    @case(f"{name} on stream 0 is PROTOCOL_ERROR")
    def _(over, kind=kind):
        wire = ready(over)
        payload = {DATA: b"x", HEADERS: wire.encode(get()), PRIORITY: bytes(5), RST_STREAM: bytes(4),
                   CONTINUATION: wire.encode(get()), PUSH_PROMISE: struct.pack(">I", 2)}[kind]
        flags = END_HEADERS if kind in (HEADERS, CONTINUATION, PUSH_PROMISE) else 0
        wire.send(frame(kind, flags, 0, payload))
        connection_error(wire, PROTOCOL_ERROR)


for kind, name, payload in [(PING, "PING", bytes(8)), (GOAWAY, "GOAWAY", bytes(8))]:
    @case(f"{name} on a stream is PROTOCOL_ERROR")
    def _(over, kind=kind, payload=payload):
        wire = ready(over)
        wire.send(frame(kind, 0, 1, payload))
        connection_error(wire, PROTOCOL_ERROR)


@case("frames of unknown types and undefined flags are ignored, on streams too")
def _(over):
    wire = ready(over)
    wire.send(frame(0x99, 0xFF, 0, b"abc"), frame(0x0A, 0, 0, b"\0\0h3=:443"))
    stream = open_stream(wire)
    wire.send(frame(0x77, 0xFF, stream, bytes(100)), frame(PING, 0xFE, 0, b"undefine"))
    wire.wait(lambda: b"undefine" in wire.pongs, "answer to PING")
    wire.data(stream, b"abc", ends=True)
    check(b'"size": 3' in answered(wire, stream).content, "other content")


@case("the reserved bit of a stream's number is ignored")
def _(over):
    wire = ready(over)
    octets = bytearray(frame(HEADERS, END_HEADERS | END_STREAM, wire.new_id(), wire.encode(get())))
    octets[5] |= 0x80
    wire.send(bytes(octets))
    answered(wire, 1)


@case("PING is answered with the same octets")
def _(over):
    wire = ready(over)
    wire.send(frame(PING, 0, 0, b"12345678"))
    wire.wait(lambda: b"12345678" in wire.pongs, "answer to PING")


@case("an answer to PING that nobody asked for is ignored")
def _(over):
    wire = ready(over)
    wire.send(frame(PING, ACK, 0, b"12345678"))
    wire.round_trip()
    check(len(wire.pongs) == 1, "an answer to an answer")


@case("PRIORITY_UPDATE is ignored")
def _(over):
    wire = ready(over)
    wire.send(frame(0x10, 0, 0, struct.pack(">I", 1) + b"u=1"))
    survives(wire)


# MARK: States of streams (5.1)

for kind, name, payload in [(DATA, "DATA", b"x"), (RST_STREAM, "RST_STREAM", bytes(4)),
                            (WINDOW_UPDATE, "WINDOW_UPDATE", struct.pack(">I", 1)),
                            (CONTINUATION, "CONTINUATION", b"")]:
    @case(f"{name} on an idle stream is PROTOCOL_ERROR")
    def _(over, kind=kind, payload=payload):
        wire = ready(over)
        wire.send(frame(kind, 0, 5, payload))
        connection_error(wire, PROTOCOL_ERROR)


@case("PRIORITY on an idle stream is no error")
def _(over):
    wire = ready(over)
    wire.send(frame(PRIORITY, 0, 9, struct.pack(">IB", 0, 15)))
    survives(wire)


@case("a stream with an even number is PROTOCOL_ERROR")
def _(over):
    wire = ready(over)
    wire.headers(get(), stream=2)
    connection_error(wire, PROTOCOL_ERROR)


@case("a stream with a lower number than one before is an error of the connection")
def _(over):
    wire = ready(over)
    wire.headers(get(), stream=7)
    answered(wire, 7)
    wire.headers(get(), stream=5)
    connection_error(wire, PROTOCOL_ERROR, STREAM_CLOSED)


@case("DATA after the request's end is STREAM_CLOSED")
def _(over):
    wire = ready(over)
    stream, gate = held(wire)
    wire.send(frame(DATA, 0, stream, b"more"))
    either_error(wire, stream, STREAM_CLOSED)
    gate.set()


@case("HEADERS after the request's end is STREAM_CLOSED")
def _(over):
    wire = ready(over)
    stream, gate = held(wire)
    wire.headers([("x-late", "1")], stream=stream)
    either_error(wire, stream, STREAM_CLOSED)
    gate.set()


@case("DATA on a stream that both have ended is STREAM_CLOSED or ignored")
def _(over):
    wire = ready(over)
    stream = wire.headers(get())
    answered(wire, stream)
    wire.send(frame(DATA, 0, stream, b"more"))
    try:
        wire.round_trip()
        check(not wire.goaways, "GOAWAY")
        survives(wire)
    except Failure:
        connection_error(wire, STREAM_CLOSED)


@case("HEADERS on a stream that both have ended is an error of the connection")
def _(over):
    wire = ready(over)
    stream = wire.headers(get())
    answered(wire, stream)
    wire.headers(get(), stream=stream)
    connection_error(wire, STREAM_CLOSED, PROTOCOL_ERROR)


@case("WINDOW_UPDATE, PRIORITY and RST_STREAM shortly after a stream's end are ignored")
def _(over):
    wire = ready(over)
    stream = wire.headers(get())
    answered(wire, stream)
    wire.window_update(stream, 10)
    wire.send(frame(PRIORITY, 0, stream, struct.pack(">IB", 0, 1)))
    wire.rst(stream)
    survives(wire)


@case("DATA after the caller's RST_STREAM does not reach another stream")
def _(over):
    wire = ready(over)
    stream = open_stream(wire)
    wire.rst(stream)
    wire.send(frame(DATA, 0, stream, b"late"))
    try:
        wire.round_trip()
        survives(wire)
    except Failure:
        connection_error(wire, STREAM_CLOSED, PROTOCOL_ERROR)


@case("a second HEADERS that does not end the stream is PROTOCOL_ERROR")
def _(over):
    wire = ready(over)
    stream = open_stream(wire)
    wire.headers([("x-not", "trailers")], stream=stream, ends=False)
    either_error(wire, stream, PROTOCOL_ERROR)


@case("a stream that depends on itself is PROTOCOL_ERROR or no error")
def _(over):
    wire = ready(over)
    stream = wire.new_id()
    wire.send(frame(HEADERS, END_HEADERS | END_STREAM | HAS_PRIORITY, stream,
                    struct.pack(">IB", stream, 1) + wire.encode(get())))
    record = wire.stream(stream)
    wire.wait(lambda: record.is_over or wire.goaways, "answer or error")
    if wire.goaways:
        connection_error(wire, PROTOCOL_ERROR)
    else:
        check(record.is_ended or record.reset == PROTOCOL_ERROR, wire.state())


@case("HEADERS with a priority is served")
def _(over):
    wire = ready(over)
    stream = wire.new_id()
    wire.send(frame(HEADERS, END_HEADERS | END_STREAM | HAS_PRIORITY, stream,
                    struct.pack(">IB", 0x80000000, 255) + wire.encode(get())))
    answered(wire, stream)


@case("PUSH_PROMISE from a caller is PROTOCOL_ERROR")
def _(over):
    wire = ready(over)
    stream = open_stream(wire)
    wire.send(frame(PUSH_PROMISE, END_HEADERS, stream, struct.pack(">I", 2) + wire.encode(get())))
    connection_error(wire, PROTOCOL_ERROR)


@case("the caller's RST_STREAM ends the exchange at the API")
def _(over):
    wire = ready(over)
    for upstream in ["h1", "h2"]:
        gate = unique("gone")
        stream = wire.headers(get(f"/{upstream}/forever/{gate}"))
        wire.wait(lambda: wire.stream(stream).content, "content")
        wire.rst(stream)
        until(origins[upstream].gate(gate).is_set, f"the {upstream} API learns of it")
    survives(wire)


@case("GOAWAY from the caller lets open streams end")
def _(over):
    wire = ready(over)
    stream, gate = held(wire)
    wire.goaway(0)
    wire.round_trip()
    gate.set()
    answered(wire, stream)
    wire.wait_closed()


# MARK: Field blocks (4.3, 6.2, 6.10)

def in_pieces(wire, fields, pieces, flags=END_STREAM):
    """A field block over HEADERS and CONTINUATION frames; returns (stream, frames)."""
    block = wire.encode(fields)
    cuts = [len(block) * i // pieces for i in range(pieces + 1)]
    stream = wire.new_id()
    frames = []
    for i in range(pieces):
        kind, bits = (HEADERS, flags) if i == 0 else (CONTINUATION, 0)
        if i == pieces - 1:
            bits |= END_HEADERS
        frames.append(frame(kind, bits, stream, block[cuts[i]:cuts[i + 1]]))
    return stream, frames


@case("a request's field block may come in CONTINUATION frames, empty ones too")
def _(over):
    wire = ready(over)
    stream, frames = in_pieces(wire, get("/h1/echo", ("x-custom", "a" * 200)), 4)
    wire.send(frames[0], frame(CONTINUATION, 0, stream), *frames[1:])
    check(b"a" * 200 in answered(wire, stream).content, "the field is missing")


for name, between in [
    ("DATA", lambda wire, stream: frame(DATA, 0, stream, b"x")),
    ("HEADERS of another stream", lambda wire, stream: frame(HEADERS, END_HEADERS | END_STREAM, stream + 2, b"\x82")),
    ("PING", lambda wire, stream: frame(PING, 0, 0, bytes(8))),
    ("SETTINGS", lambda wire, stream: frame(SETTINGS)),
    ("CONTINUATION of another stream", lambda wire, stream: frame(CONTINUATION, 0, stream + 2)),
    ("a frame of an unknown type", lambda wire, stream: frame(0x99, 0, stream, b"x")),
    ("WINDOW_UPDATE", lambda wire, stream: frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", 1))),
]:
    @case(f"{name} inside a field block is PROTOCOL_ERROR")
    def _(over, between=between):
        wire = ready(over)
        stream, frames = in_pieces(wire, get(), 2)
        wire.send(frames[0], between(wire, stream), frames[1])
        connection_error(wire, PROTOCOL_ERROR)


@case("CONTINUATION after the end of a field block is PROTOCOL_ERROR")
def _(over):
    wire = ready(over)
    stream = open_stream(wire)
    wire.send(frame(CONTINUATION, END_HEADERS, stream, b""))
    connection_error(wire, PROTOCOL_ERROR)


@case("padding of HEADERS and DATA is taken off")
def _(over):
    wire = ready(over)
    stream = wire.new_id()
    wire.send(
        frame(HEADERS, END_HEADERS | PADDED, stream, b"\x40" + wire.encode(get(method="POST")) + bytes(64)),
        frame(DATA, PADDED, stream, b"\xff" + b"abc" + bytes(255)), frame(DATA, PADDED | END_STREAM, stream, b"\0"))
    check(b'"size": 3' in answered(wire, stream).content, "other content")


for kind, name in [(HEADERS, "HEADERS"), (DATA, "DATA")]:
    @case(f"padding longer than its {name} is PROTOCOL_ERROR")
    def _(over, kind=kind):
        wire = ready(over)
        if kind == HEADERS:
            block = wire.encode(get())
            wire.send(frame(HEADERS, END_HEADERS | END_STREAM | PADDED, 1, bytes([len(block) + 1]) + block))
        else:
            wire.send(frame(DATA, PADDED, open_stream(wire), b"\x04abc"))
        connection_error(wire, PROTOCOL_ERROR)


# MARK: Requests (8.1 to 8.3)

def without(name):
    return [f for f in PLAIN if f[0] != name]


for name in [":method", ":scheme", ":path"]:
    @case(f"a request without {name} is refused")
    def _(over, name=name):
        refused(over, without(name) + [("x-mark", "MARK")])

    @case(f"a request with {name} twice is refused")
    def _(over, name=name):
        refused(over, PLAIN + [f for f in PLAIN if f[0] == name])


for name, fields in [
    ("an empty :path", without(":path") + [(":path", "")]),
    ("a :path that does not begin with a slash", without(":path") + [(":path", "h1/echo/MARK")]),
    ("a :path with a space", without(":path") + [(":path", "/h1/echo/MARK x")]),
    ("a :path with a control octet", without(":path") + [(":path", "/h1/echo/MARK\x01")]),
    ("a :path with CR and LF", without(":path") + [(":path", "/h1/echo/MARK HTTP/1.1\r\nx-smuggled: 1")]),
    ("a fragment in :path", without(":path") + [(":path", "/h1/echo/MARK#part")]),
    ("an asterisk as the :path of a GET", without(":path") + [(":path", "*")]),
    ("a :method that is no token", without(":method") + [(":method", "GE T")]),
    ("a :method with CR and LF", without(":method") + [(":method", "GET / HTTP/1.1\r\nHost: evil\r\n\r\nGET")]),
    ("an empty :method", without(":method") + [(":method", "")]),
    ("user information in :authority", without(":authority") + [(":authority", "user@gateway.test")]),
    ("a :authority with a slash", without(":authority") + [(":authority", "gateway.test/x")]),
    ("a :authority with a space", without(":authority") + [(":authority", "gateway test")]),
    (":authority twice", PLAIN + [(":authority", "gateway.test")]),
    ("an unknown pseudo-field", PLAIN + [(":unknown", "1")]),
    ("a response's pseudo-field", PLAIN + [(":status", "200")]),
    (":protocol without CONNECT", PLAIN + [(":protocol", "websocket")]),
    ("a pseudo-field after a field", PLAIN[:3] + [("x-first", "1")] + PLAIN[3:]),
    ("a host other than :authority", PLAIN + [("host", "other.test")]),
    ("two hosts", without(":authority") + [("host", "gateway.test"), ("host", "other.test")]),
    ("neither :authority nor host", without(":authority")),
    ("an upper-case name", PLAIN + [("X-Upper", "1")]),
    ("one upper-case letter in a name", PLAIN + [("x-uppeR", "1")]),
    ("connection", PLAIN + [("connection", "close")]),
    ("keep-alive", PLAIN + [("keep-alive", "timeout=5")]),
    ("proxy-connection", PLAIN + [("proxy-connection", "keep-alive")]),
    ("transfer-encoding", PLAIN + [("transfer-encoding", "chunked")]),
    ("upgrade", PLAIN + [("upgrade", "websocket")]),
    ("te other than trailers", PLAIN + [("te", "gzip")]),
    ("te with more than trailers", PLAIN + [("te", "trailers, gzip")]),
    ("content-length that is no number", PLAIN + [("content-length", "five")]),
    ("content-length with a sign", PLAIN + [("content-length", "+0")]),
    ("content-length as a list", PLAIN + [("content-length", "0, 0")]),
    ("content-length too large for any number", PLAIN + [("content-length", "9" * 30)]),
    ("two lengths", PLAIN + [("content-length", "0"), ("content-length", "1")]),
    ("content-length and no content", PLAIN + [("content-length", "5")]),
]:
    @case(f"a request with {name} is refused")
    def _(over, fields=fields):
        refused(over, fields)


for name, pair in [
    ("a name with a space", ("x odd", "1")), ("a name with a colon", ("x:odd", "1")),
    ("a name with NUL", ("x\0odd", "1")), ("a name with LF", ("x\nodd", "1")), ("an empty name", ("", "1")),
    ("a name with DEL", ("x\x7fodd", "1")), ("a name with an octet above 127", ("x\xe9", "1")),
    ("a name with parentheses", ("x(1)", "1")),
    ("a value with NUL", ("x-odd", "a\0b")), ("a value with CR", ("x-odd", "a\rb")),
    ("a value with LF", ("x-odd", "a\nb")), ("a value with CRLF and a field", ("x-odd", "a\r\nx-smuggled: 1")),
    ("a value that begins with a space", ("x-odd", " a")), ("a value that ends with a tab", ("x-odd", "a\t")),
    ("a value with a control octet", ("x-odd", "a\x01b")),
]:
    @case(f"{name} is refused")
    def _(over, pair=pair):
        refused(over, PLAIN, block=raw_block(*PLAIN, pair))


@case("a pseudo-field in trailers is refused")
def _(over):
    refused(over, get("/h1/echo/MARK", method="POST"), ends=False,
            and_then=lambda wire, stream: wire.headers([(":path", "/x")], stream=stream))


@case("a connection-specific field in trailers is refused or dropped")
def _(over):
    wire = ready(over)
    stream = open_stream(wire)
    wire.headers([("transfer-encoding", "chunked"), ("x-check", "1")], stream=stream)
    record = wire.stream(stream)
    wire.wait(lambda: record.is_over, "answer")
    if record.reset is None and record.status == 200:
        check(b"transfer-encoding\", \"chunked" not in record.content.split(b'"trailers"')[1], "it was forwarded")
    survives(wire)


@case("content shorter than content-length is refused")
def _(over):
    refused(over, get("/h1/echo/MARK", ("content-length", "10"), method="POST"), ends=False,
            and_then=lambda wire, stream: wire.send(frame(DATA, END_STREAM, stream, b"short")))


@case("content longer than content-length is refused")
def _(over):
    refused(over, get("/h1/echo/MARK", ("content-length", "3"), method="POST"), ends=False,
            and_then=lambda wire, stream: wire.send(frame(DATA, END_STREAM, stream, b"too long")))


@case("trailers before content-length is reached are refused")
def _(over):
    def more(wire, stream):
        wire.send(frame(DATA, 0, stream, b"abc"))
        wire.headers([("x-check", "1")], stream=stream)
    refused(over, get("/h1/echo/MARK", ("content-length", "10"), method="POST"), ends=False, and_then=more)


@case("content-length as long as the content is served")
def _(over):
    wire = ready(over)
    for upstream in ["h1", "h2"]:
        stream = wire.headers(get(f"/{upstream}/echo", ("content-length", "5"), method="POST"), ends=False)
        wire.data(stream, b"hello", ends=True)
        check(b'"size": 5' in answered(wire, stream).content, "other content")
        stream = wire.headers(get(f"/{upstream}/echo", ("content-length", "0"), method="POST"))
        check(b'"size": 0' in answered(wire, stream).content, "other content")


@case("te: trailers is served")
def _(over):
    wire = ready(over)
    answered(wire, wire.headers(get("/h1/echo", ("te", "trailers"))))


@case("host without :authority is served")
def _(over):
    wire = ready(over)
    fields = [f for f in get() if f[0] != ":authority"] + [("host", "gateway.test")]
    answered(wire, wire.headers(fields))


@case("host equal to :authority is served, and the API sees one Host")
def _(over):
    wire = ready(over)
    content = answered(wire, wire.headers(get("/h1/echo", ("host", "gateway.test")))).content
    check(content.count(b'["host"') == 1, "not one Host")


@case("octets above 127 in a value are served")
def _(over):
    wire = ready(over)
    answered(wire, wire.headers(get("/h1/echo", ("x-latin", "caf\xe9"))))


@case("plain CONNECT opens nothing")
def _(over):
    wire = ready(over)
    stream = wire.headers([(":method", "CONNECT"), (":authority", "127.0.0.1:22")], ends=False)
    record = wire.stream(stream)
    wire.wait(lambda: record.is_over, "refusal")
    check(record.reset is not None or record.status >= 400, wire.state())
    survives(wire)


@case("CONNECT with :path and :scheme but no :protocol is refused")
def _(over):
    refused(over, without(":method") + [(":method", "CONNECT")], statuses=(400, 404, 405, 501))


@case("an unknown path is answered 404 by the gateway")
def _(over):
    wire = ready(over)
    record = answered(wire, wire.headers(get("/nowhere")), 404)
    check(record.field("token-gateway-error") == "no_route", f"{record.head}")


@case("a target above the limit is answered 414, a field section above it 431")
def _(over):
    wire = ready(over)
    record = answered(wire, wire.headers(get("/h1/echo/" + "a" * 20000)), 414)
    check(record.field("token-gateway-error") == "target_too_long", f"{record.head}")
    stream = wire.headers(get("/h1/echo", *[("x-large", "v" * 4000)] * 12))
    record = wire.stream(stream)
    wire.wait(lambda: record.is_over or wire.goaways, "refusal")
    check(record.status == 431 or record.reset is not None, wire.state(stream))
    survives(wire)


# MARK: What reaches the API

@case("the API gets the token, no hop-by-hop field, and what the caller said")
def _(over):
    wire = ready(over)
    for upstream in ["h1", "h2"]:
        mark = unique("whole")
        stream = wire.headers(get(
            f"/{upstream}/echo/{mark}?a=b", ("authorization", "Bearer own"), ("cookie", "a=b"), ("x-custom", "1"),
            ("x-custom", "2"), ("te", "trailers"), method="PUT"), ends=False)
        wire.data(stream, b"abc")
        wire.headers([("x-trailer", "t")], stream=stream)
        answered(wire, stream)
        seen = origins[upstream].seen(mark)[0]
        tokens = [v for n, v in seen.fields if n == "authorization"]
        check(tokens == ["Bearer " + place.token], f"{upstream}: authorization {tokens}")
        check([v for n, v in seen.fields if n == "x-custom"] == ["1", "2"], f"{upstream}: {seen.fields}")
        check(seen.method == "PUT" and seen.target.endswith(f"/echo/{mark}?a=b"), f"{seen.method} {seen.target}")
        check(not [n for n, _ in seen.fields if n in ("cookie", "keep-alive")], f"{upstream}: {seen.fields}")
        check(seen.trailers == [("x-trailer", "t")], f"{upstream}: trailers {seen.trailers}")
    check(not origins["h2"].complaints, f"{origins['h2'].complaints}")


@case("crumbs of a cookie are joined for HTTP/1.1")
def _(over):
    wire = ready(over)
    mark = unique("crumbs")
    answered(wire, wire.headers(get(f"/cookies/echo/{mark}", ("cookie", "a=b"), ("cookie", "c=d"), ("cookie", "e=f"))))
    cookies = [v for n, v in origins["h1"].seen(mark)[0].fields if n == "cookie"]
    check(cookies == ["a=b; c=d; e=f"], f"{cookies}")


# MARK: Flow control (5.2, 6.9)

@case("a WINDOW_UPDATE of 0 for the connection is PROTOCOL_ERROR")
def _(over):
    wire = ready(over)
    wire.window_update(0, 0)
    connection_error(wire, PROTOCOL_ERROR)


@case("a WINDOW_UPDATE of 0 for a stream is PROTOCOL_ERROR")
def _(over):
    wire = ready(over)
    stream = open_stream(wire)
    wire.window_update(stream, 0)
    either_error(wire, stream, PROTOCOL_ERROR)


@case("a connection's window above 2^31-1 is FLOW_CONTROL_ERROR")
def _(over):
    wire = ready(over)
    wire.window_update(0, 0x7FFFFFFF)
    wire.try_send(frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", 0x7FFFFFFF)))
    connection_error(wire, FLOW_CONTROL_ERROR)


@case("a stream's window above 2^31-1 is FLOW_CONTROL_ERROR of the stream")
def _(over):
    wire = ready(over)
    stream, gate = held(wire)
    wire.window_update(stream, 0x7FFFFFFF)
    stream_error(wire, stream, FLOW_CONTROL_ERROR)
    gate.set()


@case("INITIAL_WINDOW_SIZE that carries a stream's window above 2^31-1 is FLOW_CONTROL_ERROR")
def _(over):
    wire = ready(over)
    stream, gate = held(wire)
    wire.window_update(stream, 0x7FFFFFFF - 65535)
    wire.settings((INITIAL_WINDOW_SIZE, 65536))
    either_error(wire, stream, FLOW_CONTROL_ERROR)
    gate.set()


def counted(over, initial, path="/h1/sized/1000"):
    """A download with windows given by hand: (wire, stream, grow to exactly)."""
    wire = place.ready_caller(over, (INITIAL_WINDOW_SIZE, initial))
    wire.gives_windows = False
    stream = wire.headers(get(path))
    record = wire.stream(stream)

    def exactly(count):
        wire.wait(lambda: record.head is not None and len(record.content) >= count, f"{count} octets")
        wire.round_trip()
        check(len(record.content) == count, f"expected {count} octets: {wire.state(stream)}")
    return wire, stream, exactly


for upstream in ["h1", "h2"]:
    @case(f"a stream's window is kept to octet by octet, content from {upstream}")
    def _(over, upstream=upstream):
        wire, stream, exactly = counted(over, 10, f"/{upstream}/sized/1000")
        exactly(10)
        wire.window_update(stream, 1)
        exactly(11)
        wire.window_update(stream, 500)
        exactly(511)
        wire.window_update(stream, 489)
        exactly(1000)
        wire.wait(lambda: wire.stream(stream).is_ended, "end")
        check(bytes(wire.stream(stream).content) == origin.pattern(1000), "other content")


@case("a window of 0 that SETTINGS open lets content through")
def _(over):
    wire, stream, exactly = counted(over, 0)
    exactly(0)
    wire.settings((INITIAL_WINDOW_SIZE, 3))
    exactly(3)
    wire.settings((INITIAL_WINDOW_SIZE, 2000))
    exactly(1000)


@case("a window that SETTINGS make negative is filled up before content goes on")
def _(over):
    wire, stream, exactly = counted(over, 100)
    exactly(100)
    wire.settings((INITIAL_WINDOW_SIZE, 30))
    wire.window_update(stream, 60)
    exactly(100)
    wire.window_update(stream, 10)
    exactly(100)
    wire.window_update(stream, 10)
    exactly(110)
    wire.settings((INITIAL_WINDOW_SIZE, 2000))
    exactly(1000)


@case("the connection's window bounds all streams together")
def _(over):
    wire = ready(over)
    wire.gives_windows = False
    streams = [wire.headers(get("/h1/sized/40000")) for _ in range(3)]
    total = lambda: sum(len(wire.stream(s).content) for s in streams)
    wire.wait(lambda: total() >= 65535, "the first window's content")
    wire.round_trip()
    check(total() == 65535, f"{total()} octets")
    answered(wire, wire.headers(get("/h1/status/204")), 204)      # no window is needed for a head
    wire.window_update(0, 100000)
    for stream in streams:
        check(bytes(answered(wire, stream).content) == origin.pattern(40000), "other content")


@case("an empty answer needs no window")
def _(over):
    wire = place.ready_caller(over, (INITIAL_WINDOW_SIZE, 0))
    answered(wire, wire.headers(get("/h1/fields/1")))
    answered(wire, wire.headers(get("/h1/sized/0")))


for upstream in ["h1", "h2"]:
    @case(f"an upload goes on as the gateway gives windows back, to {upstream}")
    def _(over, upstream=upstream):
        wire = ready(over)
        stream = wire.headers(get(f"/{upstream}/echo", method="POST"), ends=False)
        wire.data(stream, origin.pattern(1500000), ends=True)
        digest = __import__("hashlib").sha256(origin.pattern(1500000)).hexdigest()
        check(digest.encode() in answered(wire, stream).content, "other content arrived")

    @case(f"an upload that the {upstream} API does not take is held back, and then goes on")
    def _(over, upstream=upstream):
        wire = ready(over)
        gate = unique("stall")
        stream = wire.headers(get(f"/{upstream}/stall/{gate}", method="POST"), ends=False)
        record, sent, idle = wire.stream(stream), 0, 0
        while idle < 3:
            wire.round_trip()
            room = min(wire.send_window, wire.send_window_of(record))
            if room <= 0:
                idle += 1
                continue
            idle = 0
            wire.data(stream, bytes(room))
            sent += room
            # What sockets hold between the gateway and the API comes on top of the gateway's own share.
            check(sent < 24 << 20, "there is no bound")
        origins[upstream].gate(gate).set()
        wire.data(stream, b"end", ends=True)
        check(b'"size": %d,' % (sent + 3) in answered(wire, stream).content, "other content arrived")


@case("content beyond the gateway's window is FLOW_CONTROL_ERROR")
def _(over):
    wire = ready(over)
    gate = unique("stall")
    stream = wire.headers(get(f"/h2/stall/{gate}", method="POST"), ends=False)
    piece = frame(DATA, 0, stream, bytes(16384))
    for _ in range(64 << 6):
        if wire.goaways or wire.stream(stream).reset is not None or not wire.try_send(piece):
            break
        wire.pump(0)
    else:
        raise Failure("64 MiB were taken")
    origins["h2"].gate(gate).set()
    if wire.stream(stream).reset is None:
        connection_error(wire, FLOW_CONTROL_ERROR)
    else:
        check(wire.stream(stream).reset == FLOW_CONTROL_ERROR, wire.state(stream))


# MARK: HPACK (RFC 7541)

def huffman(octets):
    """A literal with a Huffman-coded value made of these octets."""
    return b"\x00" + b"\x01x" + bytes([0x80 | len(octets)]) + octets


for name, tail in [
    ("index 0", b"\x80"), ("an index beyond the table", b"\xff\x80\x01"),
    ("a name's index beyond the table", b"\x7f\xff\x01\x01a"),
    ("a table size above what was announced", None), ("a table size update after a field", b"\x20"),
    ("an unfinished literal", b"\x00\x05ab"), ("an unfinished integer", b"\xff\xff"),
    ("an integer without end", b"\xff" + b"\xff" * 12),
    ("Huffman padding of zeros", huffman(b"\x18")), ("Huffman padding above 7 bits", huffman(b"\x1f\xff")),
    ("the Huffman code of EOS", huffman(b"\xff\xff\xff\xff")),
]:
    @case(f"HPACK: {name} is COMPRESSION_ERROR")
    def _(over, tail=tail):
        wire = ready(over)
        block = wire.encode(get())
        block = encode_integer(65537, 5) if tail is None else block + tail
        if tail is None:
            block = bytes([block[0] | 0x20]) + bytes(block[1:]) + wire.encode(get())
        wire.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, bytes(block)))
        connection_error(wire, COMPRESSION_ERROR)


@case("HPACK: the table lasts over requests, refused ones included")
def _(over):
    wire = ready(over)
    wire.headers(get("/h1/echo", ("x-first", "one"), ("X-Bad", "1"), ("x-second", "two")))
    wire.wait(lambda: wire.stream(1).is_over, "refusal")
    for _ in range(3):
        stream = wire.headers(get("/h1/echo", ("x-first", "one"), ("x-second", "two")))
        content = answered(wire, stream).content
        check(b'["x-first", "one"]' in content and b'["x-second", "two"]' in content, "other fields")


@case("HPACK: the caller may empty its table and go on")
def _(over):
    wire = ready(over)
    for size in [4096, 0, 100, 4096]:
        wire.encoder.header_table_size = size
        stream = wire.headers(get("/h1/echo", ("x-size", str(size)), ("x-more", "m" * 50)))
        check(f'["x-size", "{size}"]'.encode() in answered(wire, stream).content, "other fields")


@case("HPACK: Huffman-coded requests are understood")
def _(over):
    wire = ready(over)
    block = wire.encoder.encode(get("/h1/echo", ("x-coded", "abc~|{}^09")), huffman=True)
    check(b'abc~|{}^09' in answered(wire, wire.headers(None, block=block)).content, "other fields")


@case("HPACK: a caller's table size of 0 is kept to, and one that changes is")
def _(over):
    wire = place.caller(over)
    wire.preface((HEADER_TABLE_SIZE, 0))
    wire.wait(lambda: wire.acknowledged, "acknowledgement")
    for size in [0, 0, 4096, 4096, 4096, 64, 64, 0, 8192, 8192]:
        if wire.decoder.max_allowed_table_size != size:
            acknowledged = wire.acknowledged
            wire.settings((HEADER_TABLE_SIZE, size))
            wire.wait(lambda: wire.acknowledged > acknowledged, "acknowledgement")
        wire.decoder.max_allowed_table_size = size       # it raises when the gateway does not say that it shrinks
        record = answered(wire, wire.headers(get("/h1/fields/3/20")))
        check(record.field("x-field-2") == "v" * 20, f"{record.head}")
        if size == 0:
            check(wire.decoder.header_table.maxsize == 0, "the table has entries")


# MARK: TLS and HTTP/1.1 beside HTTP/2

def alpn(name, offers, expected):
    @table.case(name)
    def _(place):
        connection = place.connect_tls(offers)
        check(connection.selected_alpn_protocol() == expected, f"{connection.selected_alpn_protocol()}")
        if expected == "h2":
            wire = Wire(connection)
            wire.preface()
            survives(wire)
        else:
            connection.sendall(b"GET /h1/echo HTTP/1.1\r\nHost: gateway.test\r\nConnection: close\r\n\r\n")
            check(connection.recv(100).startswith(b"HTTP/1.1 200 "), "no answer")


alpn("ALPN: h2 is chosen where the caller offers it first", ["h2", "http/1.1"], "h2")
alpn("ALPN: h2 is chosen where the caller offers it last", ["http/1.1", "h2"], "h2")
alpn("ALPN: http/1.1 is chosen where the caller offers nothing else", ["http/1.1"], "http/1.1")
alpn("ALPN: a caller without ALPN speaks HTTP/1.1", None, None)


@table.case("ALPN: a caller that offers only unknown protocols is refused or speaks HTTP/1.1")
def _(place):
    try:
        connection = place.connect_tls(["spdy/3"])
    except ssl.SSLError:
        return
    check(connection.selected_alpn_protocol() is None, f"{connection.selected_alpn_protocol()}")


@table.case("TLS 1.2 with AEAD is served, TLS 1.1 and CBC are not")
def _(place):
    context = place.trust(["h2"])
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    wire = Wire(context.wrap_socket(place.connect(place.tls), server_hostname="localhost"))
    check(wire.connection.version() == "TLSv1.2", f"{wire.connection.version()}")
    wire.preface()
    survives(wire)
    for attempt in ["version", "ciphers"]:
        context = place.trust(["h2"])
        if attempt == "version":
            context.minimum_version = ssl.TLSVersion.TLSv1
            context.maximum_version = ssl.TLSVersion.TLSv1_1
            context.set_ciphers("ALL:@SECLEVEL=0")
        else:
            context.maximum_version = ssl.TLSVersion.TLSv1_2
            context.set_ciphers("ECDHE-ECDSA-AES128-SHA:ECDHE-ECDSA-AES128-SHA256:AES128-SHA")
        try:
            context.wrap_socket(place.connect(place.tls), server_hostname="localhost")
        except (ssl.SSLError, ConnectionError):
            continue
        raise Failure(f"a handshake with weak {attempt} came about")


@table.case("after ALPN h2 a request in HTTP/1.1 ends the connection")
def _(place):
    connection = place.connect_tls(["h2"])
    connection.sendall(b"GET /h1/echo HTTP/1.1\r\nHost: gateway.test\r\n\r\n")
    received = b""
    try:
        while piece := connection.recv(1 << 16):
            received += piece
    except OSError:
        pass
    check(b"HTTP/1.1 200" not in received, "it was served")


@table.case("Upgrade: h2c is not followed")
def _(place):
    connection = place.connect(place.plain)
    connection.sendall(
        b"GET /h1/echo HTTP/1.1\r\nHost: gateway.test\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
        b"HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n\r\n")
    check(connection.recv(100).startswith(b"HTTP/1.1 200 "), "not answered in HTTP/1.1")


@table.case("a path that begins like the preface is HTTP/1.1")
def _(place):
    connection = place.connect(place.plain)
    connection.sendall(b"P")
    connection.sendall(b"RI /h1/echo HTTP/1.1\r\nHost: gateway.test\r\nConnection: close\r\n\r\n")
    check(connection.recv(100).startswith(b"HTTP/1.1 "), "no answer")


@table.case("SIGTERM: GOAWAY with the highest id, then with the last one, and open streams end")
def _(place):
    wires = [ready("h2c"), ready("h2")]
    opened = [held(wire) for wire in wires]
    for wire, (stream, _) in zip(wires, opened):
        until(lambda: len(origins["h1"].seen()) > 0, "a request")
        wire.round_trip()
    until(lambda: all(any(e.words[-1] == n for e in origins["h1"].seen("hold"))
                      for n in [k for k, g in origins["h1"].gates.items() if g in [o[1] for o in opened]]), "both")
    idle = ready("h2c")
    survives(idle)
    os.kill(place.pid, signal.SIGTERM)
    idle.wait_closed()
    check(idle.goaways and idle.goaways[-1][1] == NO_ERROR, "idle: " + idle.state())
    for wire, (stream, gate) in zip(wires, opened):
        wire.wait(lambda: wire.goaways, "GOAWAY")
        gate.set()
        answered(wire, stream)
        wire.wait_closed()
        check(all(code == NO_ERROR for _, code, _ in wire.goaways), wire.state())
        check(wire.goaways[0][0] >= stream and wire.goaways[-1][0] >= stream, wire.state())


table.run(place)
