"""gRPC with grpcio on both ends: the API behind TLS, callers over h2c and over TLS, and the gateway between them."""

import concurrent.futures
import queue
import sys
import threading

import grpc

from kit import *

table = Table()
place = Place(sys.argv[1])
gates = {}
ended = {}
heads = []


def gate(name):
    return gates.setdefault(name, threading.Event())


# MARK: The API: bytes in, bytes out

def echo(content, context):
    heads.append(dict(context.invocation_metadata()))
    context.send_initial_metadata((("x-initial", "one"),))
    context.set_trailing_metadata((("x-trailing", "two"), ("x-binary-bin", b"\x00\xff\x01")))
    return content


def fail(content, context):
    context.set_trailing_metadata((("x-detail", "three"),))
    context.abort(grpc.StatusCode.PERMISSION_DENIED, "not for you: 100 % ä")


def late(content, context):
    """Fails after some messages."""
    yield b"one"
    yield b"two"
    context.abort(grpc.StatusCode.DATA_LOSS, "after two")


def count(content, context):
    for number in range(int(content)):
        yield b"%d" % number


def steps(content, context):
    """Each message when the test has seen the one before."""
    for number in range(5):
        gate(f"{content.decode()}-{number}").wait(PATIENCE)
        yield b"step %d" % number


def total(contents, context):
    return b"%d" % sum(len(content) for content in contents)


def turns(contents, context):
    for content in contents:
        yield b"re: " + content


def wait(content, context):
    """Never answers; says when it has been given up."""
    name = content.decode()
    over = threading.Event()
    context.add_callback(over.set)
    gate(name + "-started").set()
    over.wait(PATIENCE * 2)
    ended[name] = context.is_active()
    gate(name).set()
    return b""


def remaining(content, context):
    return b"%d" % (context.time_remaining() * 1000)


HANDLERS = {
    "Echo": grpc.unary_unary_rpc_method_handler(echo), "Fail": grpc.unary_unary_rpc_method_handler(fail),
    "Late": grpc.unary_stream_rpc_method_handler(late), "Count": grpc.unary_stream_rpc_method_handler(count),
    "Steps": grpc.unary_stream_rpc_method_handler(steps), "Total": grpc.stream_unary_rpc_method_handler(total),
    "Turns": grpc.stream_stream_rpc_method_handler(turns), "Wait": grpc.unary_unary_rpc_method_handler(wait),
    "Remaining": grpc.unary_unary_rpc_method_handler(remaining),
}


def read(path):
    with open(path, "rb") as file:
        return file.read()


server = grpc.server(
    concurrent.futures.ThreadPoolExecutor(128), options=[("grpc.max_receive_message_length", 16 << 20),
                                                         ("grpc.so_reuseport", 0)])
server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Api", HANDLERS),))
server.add_secure_port(
    f"127.0.0.1:{place.h2}", grpc.ssl_server_credentials([(read(place.key), read(place.certificate))]))
server.start()

# MARK: The callers

OPTIONS = [("grpc.max_receive_message_length", 16 << 20), ("grpc.enable_http_proxy", 0), ("grpc.enable_retries", 0)]
channels = {
    "h2c": grpc.insecure_channel(f"127.0.0.1:{place.plain}", OPTIONS),
    "TLS": grpc.secure_channel(
        f"localhost:{place.tls}", grpc.ssl_channel_credentials(read(place.authority)), OPTIONS),
}


def method(over, kind, name):
    return getattr(channels[over], kind)(f"/test.Api/{name}")


def case(name):
    def register(function):
        for over in channels:
            table.add(f"{name} ({over})", lambda _, over=over: function(over))
        return function
    return register


def fails(call, code, details=None):
    try:
        call()
    except grpc.RpcError as error:
        check(error.code() == code, f"{error.code()} {error.details()}")
        check(details is None or error.details() == details, f"{error.details()}")
        return error
    raise Failure("no error")


@case("unary: content, metadata and trailing metadata arrive, with the token")
def _(over):
    mark = unique("mark") + over
    answer, call = method(over, "unary_unary", "Echo").with_call(
        b"hello", timeout=PATIENCE,
        metadata=(("x-mark", mark), ("x-bin", b"\x01\x02"), ("authorization", "Bearer own")))
    check(answer == b"hello", f"{answer}")
    check(("x-initial", "one") in list(call.initial_metadata()), f"{call.initial_metadata()}")
    trailing = dict(call.trailing_metadata())
    check(trailing.get("x-trailing") == "two" and trailing.get("x-binary-bin") == b"\x00\xff\x01", f"{trailing}")
    head = [h for h in heads if h.get("x-mark") == mark][0]
    check(head.get("authorization") == "Bearer " + place.token, f"{head}")
    check(head.get("x-bin") == b"\x01\x02", f"{head}")


