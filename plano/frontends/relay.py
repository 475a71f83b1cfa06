"""An answer on its way to the client, from its first content to its end.

Bytes are forwarded as they arrive; a copy of the last ones is kept for the token usage and the end mark. Of an event
stream only whole events are passed on, so that the client never sees half a one, and an error event can follow at any
moment: an upstream that fails in the middle becomes an error event and a correct end, never a silent truncation.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from plano.dialects.chat import (
    DONE_EVENT,
    EVENT_ENDS,
    ends_with_error,
    error_event,
    is_done,
    is_finished,
    split_events,
)
from plano.frontends.errors import error_of, render_error
from plano.upstreams.failures import Failure, FailureKind

if TYPE_CHECKING:
    from plano.frontends.exchange import Exchange
    from plano.upstreams.connection import UpstreamConnection

# The end of an answer: usage and [DONE] come within the last few reads. What is kept is bounded per stream.
TAIL_READS: Final = 8
TAIL_BYTES: Final = 4_096
# An event may be large (an image); what is not yet whole is held back up to here, then passed on as it is.
MAX_PARTIAL_BYTES: Final = 64 * 1024
LAST_CHUNK: Final = b"0\r\n\r\n"


class Relay:
    """Takes the place of the exchange as sink of the upstream connection once content flows.

    `fresh` is set with every read; the exchange's deadline looks at it and clears it.
    """

    __slots__ = ("_chunked", "_events", "_exchange", "_head", "_partial", "_tail", "_write", "bytes_out", "fresh")

    def __init__(self, exchange: Exchange, head: bytes, *, chunked: bool, events: bool) -> None:
        self._exchange = exchange
        self._head = head
        self._write: Callable[[bytes], None] = self._write_first
        self._chunked = chunked
        self._events = events
        self._tail: deque[bytes] = deque(maxlen=TAIL_READS)
        self._partial = b""
        self.bytes_out = 0
        self.fresh = True

    @property
    def tail(self) -> bytes:
        """The last bytes relayed."""
        return b"".join(self._tail)

    def upstream_data(self, body: bytes, complete: bool) -> None:
        self.fresh = True
        if self._events:
            if self._partial:
                body = self._partial + body
                self._partial = b""
            if complete:
                self._end_stream(body)
                return
            if not body.endswith(EVENT_ENDS):
                body, self._partial = split_events(body)
                if len(self._partial) > MAX_PARTIAL_BYTES:
                    body, self._partial = body + self._partial, b""
                if not body:
                    return
        size = len(body)
        self._tail.append(body if size <= TAIL_BYTES else body[-TAIL_BYTES:])
        self.bytes_out += size
        if not self._chunked:
            self._write(body)
        elif not complete:
            self._write(b"%x\r\n%b\r\n" % (size, body))
        else:
            self._write(b"%x\r\n%b\r\n0\r\n\r\n" % (size, body) if body else LAST_CHUNK)
        if complete:
            self._exchange.relayed(None)

    def upstream_failed(self, failure: Failure) -> None:
        """The upstream broke off, stood still or was cut by us."""
        exchange = self._exchange
        if self._events and is_done(self.tail):  # the answer is whole, only the upstream's farewell is missing
            self._write_end(b"")
            exchange.relayed(None)
        elif self._events and not self._is_torn():
            error = error_of(failure, exchange.candidate.plan.provider)
            self._write_end(error_event(render_error(error)))
            exchange.relayed(failure)
        else:
            # Half a JSON document, or half an event, cannot be ended by an error: only a cut connection tells the
            # client the truth.
            exchange.relayed(failure, cut=True)

    def upstream_ready(self, connection: UpstreamConnection) -> None:
        raise AssertionError("a relay has its connection")

    def upstream_head(self, connection: UpstreamConnection, body: bytes, complete: bool) -> None:
        raise AssertionError("a relay begins after the head")

    def upstream_stale(self) -> None:
        raise AssertionError("a relay begins after the head")

    def _write_first(self, data: bytes) -> None:
        """Status, headers and first content in one write; after it writes go straight to the transport."""
        self._write = self._exchange.connection.transport.write
        self._write(self._head + data)

    def _end_stream(self, body: bytes) -> None:
        """The upstream has ended the stream properly. Does the stream say so too?"""
        if (body or self._is_torn()) and not body.endswith(EVENT_ENDS):
            body += b"\n\n"  # a last event without its empty line
        self._tail.append(body[-TAIL_BYTES:])
        failure = check_end(self.tail)
        if failure is None:
            self._write_end(body if is_done(self.tail) else body + DONE_EVENT)
        elif failure.kind is FailureKind.ERROR_EVENT:
            self._write_end(body + DONE_EVENT)
        else:
            error = error_of(failure, self._exchange.candidate.plan.provider)
            self._write_end(body + error_event(render_error(error)))
        self._exchange.relayed(failure)

    def _is_torn(self) -> bool:
        """Is half an event out (see MAX_PARTIAL_BYTES)?"""
        return bool(self._tail) and not self._tail[-1].endswith(EVENT_ENDS)

    def _write_end(self, last: bytes) -> None:
        self.bytes_out += len(last)
        if not self._chunked:
            self._write(last)
        elif last:
            self._write(b"%x\r\n%b\r\n0\r\n\r\n" % (len(last), last))
        else:
            self._write(LAST_CHUNK)


def check_end(tail: bytes) -> Failure | None:
    """What is wrong with a stream that ended with `tail`; None when the answer is whole.

    [DONE] ends a stream; some providers leave it out after the finish reason. An error event of the upstream has
    already reached the client. Anything else is half an answer that must not look like a whole one.
    """
    if is_done(tail) or is_finished(tail):
        return None
    if ends_with_error(tail):
        return Failure(FailureKind.ERROR_EVENT, "the upstream ended the stream with an error")
    return Failure(FailureKind.RESET, "the stream ended before the answer was complete")
