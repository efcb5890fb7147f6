"""The API of the tests: an origin server that speaks HTTP/1.1 or HTTP/2 over TLS and does what a request's path says.

`/NAME/ARGUMENTS` runs the handler NAME in a thread of its own. What an origin has seen is in `requests`.
"""

import hashlib
import json
import select
import socket
import ssl
import struct
import threading
import time

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import h2.settings

import plain
from kit import PATIENCE, start, until


class Gone(Exception):
    """The gateway has ended the request."""


PATTERN = bytes(range(251))


def pattern(count):
    """Content whose every part tells where it belongs."""
    return (PATTERN * (count // 251 + 1))[:count]


class Exchange:
    """One request at an origin, and the answer to it."""

    def __init__(self, origin, method, target, fields, connection):
        self.origin = origin
        self.method = method
        self.target = target
        self.fields = fields
        self.connection = connection     # a number
        self.trailers = []
        self.is_complete = False         # the request has come to its end
        self.words = target.split("?")[0].strip("/").split("/")

    def field(self, name):
        values = [v for n, v in self.fields if n == name]
        return values[0] if values else None

    def read_all(self):
        pieces = []
        while piece := self.read():
            pieces.append(piece)
        return b"".join(pieces)

    def answer(self, status, content=b"", fields=(), trailers=None):
        self.head(status, [*fields, ("content-length", str(len(content)))] if trailers is None else fields)
        if content and self.method != "HEAD":
            self.send(content)
        self.finish(trailers)


class PlainExchange(Exchange):
    """Over HTTP/1.1; used by the connection's own thread only."""
    protocol = "http/1.1"

    def __init__(self, server, method, target, fields):
        super().__init__(server.origin, method, target, fields, server.number)
        self.server = server
        self.pieces = server.reader.content(fields)
        self.is_chunked = False
        self.is_answered = False
        self.expects = self.field("expect") is not None

    def read(self):
        if self.expects:
            self.expects = False
            self.interim(100)
        try:
            for piece in self.pieces:
                return piece
        except plain.Ended as end:
            raise Gone(str(end)) from None
        self.is_complete = True
        self.trailers = self.server.reader.trailers
        return b""

    def _write(self, octets):
        try:
            self.server.connection.sendall(octets)
        except OSError as error:
            raise Gone(str(error)) from None

    def interim(self, status, fields=()):
        self._write(plain.head_octets(f"HTTP/1.1 {status} Interim", fields))

    def head(self, status, fields=()):
        names = [n for n, _ in fields]
        self.is_chunked = "content-length" not in names and status not in (204, 304) and self.method != "HEAD"
        if self.is_chunked:
            fields = [*fields, ("transfer-encoding", "chunked")]
        self._write(plain.head_octets(f"HTTP/1.1 {status} Fine", fields))

    def send(self, content):
        if content:                 # an empty chunk would be the last
            self._write(plain.chunk(content) if self.is_chunked else content)

    def finish(self, trailers=None):
        if self.is_chunked:
            self._write(plain.last_chunk(trailers or ()))
        self.is_answered = True

    def abort(self):
        self.server.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.server.connection.close()
        raise Gone("aborted")

    def wait_gone(self):
        try:
            while True:
                self.server.reader.fill()
        except (plain.Ended, OSError):
            return


class PlainServer:
    """One HTTP/1.1 connection."""

    def __init__(self, origin, connection, number):
        self.origin = origin
        self.connection = connection
        self.number = number
        self.reader = plain.Reader(connection)

    def serve(self):
        self.connection.settimeout(None)
        try:
            while True:
                line, fields = self.reader.head()
                method, target, _ = line.split(" ")
                exchange = PlainExchange(self, method, target, fields)
                self.origin.handle(exchange)
                if not exchange.is_answered:
                    break
                # What the handler has left of the request stands before the next one.
                if exchange.expects:
                    break
                while exchange.read():
                    pass
        except (plain.Ended, Gone, OSError, ValueError):
            pass
        finally:
            self.connection.close()


class FramedExchange(Exchange):
    """Over HTTP/2; used by a thread of its own beside the connection's."""
    protocol = "h2"

    def __init__(self, server, stream, fields):
        values = dict(fields)
        super().__init__(
            server.origin, values.get(":method"), values.get(":path", ""), fields, server.number)
        self.server = server
        self.stream = stream
        self.content = []
        self.expects = self.field("expect") is not None
        self.is_gone = False
        self.reset_code = None
        self.is_answered = False

    def read(self):
        if self.expects:
            self.expects = False
            self.interim(100)
        with self.server.changed:
            while not self.content:
                if self.is_complete:
                    return b""
                if self.is_gone:
                    raise Gone("reset")
                self.server.changed.wait(1)
            piece, cost = self.content.pop(0)
            self.server.taken(self.stream, cost)
            return piece

    def _do(self, action):
        with self.server.changed:
            if self.is_gone or self.server.is_closed:
                raise Gone("reset")
            try:
                action(self.server.session)
            except h2.exceptions.ProtocolError as error:
                raise Gone(str(error)) from None
            self.server.flush()

    def interim(self, status, fields=()):
        self._do(lambda s: s.send_headers(self.stream, [(":status", str(status)), *fields]))

    def head(self, status, fields=()):
        self._do(lambda s: s.send_headers(self.stream, [(":status", str(status)), *fields]))

    def send(self, content):
        view = memoryview(content)
        while view:
            with self.server.changed:
                while True:
                    if self.is_gone or self.server.is_closed:
                        raise Gone("reset")
                    session = self.server.session
                    room = min(session.local_flow_control_window(self.stream), session.max_outbound_frame_size)
                    if room > 0 and len(self.server.output) < 1 << 18:
                        break
                    self.server.changed.wait(1)
                piece, view = view[:room], view[room:]
                session.send_data(self.stream, bytes(piece))
                self.server.flush()

    def finish(self, trailers=None):
        if trailers:
            self._do(lambda s: s.send_headers(self.stream, trailers, end_stream=True))
        else:
            self._do(lambda s: s.end_stream(self.stream))
        self.is_answered = True

    def abort(self, code=2):
        self._do(lambda s: s.reset_stream(self.stream, code))
        raise Gone("aborted")

    def wait_gone(self):
        with self.server.changed:
            while not self.is_gone and not self.server.is_closed:
                self.server.changed.wait(1)


class FramedServer:
    """One HTTP/2 connection. Its thread alone touches the socket."""

    def __init__(self, origin, connection, number):
        self.origin = origin
        self.connection = connection
        self.number = number
        self.session = h2.connection.H2Connection(
            h2.config.H2Configuration(client_side=False, header_encoding="latin-1"))
        self.changed = threading.Condition()
        self.output = bytearray()
        self.is_closed = False
        self.exchanges = {}
        self.bell, self.ring = socket.socketpair()

    def flush(self):
        """With the lock held: what the session has to say goes out soon."""
        self.output += self.session.data_to_send()
        try:
            self.ring.send(b"!")
        except OSError:
            pass

    def taken(self, stream, cost):
        """With the lock held: gives windows back, the connection's also for streams that are gone."""
        if cost and not self.is_closed:
            try:
                self.session.acknowledge_received_data(cost, stream)
            except h2.exceptions.ProtocolError:
                pass
            self.flush()

    def serve(self):
        self.connection.setblocking(False)
        self.bell.setblocking(False)
        self.ring.setblocking(False)
        with self.changed:
            self.session.update_settings(self.origin.settings)
            self.session.initiate_connection()
            self.flush()
        try:
            while not self.is_closed:
                self._turn()
        except (OSError, h2.exceptions.ProtocolError) as error:
            self.origin.complaints.append(f"{type(error).__name__}: {error}")
            with self.changed:
                self.output += self.session.data_to_send()
            try:
                self.connection.setblocking(True)
                self.connection.settimeout(1)
                self.connection.sendall(self.output)
            except OSError:
                pass
        finally:
            with self.changed:
                self.is_closed = True
                for exchange in self.exchanges.values():
                    exchange.is_gone = True
                self.changed.notify_all()
            self.connection.close()
            self.bell.close()
            self.ring.close()

    def _turn(self):
        with self.changed:
            wants = [self.connection] if self.output else []
        if not self.connection.pending():
            readable, writable, _ = select.select([self.connection, self.bell], wants, [])
        else:
            readable, writable = [self.connection], wants
        if self.bell in readable:
            self.bell.recv(4096)
        if wants:
            with self.changed:
                try:
                    count = self.connection.send(self.output)
                    del self.output[:count]
                    self.changed.notify_all()
                except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                    pass
        if self.connection in readable:
            try:
                received = self.connection.recv(1 << 16)
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                return
            if not received:
                self.is_closed = True
                return
            with self.changed:
                for event in self.session.receive_data(received):
                    self._react(event)
                self.flush()
                self.changed.notify_all()

    def _react(self, event):
        exchange = self.exchanges.get(getattr(event, "stream_id", None))
        if isinstance(event, h2.events.RequestReceived):
            exchange = FramedExchange(self, event.stream_id, [(n, v) for n, v in event.headers])
            self.exchanges[event.stream_id] = exchange
            start(self._run, exchange)
        elif isinstance(event, h2.events.DataReceived):
            if exchange and event.data:
                exchange.content.append((event.data, event.flow_controlled_length))
            else:
                self.taken(event.stream_id, event.flow_controlled_length)
        elif isinstance(event, h2.events.TrailersReceived) and exchange:
            exchange.trailers = [(n, v) for n, v in event.headers]
        elif isinstance(event, h2.events.StreamEnded) and exchange:
            exchange.is_complete = True
        elif isinstance(event, h2.events.StreamReset) and exchange:
            exchange.reset_code = int(event.error_code)
            exchange.is_gone = True

    def _run(self, exchange):
        try:
            self.origin.handle(exchange)
            # An answer that came before the request's end: the rest is not wanted (RFC 9113 8.1).
            if exchange.is_answered and not exchange.is_complete and not exchange.is_gone:
                exchange._do(lambda s: s.reset_stream(exchange.stream, h2.errors.ErrorCodes.NO_ERROR))
        except Gone:
            pass
        finally:
            with self.changed:
                self.exchanges.pop(exchange.stream, None)
                for _, cost in exchange.content:
                    self.taken(exchange.stream, cost)


class Origin:
    """Listens at a port of 127.0.0.1 with TLS."""

    def __init__(self, place, port, alpn, handlers=None, settings=None):
        self.place = place
        self.handlers = {**STANDARD, **(handlers or {})}
        self.settings = settings or {}
        self.requests = []        # every Exchange, in order
        self.complaints = []      # what was wrong with what the gateway sent
        self.gates = {}
        self.connections = 0
        self.lock = threading.Lock()
        self.identity = place.identity(alpn)
        self.listener = socket.create_server(("127.0.0.1", port), backlog=512)
        start(self._accept)

    def _accept(self):
        while True:
            connection, _ = self.listener.accept()
            start(self._serve, connection)

    def _serve(self, connection):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.settimeout(PATIENCE)
        try:
            connection = self.identity.wrap_socket(connection, server_side=True)
        except OSError:
            return
        with self.lock:
            self.connections += 1
            number = self.connections
        server = FramedServer if connection.selected_alpn_protocol() == "h2" else PlainServer
        server(self, connection, number).serve()

    def handle(self, exchange):
        with self.lock:
            self.requests.append(exchange)
        handler = self.handlers.get(exchange.words[0])
        if handler is None:
            exchange.answer(404, b"no such handler")
        else:
            handler(exchange, *exchange.words[1:])

    def gate(self, name):
        """An event that a handler and a test share."""
        with self.lock:
            return self.gates.setdefault(name, threading.Event())

    def pass_gate(self, name):
        if not self.gate(name).wait(PATIENCE * 2):
            raise Gone(f"nobody opened the gate {name}")

    def seen(self, *words):
        """The exchanges whose path holds these words."""
        with self.lock:
            return [e for e in self.requests if all(w in e.words for w in words)]

    def wait_seen(self, *words):
        until(lambda: self.seen(*words), f"the origin sees {words}")
        return self.seen(*words)[0]


# MARK: Handlers

def echo(exchange, *_):
    """Says what came."""
    digest, size = hashlib.sha256(), 0
    while piece := exchange.read():
        digest.update(piece)
        size += len(piece)
    told = {
        "method": exchange.method, "target": exchange.target, "fields": exchange.fields, "size": size,
        "sha256": digest.hexdigest(), "trailers": exchange.trailers, "protocol": exchange.protocol,
        "connection": exchange.connection,
    }
    exchange.answer(200, json.dumps(told).encode(), [("content-type", "application/json")])


def sized(exchange, count, *_):
    exchange.read_all()
    exchange.answer(200, pattern(int(count)))


def streamed(exchange, count, *_):
    """Without a content-length."""
    exchange.read_all()
    exchange.head(200)
    if exchange.method != "HEAD":
        exchange.send(pattern(int(count)))
    exchange.finish()


def status(exchange, number, *_):
    exchange.read_all()
    if number in ("204", "304"):
        exchange.head(int(number), [("etag", '"a"')])
        exchange.finish()
    else:
        exchange.answer(int(number), b"as asked")


def hold(exchange, name, *_):
    """Answers when the test says so."""
    exchange.read_all()
    exchange.origin.pass_gate(name)
    exchange.answer(200, b"held")


def stall(exchange, name, *_):
    """Takes no content until the test says so."""
    exchange.origin.pass_gate(name)
    echo(exchange)


def early(exchange, code, *_):
    """Answers without having read the content."""
    exchange.answer(int(code), b"early")


def fields(exchange, count, size="1000", *_):
    exchange.read_all()
    exchange.answer(200, b"", [(f"x-field-{i}", "v" * int(size)) for i in range(int(count))])


def trailers(exchange, *_):
    exchange.read_all()
    exchange.answer(200, b"content", [("trailer", "x-check")], [("x-check", "abc"), ("x-other", "def")])


def interim(exchange, *codes):
    exchange.read_all()
    for code in codes:
        if code.isdigit():
            exchange.interim(int(code), [("x-interim", code)])
    exchange.answer(200, b"final")


def part(exchange, name, *_):
    """A part of the answer, then the rest when the test says so."""
    exchange.read_all()
    exchange.head(200)
    exchange.send(b"first part")
    exchange.origin.pass_gate(name)
    exchange.send(b", second part")
    exchange.finish()


def cut(exchange, *_):
    """Breaks off in the middle of the answer."""
    exchange.read_all()
    exchange.head(200, [("content-length", "1000")])
    exchange.send(b"a part")
    exchange.origin.pass_gate(exchange.words[1])
    exchange.abort()


def lost(exchange, *_):
    """Breaks off before the answer."""
    exchange.read_all()
    exchange.abort()


def forever(exchange, name, *_):
    """Answers with a head, then waits until the caller is gone."""
    exchange.head(200)
    exchange.send(b"started")
    exchange.wait_gone()
    exchange.origin.gate(name).set()


def turns(exchange, *_):
    """Answers each piece of content with its length, at once."""
    exchange.head(200)
    while piece := exchange.read():
        exchange.send(b"%d;" % len(piece))
    exchange.finish()


STANDARD = {
    "echo": echo, "sized": sized, "streamed": streamed, "status": status, "hold": hold, "stall": stall,
    "early": early, "fields": fields, "trailers": trailers, "interim": interim, "part": part, "cut": cut,
    "lost": lost, "forever": forever, "turns": turns,
}
