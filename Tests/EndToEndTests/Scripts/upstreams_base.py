"""What the cases of scripted APIs share: an upstream for each case, callers over HTTP/1.1 and h2c."""

import sys

from scripted import *

table = Table()
place = Place(sys.argv[1])
OVER = {"h1": "HTTP/1.1 caller", "h2c": "h2c caller"}
indices = itertools.count()


def case(name, over=("h1", "h2c"), alpn=("h2",), recovers=True):
    """Registers a case for each kind of caller, each with an upstream of its own. Afterwards the API behaves, and the
    next request must be served."""
    def register(function):
        for kind in over:
            def run(_, kind=kind, index=next(indices)):
                upstream = Upstream(place, index, alpn)
                try:
                    function(upstream, kind)
                    if recovers:
                        upstream.script = good
                        fine(upstream.call(kind), None)
                except Failure as failure:
                    text = str(failure)
                    if upstream.errors:
                        text += f" [the API: {'; '.join(upstream.errors)[-600:]}]"
                    raise Failure(text) from None
                finally:
                    upstream.close()
            table.add(f"{name} ({OVER[kind]})", run)
        return function
    return register


STATUS = (":status", "200")