@case("unary: empty messages and messages of 4 MiB arrive")
def _(over):
    for size in [0, 1, 100000, 4 << 20]:
        content = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
        answer = method(over, "unary_unary", "Echo")(content, timeout=PATIENCE)
        check(answer == content, f"{size}: {len(answer)}")


@case("server streaming: every message arrives in order")
def _(over):
    answers = list(method(over, "unary_stream", "Count")(b"1000", timeout=PATIENCE))
    check(answers == [b"%d" % n for n in range(1000)], f"{len(answers)}")


@case("server streaming: each message arrives before the next is made")
def _(over):
    name = unique("steps") + over
    stream = method(over, "unary_stream", "Steps")(name.encode(), timeout=PATIENCE)
    for number in range(5):
        gate(f"{name}-{number}").set()
        check(next(stream) == b"step %d" % number, "another message")
    check(next(stream, None) is None, "more")


@case("client streaming: every message arrives")
def _(over):
    answer = method(over, "stream_unary", "Total")((bytes(1000) for _ in range(1000)), timeout=PATIENCE)
    check(answer == b"1000000", f"{answer}")


@case("bidirectional: one message at a time, each answered before the next is sent")
def _(over):
    outgoing = queue.Queue()
    stream = method(over, "stream_stream", "Turns")(iter(outgoing.get, None), timeout=PATIENCE)
    for number in range(50):
        outgoing.put(b"%d" % number)
        check(next(stream) == b"re: %d" % number, "another message")
    outgoing.put(None)
    check(next(stream, None) is None and stream.code() == grpc.StatusCode.OK, f"{stream.code()}")


@case("errors as trailers only: UNIMPLEMENTED, PERMISSION_DENIED with details and metadata")
def _(over):
    fails(lambda: method(over, "unary_unary", "Nothing")(b"", timeout=PATIENCE), grpc.StatusCode.UNIMPLEMENTED)
    error = fails(lambda: method(over, "unary_unary", "Fail")(b"", timeout=PATIENCE),
                  grpc.StatusCode.PERMISSION_DENIED, "not for you: 100 % ä")
    check(dict(error.trailing_metadata()).get("x-detail") == "three", f"{error.trailing_metadata()}")


@case("an error after messages arrives after them")
def _(over):
    stream = method(over, "unary_stream", "Late")(b"", timeout=PATIENCE)
    check([next(stream), next(stream)] == [b"one", b"two"], "other messages")
    fails(lambda: next(stream), grpc.StatusCode.DATA_LOSS, "after two")


@case("a deadline is told to the API and ends the call there")
def _(over):
    left = int(method(over, "unary_unary", "Remaining")(b"", timeout=100))
    check(50000 < left < 102000, f"{left} ms")          # grpcio rounds up
    name = unique("deadline") + over
    fails(lambda: method(over, "unary_unary", "Wait")(name.encode(), timeout=0.3), grpc.StatusCode.DEADLINE_EXCEEDED)
    check(gate(name).wait(PATIENCE), "the API goes on")


@case("a cancellation is seen by the API")
def _(over):
    name = unique("cancel") + over
    call = method(over, "unary_unary", "Wait").future(name.encode(), timeout=PATIENCE)
    check(gate(name + "-started").wait(PATIENCE), "the call does not reach the API")
    call.cancel()
    check(gate(name).wait(PATIENCE), "the API goes on")


@case("100 calls at once")
def _(over):
    calls = [method(over, "unary_unary", "Echo").future(b"%d" % n, timeout=PATIENCE) for n in range(100)]
    for number, call in enumerate(calls):
        check(call.result() == b"%d" % number, "another answer")


@case("100 conversations at once")
def _(over):
    outgoing = [queue.Queue() for _ in range(100)]
    streams = [method(over, "stream_stream", "Turns")(iter(q.get, None), timeout=PATIENCE) for q in outgoing[:90]]
    for turn in range(3):
        for number, stream in enumerate(streams):
            outgoing[number].put(b"%d/%d" % (turn, number))
        for number, stream in enumerate(streams):
            check(next(stream) == b"re: %d/%d" % (turn, number), "another message")
    for q in outgoing:
        q.put(None)
    for stream in streams:
        check(next(stream, None) is None, "more")


@case("the gateway's own answers are gRPC errors that a caller understands")
def _(over):
    call = getattr(channels[over], "unary_unary")("/no.Route/Method")
    fails(lambda: call(b"", timeout=PATIENCE), grpc.StatusCode.UNIMPLEMENTED)        # from 404


table.run(place)
