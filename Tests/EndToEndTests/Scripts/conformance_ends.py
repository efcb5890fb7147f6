"""ALPN, TLS, HTTP/1.1 beside HTTP/2, and the end of the gateway."""

from conformance_base import *


# MARK: TLS and HTTP/1.1 beside HTTP/2

def alpn(name, offers, expected):
    @table.case(name)
    def _(place):
        connection = place.connect_tls(offers)
        check(connection.selected_alpn_protocol() == expected, f"{connection.selected_alpn_protocol()}")
        if expected == "h2":
            wire = Wire(connection)
            wire.preface()
            survives(wire)
        else:
            connection.sendall(b"GET /h1/echo HTTP/1.1\r\nHost: gateway.test\r\nConnection: close\r\n\r\n")
            check(connection.recv(100).startswith(b"HTTP/1.1 200 "), "no answer")


alpn("ALPN: h2 is chosen where the caller offers it first", ["h2", "http/1.1"], "h2")
alpn("ALPN: h2 is chosen where the caller offers it last", ["http/1.1", "h2"], "h2")
alpn("ALPN: http/1.1 is chosen where the caller offers nothing else", ["http/1.1"], "http/1.1")
alpn("ALPN: a caller without ALPN speaks HTTP/1.1", None, None)


@table.case("ALPN: a caller that offers only unknown protocols is refused or speaks HTTP/1.1")
def _(place):
    try:
        connection = place.connect_tls(["spdy/3"])
    except ssl.SSLError:
        return
    check(connection.selected_alpn_protocol() is None, f"{connection.selected_alpn_protocol()}")


@table.case("TLS 1.2 with AEAD is served, TLS 1.1 and CBC are not")
def _(place):
    context = place.trust(["h2"])
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    wire = Wire(context.wrap_socket(place.connect(place.tls), server_hostname="localhost"))
    check(wire.connection.version() == "TLSv1.2", f"{wire.connection.version()}")
    wire.preface()
    survives(wire)
    for attempt in ["version", "ciphers"]:
        context = place.trust(["h2"])
        if attempt == "version":
            context.minimum_version = ssl.TLSVersion.TLSv1
            context.maximum_version = ssl.TLSVersion.TLSv1_1
            context.set_ciphers("ALL:@SECLEVEL=0")
        else:
            context.maximum_version = ssl.TLSVersion.TLSv1_2
            context.set_ciphers("ECDHE-ECDSA-AES128-SHA:ECDHE-ECDSA-AES128-SHA256:AES128-SHA")
        try:
            context.wrap_socket(place.connect(place.tls), server_hostname="localhost")
        except (ssl.SSLError, ConnectionError):
            continue
        raise Failure(f"a handshake with weak {attempt} came about")


@table.case("after ALPN h2 a request in HTTP/1.1 ends the connection")
def _(place):
    connection = place.connect_tls(["h2"])
    connection.sendall(b"GET /h1/echo HTTP/1.1\r\nHost: gateway.test\r\n\r\n")
    received = b""
    try:
        while piece := connection.recv(1 << 16):
            received += piece
    except OSError:
        pass
    check(b"HTTP/1.1 200" not in received, "it was served")


@table.case("Upgrade: h2c is not followed")
def _(place):
    connection = place.connect(place.plain)
    connection.sendall(
        b"GET /h1/echo HTTP/1.1\r\nHost: gateway.test\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
        b"HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n\r\n")
    check(connection.recv(100).startswith(b"HTTP/1.1 200 "), "not answered in HTTP/1.1")


@table.case("a path that begins like the preface is HTTP/1.1")
def _(place):
    connection = place.connect(place.plain)
    connection.sendall(b"P")
    connection.sendall(b"RI /h1/echo HTTP/1.1\r\nHost: gateway.test\r\nConnection: close\r\n\r\n")
    check(connection.recv(100).startswith(b"HTTP/1.1 "), "no answer")


@table.case("SIGTERM: GOAWAY with the highest id, then with the last one, and open streams end")
def _(place):
    wires = [ready("h2c"), ready("h2")]
    opened = [held(wire) for wire in wires]
    for wire, (stream, _) in zip(wires, opened):
        until(lambda: len(origins["h1"].seen()) > 0, "a request")
        wire.round_trip()
    until(lambda: all(any(e.words[-1] == n for e in origins["h1"].seen("hold"))
                      for n in [k for k, g in origins["h1"].gates.items() if g in [o[1] for o in opened]]), "both")
    idle = ready("h2c")
    survives(idle)
    os.kill(place.pid, signal.SIGTERM)
    idle.wait_closed()
    check(idle.goaways and idle.goaways[-1][1] == NO_ERROR, "idle: " + idle.state())
    for wire, (stream, gate) in zip(wires, opened):
        wire.wait(lambda: wire.goaways, "GOAWAY")
        gate.set()
        answered(wire, stream)
        wire.wait_closed()
        check(all(code == NO_ERROR for _, code, _ in wire.goaways), wire.state())
        check(wire.goaways[0][0] >= stream and wire.goaways[-1][0] >= stream, wire.state())
