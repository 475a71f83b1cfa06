"""The listening side: HTTP/1.1 on httptools (llhttp), one `asyncio.Protocol` per client connection.

It parses, bounds and queues requests and hands them to its listener one at a time; answers are written by whoever
handles the request. What llhttp refuses (conflicting lengths, bad chunk sizes, bare line feeds ...) is answered 400 and
the connection is closed, because nobody knows where the next request would begin.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, Protocol, cast

import httptools

from plano.frontends.deadlines import NEVER
from plano.frontends.errors import GatewayError, render_error
from plano.frontends.request import (
    API_KEY,
    AUTHORIZATION,
    CODING,
    CONNECTION,
    EXPECT,
    HOST,
    LENGTH,
    NO_REQUEST,
    REQUEST_HEADERS,
    REQUEST_ID,
    TRACEPARENT,
    TRACESTATE,
    TRANSFER,
    TYPE,
    Request,
)

if TYPE_CHECKING:
    from plano.frontends.listener import Listener

MAX_URL_BYTES: Final = 8 * 1024
# How long a client that was refused may go on sending before the connection is cut.
LINGER_S: Final = 2.0
CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"

STATUS_LINES: Final[dict[int, bytes]] = {
    status: b"HTTP/1.1 %d %b\r\n"
    % (status, HTTPStatus(status).phrase.encode() if status in HTTPStatus._value2member_map_ else b"Status")
    for status in range(200, 600)
}


class Handler(Protocol):
    """Who answers a request that takes longer than the call that began it."""

    def client_left(self) -> None:
        """The connection is gone; nothing can be written any more."""

    def pause(self) -> None:
        """The client reads more slowly than we write: stop writing."""

    def resume(self) -> None:
        """The client has caught up."""


class ClientConnection:
    """See the module. One request is handled at a time; pipelined ones wait, and reading pauses meanwhile."""

    __slots__ = (
        "_body_bytes",
        "_body_seen",
        "_continue_owed",
        "_discarding",
        "_fault",
        "_head_bytes",
        "_head_done",
        "_listener",
        "_parser",
        "_pieces",
        "_reading_paused",
        "_request",
        "_starting",
        "_waiting",
        "busy",
        "closed",
        "deadline_s",
        "handler",
        "transport",
        "writing_paused",
    )
    transport: asyncio.Transport  # set by connection_made

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._parser = httptools.HttpRequestParser(self)
        self._request = NO_REQUEST  # being parsed
        self._waiting: deque[Request] = deque()  # parsed, not yet handled
        self._pieces: list[bytes] = []
        self._head_bytes = 0
        self._body_bytes = self._body_seen = 0
        self._head_done = False
        self._continue_owed = False
        self._fault: GatewayError | None = None
        self._reading_paused = False
        self._discarding = False
        self._starting = False
        self.busy = False  # a request is being handled
        self.closed = False
        self.deadline_s = NEVER
        self.writing_paused = False
        self.handler: Handler | None = None

    # -- asyncio.Protocol ----------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self._listener.connected(self)

    def data_received(self, data: bytes) -> None:
        if self._discarding:
            return
        try:
            most = self._listener.max_header_bytes
            if self._request is NO_REQUEST:
                if len(data) > most:
                    self._bound_head(data, most)
            elif not self._head_done and self._head_bytes + len(data) > most:
                self._bound_head(data, most - self._head_bytes)
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as offer:
            if self._expect_body():
                self.data_received(data[offer.args[0] :])
                return
            # The request is complete and wants another protocol; we answer it in this one (RFC 9110, 7.8) and close,
            # as the bytes that follow may be of that protocol.
            self._refuse_rest(None)
        except httptools.HttpParserError as error:
            fault = self._fault
            if fault is None:
                fault = GatewayError(400, "bad_http", f"The request is not valid HTTP/1.1: {error}", close=True)
            self._refuse_rest(fault)
        except GatewayError as refusal:
            self._refuse_rest(refusal)
        if self._request is not NO_REQUEST:
            # behind other requests in one read: how much of it is this one's is not known, and a read is bounded
            self._watch_rest(1 if self._waiting else len(data))
        if self._waiting:
            self._start_waiting()

    def eof_received(self) -> bool | None:
        # A client that has stopped sending has left, as nginx and Envoy see it: an upstream must not go on working
        # (and billing) for a client nobody hears. What is already written is still flushed.
        return None

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        self._listener.disconnected(self)
        self._waiting.clear()
        self._request = NO_REQUEST
        handler = self.handler
        if handler is not None:
            self.handler = None
            handler.client_left()

    def pause_writing(self) -> None:
        self.writing_paused = True
        if self.handler is not None:
            self.handler.pause()

    def resume_writing(self) -> None:
        self.writing_paused = False
        if self.handler is not None:
            self.handler.resume()

    # -- httptools -----------------------------------------------------------------------------------------------

    def on_url(self, url: bytes) -> None:
        request = self._request
        if request is NO_REQUEST:  # the first bytes of a request
            request = self._request = Request()
            self._head_done = False
            self._head_bytes = self._body_bytes = self._body_seen = 0
        request.target += url
        if len(request.target) > MAX_URL_BYTES:
            message = f"The URL is longer than {MAX_URL_BYTES} bytes."
            raise self._stop(GatewayError(414, "uri_too_long", message, close=True))

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._head_done:  # a trailer; nothing we forward may come from one (RFC 9110, 6.5.1)
            return
        request = self._request
        kind = REQUEST_HEADERS.get(name.lower())
        if kind is None:
            request.lines.append(b"%b: %b\r\n" % (name, value))
        elif kind == LENGTH:
            request.length = int(value)  # llhttp has checked the digits
        elif kind == HOST:
            request.hosts += 1
        elif kind == AUTHORIZATION:
            request.authorization = value
        elif kind == REQUEST_ID:
            request.request_id = value
        elif kind == TRACEPARENT:
            request.traceparent = value
        elif kind == TRACESTATE:
            request.tracestate = value if request.tracestate is None else b"%b,%b" % (request.tracestate, value)
        elif kind == API_KEY:
            request.api_key = value
        elif kind == CONNECTION:
            request.connection_seen = True
            if value.lower() not in (b"keep-alive", b"close"):
                request.nominated = value if not request.nominated else b"%b,%b" % (request.nominated, value)
        elif kind == EXPECT:
            request.expect = value
        elif kind == TRANSFER:
            request.transfer_coding = value
        elif kind == TYPE:
            request.content_type = value
        elif kind == CODING and value.lower() != b"identity":
            request.content_coding = value

    def on_headers_complete(self) -> None:
        request = self._request
        self._head_done = True
        request.method = self._parser.get_method()
        limits = self._listener.limits
        # llhttp wants to keep a connection alive without being asked only when the version is 1.1.
        if request.connection_seen or not self._parser.should_keep_alive():
            version = self._parser.get_http_version()
            if version not in ("1.0", "1.1"):
                raise self._stop(GatewayError(505, "http_version", "This listener speaks HTTP/1.1.", close=True))
            request.chunked_ok = version == "1.1"
            if request.nominated:
                request.lines = drop_nominated(request.lines, request.nominated)
        if request.chunked_ok and request.hosts != 1:
            raise self._stop(GatewayError(400, "bad_host", "A request needs exactly one Host header.", close=True))
        if request.length > limits.max_body_bytes:
            raise self._stop(self._too_large())
        if request.transfer_coding is not None and request.transfer_coding.lower() != b"chunked":
            message = "The only transfer coding this listener knows is chunked."
            raise self._stop(GatewayError(501, "transfer_coding", message, close=True))
        if request.transfer_coding is not None and not request.chunked_ok:
            message = "There is no transfer coding in HTTP/1.0."  # so its framing is faulty (RFC 9112, 6.1)
            raise self._stop(GatewayError(400, "bad_http", message, close=True))
        if request.expect is not None and request.chunked_ok:
            if request.expect.lower() != b"100-continue":
                message = "The only expectation this listener meets is 100-continue."
                raise self._stop(GatewayError(417, "expectation_failed", message, close=True))
            if self.busy or self._waiting:
                self._continue_owed = True  # those before it are answered first
            else:
                self.transport.write(CONTINUE)

    def on_body(self, body: bytes) -> None:
        self._pieces.append(body)
        self._body_bytes += len(body)
        if self._body_bytes > self._listener.max_body_bytes:
            raise self._stop(self._too_large())

    def on_message_complete(self) -> None:
        request = self._request
        self._continue_owed = False
        pieces = self._pieces
        if pieces:
            request.body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
            self._pieces = []
        if not self._parser.should_keep_alive():  # valid only inside this callback
            request.keep_alive = False
            request.connection_line = b"connection: close\r\n"
        elif not request.chunked_ok:
            request.connection_line = b"connection: keep-alive\r\n"
        self._request = NO_REQUEST
        self._waiting.append(request)

    # -- answers -------------------------------------------------------------------------------------------------

    def respond(
        self,
        request: Request,
        status: int,
        body: bytes,
        *,
        content_type: bytes = b"application/json",
        lines: bytes = b"",
    ) -> None:
        """Write a whole answer of our own in one write. `lines` are further header lines. Call `finish` after it."""
        if self._listener.draining and request.keep_alive:
            request.keep_alive = False
            request.connection_line = b"connection: close\r\n"
        described = b"content-type: %b\r\ncontent-length: %d\r\n" % (content_type, len(body)) if status != 204 else b""
        head = b"%b%b%b%b\r\n" % (STATUS_LINES[status], described, lines, request.connection_line)
        self.transport.write(head if request.method == b"HEAD" else head + body)

    def fail(self, request: Request, error: GatewayError, *, lines: bytes = b"", body: bytes | None = None) -> None:
        """Write an error answer. Call `finish` after it."""
        if error.close:
            request.keep_alive = False
            request.connection_line = b"connection: close\r\n"
        payload = render_error(error, request.dialect) if body is None else body
        self.respond(request, error.status, payload, lines=error.headers() + lines)

    def finish(self, request: Request) -> None:
        """The answer to `request` is written: close, or go on with the next request."""
        self.busy = False
        self.handler = None
        if self.closed:
            return
        if not request.keep_alive:
            self._close(discard_rest=request.error is not None)
        elif self._waiting:
            if not self._starting:
                self._start_waiting()
        else:
            self.deadline_s = time.monotonic() + self._listener.keepalive_timeout_s
            if self._continue_owed:
                self._continue_owed = False
                self.transport.write(CONTINUE)
            if self._reading_paused:
                self._reading_paused = False
                self.transport.resume_reading()

    @property
    def idle(self) -> bool:
        """Between requests, with nothing of a next one read."""
        return not self.busy and self._request is NO_REQUEST

    def refuse_connection(self, error: GatewayError) -> None:
        """Answer before any request was read, and close."""
        self.fail(Request(), error)
        self._close(discard_rest=True)

    def leave(self) -> None:
        """Close between two requests. Over TLS the client should confirm it; one that does not read never will."""
        self.closed = True
        self.deadline_s = time.monotonic() + LINGER_S
        self.transport.close()

    def abort(self) -> None:
        """Cut the connection: the only honest end of an answer that cannot be completed or ended by an error."""
        self.transport.abort()

    # -- inside --------------------------------------------------------------------------------------------------

    def _start_waiting(self) -> None:
        self._starting = True  # answers given at once come back through `finish`; this loop, not the stack, goes on
        while self._waiting and not self.busy and not self.closed and not self._discarding:
            request = self._waiting.popleft()
            self.busy = True
            self.deadline_s = NEVER  # of the connection; the request has its own
            if request.error is not None:
                self._listener.refuse(self, request)
            else:
                self._listener.handle(self, request)
        self._starting = False
        if self._waiting and not self._reading_paused and not self.closed:
            self._reading_paused = True
            self.transport.pause_reading()

    def _expect_body(self) -> bool:
        """Has the last request, which offers an upgrade, a body? llhttp takes its head for the whole; so another parser
        is led to the place where the body begins."""
        request = self._waiting[-1]
        if request.method == b"CONNECT" or (request.length == 0 and request.transfer_coding is None):
            return False
        self._waiting.pop()
        framing = b"content-length: %d" % request.length if request.length else b"transfer-encoding: chunked"
        self._parser = httptools.HttpRequestParser(self)
        self._parser.feed_data(b"POST / HTTP/1.1\r\nhost: -\r\n%b\r\n\r\n" % framing)
        self._request = request
        return True

    def _stop(self, fault: GatewayError) -> GatewayError:
        """Remember why parsing ends; raising the result inside a callback ends it."""
        self._fault = fault
        return fault

    def _too_large(self) -> GatewayError:
        most = self._listener.limits.max_body_bytes
        return GatewayError(413, "body_too_large", f"The body is larger than {most} bytes.", close=True)

    def _refuse_rest(self, fault: GatewayError | None) -> None:
        """No further request can be read from this connection; `fault` is the answer to what was being parsed."""
        self._pieces = []
        if fault is not None:
            request = self._request if self._request is not NO_REQUEST else Request()
            request.error = fault
            self._waiting.append(request)
        elif self._waiting:
            self._waiting[-1].keep_alive = False
            self._waiting[-1].connection_line = b"connection: close\r\n"
        self._request = NO_REQUEST

    def _watch_rest(self, received: int) -> None:
        """Bound the size of a head, and the time of a request that has not arrived as a whole."""
        limits = self._listener.limits
        if self._head_done:
            if not self.busy:
                self.deadline_s = time.monotonic() + limits.body_timeout_s  # renewed as long as the body moves
            if self._body_bytes > self._body_seen:
                self._body_seen = self._body_bytes
                self._head_bytes = 0
                return
            # chunk extensions or trailers, which are worth no more than a head is
        elif self._head_bytes == 0 and not self.busy:
            # not renewed: a head has one deadline, however it trickles in
            self.deadline_s = time.monotonic() + limits.header_timeout_s
        self._head_bytes += received
        if self._head_bytes > limits.max_header_bytes:
            self._refuse_rest(self._head_too_large())

    def _bound_head(self, data: bytes, room: int) -> None:
        """A read that could hold (the rest of) a head beyond the bound: refuse it before anything is made of it.

        The empty line may have begun in the read before, so one that begins with a line end gets the benefit of doubt.
        """
        if data.find(b"\r\n\r\n", 0, room) < 0 and data[:1] not in (b"\r", b"\n"):
            raise self._head_too_large()

    def _head_too_large(self) -> GatewayError:
        most = self._listener.max_header_bytes
        return GatewayError(431, "headers_too_large", f"The request head is larger than {most} bytes.", close=True)

    def expire(self, now_s: float) -> None:
        """Nothing came in time: between requests the connection is closed, within one it is refused. A client that
        does not take what was written before the close is cut."""
        if self.closed or self._discarding:
            self.transport.abort()
            return
        if self._request is NO_REQUEST:
            self._close()
            return
        message = "The rest of the request did not arrive in time."
        self._refuse_rest(GatewayError(408, "request_timeout", message, close=True))
        self._start_waiting()

    def _close(self, *, discard_rest: bool = False) -> None:
        """Close after what is written has been sent. A client that is still sending gets the time to read the answer:
        closing with unread bytes resets the connection and can destroy it."""
        if discard_rest and self.transport.can_write_eof():
            self._discarding = True
            self.transport.write_eof()
            self.deadline_s = time.monotonic() + LINGER_S
        else:
            self.closed = True  # no further request is answered here, even if one has been read
            # Over TLS there is no half-close: the close itself discards what the client still sends.
            wait_s = LINGER_S if discard_rest else self._listener.limits.body_timeout_s
            self.deadline_s = time.monotonic() + wait_s
            self.transport.close()


def drop_nominated(lines: list[bytes], nominated: bytes) -> list[bytes]:
    """The header lines, less those that the Connection header declares to be for this hop only (RFC 9110, 7.6.1)."""
    names = {name.strip().lower() for name in nominated.split(b",")}
    return [line for line in lines if line.partition(b":")[0].lower() not in names]
