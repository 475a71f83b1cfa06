"""The way of an answer through the output filters: whole events in, what the filters make of them out to the client.

One event after the other, so that their order is kept; what waits is bounded, and the upstream is not read while it is
too much. A filter that wants the whole answer, and any answer that is not a stream, is dealt with at its end.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from plano.agents.filters import FilterChain, FilteredRequest, FilterFailed, FilterRefused
from plano.dialects.identity.chat import iterate_events
from plano.frontends.errors import GatewayError, explain_refusal
from plano.frontends.head import frame_chunk

if TYPE_CHECKING:
    from plano.frontends.delivery import Delivery

log = logging.getLogger(__name__)

# What waits for the filters: above the first the upstream is not read, below the second it is again.
HIGH_WATER_BYTES: Final = 256 * 1024
LOW_WATER_BYTES: Final = 64 * 1024
# An answer that is filtered as a whole has to fit.
MAX_BUFFERED_BYTES: Final = 32 * 1024 * 1024


class Outlet:
    """One answer's way out. `write` takes whole events (or pieces of a document) without framing; `end` is called after
    the last of them. `bytes_out` counts what the client got.

    `done` of `end` is called when everything is written. When a filter stops the answer, `Delivery.outlet_failed` is
    called instead, with the error and whether anything has been written before.
    """

    __slots__ = (
        "_chain",
        "_chunked",
        "_done",
        "_exchange",
        "_head",
        "_request",
        "_task",
        "_waiting",
        "_waiting_bytes",
        "_whole",
        "bytes_out",
        "full",
        "resumed",
    )

    def __init__(
        self,
        exchange: Delivery,
        chain: FilterChain,
        request: FilteredRequest,
        head: bytes,
        *,
        chunked: bool,
        whole: bool,
    ) -> None:
        self._exchange = exchange
        self._chain = chain
        self._request = request
        self._head = head
        self._chunked = chunked
        self._whole = whole
        self._waiting: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._task: asyncio.Task[None] | None = None
        self._done: Callable[[], None] | None = None
        self.bytes_out = 0
        self.full = False
        self.resumed = asyncio.Event()  # the client takes more
        self.resumed.set()

    def write(self, data: bytes) -> None:
        """More of the answer."""
        if self._whole:
            self._waiting.append(data)
        else:
            self._waiting.extend(iterate_events(data))
        self._waiting_bytes += len(data)
        if self._whole:
            if self._waiting_bytes > MAX_BUFFERED_BYTES:
                message = f"The answer is larger than {MAX_BUFFERED_BYTES} bytes, which is too much to be filtered."
                self._fail(GatewayError(502, "filter_failed", message))
            return
        self._run()
        if self._waiting_bytes > HIGH_WATER_BYTES and not self.full:
            self.full = True
            self._exchange.pause_upstream()

    def end(self, done: Callable[[], None]) -> None:
        """Nothing more comes."""
        self._done = done
        if self._whole:
            whole = b"".join(self._waiting)
            self._waiting.clear()
            if whole:
                self._waiting.append(whole)
        self._run()

    def cancel(self) -> None:
        """Nobody wants the rest."""
        self._done = None
        self._waiting.clear()
        if self._task is not None:
            self._task.cancel()
            self._task = None

    # -- inside ------------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._pass_on())

    async def _pass_on(self) -> None:
        """Everything that waits, in its order; then the end, if it has come."""
        try:
            while self._waiting:
                await self.resumed.wait()
                event = self._waiting.popleft()
                filtered = await self._chain.apply(event, self._request)
                self._waiting_bytes -= len(event)
                if filtered:
                    self._send(filtered)
                if self.full and self._waiting_bytes < LOW_WATER_BYTES:
                    self.full = False
                    self._exchange.resume_upstream()
        except FilterRefused as refused:
            self._fail(explain_refusal(refused))
            return
        except FilterFailed as failed:
            self._fail(GatewayError(502, "filter_failed", f"The answer could not be filtered: {failed}."))
            return
        except Exception:
            log.exception("filtering an answer failed")
            message = "The gateway could not filter the answer. Its log says more."
            self._fail(GatewayError(500, "internal_error", message))
            return
        self._task = None
        done, self._done = self._done, None
        if done is not None:
            self.send_end(b"")
            done()

    def _send(self, data: bytes) -> None:
        self.bytes_out += len(data)
        head, self._head = self._head, b""
        framed = head + (frame_chunk(data) if self._chunked else data)
        self._exchange.connection.transport.write(framed)

    def send_end(self, last: bytes) -> None:
        """`last` as it is, and the end of the body."""
        if last:
            self._send(last)
        if self._chunked:
            head, self._head = self._head, b""
            self._exchange.connection.transport.write(head + b"0\r\n\r\n")
        elif self._head:  # an empty body
            head, self._head = self._head, b""
            self._exchange.connection.transport.write(head)

    def _fail(self, error: GatewayError) -> None:
        began = not self._head
        self._task = None  # it may be the one that runs this
        self._waiting.clear()
        self._done = None
        self._exchange.outlet_failed(error, began)
