"""What RFC 9113 and 7541 demand of a server, tried on the gateway's caller side, over h2c and over TLS."""

import conformance_frames
import conformance_requests
import conformance_flow
import conformance_ends              # the last: it ends the gateway
from conformance_base import place, table

table.run(place)
