"""Preface, SETTINGS, frames, the states of streams (RFC 9113 3.4, 4, 5.1, 6)."""

from conformance_base import *


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
