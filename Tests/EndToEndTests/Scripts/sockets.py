"""WebSocket through the gateway: by HTTP/1.1's Upgrade and by RFC 8441's extended CONNECT, to APIs over both."""

import concurrent.futures
import logging
import select
import socket
import ssl
import sys
import warnings

import websockets.exceptions
import websockets.frames
import websockets.protocol
import websockets.sync.client
import websockets.sync.server
from websockets.frames import Opcode

import calls
from kit import *
from scripted import hello, next_request

warnings.simplefilter("ignore", DeprecationWarning)
logging.disable()              # peers that break off are the matter here
table = Table()
place = Place(sys.argv[1])
seen = []                      # (path, fields) of every handshake at an API


# MARK: The APIs

def converse(connection):
    """What the HTTP/1.1 API does with a connection: echo, and what the path asks for."""
    seen.append((connection.request.path, list(connection.request.headers.raw_items())))
    words = connection.request.path.split("?")[0].strip("/").split("/")
    if "close" in words:
        connection.recv()
        return connection.close(int(words[-1]), "as asked")
    if "abort" in words:
        connection.recv()
        return connection.socket.shutdown(socket.SHUT_RDWR)
    if "ping" in words:
        connection.ping(b"are you there").wait(PATIENCE)
    for message in connection:
        connection.send(message)


def plain_api():
    server = websockets.sync.server.serve(
        converse, "127.0.0.1", place.h1, ssl=place.identity(["http/1.1"]), max_size=None, compression=None,
        select_subprotocol=lambda _, offered: "chat" if "chat" in offered else None, ping_interval=None)
    start(server.serve_forever)


class FramedApi:
    """An HTTP/2 API that announces ENABLE_CONNECT_PROTOCOL and echoes messages, framed by websockets' own protocol."""

    def __init__(self):
        self.identity = place.identity(["h2"])
        self.listener = socket.create_server(("127.0.0.1", place.h2), backlog=64)
        self.requests = []
        self.ended = []
        self.complaints = []
        self.enables = True
        start(self._accept)

    def _accept(self):
        while True:
            connection, _ = self.listener.accept()
            start(self._serve, connection)

    def _serve(self, connection):
        wire = None
        try:
            connection.settimeout(PATIENCE)
            connection = self.identity.wrap_socket(connection, server_side=True)
            check(connection.selected_alpn_protocol() == "h2", "ALPN did not choose h2")
            preface = b""
            while len(preface) < len(PREFACE):
                preface += connection.recv(len(PREFACE) - len(preface))
            wire = Wire(connection, is_caller=False)
            hello(wire, *([(ENABLE_CONNECT_PROTOCOL, 1)] if self.enables else []), (INITIAL_WINDOW_SIZE, 1 << 20))
            talks = {}
            while not wire.is_closed:
                for stream in list(wire.opened):
                    record = wire.stream(stream)
                    if stream not in talks and record.head:
                        talks[stream] = self._begin(wire, record)
                    if talks.get(stream):
                        self._converse(wire, record, talks[stream])
                wire.pump(0.5)
            self.complaints += [wire.state()] if wire.goaways and wire.goaways[-1][1] else []
        except (Failure, OSError) as error:
            self.complaints.append(str(error))
        finally:
            (wire or connection).close()

    def _begin(self, wire, record):
        self.requests.append(record.head)
        if record.field(":method") != "CONNECT" or record.field(":protocol") != "websocket":
            wire.headers([(":status", "400")], stream=record.id)
            return None
        if "refuse" in record.field(":path"):
            wire.headers([(":status", "403")], stream=record.id)
            return None
        wire.headers([(":status", "200")], stream=record.id, ends=False)
        protocol = websockets.protocol.Protocol(
            websockets.protocol.SERVER, state=websockets.protocol.State.OPEN, max_size=None)
        protocol.taken = 0
        return protocol

    def _converse(self, wire, record, protocol):
        fresh = bytes(record.content[protocol.taken:])
        protocol.taken += len(fresh)
        if fresh:
            protocol.receive_data(fresh)
        for event in protocol.events_received():
            if event.opcode in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
                if "close" in record.field(":path"):
                    protocol.send_close(4001, "as asked")
                else:
                    send = {Opcode.TEXT: protocol.send_text, Opcode.BINARY: protocol.send_binary,
                            Opcode.CONT: protocol.send_continuation}[event.opcode]
                    send(event.data, event.fin)
        for piece in protocol.data_to_send():
            if piece and not record.is_answered:
                wire.data(record.id, piece)
            elif not piece and not record.is_answered:
                record.is_answered = True
                if protocol.parser_exc:
                    self.complaints.append(repr(protocol.parser_exc))
                wire.data(record.id, b"", ends=True)
        if record.is_ended and not record.is_answered:
            record.is_answered = True
            self.ended.append(record.id)
            wire.data(record.id, b"", ends=True)


