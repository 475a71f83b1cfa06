"""The connections to one upstream origin (scheme, host, port): kept alive, bounded, dialled when none is idle."""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from dataclasses import dataclass
from typing import cast

from plano.config.plan import LimitsPlan
from plano.upstreams.connection import Sink, UpstreamConnection
from plano.upstreams.failures import Failure, FailureKind
from plano.upstreams.resolver import Resolver
from plano.upstreams.tls import SessionReusingContext

MIN_DIAL_S = 0.25


@dataclass(frozen=True, slots=True)
class Origin:
    """Where connections go. `server_name` is the name asked for in TLS (SNI) and checked in the certificate."""

    host: str
    port: int
    server_name: str
    tls: SessionReusingContext | None


class Pool:
    """See the module.

    `take` and `put_back` are plain list work (the warm path); `dial` starts a task, owned here, that calls the sink's
    `upstream_ready` or `upstream_failed`. At most `upstream_max_connections` exist; who comes then waits its turn in
    arrival order, and leaves the queue by `forget`.
    """

    __slots__ = ("_connect_timeout_s", "_count", "_dials", "_idle", "_limits", "_origin", "_resolver", "_waiting")

    def __init__(self, origin: Origin, limits: LimitsPlan, connect_timeout_s: float) -> None:
        self._origin = origin
        self._limits = limits
        self._connect_timeout_s = connect_timeout_s
        self._resolver = Resolver(origin.host, origin.port, limits.dns_refresh_s)
        self._idle: dict[UpstreamConnection, None] = {}  # an ordered set: the most recently used is last
        self._waiting: deque[Sink] = deque()
        self._dials: dict[
            asyncio.Task[UpstreamConnection | Failure], Sink | None
        ] = {}  # whom a dial is for; None: who asked has left
        self._count = 0

    def take(self) -> UpstreamConnection | None:
        """The most recently used idle connection, or None."""
        idle = self._idle
        while idle:
            connection = idle.popitem()[0]
            if not connection.transport.is_closing():
                return connection
        return None

    def dial(self, sink: Sink) -> None:
        """Get `sink` a fresh connection (or, at the bound, the next one that becomes free)."""
        if self._count >= self._limits.upstream_max_connections:
            if len(self._waiting) >= self._limits.max_in_flight:
                sink.upstream_failed(Failure(FailureKind.OVERLOADED, "too many requests wait for a connection"))
            else:
                self._waiting.append(sink)
            return
        self._count += 1
        task = asyncio.get_running_loop().create_task(self._dial())
        self._dials[task] = sink
        task.add_done_callback(self._end_dial)

    def forget(self, sink: Sink) -> None:
        """`sink` no longer waits. A dial that is under way goes on; its connection becomes idle."""
        if sink in self._waiting:
            self._waiting.remove(sink)
        for task, asker in self._dials.items():
            if asker is sink:
                self._dials[task] = None

    def put_back(self, connection: UpstreamConnection) -> None:
        """The connection has served its request and can serve another."""
        if self._origin.tls is not None:
            self._remember_session(connection)
        self._keep(connection)

    def retire(self, connection: UpstreamConnection) -> None:
        """The connection has served its last request."""
        if self._origin.tls is not None:
            self._remember_session(connection)
        connection.transport.close()

    def _remember_session(self, connection: UpstreamConnection) -> None:
        tls = self._origin.tls
        if tls is not None and not connection.session_kept:
            connection.session_kept = True
            tls.remember(self._origin.server_name, connection.transport.get_extra_info("ssl_object"))

    def _keep(self, connection: UpstreamConnection) -> None:
        """Make a free connection useful: to who waits, or to who comes."""
        connection.reused = True
        if self._waiting:
            self._waiting.popleft().upstream_ready(connection)
        elif len(self._idle) < self._limits.upstream_idle_connections:
            connection.idle_since_s = 0.0
            self._idle[connection] = None
        else:
            connection.transport.close()

    def discard(self, connection: UpstreamConnection) -> None:
        """The connection is closed."""
        if not connection.admitted:  # its dial has not ended: `_end_dial` accounts for it
            return
        self._count -= 1
        self._idle.pop(connection, None)
        if self._waiting:
            self.dial(self._waiting.popleft())

    def sweep(self, now_s: float) -> None:
        """Close what has been idle for longer than `upstream_keepalive_s`; called every few seconds."""
        for connection in list(self._idle):
            if connection.idle_since_s == 0.0:
                connection.idle_since_s = now_s
            elif connection.idle_since_s + self._limits.upstream_keepalive_s <= now_s:
                connection.transport.close()

    async def close(self) -> None:
        """Close idle connections and end dials."""
        for connection in list(self._idle):
            connection.transport.close()
        for task in list(self._dials):
            task.cancel()
        if self._dials:
            await asyncio.wait(self._dials)

    async def _dial(self) -> UpstreamConnection | Failure:
        try:
            return await self._connect()
        except TimeoutError:
            return Failure(FailureKind.CONNECT, "connecting took too long")
        except ssl.SSLCertVerificationError as error:
            return Failure(FailureKind.CONNECT, f"certificate refused: {error.verify_message}")
        except OSError as error:
            return Failure(FailureKind.CONNECT, f"cannot connect: {error.strerror or type(error).__name__}")
        except ValueError:  # UnicodeError of a look-up, ValueError of the TLS module
            return Failure(FailureKind.CONNECT, "the upstream's name is not a valid host name")

    def _end_dial(self, task: asyncio.Task[UpstreamConnection | Failure]) -> None:
        sink = self._dials.pop(task)
        if task.cancelled():
            result: UpstreamConnection | Failure = Failure(FailureKind.CONNECT, "the gateway is shutting down")
        else:
            result = task.result()
        if isinstance(result, UpstreamConnection):
            if not result.transport.is_closing():
                result.admitted = True
                if sink is not None:
                    sink.upstream_ready(result)
                else:
                    self._keep(result)
                return
            result = Failure(FailureKind.RESET, "the upstream closed the connection without an answer")
        self._count -= 1
        if sink is not None:
            sink.upstream_failed(result)
        if self._waiting:
            self.dial(self._waiting.popleft())

    async def _connect(self) -> UpstreamConnection:
        """Try every address in turn; each gets its share of the connect time-out. Raises the last OSError."""
        loop = asyncio.get_running_loop()
        origin = self._origin
        deadline_s = loop.time() + self._connect_timeout_s
        async with asyncio.timeout_at(deadline_s):
            addresses = await self._resolver.addresses()
        failure: OSError = OSError("no address")
        for turn, address in enumerate(addresses):
            share_s = max(MIN_DIAL_S, (deadline_s - loop.time()) / (len(addresses) - turn))
            try:
                async with asyncio.timeout(share_s):
                    _, connection = await loop.create_connection(
                        lambda: cast(asyncio.Protocol, UpstreamConnection(self)),
                        address,
                        origin.port,
                        ssl=origin.tls,
                        server_hostname=origin.server_name if origin.tls is not None else None,
                    )
            except OSError as error:  # TimeoutError and ssl.SSLError are OSErrors
                failure = error
                self._resolver.demote(address)
            else:
                return cast(UpstreamConnection, connection)
        raise failure
