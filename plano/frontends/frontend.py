"""One frontend: what its listeners share, and its life from the first socket to the last request."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Mapping

from plano.config.plan import ClusterPlan, ListenerPlan
from plano.frontends.deadlines import DeadlineTable
from plano.frontends.exchange import Exchange
from plano.frontends.handshakes import HANDSHAKE_S, refuse_handshakes
from plano.frontends.listener import DRAIN_GRACE_S, Listener
from plano.frontends.model import ModelListener
from plano.frontends.recorder import Gauges, Recorder
from plano.inference.client import InferenceClient
from plano.telemetry.record import InferenceView
from plano.upstreams.attempts import RetryBudget
from plano.upstreams.candidate import Candidates

TICK_S = 0.05  # how exactly deadlines of requests are kept
SWEEP_S = 5.0  # how exactly idle connections to upstreams are closed
BACKLOG = 4_096


class Frontend:
    """See the module. One event loop, one process; nothing here is shared with another frontend."""

    def __init__(self, index: int, plan: ClusterPlan, telemetry_address: str) -> None:
        self.plan = plan
        self.limits = plan.limits
        self.candidates = Candidates(plan)
        self.inference = InferenceClient(plan.inference.addresses, plan.inference.curve)
        self.exchanges: DeadlineTable[Exchange] = DeadlineTable(TICK_S)
        self.retries = RetryBudget()
        self.recorder = Recorder(index, telemetry_address, self.gauges)
        self.listeners = [_make_listener(self, listener) for listener in plan.listeners]
        self._servers: list[tuple[asyncio.Server, socket.socket, Listener]] = []
        self._sweeper: asyncio.Task[None] | None = None

    async def start(self, sockets: Mapping[str, int]) -> None:
        """Accept on the listening sockets handed down (listener name to file descriptor)."""
        loop = asyncio.get_running_loop()
        self.recorder.start()
        self.inference.start()
        await self.candidates.refresh_credentials()
        self._sweeper = loop.create_task(self._sweep())
        for listener in self.listeners:
            sock = socket.socket(fileno=sockets[listener.name])
            sock.setblocking(False)
            server = await loop.create_server(listener.make_connection, sock=sock.dup(), backlog=BACKLOG)
            self._servers.append((server, sock, listener))

    async def drain(self, deadline_s: float) -> None:
        """Take no new connection, finish every request, close. Whatever is left at `deadline_s` (monotonic) is cut."""
        for listener in self.listeners:
            listener.draining = True
        await self._stop_accepting()
        # A request may be on its way on an idle connection; the answer to it will say that the connection closes.
        idle_until_s = min(time.monotonic() + DRAIN_GRACE_S, deadline_s)
        while any(listener.connections for listener in self.listeners) and time.monotonic() < deadline_s:
            if time.monotonic() >= idle_until_s:
                for listener in self.listeners:
                    listener.close_idle()
            await asyncio.sleep(TICK_S)
        for listener in self.listeners:
            for connection in list(listener.connections):
                connection.abort()

    async def close(self) -> None:
        if self._sweeper is not None:
            self._sweeper.cancel()
        for pool in self.candidates.pools:
            await pool.close()
        await self.inference.close()
        await asyncio.sleep(0)  # let connections that were cut write their records
        self.recorder.close()

    def gauges(self) -> Gauges:
        """Requests in flight and client connections by listener, the inference processes as seen from here."""
        seen = self.inference.figures()
        return (
            {listener.name: listener.in_flight for listener in self.listeners},
            {listener.name: len(listener.connections) for listener in self.listeners},
            InferenceView(
                len(self.plan.inference.addresses),
                len(seen.replicas),
                seen.alive,
                seen.moved,
                seen.late,
                seen.faults,
                seen.lookup_failures,
            ),
        )

    async def _stop_accepting(self) -> None:
        """Close the listening sockets without losing a connection whose handshake has begun."""
        loop = asyncio.get_running_loop()
        refusing = [refuse_handshakes(sock) for _, sock, _ in self._servers]
        if any(refusing):
            await asyncio.sleep(HANDSHAKE_S)  # accepting goes on meanwhile
        for server, sock, listener in self._servers:
            server.close()
            while True:
                try:
                    accepted, _ = sock.accept()
                except (BlockingIOError, ConnectionAbortedError):
                    break
                accepted.setblocking(False)
                await loop.connect_accepted_socket(listener.make_connection, accepted)
            sock.close()
        self._servers.clear()

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_S)
            now_s = time.monotonic()
            for pool in self.candidates.pools:
                pool.sweep(now_s)
            await self.candidates.refresh_credentials()


def _make_listener(frontend: Frontend, plan: ListenerPlan) -> Listener:
    return ModelListener(frontend, plan) if plan.type == "model" else Listener(frontend, plan)
