"""An upstream of a few lines, and the one who calls it: real sockets, in the test's own loop.

async with Origin(answer_ok) as origin:
    pool = origin.pool(upstream_max_connections=1)
    caller = await call(pool)
    assert caller.body == b"ok"
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from typing import Any, Self

from plano.config.plan import LimitsPlan
from plano.upstreams.connection import UpstreamConnection
from plano.upstreams.failures import Failure
from plano.upstreams.pool import Origin as Address
from plano.upstreams.pool import Pool
from plano.upstreams.tls import SessionReusingContext

PATIENCE_S = 10.0
REQUEST = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"

Service = Callable[["Visit"], Awaitable[None]]


class Visit:
    """One connection as the upstream sees it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self.writer = writer
        self.requests = 0
        self.gone = asyncio.Event()

    async def request(self) -> bytes:
        """The next request head, b"" when the caller has closed."""
        try:
            head = await self._reader.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionError):
            return b""
        self.requests += 1
        return head

    def send(self, data: bytes) -> None:
        self.writer.write(data)


async def answer_ok(visit: Visit) -> None:
    """Answers every request on the connection."""
    while await visit.request():
        visit.send(OK)


async def close_at_once(visit: Visit) -> None:
    """Hangs up on everybody."""


class Origin:
    """A server on a free port of `host`. `visits` are the connections it has had."""

    def __init__(
        self, service: Service, *, host: str = "127.0.0.1", port: int = 0, tls: ssl.SSLContext | None = None
    ) -> None:
        self._service = service
        self._tls = tls
        self.host = host
        self.port = port
        self.visits: list[Visit] = []
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._receive, self.host, self.port, ssl=self._tls)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for visit in self.visits:
            visit.writer.transport.abort()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=PATIENCE_S)

    def pool(
        self,
        *,
        host: str | None = None,
        tls: SessionReusingContext | None = None,
        server_name: str = "127.0.0.1",
        connect_timeout_s: float = PATIENCE_S,
        **limits: Any,
    ) -> Pool:
        """A pool of connections to this server."""
        address = Address(host or self.host, self.port, server_name, tls)
        return Pool(address, LimitsPlan(**limits), connect_timeout_s)

    async def _receive(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        visit = Visit(reader, writer)
        self.visits.append(visit)
        try:
            await self._service(visit)
        finally:
            writer.close()
            visit.gone.set()
            self._tasks.discard(task)


class Caller:
    """A sink that keeps what it is told. `told` is every call in order."""

    def __init__(self, request: bytes | None = REQUEST) -> None:
        self._request = request
        self.told: list[str] = []
        self.connection: UpstreamConnection | None = None
        self.failure: Failure | None = None
        self.status = 0
        self.body = b""
        self.ended = asyncio.Event()
        self.ready = asyncio.Event()

    def upstream_ready(self, connection: UpstreamConnection) -> None:
        self.told.append("ready")
        self.connection = connection
        self.ready.set()
        if self._request is not None:
            connection.send(self._request, self)

    def upstream_head(self, connection: UpstreamConnection, body: bytes, complete: bool) -> None:
        self.told.append("head")
        self.status = connection.status
        self._add(body, complete)

    def upstream_data(self, body: bytes, complete: bool) -> None:
        self.told.append("data")
        self._add(body, complete)

    def upstream_failed(self, failure: Failure) -> None:
        self.told.append("failed")
        self.failure = failure
        self.ended.set()

    def upstream_stale(self) -> None:
        self.told.append("stale")
        self.ended.set()

    def _add(self, body: bytes, complete: bool) -> None:
        self.body += body
        if complete:
            self.told.append("end")
            self.ended.set()


async def call(pool: Pool, caller: Caller | None = None) -> Caller:
    """One request over an idle connection, or a new one; waits for its end."""
    caller = caller or Caller()
    begin(pool, caller)
    await asyncio.wait_for(caller.ended.wait(), PATIENCE_S)
    return caller


def begin(pool: Pool, caller: Caller) -> None:
    """One request, without waiting."""
    connection = pool.take()
    if connection is None:
        pool.dial(caller)
    else:
        caller.upstream_ready(connection)


async def wait_for(condition: Callable[[], object]) -> None:
    """Waits until the condition holds."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            await asyncio.sleep(0.002)
