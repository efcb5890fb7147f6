"""What the conformance cases share: origins, cases for both kinds of listeners, and what errors must look like."""

import os
import signal
import struct
import sys
import warnings

import hyperframe.exceptions

import origin
from kit import *

warnings.simplefilter("ignore", DeprecationWarning)        # weak TLS is asked for on purpose
table = Table()
place = Place(sys.argv[1])
origins = {"h1": origin.Origin(place, place.h1, ["http/1.1"]), "h2": origin.Origin(place, place.h2, ["h2"])}
OVER = ["h2c", "h2"]
BOTH = {"h2c": "h2c", "h2": "TLS"}


def case(name):
    """Registers a case for both kinds of listeners."""
    def register(function):
        for over in OVER:
            table.add(f"{name} ({BOTH[over]})", lambda _, over=over: function(over))
        return function
    return register


def ready(over, *values):
    return place.ready_caller(over, *values)


def get(path="/h1/echo", *more, method="GET", authority="gateway.test"):
    return request(path, method, "http", authority, *more)


def answered(wire, stream, status=200):
    """A whole answer."""
    record = wire.stream(stream)
    wire.wait(lambda: record.is_over, f"answer on stream {stream}")
    check(record.is_ended and record.status == status, f"expected {status}: {wire.state(stream)}")
    return record


def survives(wire):
    """The connection's next request is served."""
    answered(wire, wire.headers(get()))


def connection_error(wire, *codes):
    """GOAWAY with one of the codes, and the connection is closed."""
    wire.wait_closed()
    check(wire.goaways, "closed without GOAWAY: " + wire.state())
    check(wire.goaways[-1][1] in codes, f"expected {'/'.join(map(code_name, codes))}: {wire.state()}")


def stream_error(wire, stream, *codes):
    """RST_STREAM with one of the codes; other streams go on."""
    record = wire.stream(stream)
    wire.wait(lambda: record.reset is not None or wire.goaways, f"RST_STREAM on stream {stream}")
    check(record.reset in codes, f"expected RST {'/'.join(map(code_name, codes))}: {wire.state()}")
    survives(wire)


def either_error(wire, stream, *codes):
    """A stream error, or a connection error (RFC 9113 5.4.1 leaves the choice)."""
    record = wire.stream(stream)
    wire.wait(lambda: record.reset is not None or wire.goaways, "error")
    if record.reset is not None and not wire.goaways:
        check(record.reset in codes, f"expected RST {'/'.join(map(code_name, codes))}: {wire.state()}")
        survives(wire)
    else:
        connection_error(wire, *codes)


def open_stream(wire):
    """A stream whose request is not at its end and whose answer has not come."""
    stream = wire.headers(get("/h1/echo", method="POST"), ends=False)
    wire.round_trip()
    return stream


def held(wire):
    """A stream whose request is at its end and whose answer waits for a gate; returns both."""
    gate = unique("gate")
    return wire.headers(get(f"/h1/hold/{gate}")), origins["h1"].gate(gate)


def refused(over, fields, ends=True, block=None, statuses=(400,), codes=(PROTOCOL_ERROR,), and_then=None):
    """A malformed request is a stream error or an answer of 4xx, never forwarded, and the connection lives."""
    wire = ready(over)
    mark = unique("mark")
    fields = [(n, v.replace("MARK", mark) if isinstance(v, str) else v) for n, v in fields]
    stream = wire.headers(fields, ends=ends, block=block(mark) if block else None)
    if and_then:
        and_then(wire, stream)
    record = wire.stream(stream)
    wire.wait(lambda: record.is_over or wire.goaways, "refusal")
    check(not wire.goaways, "the whole connection ends: " + wire.state())
    if record.reset is not None and record.head is None:
        check(record.reset in codes, f"expected RST {'/'.join(map(code_name, codes))}: {wire.state()}")
    else:
        check(record.status in statuses, f"expected a refusal: {wire.state()}")
    survives(wire)
    complete = [e for e in origins["h1"].seen(mark) + origins["h2"].seen(mark) if e.is_complete]
    check(not complete, "the request was forwarded")


def raw_block(*pairs):
    """A block of literals with octets that the encoder would not let through."""
    def make(mark):
        return b"".join(literal(to_octets(n), to_octets(v).replace(b"MARK", mark.encode())) for n, v in pairs)
    return make


PLAIN = [(":method", "GET"), (":scheme", "http"), (":path", "/h1/echo/MARK"), (":authority", "gateway.test")]
