"""Callers of the gateway over HTTP/1.1 and HTTP/2 behind one interface."""

import socket
import struct
import time

import plain
from kit import CANCEL, PATIENCE, Failure, check, request

PROTOCOLS = ["h1", "h2c", "h1 over TLS", "h2 over TLS"]


def call(place, over, path, method="GET", fields=(), content=None, trailers=None):
    """A whole request, or with content=... left None for methods with content, its head only: see `begin`."""
    made = begin(place, over, path, method, fields, length=None if trailers else len(content or b""),
                 ends=content is None and not trailers)
    if content is not None or trailers:
        if content:
            made.send(content)
        made.finish(trailers)
    return made


def begin(place, over, path, method="POST", fields=(), length=None, ends=False):
    """A request's head; content may follow by send and finish."""
    kind = PlainCall if over.startswith("h1") else FramedCall
    return kind(place, over, path, method, list(fields), length, ends)


class Cut(Failure):
    """The answer broke off."""


class PlainCall:
    """On a connection of its own."""

    def __init__(self, place, over, path, method, fields, length, ends):
        self.connection = place.connect_tls(["http/1.1"]) if over == "h1 over TLS" else place.connect(place.plain)
        self.reader = plain.Reader(self.connection)
        self.method = method
        self.is_chunked = False
        if not ends:
            self.is_chunked = length is None
            fields = fields + [
                ("transfer-encoding", "chunked") if self.is_chunked else ("content-length", str(length))]
        self.connection.sendall(
            plain.head_octets(f"{method} {path} HTTP/1.1", [("host", "gateway.test"), *fields]))
        self.status = None
        self.fields = []
        self.informational = []
        self.trailers = []
        self.content = bytearray()
        self.pieces = None
        self.is_ended = False

    def send(self, content):
        if not content:             # an empty chunk would be the last
            return
        try:
            self.connection.sendall(plain.chunk(content) if self.is_chunked else content)
        except OSError as error:
            raise Cut(f"closed while sending: {error}") from None

    def finish(self, trailers=None):
        if self.is_chunked:
            self.connection.sendall(plain.last_chunk(trailers or ()))

    def next_head(self):
        """The next head, informational or final."""
        try:
            line, fields = self.reader.head()
        except plain.Ended as end:
            raise Cut(f"no answer: {end}") from None
        except TimeoutError:
            raise Failure("no answer in time") from None
        check(line.startswith("HTTP/1.1 "), f"an odd status line: {line}")
        status = int(line.split(" ")[1])
        if 100 <= status < 200 and status != 101:
            self.informational.append((status, fields))
        else:
            self.status, self.fields = status, fields
            has_none = self.method == "HEAD" or status in (204, 304)
            self.pieces = self.reader.content(fields, is_response=True, has_none=has_none)
        return status

    def head(self):
        while self.status is None:
            self.next_head()
        return self.status

    def read_to(self, count):
        """Content until there are `count` octets of it, or its end."""
        self.head()
        try:
            while len(self.content) < count and not self.is_ended:
                piece = next(self.pieces, None)
                if piece is None:
                    self.is_ended = True
                    self.trailers = self.reader.trailers
                else:
                    self.content += piece
        except plain.Ended as end:
            raise Cut(f"broke off after {len(self.content)} octets: {end}") from None
        except TimeoutError:
            raise Failure(f"only {len(self.content)} octets in time") from None
        return bytes(self.content)

    def read_all(self):
        return self.read_to(1 << 62)

    def cancel(self):
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()

    def close(self):
        self.connection.close()

    def field(self, name):
        values = [v for n, v in self.fields if n == name]
        return values[0] if values else None


class FramedCall:
    """On a connection of its own, or with `wire` on that one."""

    def __init__(self, place, over, path, method, fields, length, ends, wire=None):
        self.wire = wire or place.ready_caller("h2c" if over == "h2c" else "h2")
        scheme = "https" if over == "h2 over TLS" else "http"
        if length is not None and not ends:
            fields = fields + [("content-length", str(length))]
        self.id = self.wire.headers(request(path, method, scheme, "gateway.test", *fields), ends=ends)
        self.record = self.wire.stream(self.id)
        self.told = 0

    @property
    def status(self):
        return self.record.status or None

    @property
    def fields(self):
        return [f for f in self.record.head or [] if not f[0].startswith(":")]

    @property
    def informational(self):
        return [(int(h[0][1]), h[1:]) for h in self.record.informational]

    @property
    def trailers(self):
        return self.record.trailers or []

    @property
    def content(self):
        return self.record.content

    def send(self, content):
        try:
            self.wire.data(self.id, content)
        except Failure as failure:
            raise Cut(str(failure)) from None

    def finish(self, trailers=None):
        if trailers:
            self.wire.headers(trailers, stream=self.id, ends=True)
        else:
            self.wire.data(self.id, b"", ends=True)

    def _wait(self, condition, what):
        self.wire.wait(
            lambda: condition() or self.record.reset is not None or self.wire.is_closed or bool(self.wire.goaways
            and self.wire.goaways[-1][0] < self.id), what)
        if not condition():
            raise Cut("broke off: " + self.wire.state(self.id))

    def next_head(self):
        self._wait(lambda: len(self.record.heads) > self.told, "head")
        self.told += 1
        return int(self.record.heads[self.told - 1][0][1])

    def head(self):
        self._wait(lambda: self.record.head is not None, "answer")
        return self.status

    def read_to(self, count):
        self._wait(lambda: len(self.record.content) >= count or self.record.is_ended, f"content of {count} octets")
        return bytes(self.record.content)

    def read_all(self):
        self._wait(lambda: self.record.is_ended, "end of the answer")
        return bytes(self.record.content)

    def cancel(self):
        self.wire.rst(self.id, CANCEL)

    def close(self):
        self.wire.close()

    field = PlainCall.field


def expect(made, status=200):
    """The whole answer's content; the status is as expected."""
    got = made.head()
    content = made.read_all()
    check(got == status, f"status {got} {dict(made.fields).get('token-gateway-error', '')} {content[:200]!r}")
    return content
