"""What the HTTP/2 tests share: a connection driven by hand, callers, and tables of cases.

A script gets one argument, a JSON file that says where everything is, and prints one JSON line per case:
{"case": sentence, "ok": bool, "detail": text, "ms": number}, and {"done": count} at its end. Further arguments pick the
cases whose sentence contains one of them.
"""

import concurrent.futures
import itertools
import json
import os
import select
import socket
import ssl
import struct
import sys
import threading
import time
import traceback

import hpack
import hyperframe.frame

# Every wait is for a fact; this only ends a test that fails.
PATIENCE = float(os.environ.get("E2E_PATIENCE", "10"))

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM = ACK = 0x1
END_HEADERS, PADDED, HAS_PRIORITY = 0x4, 0x8, 0x20

CODES = [
    "NO_ERROR", "PROTOCOL_ERROR", "INTERNAL_ERROR", "FLOW_CONTROL_ERROR", "SETTINGS_TIMEOUT", "STREAM_CLOSED",
    "FRAME_SIZE_ERROR", "REFUSED_STREAM", "CANCEL", "COMPRESSION_ERROR", "CONNECT_ERROR", "ENHANCE_YOUR_CALM",
    "INADEQUATE_SECURITY", "HTTP_1_1_REQUIRED",
]
(NO_ERROR, PROTOCOL_ERROR, INTERNAL_ERROR, FLOW_CONTROL_ERROR, SETTINGS_TIMEOUT, STREAM_CLOSED, FRAME_SIZE_ERROR,
 REFUSED_STREAM, CANCEL, COMPRESSION_ERROR, CONNECT_ERROR, ENHANCE_YOUR_CALM, INADEQUATE_SECURITY,
 HTTP_1_1_REQUIRED) = range(14)

HEADER_TABLE_SIZE, ENABLE_PUSH, MAX_CONCURRENT_STREAMS, INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE, MAX_HEADER_LIST_SIZE = (
    range(1, 7))
ENABLE_CONNECT_PROTOCOL = 8
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


class Failure(Exception):
    """What a case expected did not come."""


def check(condition, what):
    if not condition:
        raise Failure(what)


def code_name(code):
    return CODES[code] if code is not None and code < len(CODES) else str(code)


# MARK: Frames

def frame(kind, flags=0, stream=0, payload=b""):
    return struct.pack(">I", len(payload))[1:] + bytes((kind, flags)) + struct.pack(">I", stream) + payload


def settings_payload(values):
    return b"".join(struct.pack(">HI", name, value) for name, value in values)


def literal(name, value):
    """A field as a literal without indexing, whatever octets it has (RFC 7541 6.2.2)."""
    def text(octets):
        return hpack.hpack.encode_integer(len(octets), 7) + octets
    return b"\x00" + text(name) + text(value)


def to_octets(text):
    return text.encode("latin-1") if isinstance(text, str) else bytes(text)


class Stream:
    """What has come on one stream."""

    def __init__(self, identifier):
        self.id = identifier
        self.heads = []          # each a list of (name, value); informational ones and trailers too
        self.informational = []
        self.head = None         # the request's or the final response's
        self.trailers = None
        self.content = bytearray()
        self.frame_sizes = []
        self.is_ended = False
        self.reset = None
        self.is_answered = False # by a script
        self.window = 0          # what the peer has granted by WINDOW_UPDATE, all in all
        self.send_window = 0     # beyond the peer's INITIAL_WINDOW_SIZE

    @property
    def status(self):
        return int(self.field(":status") or 0)

    def field(self, name):
        for key, value in self.head or []:
            if key == name:
                return value
        return None

    @property
    def is_over(self):
        return self.is_ended or self.reset is not None


