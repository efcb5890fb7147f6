"""HTTP/1.1 messages on a blocking socket, read piece by piece."""


class Ended(Exception):
    """The peer has closed."""


class Reader:
    """Reads heads and contents. After the content `trailers` holds its trailer fields."""

    def __init__(self, connection):
        self.connection = connection
        self.input = bytearray()
        self.trailers = []

    def fill(self):
        try:
            received = self.connection.recv(1 << 16)
        except TimeoutError:
            raise
        except OSError as error:
            raise Ended(str(error)) from None
        if not received:
            raise Ended("end of stream")
        self.input += received

    def take(self, count):
        piece = bytes(self.input[:count])
        del self.input[:count]
        return piece

    def line(self):
        while (end := self.input.find(b"\r\n")) < 0:
            self.fill()
        return self.take(end + 2)[:-2].decode("latin-1")

    def fields(self):
        fields = []
        while line := self.line():
            name, _, value = line.partition(":")
            fields.append((name.lower(), value.strip()))
        return fields

    def head(self):
        """The start line and the fields."""
        return self.line(), self.fields()

    def content(self, fields, is_response=False, has_none=False):
        """Yields the pieces of the content as they come."""
        values = dict(fields)
        self.trailers = []
        if has_none:
            return
        if "chunked" in values.get("transfer-encoding", ""):
            while size := int(self.line().split(";")[0], 16):
                yield from self._exactly(size)
                self.line()
            self.trailers = self.fields()
        elif "content-length" in values:
            yield from self._exactly(int(values["content-length"]))
        elif is_response:
            while True:
                if self.input:
                    yield self.take(len(self.input))
                try:
                    self.fill()
                except Ended as end:
                    if str(end) != "end of stream":
                        raise
                    return

    def _exactly(self, size):
        while size:
            if not self.input:
                self.fill()
            piece = self.take(min(size, len(self.input)))
            size -= len(piece)
            yield piece


def head_octets(start, fields):
    return (start + "\r\n" + "".join(f"{n}: {v}\r\n" for n, v in fields) + "\r\n").encode("latin-1")


def chunk(content):
    return b"%x\r\n%s\r\n" % (len(content), bytes(content))


def last_chunk(trailers=()):
    return head_octets("0", trailers)
