"""Field blocks, requests, and what of them reaches the API (RFC 9113 6.10, 8)."""

from conformance_base import *


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
