"""Answers that are malformed or odd (RFC 9113 8)."""

from upstreams_base import *


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
