"""What the gateway makes of APIs that break RFC 9113, and of what they may do: seen by callers over HTTP/1.1 and h2c."""

import upstreams_answers
import upstreams_streams
import upstreams_limits
import upstreams_connections
from upstreams_base import place, table

table.run(place)
