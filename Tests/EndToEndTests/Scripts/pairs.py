"""Every feature over every pair of protocols: callers over HTTP/1.1 and HTTP/2, plain and TLS; APIs over both."""

import hashlib
import sys

import calls
import origin
from kit import *

table = Table()
place = Place(sys.argv[1])
origins = {"h1": origin.Origin(place, place.h1, ["http/1.1"]), "h2": origin.Origin(place, place.h2, ["h2"])}
ALL = [(over, upstream) for over in calls.PROTOCOLS for upstream in ("h1", "h2")]
FEW = [(over, upstream) for over in ("h1", "h2c") for upstream in ("h1", "h2")]


def case(name, pairs=FEW):
    def register(function):
        for over, upstream in pairs:
            table.add(f"{name} ({over} → {upstream})",
                      lambda _, over=over, upstream=upstream: function(over, upstream))
        return function
    return register


def told(made):
    """What the echo says."""
    return json.loads(calls.expect(made))


SIZES = [0, 1, 100, 16383, 16384, 16385, 65535, 65536, 300000, 3000000]


@case("uploads of every size arrive, with and without a length", ALL)
def _(over, upstream):
    for size in SIZES:
        content = origin.pattern(size)
        for length in [size, None]:
            made = calls.begin(place, over, f"/{upstream}/echo", "POST", length=length)
            if content:
                made.send(content)
            made.finish()
            answer = told(made)
            check(answer["size"] == size, f"{answer['size']} of {size} octets, length {length}")
            check(answer["sha256"] == hashlib.sha256(content).hexdigest(), f"other content of {size} octets")
            check(answer["protocol"] == {"h1": "http/1.1", "h2": "h2"}[upstream], answer["protocol"])
            lengths = [v for n, v in answer["fields"] if n == "content-length"]
            check(lengths == ([str(size)] if length is not None else []), f"content-length {lengths} of {length}")
            made.close()


@case("downloads of every size arrive, with and without a length", ALL)
def _(over, upstream):
    for size in SIZES:
        for kind in ["sized", "streamed"]:
            made = calls.call(place, over, f"/{upstream}/{kind}/{size}")
            check(calls.expect(made) == origin.pattern(size), f"other content of {size} octets, {kind}")
            expected = str(size) if kind == "sized" else None
            check(made.field("content-length") == expected, f"content-length {made.field('content-length')}, {kind}")
            made.close()


@case("methods, statuses and fields arrive as they are", ALL)
def _(over, upstream):
    for method in ["GET", "DELETE", "OPTIONS", "PATCH", "PUT", "PROPFIND", "X-OWN"]:
        made = calls.call(place, over, f"/{upstream}/echo/{method}?a=b&c=%20", method,
                          [("x-custom", "a, b"), ("accept", "*/*"), ("x-custom", "c")])
        answer = told(made)
        check(answer["method"] == method and answer["target"].endswith(f"/echo/{method}?a=b&c=%20"), f"{answer}")
        fields = answer["fields"]
        check([v for n, v in fields if n == "x-custom"] == ["a, b", "c"], f"{fields}")
        check([v for n, v in fields if n == "authorization"] == ["Bearer " + place.token], f"{fields}")
        made.close()
    for status in [200, 201, 202, 302, 400, 403, 404, 429, 500, 503]:
        made = calls.call(place, over, f"/{upstream}/status/{status}")
        check(calls.expect(made, status) == b"as asked", f"{status}")
        check(made.field("token-gateway-error") is None, f"{made.fields}")
        made.close()


@case("HEAD, 204 and 304 have no content", ALL)
def _(over, upstream):
    made = calls.call(place, over, f"/{upstream}/sized/12345", "HEAD")
    check(calls.expect(made) == b"" and made.field("content-length") == "12345", f"{made.fields}")
    made = calls.call(place, over, f"/{upstream}/streamed/12345", "HEAD")
    check(calls.expect(made) == b"", "content")
    for status in [204, 304]:
        made = calls.call(place, over, f"/{upstream}/status/{status}")
        check(calls.expect(made, status) == b"" and made.field("etag") == '"a"', f"{made.fields}")


