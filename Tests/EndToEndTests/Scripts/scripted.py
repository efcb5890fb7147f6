"""An API that does wrong on purpose: each of its connections is driven frame by frame by the case at hand."""

import socket
import struct
import threading
import traceback

import calls
from kit import *


class Upstream:
    """Listens at one of the ports that the gateway has an upstream for. `script(wire, number)` drives each connection;
    it may be replaced at any time and then counts for the next connection."""

    def __init__(self, place, index, alpn=("h2",)):
        self.place = place
        self.index = index
        self.script = good
        self.plain_script = None
        self.connections = 0
        self.wires = []
        self.errors = []
        self.settings = []
        self.identity = place.identity(list(alpn) if alpn else None)
        self.listener = socket.create_server(("127.0.0.1", place.bad[index]), backlog=128)
        start(self._accept)

    def _accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            self.connections += 1
            start(self._serve, connection, self.connections)

    def _serve(self, connection, number):
        wire = None
        try:
            connection.settimeout(PATIENCE)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection = self.identity.wrap_socket(connection, server_side=True)
            if connection.selected_alpn_protocol() != "h2":
                return self.plain_script(connection, number)
            preface = b""
            while len(preface) < len(PREFACE):
                piece = connection.recv(len(PREFACE) - len(preface))
                check(piece, "no preface")
                preface += piece
            check(preface == PREFACE, f"the preface is {preface}")
            wire = Wire(connection, is_caller=False)
            self.wires.append(wire)
            self.script(wire, number)
        except Failure as failure:
            self.errors.append(str(failure))
        except OSError as error:
            self.errors.append(f"{type(error).__name__}: {error}")
        except Exception:
            self.errors.append(traceback.format_exc())
        finally:
            (wire or connection).close()

    def begin(self, over, method="GET", fields=(), path="/x", **more):
        return calls.begin(self.place, over, f"/bad{self.index}{path}", method, fields, **more)

    def call(self, over, method="GET", fields=(), content=None, path="/x", **more):
        return calls.call(self.place, over, f"/bad{self.index}{path}", method, fields, content, **more)

    def close(self):
        self.listener.close()


# MARK: What scripts are made of

def hello(wire, *values):
    wire.preface(*values)
    wire.wait(lambda: wire.peer_settings and wire.acknowledged, "SETTINGS of the gateway")


def next_request(wire, taken):
    """The next stream with a head; `taken` is the caller's set of those that it has had."""
    fresh = lambda: [s for s in wire.opened if s not in taken and wire.stream(s).head]
    wire.wait(fresh, "request", patience=PATIENCE * 3)
    stream = fresh()[0]
    taken.add(stream)
    return wire.stream(stream)


def whole(wire, record):
    wire.wait(lambda: record.is_over, "end of the request")
    return record


def respond(wire, stream, content=b"good", fields=(), status="200"):
    wire.stream(stream).is_answered = True
    wire.headers([(":status", status), *fields], stream=stream, ends=not content)
    if content:
        wire.data(stream, content, ends=True)


def serve(wire):
    """Answers everything that comes, until the gateway closes."""
    while not wire.is_closed:
        for record in [wire.stream(s) for s in wire.opened]:
            if record.is_ended and not record.is_answered:
                respond(wire, record.id, b"good, %d octets" % len(record.content))
        wire.pump(0.5)


def first(wire, *values):
    """Exchanges SETTINGS, which a gateway need not wait for, and answers a first request."""
    hello(wire, *values)
    record = whole(wire, next_request(wire, set()))
    respond(wire, record.id)
    return set(wire.opened[:1])


def good(wire, number):
    hello(wire)
    serve(wire)


def drain(wire):
    """Reads until the gateway closes."""
    while not wire.is_closed:
        wire.pump(0.5)


def after_request(action):
    """A script: the request comes whole, then the action; whatever comes then is answered well."""
    def script(wire, number):
        hello(wire)
        record = whole(wire, next_request(wire, set()))
        record.is_answered = True
        action(wire, record.id)
        serve(wire)
    return script


def fields_only(*pairs, ends=True, block=None):
    """A script whose answer is one head, whatever it says."""
    def action(wire, stream):
        octets = block if block is not None else b"".join(
            literal(to_octets(n), to_octets(v)) for n, v in pairs)
        wire.send(frame(HEADERS, END_HEADERS | (END_STREAM if ends else 0), stream, octets))
    return after_request(action)


# MARK: What the caller must see

def refused(call, statuses=(502,), codes=("upstream_protocol",)):
    """The gateway's own answer."""
    status = call.head()
    content = call.read_all()
    told = call.field("token-gateway-error")
    check(status in statuses, f"status {status} {told} {content[:100]!r}")
    check(told in codes, f"Token-Gateway-Error: {told}")


def broken(call, status=200):
    """A head, and then no proper end."""
    got = call.head()
    check(got == status, f"status {got} {call.field('token-gateway-error')}")
    try:
        content = call.read_all()
    except calls.Cut:
        return
    raise Failure(f"the answer looks complete: {content[:100]!r} {call.trailers}")


def broken_after(call, seen, content=b"part"):
    """As broken, once the caller has the head and a part; the script waits for `seen`."""
    check(call.read_to(len(content)) == content, f"{call.status} {bytes(call.content)!r}")
    seen.set()
    broken(call)


def broken_or_refused(call):
    """The fault may be found before or after the head has gone to the caller."""
    try:
        status = call.head()
    except calls.Cut:
        return
    if status == 200:
        broken(call)
    else:
        check(status == 502, f"status {status}")


def fine(call, content=b"good", status=200):
    got = calls.expect(call, status)
    check(content is None or got.startswith(content), f"content {got[:100]!r}")