plain_api()
framed_api = FramedApi()


# MARK: The callers

def in_clear(secure):
    """The clear end of a TLS connection. websockets' client reads in one thread and writes in another; before Python 3.13
    a TLS connection takes that badly now and then, and waits for ever for what has come. Here one thread does both."""
    ours, theirs = socket.socketpair()

    def relay():
        secure.setblocking(False)
        theirs.setblocking(False)
        out, back = b"", b""
        is_open = True
        try:
            while is_open or back:
                readable, _, _ = select.select(
                    [secure, theirs] if is_open else [], [secure] if out else [] if is_open else [theirs], [], 0.5)
                try:
                    while is_open:
                        piece = secure.recv(1 << 16)
                        back += piece
                        is_open = bool(piece)
                except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                    pass
                except OSError:
                    is_open = False
                if theirs in readable:
                    piece = theirs.recv(1 << 16)
                    if not piece:
                        return
                    out += piece
                try:
                    while out:
                        out = out[secure.send(out):]
                except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                    pass
                try:
                    while back:
                        back = back[theirs.send(back):]
                except BlockingIOError:
                    select.select([], [theirs], [], 0.5)
        except OSError:
            pass
        finally:
            theirs.close()
            secure.close()

    start(relay)
    return ours


class UpgradeCaller:
    """HTTP/1.1, by websockets' client."""

    def __init__(self, path, over="h1", **options):
        secure = over == "h1 over TLS"
        self.connection = websockets.sync.client.connect(
            f"ws://localhost{path}", max_size=None, compression=None, ping_interval=None,
            sock=in_clear(place.connect_tls(["http/1.1"])) if secure else place.connect(place.plain),
            open_timeout=PATIENCE, close_timeout=PATIENCE, proxy=None, **options)
        self.close_code = None

    def send(self, message):
        self.connection.send(message)

    def receive(self):
        try:
            return self.connection.recv(timeout=PATIENCE)
        except websockets.exceptions.ConnectionClosed as closed:
            self.close_code = closed.rcvd.code if closed.rcvd else 1006
            return None

    def ping(self):
        check(self.connection.ping(b"hello").wait(PATIENCE), "no pong")

    def close(self, code=1000):
        self.connection.close(code, "done")
        self.close_code = self.connection.close_code