class Wire:
    """One HTTP/2 connection. Nothing is hidden: what the test does not send is not sent, but for acknowledgements of
    SETTINGS and PING and, with `gives_windows`, the windows that received content has used."""

    def __init__(self, connection, is_caller=True):
        self.connection = connection
        connection.setblocking(False)
        self.is_caller = is_caller
        self.input = bytearray()
        self.encoder = hpack.Encoder()
        self.decoder = hpack.Decoder()
        self.decoder.max_header_list_size = 1 << 22
        self.streams = {}
        self.opened = []             # ids of the peer's streams, in order
        self.next_id = 1 if is_caller else 2
        self.peer = {}               # the peer's SETTINGS
        self.peer_settings = 0       # how many SETTINGS frames of the peer
        self.acknowledged = 0        # how many of ours the peer has acknowledged
        self.first = None            # the first frame's type
        self.pongs = []
        self.pings = 0
        self.goaways = []            # (last stream, code, text)
        self.is_closed = False
        self.close_reason = ""
        self.block = None            # an unfinished field block: (stream, flags, octets)
        self.block_frames = []       # the sizes of the frames of the last block
        self.counts = {}
        self.gives_windows = True
        self.answers = True
        self.send_window = 65535     # the connection's, for what we send
        self.window = 0
        self.received = 0

    # Sending

    def send(self, *pieces):
        """Sends all; raises Failure when the peer has closed or takes nothing more."""
        view = memoryview(b"".join(pieces))
        deadline = time.monotonic() + PATIENCE
        while view:
            try:
                count = self.connection.send(view)
                view = view[count:]
            except (BlockingIOError, ssl.SSLWantWriteError, ssl.SSLWantReadError):
                if time.monotonic() > deadline:
                    raise Failure("the peer takes nothing more")
                self.pump(0.05, writing=True)
            except OSError as error:
                # What the peer said before it closed can still be read.
                while not self.is_closed and time.monotonic() < deadline:
                    self.pump(0.5)
                self._end(f"send: {error}; {self.close_reason}")
            if self.is_closed:
                raise Failure("closed while sending: " + self.state())

    def try_send(self, *pieces):
        """As send; False when the peer has closed."""
        try:
            self.send(*pieces)
            return True
        except Failure:
            if self.is_closed:
                return False
            raise

    def preface(self, *values):
        self.send(PREFACE if self.is_caller else b"", frame(SETTINGS, 0, 0, settings_payload(values)))

    def settings(self, *values):
        self.send(frame(SETTINGS, 0, 0, settings_payload(values)))

    def encode(self, fields):
        return self.encoder.encode([(to_octets(n), to_octets(v)) for n, v in fields], huffman=False)

    def headers(self, fields, stream=None, ends=True, block=None):
        """HEADERS with a whole block; returns the stream's id."""
        if stream is None:
            stream = self.new_id()
        block = self.encode(fields) if block is None else block
        flags = END_HEADERS | (END_STREAM if ends else 0)
        pieces = [block[i:i + 16384] for i in range(0, len(block), 16384)] or [b""]
        out = []
        for index, piece in enumerate(pieces):
            last = index == len(pieces) - 1
            kind = HEADERS if index == 0 else CONTINUATION
            bits = (flags & END_STREAM if index == 0 else 0) | (END_HEADERS if last else 0)
            out.append(frame(kind, bits, stream, piece))
        self.send(*out)
        return stream

    def new_id(self):
        stream, self.next_id = self.next_id, self.next_id + 2
        self.stream(stream)
        return stream

    def stream(self, identifier):
        if identifier not in self.streams:
            self.streams[identifier] = Stream(identifier)
        return self.streams[identifier]

    def data(self, stream, content, ends=False):
        """Content as far as the peer's windows allow; waits for windows."""
        record = self.stream(stream)
        view = memoryview(content)
        if not view:
            self.send(frame(DATA, END_STREAM if ends else 0, stream))
            return
        while view:
            room = lambda: min(self.send_window, self.send_window_of(record), 16384)
            self.wait(lambda: room() > 0 or record.reset is not None or self.is_closed, "a window to send content")
            if record.reset is not None or self.is_closed:
                raise Failure("the stream ended while sending: " + self.state(stream))
            piece, view = bytes(view[:room()]), view[room():]
            self.send_window -= len(piece)
            record.send_window -= len(piece)
            self.send(frame(DATA, END_STREAM if ends and not view else 0, stream, piece))

    def send_window_of(self, record):
        return record.send_window + self.peer.get(INITIAL_WINDOW_SIZE, 65535)

    def window_update(self, stream, increment):
        self.send(frame(WINDOW_UPDATE, 0, stream, struct.pack(">I", increment)))

    def rst(self, stream, code=CANCEL):
        self.stream(stream).is_answered = True
        self.send(frame(RST_STREAM, 0, stream, struct.pack(">I", code)))

    def goaway(self, last, code=NO_ERROR):
        self.send(frame(GOAWAY, 0, 0, struct.pack(">II", last, code)))

    # Receiving

    def wait(self, condition, what, patience=None):
        """Reads until `condition` holds."""
        deadline = time.monotonic() + (PATIENCE if patience is None else patience)
        while not condition():
            left = deadline - time.monotonic()
            if left <= 0 or self.is_closed:
                raise Failure(f"no {what}; {self.state()}")
            self.pump(left)

    def wait_closed(self):
        deadline = time.monotonic() + PATIENCE
        while not self.is_closed:
            left = deadline - time.monotonic()
            check(left > 0, "the connection stays open; " + self.state())
            self.pump(left)

    def round_trip(self):
        """PING and its answer: what the peer had sent before is here now."""
        payload = os.urandom(8)
        self.send(frame(PING, 0, 0, payload))
        self.wait(lambda: payload in self.pongs, "answer to PING")

    def pump(self, patience, writing=False):
        if self.is_closed:
            return
        pending = isinstance(self.connection, ssl.SSLSocket) and self.connection.pending()
        if not pending:
            ready = select.select([self.connection], [self.connection] if writing else [], [], min(patience, 1.0))
            if not ready[0]:
                return
        try:
            received = self.connection.recv(1 << 18)
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return
        except OSError as error:
            return self._end(f"receive: {error}")
        if not received:
            return self._end("end of stream")
        self.received += len(received)
        self.input += received
        while len(self.input) >= 9:
            length = int.from_bytes(self.input[:3], "big")
            if len(self.input) < 9 + length:
                break
            header, body = bytes(self.input[:9]), bytes(self.input[9:9 + length])
            del self.input[:9 + length]
            self._handle(header, body)

    def _end(self, reason):
        self.is_closed = True
        self.close_reason = reason
        return None

    def _handle(self, header, body):
        # hyperframe judges what the gateway sends: it raises for what is not a frame.
        parsed, _ = hyperframe.frame.Frame.parse_frame_header(memoryview(header))
        parsed.parse_body(memoryview(body))
        kind, flags = header[3], header[4]
        stream = int.from_bytes(header[5:9], "big") & 0x7FFFFFFF
        check(len(body) <= 16384, f"a frame of {len(body)} octets")
        if self.first is None:
            self.first = kind
        self.counts[kind] = self.counts.get(kind, 0) + 1
        if self.block is not None:
            check(kind == CONTINUATION and stream == self.block[0], "another frame inside a field block")
        if kind == DATA:
            self._data(stream, flags, body, parsed)
        elif kind in (HEADERS, CONTINUATION):
            self._block(kind, stream, flags, parsed)
        elif kind == RST_STREAM:
            self.stream(stream).reset = struct.unpack(">I", body)[0]
        elif kind == SETTINGS:
            self._settings(flags, body)
        elif kind == PING:
            if flags & ACK:
                self.pongs.append(body)
            else:
                self.pings += 1
                self._reply(frame(PING, ACK, 0, body))
        elif kind == GOAWAY:
            last, code = struct.unpack(">II", body[:8])
            self.goaways.append((last & 0x7FFFFFFF, code, body[8:].decode("latin-1")))
        elif kind == WINDOW_UPDATE:
            increment = struct.unpack(">I", body)[0] & 0x7FFFFFFF
            if stream == 0:
                self.send_window += increment
                self.window += increment
            else:
                record = self.stream(stream)
                record.window += increment
                record.send_window += increment

    def _data(self, stream, flags, body, parsed):
        record = self.stream(stream)
        check(record.head is not None, f"DATA before HEADERS on stream {stream}")
        check(not record.is_ended, f"DATA after the end of stream {stream}")
        record.content += parsed.data
        record.frame_sizes.append(len(body))
        if flags & END_STREAM:
            record.is_ended = True
        if self.gives_windows and body:
            self._reply(frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", len(body))))
            if not record.is_ended:
                self._reply(frame(WINDOW_UPDATE, 0, stream, struct.pack(">I", len(body))))

    def _block(self, kind, stream, flags, parsed):
        if kind == HEADERS:
            self.block = (stream, flags, bytearray(parsed.data))
            self.block_frames = [parsed.body_len]
        else:
            check(self.block is not None, "CONTINUATION without HEADERS")
            self.block[2].extend(parsed.data)
            self.block_frames.append(parsed.body_len)
        if not flags & END_HEADERS:
            return
        stream, first_flags, octets = self.block
        self.block = None
        fields = [(n.decode("latin-1"), v.decode("latin-1")) for n, v in self.decoder.decode(bytes(octets), raw=True)]
        record = self.stream(stream)
        if not self.is_caller and stream not in self.opened:
            self.opened.append(stream)
        record.heads.append(fields)
        status = dict(fields).get(":status", "")
        if status.startswith("1"):
            record.informational.append(fields)
        elif record.head is None:
            record.head = fields
        else:
            check(first_flags & END_STREAM, f"a second head on stream {stream}")
            record.trailers = fields
        if first_flags & END_STREAM:
            record.is_ended = True

    def _settings(self, flags, body):
        if flags & ACK:
            self.acknowledged += 1
            return
        self.peer_settings += 1
        for index in range(0, len(body), 6):
            name, value = struct.unpack(">HI", body[index:index + 6])
            self.peer[name] = value
        self._reply(frame(SETTINGS, ACK))

    def _reply(self, octets):
        if self.answers and not self.is_closed:
            try:
                self.connection.setblocking(True)
                self.connection.settimeout(PATIENCE)
                self.connection.sendall(octets)
            except OSError as error:
                self.close_reason = self.close_reason or f"send: {error}"
            finally:
                self.connection.setblocking(False)

    # Saying what is the matter

    def state(self, stream=None):
        text = []
        if self.goaways:
            text.append("GOAWAY " + ", ".join(f"{code_name(c)} last={last} {t}" for last, c, t in self.goaways))
        if self.is_closed:
            text.append(f"closed ({self.close_reason})")
        for record in self.streams.values():
            if stream is None or record.id == stream:
                text.append(
                    f"stream {record.id}: {len(record.heads)} heads, status {record.status}, "
                    f"{len(record.content)} octets"
                    + (", ended" if record.is_ended else "")
                    + (f", RST {code_name(record.reset)}" if record.reset is not None else ""))
        return "; ".join(text[:12]) or "nothing came"

    def close(self):
        try:
            self.connection.close()
        except OSError:
            pass
        self.is_closed = True


# MARK: Where things are

class Place:
    """The configuration file of a run."""

    def __init__(self, path):
        with open(path, encoding="utf-8") as file:
            self.values = json.load(file)

    def __getattr__(self, name):
        try:
            return self.values[name]
        except KeyError:
            raise AttributeError(name) from None

    def trust(self, alpn=None):
        context = ssl.create_default_context(cafile=self.authority)
        if alpn:
            context.set_alpn_protocols(alpn)
        return context

    def identity(self, alpn=None):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, self.key)
        if alpn:
            context.set_alpn_protocols(alpn)
        return context

    def connect(self, port, receive_buffer=None):
        connection = socket.socket()
        if receive_buffer:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        connection.settimeout(PATIENCE)
        connection.connect(("127.0.0.1", port))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def connect_tls(self, alpn=None, port=None):
        return self.trust(alpn).wrap_socket(self.connect(port or self.tls), server_hostname="localhost")

    def caller(self, over="h2c", receive_buffer=None):
        """An HTTP/2 connection to the gateway, nothing sent yet."""
        if over == "h2c":
            return Wire(self.connect(self.plain, receive_buffer))
        connection = self.connect_tls(["h2"])
        check(connection.selected_alpn_protocol() == "h2", "ALPN did not choose h2")
        return Wire(connection)

    def ready_caller(self, over="h2c", *values, receive_buffer=None):
        """As caller, with prefaces and SETTINGS exchanged."""
        wire = self.caller(over, receive_buffer)
        wire.preface(*values)
        wire.wait(lambda: wire.peer_settings and wire.acknowledged, "SETTINGS")
        return wire

    def metric(self, name, **labels):
        """A metric's value on the metrics page, 0 when it is not there; with labels, of that series."""
        connection = self.connect(self.console)
        connection.sendall(
            b"GET /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\nAuthorization: Bearer "
            + self.secret.encode() + b"\r\n\r\n")
        page = b""
        while piece := connection.recv(1 << 16):
            page += piece
        connection.close()
        total = 0.0
        for line in page.decode().splitlines():
            if line.startswith(name + "{") or line.startswith(name + " "):
                if all(f'{key}="{value}"' in line for key, value in labels.items()):
                    total += float(line.rsplit(" ", 1)[1])
        return total

    def resident(self):
        """The gateway's resident memory in KiB."""
        with open(f"/proc/{self.pid}/status", encoding="ascii") as file:
            for line in file:
                if line.startswith("VmRSS:"):
                    return int(line.split()[1])
        raise Failure("the gateway is gone")


