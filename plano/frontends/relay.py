"""An answer on its way to the client, from its first content to its end.

The same dialect on both sides: bytes are forwarded as they arrive; a copy of the last ones is kept for the token usage
and the end mark. Of an event stream only whole events are passed on, so that the client never sees half a one, and an
error event can follow at any moment: an upstream that fails in the middle becomes an error event and a correct end,
never a silent truncation. Another dialect: the events go through a `Translation`, with the same promises.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from plano.dialects.conversation import BadAnswer, UpstreamError
from plano.dialects.events import Ended, Event, Failed
from plano.dialects.identity.chat import EVENT_ENDS, split_events, strip_usage_events
from plano.dialects.identity.wire import StreamEnd, Wire
from plano.frontends.errors import GatewayError, error_of, render_error
from plano.frontends.head import frame_chunk
from plano.frontends.usage import UNKNOWN_USAGE, KnownUsage
from plano.upstreams.failures import Failure, FailureKind

if TYPE_CHECKING:
    from plano.frontends.delivery import Delivery
    from plano.frontends.translation import Translation
    from plano.upstreams.connection import UpstreamConnection

# The end of an answer: usage and end mark come within the last few reads. What is kept is bounded per stream.
TAIL_READS: Final = 8
TAIL_BYTES: Final = 4_096
# An event may be large (an image); what is not yet whole is held back up to here, then passed on as it is.
MAX_PARTIAL_BYTES: Final = 64 * 1024
LAST_CHUNK: Final = b"0\r\n\r\n"
LINE_FEED: Final = 0x0A


class Relay:
    """Takes the place of the exchange as sink of the upstream connection once content flows.

    `fresh` is set with every read; the exchange's deadline looks at it and clears it. `strip_usage`: the usage event
    was asked for by us, not by the client, and is kept from it.
    """

    __slots__ = (
        "_chunked",
        "_events",
        "_exchange",
        "_first",
        "_head",
        "_partial",
        "_strip_usage",
        "_tail",
        "_wire",
        "_write",
        "bytes_out",
        "fresh",
    )

    def __init__(
        self, exchange: Delivery, wire: Wire, head: bytes, *, chunked: bool, events: bool, strip_usage: bool
    ) -> None:
        self._exchange = exchange
        self._wire = wire
        self._head = head
        self._write: Callable[[bytes], None] = self._write_first
        self._chunked = chunked
        self._events = events
        self._strip_usage = strip_usage
        self._first = b""
        self._tail: deque[bytes] = deque(maxlen=TAIL_READS)
        self._partial = b""
        self.bytes_out = 0
        self.fresh = True

    def write_to(self, write: Callable[[bytes], None]) -> None:
        """Write there instead of to the client, without head and framing."""
        self._write = write
        self._chunked = False

    @property
    def passes_chunks(self) -> bool:
        """May it be given chunks as they come?"""
        return self._events and self._chunked

    def break_stream(self, error: GatewayError) -> bytes:
        """The events that end the stream with an error of our own."""
        return self._wire.break_stream(render_error(error, self._wire.errors), self._first, b"".join(self._tail))

    def usage(self) -> KnownUsage:
        """What the upstream has reported by now."""
        return self._wire.find_usage(self._first, b"".join(self._tail)) or UNKNOWN_USAGE

    # -- the sink of the upstream connection ---------------------------------------------------------------------

    def upstream_data(self, body: bytes, complete: bool) -> None:
        self.fresh = True
        if self._events:
            if self._partial:
                body = self._partial + body
                self._partial = b""
            if complete:
                self._end_stream(body)
                return
            # by far the most end in two line feeds, and looking at two bytes is quick
            if (len(body) < 2 or body[-1] != LINE_FEED or body[-2] != LINE_FEED) and not body.endswith(EVENT_ENDS):
                body, self._partial = split_events(body)
                if len(self._partial) > MAX_PARTIAL_BYTES:
                    body, self._partial = body + self._partial, b""
                if not body:
                    return
        self._keep(body)
        if self._strip_usage and body.find(b'"choices":[]') >= 0:  # twice as fast as `in`
            body = strip_usage_events(body)
            if not body:
                return
        size = len(body)
        self.bytes_out += size
        if not self._chunked:
            self._write(body)
        elif not complete:
            self._write(frame_chunk(body))
        else:
            self._write(frame_chunk(body) + LAST_CHUNK if body else LAST_CHUNK)
        if complete:
            self._exchange.relayed(None)

    def upstream_chunk(self, chunk: bytes, start: int) -> bool:
        """See `upstreams.connection.Passer`: whole events pass in the frame in which they came."""
        size = len(chunk) - start - 2
        if self._partial or size < 2 or chunk[-3] != LINE_FEED or chunk[-4] != LINE_FEED:
            return False
        body = chunk[start:-2]
        if self._strip_usage and body.find(b'"choices":[]') >= 0:
            return False
        self.fresh = True
        self._keep(body)
        self.bytes_out += size
        self._write(chunk)
        return True

    def upstream_failed(self, failure: Failure) -> None:
        """The upstream broke off, stood still or was cut by us."""
        exchange = self._exchange
        if not self._events or self._is_torn():
            # Half a JSON document, or half an event, cannot be ended by an error: only a cut connection tells the
            # client the truth.
            exchange.relayed(failure, cut=True)
            return
        tail = b"".join(self._tail)
        if self._wire.check_end(tail) is StreamEnd.WHOLE:  # only the upstream's farewell is missing
            self._write_end(b"")
            exchange.relayed(None)
        else:
            self._write_end(self._break(failure, tail))
            exchange.relayed(failure)

    def upstream_ready(self, connection: UpstreamConnection) -> None:
        raise AssertionError("a relay has its connection")

    def upstream_head(self, connection: UpstreamConnection, body: bytes, complete: bool) -> None:
        raise AssertionError("a relay begins after the head")

    def upstream_stale(self) -> None:
        raise AssertionError("a relay begins after the head")

    # -- inside --------------------------------------------------------------------------------------------------

    def _write_first(self, data: bytes) -> None:
        """Status, headers and first content in one write; after it writes go straight to the transport."""
        self._write = self._exchange.connection.transport.write
        self._write(self._head + data)

    def _keep(self, body: bytes) -> None:
        if not self._first:
            self._first = body[:TAIL_BYTES]
        self._tail.append(body if len(body) <= TAIL_BYTES else body[-TAIL_BYTES:])

    def _end_stream(self, body: bytes) -> None:
        """The upstream has ended the stream properly. Does the stream say so too?"""
        if (body or self._is_torn()) and not body.endswith(EVENT_ENDS):
            body += b"\n\n"  # a last event without its empty line
        self._keep(body)
        if self._strip_usage:
            body = strip_usage_events(body)
        tail = b"".join(self._tail)
        end = self._wire.check_end(tail)
        failure: Failure | None = None
        if end is StreamEnd.UNMARKED:
            body += self._wire.end_mark
        elif end is StreamEnd.ERROR:
            failure = Failure(FailureKind.ERROR_EVENT, "the upstream ended the stream with an error")
            body += self._wire.error_mark
        elif end is StreamEnd.CUT:
            failure = Failure(FailureKind.RESET, "the stream ended before the answer was complete")
            body += self._break(failure, tail)
        self._write_end(body)
        self._exchange.relayed(failure)

    def _break(self, failure: Failure, tail: bytes) -> bytes:
        error = error_of(failure, self._exchange.candidate.plan.provider)
        return self._wire.break_stream(render_error(error, self._wire.errors), self._first, tail)

    def _is_torn(self) -> bool:
        """Is half an event out (see MAX_PARTIAL_BYTES)?"""
        return bool(self._tail) and not self._tail[-1].endswith(EVENT_ENDS)

    def _write_end(self, last: bytes) -> None:
        self.bytes_out += len(last)
        if not self._chunked:
            self._write(last)
        elif last:
            self._write(frame_chunk(last) + LAST_CHUNK)
        else:
            self._write(LAST_CHUNK)


class TranslatingRelay(Relay):
    """A stream on its way from another dialect. It begins with the events that were read while it was judged."""

    __slots__ = ("_coding", "_translation")

    def __init__(
        self, exchange: Delivery, wire: Wire, head: bytes, translation: Translation, coding: bytes, *, chunked: bool
    ) -> None:
        super().__init__(exchange, wire, head, chunked=chunked, events=True, strip_usage=False)
        self._translation = translation
        self._coding = coding

    @property
    def passes_chunks(self) -> bool:
        return False

    def usage(self) -> KnownUsage:
        return self._translation.known_usage()

    def upstream_data(self, body: bytes, complete: bool) -> None:
        self.fresh = True
        self.relay_events(self._translation.read_stream_body(self._coding, body, complete), complete)

    def relay_events(self, events: list[Event], complete: bool) -> None:
        """Write what these events are in the client's dialect. The first of `Failed` and `Ended` ends the answer, even
        if the upstream has not closed its stream yet."""
        try:
            data = self._translation.write_stream(events)
        except BadAnswer as bad:
            self._exchange.relayed(Failure(FailureKind.PROTOCOL, str(bad)), cut=True)
            return
        failure: Failure | None = None
        ended = complete
        for event in events:
            if isinstance(event, Failed):
                ended = True
                failure = Failure(FailureKind.ERROR_EVENT, event.error.message)
            elif isinstance(event, Ended):
                ended = True
        if ended:
            self._write_end(data)
            self._exchange.relayed(failure, reusable=complete)
        elif data:
            self.bytes_out += len(data)
            self._write(frame_chunk(data) if self._chunked else data)

    def upstream_failed(self, failure: Failure) -> None:
        """The upstream broke off, stood still or was cut by us. If the reader finds the answer whole, it is."""
        events = self._translation.read_stream(b"", True)
        broken = any(isinstance(event, Failed) for event in events)
        if broken:
            error = error_of(failure, self._exchange.candidate.plan.provider)
            kind = "timeout" if failure.kind is FailureKind.IDLE else "server"
            events = [Failed(UpstreamError(kind, error.message))]
        try:
            data = self._translation.write_stream(events)
        except BadAnswer:  # logged where it was raised; what failed is told by the cut
            self._exchange.relayed(failure, cut=True)
            return
        self._write_end(data)
        self._exchange.relayed(failure if broken else None, reusable=False)
