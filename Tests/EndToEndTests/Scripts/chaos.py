"""Exchanges of every kind at random, many at once on shared connections: each comes to the end that it should, whatever
its neighbours do. The numbers are the same in every run; what meets what is not."""

import hashlib
import random
import sys

import calls
import origin
from kit import *

table = Table()
place = Place(sys.argv[1])
origins = {"h1": origin.Origin(place, place.h1, ["http/1.1"]), "h2": origin.Origin(place, place.h2, ["h2"])}


class Caller:
    """One connection with some exchanges under way."""

    def __init__(self, number, over):
        self.random = random.Random(number)
        self.over = over
        self.wire = place.ready_caller(over, (INITIAL_WINDOW_SIZE, self.random.choice([1000, 65535, 1 << 20])))

    def begin(self, path, method="GET", ends=True, length=None):
        return calls.FramedCall(place, self.over, path, method, [], length, ends, wire=self.wire)

    def upload(self, upstream):
        content = origin.pattern(self.random.choice([1, 100, 20000, 70000, 200000, 400000]))
        made = self.begin(f"/{upstream}/echo", "POST", False, self.random.choice([None, len(content)]))
        step = self.random.choice([1000, 16384, 100000])
        for start_at in range(0, len(content), max(step, len(content) // 20)):
            yield
            made.send(content[start_at:start_at + max(step, len(content) // 20)])
        made.finish()
        yield
        answer = json.loads(calls.expect(made))
        check(answer["sha256"] == hashlib.sha256(content).hexdigest(), f"other content of {len(content)} octets")

    def download(self, upstream):
        size = self.random.choice([0, 1, 16384, 100000, 500000])
        made = self.begin(f"/{upstream}/{self.random.choice(['sized', 'streamed'])}/{size}")
        yield
        check(calls.expect(made) == origin.pattern(size), f"other content of {size} octets")

    def cancelled_download(self, upstream):
        made = self.begin(f"/{upstream}/sized/500000")
        yield
        if self.random.random() < 0.5:
            made.read_to(self.random.choice([1, 10000]))
        made.cancel()

    def cancelled_upload(self, upstream):
        made = self.begin(f"/{upstream}/echo", "POST", False)
        made.send(bytes(self.random.choice([1, 1000, 40000])))
        yield
        made.cancel()

    def early(self, upstream):
        made = self.begin(f"/{upstream}/early/200", "POST", False)
        yield
        check(calls.expect(made) == b"early", f"{made.content!r}")

    def lost(self, upstream):
        made = self.begin(f"/{upstream}/lost", "POST", False)
        made.finish()
        yield
        calls.expect(made, 502)

    def malformed(self, upstream):
        stream = self.wire.headers(request(f"/{upstream}/echo", "GET", "http", "gateway.test", ("X-Upper", "1")))
        yield
        record = self.wire.stream(stream)
        self.wire.wait(lambda: record.is_over, "refusal")
        check(record.reset is not None or record.status == 400, self.wire.state(stream))

    def run(self, count):
        kinds = [self.upload, self.download, self.upload, self.download, self.cancelled_download,
                 self.cancelled_upload, self.early, self.lost, self.malformed]
        active = []
        started = 0
        while started < count or active:
            if started < count and len(active) < 8:
                active.append(self.random.choice(kinds)(self.random.choice(["h1", "h2"])))
                started += 1
            step = self.random.choice(active)
            try:
                next(step)
            except StopIteration:
                active.remove(step)
        check(not self.wire.goaways, self.wire.state()[:300])


def round_of_exchanges(first):
    """480 exchanges on eight connections."""
    failures = []

    def one(number):
        caller = None
        try:
            caller = Caller(number, "h2c" if number % 2 else "h2")
            caller.run(60)
        except Failure as failure:
            failures.append(f"{number}: {str(failure)[:600]}")
        except Exception as error:
            failures.append(f"{number}: {error!r}")
        finally:
            if caller:
                caller.wire.close()
    threads = [start(one, first + number) for number in range(8)]
    for thread in threads:
        thread.join(60)
    check(not any(thread.is_alive() for thread in threads), f"no end: {failures}")
    check(not failures, f"{failures}")
    check(not origins["h2"].complaints, f"{origins['h2'].complaints}")


@table.case("exchanges at random on eight connections come to their ends, and leave no memory behind")
def _(_):
    resident = []
    for number in range(4):
        round_of_exchanges(100 * number)
        resident.append(place.resident())
    check(resident[3] < resident[1] * 1.1 + 4096, f"KiB after each round: {resident}")


@table.case("afterwards nothing is left: every pair is served")
def _(_):
    for over in calls.PROTOCOLS:
        for upstream in ["h1", "h2"]:
            check(calls.expect(calls.call(place, over, f"/{upstream}/sized/1000")) == origin.pattern(1000), "content")


table.run(place)