class ConnectCaller:
    """HTTP/2, by extended CONNECT; framed by websockets' protocol."""

    def __init__(self, path, over="h2c", wire=None, fields=()):
        self.wire = wire or place.ready_caller("h2c" if over == "h2c" else "h2", (INITIAL_WINDOW_SIZE, 1 << 20))
        check(self.wire.peer.get(ENABLE_CONNECT_PROTOCOL) == 1, f"ENABLE_CONNECT_PROTOCOL: {self.wire.peer}")
        self.id = self.wire.headers(
            [(":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "https" if over == "h2" else "http"),
             (":path", path), (":authority", "localhost"), ("sec-websocket-version", "13"), *fields], ends=False)
        self.record = self.wire.stream(self.id)
        self.wire.wait(lambda: self.record.head or self.record.is_over or self.wire.goaways, "answer to CONNECT")
        self.protocol = websockets.protocol.Protocol(
            websockets.protocol.CLIENT, state=websockets.protocol.State.OPEN, max_size=None)
        self.taken = 0
        self.messages = []
        self.pieces = []
        self.pongs = 0
        self.close_code = None
        self.has_finished = False

    def _exchange(self):
        fresh = bytes(self.record.content[self.taken:])
        self.taken += len(fresh)
        if fresh:
            self.protocol.receive_data(fresh)
        for event in self.protocol.events_received():
            if event.opcode in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
                self.pieces.append((event.opcode, event.data))
                if event.fin:
                    content = b"".join(data for _, data in self.pieces)
                    self.messages.append(content.decode() if self.pieces[0][0] == Opcode.TEXT else content)
                    self.pieces = []
            elif event.opcode == Opcode.PONG:
                self.pongs += 1
            elif event.opcode == Opcode.CLOSE:
                self.close_code = websockets.frames.Close.parse(event.data).code
        for piece in self.protocol.data_to_send():
            if piece:
                self.wire.data(self.id, piece)
            elif not self.has_finished:
                self.has_finished = True
                self.wire.data(self.id, b"", ends=True)

    def _until(self, condition, what):
        deadline = time.monotonic() + PATIENCE
        while True:
            self._exchange()
            if condition():
                return
            if self.record.is_over and self.taken == len(self.record.content):
                raise Failure(f"no {what}: {self.wire.state(self.id)}")
            check(time.monotonic() < deadline, f"no {what}: {self.wire.state(self.id)}")
            self.wire.pump(0.2)

    def send(self, message):
        if isinstance(message, str):
            self.protocol.send_text(message.encode())
        else:
            self.protocol.send_binary(message)
        self._exchange()

    def receive(self):
        self._until(lambda: self.messages or self.close_code, "message")
        return self.messages.pop(0) if self.messages else None

    def ping(self):
        before = self.pongs
        self.protocol.send_ping(b"hello")
        self._until(lambda: self.pongs > before, "pong")

    def close(self, code=1000):
        self.protocol.send_close(code, "done")
        self._until(lambda: self.close_code, "answer to close")
        self.wire.wait(lambda: self.record.is_over, "end of the stream")


def caller(over, path, **options):
    return UpgradeCaller(path, over, **options) if over.startswith("h1") else ConnectCaller(path, over, **options)


# By itself the gateway asks for WebSocket over HTTP/1.1; this upstream is one that it knows to speak HTTP/2.
ROUTE = {"h1": "/h1", "h2": "/forced-h2"}
PAIRS = [(over, upstream) for over in ("h1", "h1 over TLS", "h2c", "h2") for upstream in ("h1", "h2")]


def case(name, pairs=PAIRS):
    def register(function):
        for over, upstream in pairs:
            def run(_, over=over, upstream=upstream):
                complaints = len(framed_api.complaints)
                try:
                    function(over, upstream)
                except Failure as failure:
                    raise Failure(f"{failure} [the API: {framed_api.complaints[complaints:]}]") from None
            table.add(f"{name} ({over} → {upstream})", run)
        return function
    return register


@case("messages go both ways, texts and octets")
def _(over, upstream):
    made = caller(over, f"{ROUTE[upstream]}/ws/echo")
    for message in ["hello", "", "grüße", b"\x00\x01\xff", "x" * 125, "x" * 126, "x" * 65535, b"x" * 65536]:
        made.send(message)
        got = made.receive()
        check(got == message, f"{len(message)} came back as {got if got is None else len(got)}")
    made.close()
    check(made.close_code == 1000, f"{made.close_code}")


@case("messages of a mebibyte go both ways")
def _(over, upstream):
    made = caller(over, f"{ROUTE[upstream]}/ws/echo")
    for size in [1 << 20, 1 << 20, 3]:
        message = bytes(range(256)) * (size // 256) + b"abc"
        made.send(message)
        check(made.receive() == message, f"{size}")
    made.close()


@case("pings are answered from end to end")
def _(over, upstream):
    made = caller(over, f"{ROUTE[upstream]}/ws/ping")
    made.ping()
    made.send("after")
    check(made.receive() == "after", "no echo")
    made.ping()
    made.close()


@case("the caller's close code reaches the API and comes back")
def _(over, upstream):
    made = caller(over, f"{ROUTE[upstream]}/ws/echo")
    made.send("a")
    made.receive()
    made.close(4321)
    check(made.close_code == 4321, f"{made.close_code}")


@case("the API's close code reaches the caller")
def _(over, upstream):
    made = caller(over, f"{ROUTE[upstream]}/ws/close/4001")
    made.send("a")
    check(made.receive() is None, "a message")
    check(made.close_code == 4001, f"{made.close_code}")


@case("the handshake carries the token, the path and the caller's fields", [p for p in PAIRS if p[1] == "h1"])
def _(over, upstream):
    mark = unique("mark")
    if over.startswith("h1"):
        made = UpgradeCaller(f"{ROUTE[upstream]}/ws/{mark}?a=b", over, additional_headers={"x-custom": "1"},
                             subprotocols=["chat"])
        check(made.connection.subprotocol == "chat", f"{made.connection.subprotocol}")
    else:
        made = ConnectCaller(f"{ROUTE[upstream]}/ws/{mark}?a=b", over,
                             fields=[("x-custom", "1"), ("sec-websocket-protocol", "chat")])
        check(made.record.status == 200, made.wire.state(made.id))
        check(made.record.field("sec-websocket-protocol") == "chat", f"{made.record.head}")
        names = {n for n, _ in made.record.head}
        check(not names & {"connection", "upgrade", "sec-websocket-accept"}, f"{names}")
    # The API's thread notes it when it has answered.
    deadline = time.monotonic() + PATIENCE
    while not any(mark in s[0] for s in seen) and time.monotonic() < deadline:
        time.sleep(0.02)
    path, fields = [s for s in seen if mark in s[0]][0]
    fields = [(n.lower(), v) for n, v in fields]
    check(path.endswith(f"/ws/{mark}?a=b"), path)
    check([v for n, v in fields if n == "authorization"] == ["Bearer " + place.token], f"{fields}")
    check(dict(fields).get("x-custom") == "1", f"{fields}")
    made.close()


@case("the handshake at an HTTP/2 API is an extended CONNECT with the token", [p for p in PAIRS if p[1] == "h2"])
def _(over, upstream):
    mark = unique("mark")
    made = caller(over, f"{ROUTE[upstream]}/ws/{mark}?a=b")
    made.close()
    head = [h for h in framed_api.requests if mark in dict(h)[":path"]][0]
    fields = dict(head)
    check(fields[":method"] == "CONNECT" and fields[":protocol"] == "websocket", f"{head}")
    check(fields[":scheme"] == "https" and fields[":path"].endswith(f"/ws/{mark}?a=b"), f"{head}")
    check([v for n, v in head if n == "authorization"] == ["Bearer " + place.token], f"{head}")
    check(fields.get("sec-websocket-version") == "13", f"{head}")
    check(not {"connection", "upgrade", "sec-websocket-key", "host"} & set(fields), f"{head}")


@case("an API that refuses is heard", [p for p in PAIRS if p[1] == "h2"])
def _(over, upstream):
    if over.startswith("h1"):
        try:
            caller(over, f"{ROUTE[upstream]}/ws/refuse")
        except websockets.exceptions.InvalidStatus as refusal:
            return check(refusal.response.status_code == 403, f"{refusal.response.status_code}")
        raise Failure("not refused")
    made = caller(over, f"{ROUTE[upstream]}/ws/refuse")
    check(made.record.status == 403, made.wire.state(made.id))


@case("an API that breaks off is noticed by the caller", [p for p in PAIRS if p[1] == "h1"])
def _(over, upstream):
    made = caller(over, f"{ROUTE[upstream]}/ws/abort")
    made.send("a")
    if over.startswith("h1"):
        check(made.receive() is None and made.close_code == 1006, f"{made.close_code}")
    else:
        made.wire.wait(lambda: made.record.is_over, "end of the stream")
        check(made.close_code is None, f"{made.close_code}")


@case("a caller that leaves is noticed by the API")
def _(over, upstream):
    made = caller(over, f"{ROUTE[upstream]}/ws/echo")
    made.send("a")
    check(made.receive() == "a", "no echo")
    if over.startswith("h1"):
        made.connection.socket.shutdown(socket.SHUT_RDWR)
    else:
        made.wire.rst(made.id)
        made.wire.round_trip()
    # It shows in that the next one is served as well.
    again = caller(over, f"{ROUTE[upstream]}/ws/echo")
    again.send("b")
    check(again.receive() == "b", "no echo")
    again.close()


@case("ten conversations share one connection of the caller", [("h2c", "h1"), ("h2c", "h2")])
def _(over, upstream):
    wire = place.ready_caller("h2c", (INITIAL_WINDOW_SIZE, 1 << 20))
    made = [ConnectCaller(f"{ROUTE[upstream]}/ws/echo", over, wire=wire) for _ in range(10)]
    for turn in range(3):
        for number, one in enumerate(made):
            one.send(f"{turn} of {number}")
        for number, one in enumerate(made):
            check(one.receive() == f"{turn} of {number}", "another message")
    plain_request = wire.headers(request("/nowhere"))
    wire.wait(lambda: wire.stream(plain_request).is_ended, "a plain request beside them")
    for one in made:
        one.close()


@case("a route without allow_upgrade refuses", [("h1", "h1"), ("h2c", "h1"), ("h2c", "h2")])
def _(over, upstream):
    if over == "h1":
        try:
            caller(over, f"/closed-{upstream}/ws/echo")
        except websockets.exceptions.InvalidHandshake:
            return
        raise Failure("it was let through")
    made = caller(over, f"/closed-{upstream}/ws/echo")
    check(made.record.reset is not None or made.record.status >= 400, made.wire.state(made.id))


for name, fields in [
    ("another protocol", [(":method", "CONNECT"), (":protocol", "connect-udp"), (":scheme", "http"),
                          (":path", "/h1/ws/echo"), (":authority", "localhost")]),
    ("no :path", [(":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "http"),
                  (":authority", "localhost")]),
    ("no :scheme", [(":method", "CONNECT"), (":protocol", "websocket"), (":path", "/h1/ws/echo"),
                    (":authority", "localhost")]),
]:
    @table.case(f"extended CONNECT with {name} is refused, and the connection lives")
    def _(_, fields=fields):
        wire = place.ready_caller("h2c")
        stream = wire.headers(fields, ends=False)
        record = wire.stream(stream)
        wire.wait(lambda: record.is_over or wire.goaways, "refusal")
        check(not wire.goaways, wire.state())
        check(record.reset is not None or record.status >= 400, wire.state(stream))
        again = wire.headers(request("/nowhere"))
        wire.wait(lambda: wire.stream(again).is_ended, "the next answer")


@table.case("an HTTP/2 API without ENABLE_CONNECT_PROTOCOL is not asked for WebSocket")
def _(_):
    framed_api.enables = False
    try:
        before = len(framed_api.requests)
        # The connections that know of the setting are told to go: a new worker's view needs a new upstream.
        made = calls.call(place, "h1", "/fresh-h2/ws/echo", "GET", [
            ("connection", "upgrade"), ("upgrade", "websocket"), ("sec-websocket-version", "13"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")])
        status = made.head()
        check(status >= 400, f"status {status}")
        asked = [h for h in framed_api.requests[before:] if dict(h)[":method"] == "CONNECT"]
        check(not asked, f"{asked}")
    finally:
        framed_api.enables = True



@table.case("handshakes over TLS whose API speaks at once are all answered")
def _(_):
    upgrade = ("Host: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
               "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")

    def shake(number):
        connection = place.connect_tls(["http/1.1"])
        path = ["/h1", "/forced-h2"][number % 2] + "/ws/ping"
        connection.sendall(f"GET {path} HTTP/1.1\r\n{upgrade}".encode())
        got = b""
        while b"\r\n\r\n" not in got:
            piece = connection.recv(4096)
            check(piece, f"{path}: the connection ended after {got}")
            got += piece
        check(got.startswith(b"HTTP/1.1 101"), f"{path}: {got}")
        connection.close()

    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        list(pool.map(shake, range(300)))


table.run(place)
