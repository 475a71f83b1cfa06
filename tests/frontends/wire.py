"""A frontend without sockets: bytes are fed straight into its protocols, so that every piece is a read of its own."""

from __future__ import annotations

import asyncio
from typing import Any, Self

from plano.config.plan import LimitsPlan
from plano.frontends.frontend import Frontend
from plano.upstreams.connection import UpstreamConnection
from tests.frontends.plans import make_plan, make_provider


class Wire(asyncio.Transport):
    """One end of a connection: what is written is kept."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []
        self.closing = self.aborted = self.ended = False
        self.reading = True
        self.protocol: asyncio.Protocol | None = None
        self.full_at_bytes = 1 << 40  # what the other end takes before it stops reading

    def empty(self) -> None:
        """The other end reads everything, and goes on reading."""
        self.full_at_bytes = 1 << 40
        if self.protocol is not None:
            self.protocol.resume_writing()

    @property
    def data(self) -> bytes:
        return b"".join(self.written)

    def write(self, data: Any) -> None:
        assert not self.ended, "written after the end"
        before = sum(map(len, self.written))
        self.written.append(bytes(data))
        if before <= self.full_at_bytes < before + len(data) and self.protocol is not None:
            self.protocol.pause_writing()  # within the write, as asyncio does it

    def is_closing(self) -> bool:
        return self.closing

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.ended = True

    def close(self) -> None:
        self.closing = True

    def abort(self) -> None:
        self.closing = self.aborted = True

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True


class WiredFrontend:
    """A frontend with one provider, `test/one`. Needs a running loop."""

    def __init__(self, telemetry_address: str, *, port: int = 9, limits: LimitsPlan | None = None) -> None:
        self.frontend = Frontend(0, make_plan(make_provider(port), limits=limits), telemetry_address)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.frontend.close()

    def accept(self) -> tuple[asyncio.Protocol, Wire]:
        """A client connection and the wire behind it."""
        wire = Wire()
        connection = wire.protocol = self.frontend.listeners[0].make_connection()
        connection.connection_made(wire)
        return connection, wire

    def provide(self) -> tuple[UpstreamConnection, Wire]:
        """An idle connection to the provider, which the next request takes."""
        (pool,) = {candidate.pool for candidate in self.frontend.candidates.chain("test/one", "chat")}
        wire = Wire()
        connection = UpstreamConnection(pool)
        connection.connection_made(wire)
        connection.admitted = True
        pool.put_back(connection)
        return connection, wire