def request(path, method="GET", scheme="http", authority="gateway.test", *more):
    return [(":method", method), (":scheme", scheme), (":path", path), (":authority", authority), *more]


# MARK: Tables

class Table:
    """The cases of a script."""

    def __init__(self):
        self.cases = []
        self.lock = threading.Lock()

    def case(self, name, *arguments):
        """Registers a function as a case; it raises when the case fails."""
        def register(function):
            self.cases.append((name, function, arguments))
            return function
        return register

    def add(self, name, function, *arguments):
        self.cases.append((name, function, arguments))

    def run(self, place, jobs=1):
        wanted = sys.argv[2:]
        cases = [c for c in self.cases if not wanted or any(word in c[0] for word in wanted)]
        names = [c[0] for c in self.cases]
        check(len(names) == len(set(names)), "two cases have one name")
        with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
            list(pool.map(lambda c: self._run(place, *c), cases))
        print(json.dumps({"done": len(cases)}), flush=True)
        os._exit(0)           # the threads of the peers are not waited for

    def _run(self, place, name, function, arguments):
        started = time.monotonic()
        detail = ""
        try:
            function(place, *arguments)
        except Failure as failure:
            detail = str(failure) or "failed"
        except Exception as error:  # a broken test, or a peer that is not one
            where = traceback.extract_tb(error.__traceback__)[-1]
            detail = f"{type(error).__name__}: {error} ({os.path.basename(where.filename)}:{where.lineno})"
        line = {
            "case": name, "ok": not detail, "detail": detail, "ms": round((time.monotonic() - started) * 1000),
        }
        with self.lock:
            print(json.dumps(line), flush=True)


_numbers = itertools.count(1)


def unique(prefix):
    """A name that no other case uses."""
    return f"{prefix}{next(_numbers)}"


def start(function, *arguments):
    thread = threading.Thread(target=function, args=arguments, daemon=True)
    thread.start()
    return thread


def until(condition, what, patience=None):
    """Waits for a fact that other threads bring about."""
    deadline = time.monotonic() + (PATIENCE if patience is None else patience)
    while not condition():
        check(time.monotonic() < deadline, f"not in time: {what}")
        time.sleep(0.002)