@case("trailers of requests arrive", ALL)
def _(over, upstream):
    made = calls.call(place, over, f"/{upstream}/echo", "POST", [("trailer", "x-check")], b"content",
                      [("x-check", "abc"), ("x-second", "d")])
    answer = told(made)
    check(answer["trailers"] == [["x-check", "abc"], ["x-second", "d"]], f"{answer['trailers']}")
    check(answer["size"] == 7, f"{answer['size']}")


@case("trailers of answers arrive at callers that take them", ALL)
def _(over, upstream):
    fields = [("te", "trailers")] + ([("connection", "te")] if over.startswith("h1") else [])
    made = calls.call(place, over, f"/{upstream}/trailers", fields=fields)
    check(calls.expect(made) == b"content", f"{made.content!r}")
    check(made.trailers == [("x-check", "abc"), ("x-other", "def")], f"{made.trailers}")


@case("informational answers arrive, but not those of an attempt that may be repeated with another token", ALL)
def _(over, upstream):
    made = calls.call(place, over, f"/open-{upstream}/interim/103/103/102")
    check(calls.expect(made) == b"final", f"{made.content!r}")
    check([s for s, _ in made.informational] == [103, 103, 102], f"{made.informational}")
    check(dict(made.informational[0][1]).get("x-interim") == "103", f"{made.informational}")
    made = calls.call(place, over, f"/{upstream}/interim/103/103/102")
    check(calls.expect(made) == b"final" and not made.informational, f"{made.informational}")


@case("100-continue: content is asked for before it is sent")
def _(over, upstream):
    made = calls.begin(place, over, f"/{upstream}/echo", "POST", [("expect", "100-continue")], length=5)
    check(made.next_head() == 100, "not 100")
    made.send(b"hello")
    made.finish()
    check(told(made)["size"] == 5, "other content")


@case("100-continue: a refusal comes without the content")
def _(over, upstream):
    made = calls.begin(place, over, f"/{upstream}/early/417", "POST", [("expect", "100-continue")], length=5)
    while (status := made.next_head()) == 100:
        pass
    check(status == 417, f"status {status}")
    check(made.read_all() == b"early", f"{made.content!r}")


@case("an answer before the content is sent arrives whole", ALL)
def _(over, upstream):
    for code in [200, 413]:
        made = calls.begin(place, over, f"/{upstream}/early/{code}", "POST", length=10000000)
        made.send(bytes(1000))
        check(calls.expect(made, code) == b"early", f"{made.content!r}")
        made.close()


@case("each piece of an upload arrives at once, and its answer comes back", ALL)
def _(over, upstream):
    made = calls.begin(place, over, f"/{upstream}/turns", "POST")
    answered = b""
    for size in [1, 10, 1000, 16384, 5]:
        made.send(bytes(size))
        deadline = time.monotonic() + PATIENCE
        while sum(int(n) for n in answered.split(b";") if n) < sum([1, 10, 1000, 16384, 5][:[1, 10, 1000, 16384, 5].index(size) + 1]):
            check(time.monotonic() < deadline, f"after {size}: {answered}")
            answered = made.read_to(len(answered) + 1)
            if not answered.endswith(b";"):
                answered = answered[:answered.rfind(b";") + 1]
    made.finish()
    check(made.read_all().endswith(b";"), f"{made.content!r}")


@case("a part of an answer arrives before the rest is there", ALL)
def _(over, upstream):
    gate = unique("part")
    made = calls.call(place, over, f"/{upstream}/part/{gate}")
    check(made.read_to(10) == b"first part", f"{made.content!r}")
    origins[upstream].gate(gate).set()
    check(made.read_all() == b"first part, second part", f"{made.content!r}")


