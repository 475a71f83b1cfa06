"""One request whose whole answer is wanted by a task: that of an agent that answers for the next."""

from __future__ import annotations

import asyncio
from typing import Final, NamedTuple

from plano.upstreams.connection import UpstreamConnection
from plano.upstreams.failures import Failure, FailureKind
from plano.upstreams.pool import Pool

MAX_ANSWER_BYTES: Final = 32 * 1024 * 1024


class WholeAnswer(NamedTuple):
    """An answer of any status. `coding` is its content coding, `retry_after` the header's value; empty for none."""

    status: int
    content_type: bytes
    coding: bytes
    retry_after: bytes
    body: bytes


class UpstreamCall:
    """See the module: the sink of one request. Use `fetch`."""

    def __init__(self, pool: Pool, payload: bytes) -> None:
        self._pool = pool
        self._payload = payload
        self._connection: UpstreamConnection | None = None
        self._pieces: list[bytes] = []
        self._size = 0
        self._head = (0, b"", b"", b"")
        self.outcome: asyncio.Future[WholeAnswer | Failure] = asyncio.get_running_loop().create_future()

    def start(self) -> None:
        connection = self._pool.take()
        if connection is not None:
            self.upstream_ready(connection)
        else:
            self._pool.dial(self)

    def cancel(self) -> None:
        """Nobody waits any more: the connection is closed, which tells the upstream to stop."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.cancel()
        else:
            self._pool.forget(self)

    # -- the sink ------------------------------------------------------------------------------------------------

    def upstream_ready(self, connection: UpstreamConnection) -> None:
        self._connection = connection
        connection.send(self._payload, self)

    def upstream_stale(self) -> None:
        self._connection = None
        self._pool.dial(self)

    def upstream_head(self, connection: UpstreamConnection, body: bytes, complete: bool) -> None:
        self._head = (connection.status, connection.content_type, connection.coding, connection.retry_after)
        self.upstream_data(body, complete)

    def upstream_data(self, body: bytes, complete: bool) -> None:
        self._pieces.append(body)
        self._size += len(body)
        if complete:
            self._connection = None
            self._settle(WholeAnswer(*self._head, b"".join(self._pieces)))
        elif self._size > MAX_ANSWER_BYTES:
            self.cancel()
            self._settle(Failure(FailureKind.PROTOCOL, f"the answer is larger than {MAX_ANSWER_BYTES} bytes"))

    def upstream_failed(self, failure: Failure) -> None:
        self._connection = None
        self._settle(failure)

    def _settle(self, outcome: WholeAnswer | Failure) -> None:
        if not self.outcome.done():
            self.outcome.set_result(outcome)


async def fetch(pool: Pool, payload: bytes, limit_s: float) -> WholeAnswer | Failure:
    """Send `payload`, a whole HTTP request, and collect the answer for at most `limit_s`. Cancelling the task that
    waits cancels the call."""
    call = UpstreamCall(pool, payload)
    call.start()
    try:
        async with asyncio.timeout(limit_s):
            return await call.outcome
    except TimeoutError:
        call.cancel()
        return Failure(FailureKind.TIMEOUT, f"no answer within {limit_s:g} s")
    except asyncio.CancelledError:
        call.cancel()
        raise
