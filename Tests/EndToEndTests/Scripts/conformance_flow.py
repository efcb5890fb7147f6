"""Flow control (RFC 9113 5.2, 6.9) and HPACK (RFC 7541)."""

import hashlib

from hpack.hpack import encode_integer

from conformance_base import *


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
        digest = hashlib.sha256(origin.pattern(1500000)).hexdigest()
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