@case("server-sent events arrive one by one", ALL)
def _(over, upstream):
    """The API sends an event only when the caller has said that it has the one before."""
    gate, count = unique("events"), 8

    def events(exchange, *_):
        exchange.head(200, [("content-type", "text/event-stream"), ("cache-control", "no-store")])
        for number in range(count):
            exchange.origin.pass_gate(f"{gate}-{number}")
            exchange.send(f"id: {number}\ndata: event {number}\n\n".encode())
        exchange.finish()
    origins[upstream].handlers["events"] = events
    made = calls.call(place, over, f"/{upstream}/events/{gate}", fields=[("accept", "text/event-stream")])
    check(made.head() == 200 and made.field("content-type") == "text/event-stream", f"{made.fields}")
    expected = b""
    for number in range(count):
        origins[upstream].gate(f"{gate}-{number}").set()
        expected += f"id: {number}\ndata: event {number}\n\n".encode()
        check(made.read_to(len(expected)) == expected, f"event {number}: {made.content!r}")
    check(made.read_all() == expected, "more came")


@case("an answer that breaks off is cut for the caller", ALL)
def _(over, upstream):
    gate = unique("cut")
    made = calls.call(place, over, f"/{upstream}/cut/{gate}")
    check(made.read_to(6) == b"a part", f"{made.content!r}")
    origins[upstream].gate(gate).set()
    try:
        made.read_all()
    except calls.Cut:
        if over.startswith("h2"):
            check(made.record.reset not in (None, NO_ERROR), f"{made.wire.state()}")
            # The connection serves on.
            again = calls.FramedCall(place, over, f"/{upstream}/echo", "GET", [], None, True, wire=made.wire)
            calls.expect(again)
        return
    raise Failure("the answer looks complete")


@case("content and trailers that cross an early answer harm no other stream", [("h2c", "h1"), ("h2c", "h2")])
def _(over, upstream):
    wire = place.ready_caller("h2c")
    for turn in range(60):
        made = calls.FramedCall(place, over, f"/{upstream}/early/200", "POST", [], None, False, wire=wire)
        if turn % 3 == 1:
            made.head()
        if turn % 3 == 2:
            made.send(b"some")
        # As frames that were on their way, whatever has come by now.
        wire.send(frame(DATA, 0, made.id, b"content"),
                  frame(HEADERS, END_HEADERS | END_STREAM, made.id, wire.encode([("x-check", "abc")])))
        check(calls.expect(made) == b"early", f"{made.content!r}")
    check(not wire.goaways, wire.state()[:300])


@case("an exchange that the API breaks off before its answer is 502", ALL)
def _(over, upstream):
    mark = unique("lost")
    made = calls.call(place, over, f"/{upstream}/lost/{mark}", "POST", content=b"abc")
    calls.expect(made, 502)
    check(len(origins[upstream].seen(mark)) == 1, "sent more than once")


@case("a caller that leaves ends the exchange at the API", ALL)
def _(over, upstream):
    gate = unique("gone")
    made = calls.call(place, over, f"/{upstream}/forever/{gate}")
    check(made.read_to(7) == b"started", f"{made.content!r}")
    made.cancel()
    until(origins[upstream].gate(gate).is_set, "the API learns of it")


@case("a caller that leaves during its upload ends the exchange at the API")
def _(over, upstream):
    gate = unique("upload")

    def upload(exchange, *_):
        try:
            while exchange.read():
                exchange.origin.gate(gate + "-started").set()
        except origin.Gone:
            exchange.origin.gate(gate).set()
            raise
    origins[upstream].handlers[gate] = upload
    made = calls.begin(place, over, f"/{upstream}/{gate}", "POST")
    made.send(b"some")
    until(origins[upstream].gate(gate + "-started").is_set, "content at the API")
    made.cancel()
    until(origins[upstream].gate(gate).is_set, "the API learns of it")


