"""One HTTP/1.1 connection to an upstream, on httptools (llhttp). No task, no future: a sink is called as bytes arrive.

The body of a response is handed on decoded (chunk framing removed), one call per read, so that the relay can frame it
anew and never passes half a chunk on. Only a read that is one whole chunk, the rule in a stream of tokens, is offered
to the `passer` as it came: taking it apart and framing it anew would give the same bytes. A connection serves one
request at a time and is pooled in between.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, Protocol, cast

import httptools

from plano.upstreams.failures import Failure, FailureKind

if TYPE_CHECKING:
    from plano.upstreams.pool import Pool

MAX_HEAD_BYTES: Final = 256 * 1024
_CR: Final = 0x0D
_LF: Final = 0x0A
_MAX_SIZE_DIGITS: Final = 8

_DROP: Final = 0
_TYPE: Final = 1
_LENGTH: Final = 2
_RETRY_AFTER: Final = 3
_ENCODING: Final = 4
_REQUEST_ID: Final = 5
_TRANSFER: Final = 6

# Response headers that do not pass as they are. Hop-by-hop fields (RFC 9110, 7.6.1) concern this connection only;
# cookies and transport advice of a provider are not for our clients, who share this connection.
_RESPONSE_HEADERS: Final[dict[bytes, int]] = {
    b"connection": _DROP,
    b"keep-alive": _DROP,
    b"proxy-authenticate": _DROP,
    b"proxy-connection": _DROP,
    b"te": _DROP,
    b"trailer": _DROP,
    b"transfer-encoding": _TRANSFER,
    b"upgrade": _DROP,
    b"set-cookie": _DROP,
    b"alt-svc": _DROP,
    b"strict-transport-security": _DROP,
    b"x-plano-model": _DROP,
    b"x-plano-attempts": _DROP,
    b"content-type": _TYPE,
    b"content-length": _LENGTH,
    b"retry-after": _RETRY_AFTER,
    b"content-encoding": _ENCODING,
    b"x-request-id": _REQUEST_ID,
}


class Sink(Protocol):
    """Who asked. Exactly one of `upstream_failed`, `upstream_stale` or a call with `complete=True` ends a request."""

    def upstream_ready(self, connection: UpstreamConnection) -> None:
        """A connection was dialled for this sink."""

    def upstream_head(self, connection: UpstreamConnection, body: bytes, complete: bool) -> None:
        """The head of the response is on the connection; `body` is what came with it."""

    def upstream_data(self, body: bytes, complete: bool) -> None:
        """More of the body (may be empty when only the end was missing)."""

    def upstream_failed(self, failure: Failure) -> None:
        """No connection, or the response broke off."""

    def upstream_stale(self) -> None:
        """A pooled connection was closed before any byte of an answer: the request may go out again as it is."""


class Passer(Protocol):
    """A sink that passes chunks on."""

    def upstream_chunk(self, chunk: bytes, start: int) -> bool:
        """A chunk of the body as it came: its data begin at `start` and end with the last two bytes, which are a line
        end. False: not taken, it comes again as `upstream_data`."""


class UpstreamConnection:
    """See the module. Response fields are valid from `upstream_head` until the request ends.

    `content_length` is -1 when the upstream gave none; `lines` are the end-to-end headers ready to be written. `passer`
    may be set while a response with chunks is under way, and is forgotten with the next request.
    """

    __slots__ = (
        "_between_chunks",
        "_chunked",
        "_complete",
        "_head_bytes",
        "_head_done",
        "_interim",
        "_keep",
        "_parser",
        "_pieces",
        "_pool",
        "_received",
        "_told",
        "admitted",
        "coding",
        "content_length",
        "content_type",
        "idle_since_s",
        "lines",
        "passer",
        "retry_after",
        "reused",
        "session_kept",
        "sink",
        "status",
        "transport",
    )
    transport: asyncio.Transport  # set by connection_made

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._parser = httptools.HttpResponseParser(self)
        self.reused = False  # it has been idle: the upstream may have closed it before it saw a request
        self._pieces: list[bytes] = []
        self.sink: Sink | None = None
        self.admitted = False  # by the pool: it counts this connection until `discard`
        self.session_kept = False
        self.idle_since_s = 0.0

    # -- the request ---------------------------------------------------------------------------------------------

    def send(self, payload: bytes, sink: Sink) -> None:
        self.sink = sink
        self.status = 0
        self.content_type = b""
        self.content_length = -1
        self.retry_after = b""
        self.coding = b""
        self.lines: list[bytes] = []
        self._head_done = self._told = self._complete = self._interim = self._keep = self._received = False
        self._chunked = self._between_chunks = False
        self.passer: Passer | None = None
        self._head_bytes = 0
        self.transport.write(payload)

    def cancel(self) -> None:
        """Give up the request: the connection is closed at once, which tells the upstream to stop working for it."""
        self.sink = None
        self.transport.abort()

    # -- asyncio.Protocol ----------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        sink = self.sink
        if sink is None:  # an idle upstream has nothing to say
            self.transport.abort()
            return
        if self._between_chunks and self.passer is not None:
            start = find_chunk_data(data)
            if start > 0 and self.passer.upstream_chunk(data, start):
                return  # the parser has not seen it: it waits for the next chunk now as before
        self._received = True
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            # Bytes after the end of a message land here too (see on_message_begin): the answer is whole, but what
            # follows it is nobody's (passed on it would be response splitting), so the connection is not used again.
            if not self._complete:
                self._break(Failure(FailureKind.PROTOCOL, "the upstream did not answer in HTTP/1.1"))
                return
            self._keep = False
        if not self._head_done:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES:
                self._break(Failure(FailureKind.PROTOCOL, "the head of the upstream's response is too large"))
            return
        pieces = self._pieces
        last = b""
        if not pieces:
            body = b""
        elif len(pieces) == 1:
            body = last = pieces[0]
            pieces.clear()
        else:
            body = b"".join(pieces)
            last = pieces[-1]
            pieces.clear()
        complete = self._complete
        if complete:
            self.sink = None
        if not self._told:
            self._told = True
            sink.upstream_head(self, body, complete)
        elif body or complete:
            sink.upstream_data(body, complete)
        if complete:
            self._release()
        elif self.passer is not None:
            self._between_chunks = ends_with_chunk(data, last)

    def eof_received(self) -> bool | None:
        return None  # close: an upstream that has stopped sending has nothing more for us

    def connection_lost(self, exc: Exception | None) -> None:
        self._pool.discard(self)
        sink = self.sink
        if sink is None:
            return
        self.sink = None
        if not self._received:
            if self.reused:
                sink.upstream_stale()
            else:
                sink.upstream_failed(Failure(FailureKind.RESET, "the upstream closed the connection without an answer"))
        elif exc is None and self._head_done and self._ends_with_connection():
            sink.upstream_data(b"", True)
        else:
            sink.upstream_failed(Failure(FailureKind.RESET, "the upstream's answer broke off"))

    # -- httptools -----------------------------------------------------------------------------------------------

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._head_done:  # a trailer; it does not become a header (RFC 9110, 6.5.1)
            return
        kind = _RESPONSE_HEADERS.get(name.lower())
        if kind is None:
            self.lines.append(b"%b: %b\r\n" % (name, value))
        elif kind == _TYPE:
            self.content_type = value
        elif kind == _LENGTH:
            self.content_length = int(value)  # llhttp has checked the digits
        elif kind == _REQUEST_ID:
            self.lines.append(b"x-upstream-request-id: %b\r\n" % value)
        elif kind == _TRANSFER:
            self._chunked = True
        elif kind == _RETRY_AFTER:
            self.retry_after = value
            self.lines.append(b"retry-after: %b\r\n" % value)
        elif kind == _ENCODING and value.lower() != b"identity":
            self.coding = value.lower()

    def on_headers_complete(self) -> None:
        self.status = self._parser.get_status_code()
        if self.status < 200:  # 100 and 103 announce the answer, they are not it
            self._interim = True
        else:
            self._head_done = True

    def on_body(self, body: bytes) -> None:
        self._pieces.append(body)

    def on_message_complete(self) -> None:
        if self._interim:
            self._interim = False
            self.coding = b""
            self.lines.clear()
            self.content_type = self.retry_after = b""
            self.content_length = -1
        else:
            self._complete = True
            # valid only inside this callback: asked later it says no and ends connection reuse
            self._keep = self._parser.should_keep_alive()

    def on_message_begin(self) -> None:
        if self._complete:
            raise ValueError("bytes after the end of the response")  # surfaces as HttpParserCallbackError

    # -- ends ----------------------------------------------------------------------------------------------------

    def _ends_with_connection(self) -> bool:
        """Neither a length nor chunks: the body lasts until the upstream closes (RFC 9112, 6.3)."""
        return self.content_length < 0 and not self._chunked

    def _break(self, failure: Failure) -> None:
        sink = self.sink
        self.sink = None
        self._pieces.clear()
        self.transport.abort()
        if sink is not None:
            sink.upstream_failed(failure)

    def _release(self) -> None:
        if self._keep and not self.transport.is_closing():
            self._pool.put_back(self)
        else:
            self._pool.retire(self)


def find_chunk_data(data: bytes) -> int:
    """Where the data of a chunk begin if these bytes are exactly one, else 0. Extensions, and sizes of more than eight
    digits, are left to the parser (RFC 9112, 7.1)."""
    size = place = 0
    length = len(data)
    while place < length and place < _MAX_SIZE_DIGITS:
        digit = data[place]
        if 0x30 <= digit <= 0x39:
            size = size * 16 + digit - 0x30
        elif 0x61 <= digit <= 0x66:
            size = size * 16 + digit - 0x57
        elif 0x41 <= digit <= 0x46:
            size = size * 16 + digit - 0x37
        else:
            break
        place += 1
    if place == 0 or size == 0 or length != place + size + 4:
        return 0
    if data[place] != _CR or data[place + 1] != _LF or data[length - 2] != _CR or data[length - 1] != _LF:
        return 0
    return place + 2


def ends_with_chunk(data: bytes, piece: bytes) -> bool:
    """Do these bytes, which the parser has just read, end with a whole chunk, so that the next one comes next? `piece`
    is what it has given of the body last; a chunk that began in an earlier read does not count."""
    return data.endswith((b"%x\r\n%b\r\n" % (len(piece), piece), b"%X\r\n%b\r\n" % (len(piece), piece)))