@case("a caller that does not read holds the API back", FEW)
def _(over, upstream):
    sent = [0]
    name = unique("endless")
    total = 64 << 20

    def endless(exchange, *_):
        exchange.head(200)
        piece = origin.pattern(1 << 16)
        while sent[0] < total:
            exchange.send(piece)
            sent[0] += len(piece)
        exchange.finish()
    origins[upstream].handlers[name] = endless
    if over == "h1":
        made = calls.PlainCall(place, over, f"/{upstream}/{name}", "GET", [], None, True)
    else:
        wire = place.ready_caller("h2c", (INITIAL_WINDOW_SIZE, 1000))
        wire.gives_windows = False
        made = calls.FramedCall(place, over, f"/{upstream}/{name}", "GET", [], None, True, wire=wire)
    made.read_to(1000)
    # The API's sending comes to a stand-still: the same count after 20 looks, each behind an exchange of its own.
    before, quiet = -1, 0
    deadline = time.monotonic() + PATIENCE
    while quiet < 20:
        calls.expect(calls.call(place, "h1", f"/{upstream}/status/200"))
        quiet, before = (quiet + 1, before) if sent[0] == before else (0, sent[0])
        check(time.monotonic() < deadline and sent[0] < total, f"{sent[0]} octets and no end")
    check(sent[0] < 24 << 20, f"{sent[0]} octets were taken for a caller that does not read")
    made.cancel()


@case("40 exchanges at once on one connection keep apart", [("h2c", "h1"), ("h2c", "h2"), ("h2 over TLS", "h2")])
def _(over, upstream):
    wire = place.ready_caller("h2c" if over == "h2c" else "h2")
    made = []
    for number in range(40):
        call = calls.FramedCall(place, over, f"/{upstream}/echo/{number}", "POST", [], None, False, wire=wire)
        made.append(call)
    contents = [origin.pattern(1000 * n + 1) for n in range(40)]
    for half in range(2):
        for call, content in zip(made, contents):
            middle = len(content) // 2
            call.send(content[:middle] if half == 0 else content[middle:])
    for call in made:
        call.finish()
    for number, (call, content) in enumerate(zip(made, contents)):
        answer = told(call)
        check(answer["target"].endswith(f"/echo/{number}"), f"{answer['target']}")
        check(answer["sha256"] == hashlib.sha256(content).hexdigest(), f"other content in {number}")


@case("requests one after the other share connections")
def _(over, upstream):
    numbers = set()
    for _ in range(10):
        numbers.add(told(calls.call(place, over, f"/{upstream}/echo"))["connection"])
    check(len(numbers) <= 2, f"connections {numbers}")


@case("the API says that the token has expired: the new one is used, with the same content", ALL)
def _(over, upstream):
    """401 until the token's file has changed; then the request comes again, once."""
    mark = unique("expired")
    fresh = f"token-{mark}-{over[:2]}-{upstream}"

    def expiring(exchange, *_):
        content = exchange.read_all()
        if exchange.field("authorization") == "Bearer " + fresh:
            return exchange.answer(200, hashlib.sha256(content).hexdigest().encode())
        with open(place.token_file + ".new", "w", encoding="ascii") as file:
            os.chmod(place.token_file + ".new", 0o600)
            file.write(fresh)
        os.replace(place.token_file + ".new", place.token_file)
        exchange.answer(401, b"expired", [("www-authenticate", 'Bearer error="invalid_token"')])
    origins[upstream].handlers["expiring"] = expiring
    for size in [0, 1, 200000]:
        content = origin.pattern(size)
        fresh = f"token-{mark}-{over[:2]}-{upstream}-{size}"
        made = calls.call(place, over, f"/expiring-{upstream}/expiring/{mark}{size}", "POST", content=content)
        check(calls.expect(made) == hashlib.sha256(content).hexdigest().encode(), "other content")
        seen = origins[upstream].seen(f"{mark}{size}")
        check(len(seen) == 2, f"{len(seen)} attempts")
        made.close()


@case("content above retry_body_limit: the 401 is passed on")
def _(over, upstream):
    mark = unique("large")

    def large(exchange, *_):
        exchange.read_all()
        exchange.answer(401, b"no", [("www-authenticate", 'Bearer error="invalid_token"')])
    origins[upstream].handlers["large"] = large
    made = calls.call(place, over, f"/expiring-{upstream}/large/{mark}", "POST", content=bytes(2 << 20))
    check(calls.expect(made, 401) == b"no", f"{made.content!r}")
    check(len(origins[upstream].seen(mark)) == 1, "sent more than once")


@table.case("the framed API found nothing wrong with what the gateway sent")
def _(_):
    check(not origins["h2"].complaints, f"{origins['h2'].complaints}")


table.run(place)
