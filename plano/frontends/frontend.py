"""One frontend: what its listeners share, and its life from the first socket to the last request."""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from plano.agents.filters import Filters
from plano.config.plan import ClusterPlan, ListenerPlan
from plano.frontends.agent import AgentListener
from plano.frontends.deadlines import DeadlineTable
from plano.frontends.delivery import Delivery
from plano.frontends.handshakes import HANDSHAKE_S, refuse_handshakes
from plano.frontends.listener import DRAIN_GRACE_S, Listener
from plano.frontends.model import ModelListener
from plano.frontends.recorder import Gauges, Recorder
from plano.frontends.tls import RENEWAL_LOOK_S, Terminator
from plano.inference.client import InferenceClient
from plano.telemetry.record import InferenceView
from plano.upstreams.attempts import RetryBudget
from plano.upstreams.candidate import Candidates

log = logging.getLogger(__name__)
if TYPE_CHECKING:
    from plano.functions.endpoints import Endpoints

TICK_S = 0.05  # how exactly deadlines of requests are kept
SWEEP_S = 5.0  # how exactly idle connections to upstreams are closed
BACKLOG = 4_096


class Frontend:
    """See the module. One event loop, one process; nothing here is shared with another frontend."""

    def __init__(self, index: int, plan: ClusterPlan, telemetry_address: str) -> None:
        self.plan = plan
        self.limits = plan.limits
        self.candidates = Candidates(plan)
        self.filters = Filters(plan.filters, plan.tls_ca_path)
        self.inference = InferenceClient(plan.inference.addresses, plan.inference.curve)
        self.endpoints: Endpoints | None = None  # of prompt targets, where a listener serves them
        self.exchanges: DeadlineTable[Delivery] = DeadlineTable(TICK_S)
        self.retries = RetryBudget()
        self.recorder = Recorder(index, telemetry_address, self.gauges)
        self.listeners = [_make_listener(self, listener) for listener in plan.listeners]
        self._servers: list[tuple[asyncio.Server, socket.socket, Listener]] = []
        self._sweeper: asyncio.Task[None] | None = None
        self._renewer: asyncio.Task[None] | None = None
        self._adoptions: set[asyncio.Task[None]] = set()

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
            if listener.tls is None:
                server = await loop.create_server(listener.make_connection, sock=sock.dup(), backlog=BACKLOG)
            else:
                server = await loop.create_server(
                    listener.make_connection,
                    sock=sock.dup(),
                    backlog=BACKLOG,
                    ssl=listener.tls.context,
                    ssl_handshake_timeout=self.limits.header_timeout_s,
                    ssl_shutdown_timeout=self.limits.body_timeout_s,
                )
            self._servers.append((server, sock, listener))
        if any(listener.tls is not None for listener in self.listeners):
            self._renewer = loop.create_task(self._renew_certificates())

    async def drain(self, deadline_s: float) -> None:
        """Take no new connection, finish every request, close. Whatever is left at `deadline_s` (monotonic) is cut."""
        for listener in self.listeners:
            listener.draining = True
        await self._stop_accepting()
        # A request may be on its way on an idle connection; the answer to it will say that the connection closes.
        idle_until_s = min(time.monotonic() + DRAIN_GRACE_S, deadline_s)
        while self._is_busy() and time.monotonic() < deadline_s:
            if time.monotonic() >= idle_until_s:
                for listener in self.listeners:
                    listener.close_idle()
            await asyncio.sleep(TICK_S)
        for listener in self.listeners:
            for connection in list(listener.connections):
                connection.abort()
        for adoption in self._adoptions:
            adoption.cancel()

    async def close(self) -> None:
        for task in (self._sweeper, self._renewer):
            if task is not None:
                task.cancel()
        for pool in self.candidates.pools:
            await pool.close()
        await self.inference.close()
        await self.filters.close()
        if self.endpoints is not None:
            await self.endpoints.close()
        await asyncio.sleep(0)  # let connections that were cut write their records
        self.recorder.close()

    def gauges(self) -> Gauges:
        """Requests in flight and client connections by listener, open circuits, certificates by listener, the inference
        processes as seen from here."""
        seen = self.inference.figures()
        return (
            {listener.name: listener.in_flight for listener in self.listeners},
            {listener.name: len(listener.connections) for listener in self.listeners},
            self.candidates.open_circuits(),
            {
                listener.name: (listener.tls.ends_unix_s, listener.tls.refused)
                for listener in self.listeners
                if listener.tls is not None
            },
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

    def _is_busy(self) -> bool:
        """Are there connections, or handshakes that will become some?"""
        since_s = time.monotonic() - self.limits.header_timeout_s
        return any(
            listener.connections or (listener.tls is not None and listener.tls.is_shaking_hands(since_s))
            for listener in self.listeners
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
                if listener.tls is None:
                    await loop.connect_accepted_socket(listener.make_connection, accepted)
                else:
                    adoption = loop.create_task(self._shake_hands(listener, listener.tls, accepted))
                    self._adoptions.add(adoption)
                    adoption.add_done_callback(self._adoptions.discard)
            sock.close()
        self._servers.clear()
        await asyncio.sleep(0)  # the handshakes begin, and are counted as such

    async def _shake_hands(self, listener: Listener, tls: Terminator, accepted: socket.socket) -> None:
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                listener.make_connection,
                accepted,
                ssl=tls.context,
                ssl_handshake_timeout=self.limits.header_timeout_s,
                ssl_shutdown_timeout=self.limits.body_timeout_s,
            )
        except OSError as error:  # of the client: no TLS, no certificate, gone; as it is while servers accept
            log.debug("a handshake on listener %s failed: %s", listener.name, error)

    async def _renew_certificates(self) -> None:
        while True:
            await asyncio.sleep(RENEWAL_LOOK_S)
            for listener in self.listeners:
                if listener.tls is not None and listener.tls.is_outdated():
                    await asyncio.to_thread(listener.tls.renew)

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_S)
            now_s = time.monotonic()
            for pool in self.candidates.pools:
                pool.sweep(now_s)
            await self.candidates.refresh_credentials()


def _make_listener(frontend: Frontend, plan: ListenerPlan) -> Listener:
    if plan.type == "model":
        return ModelListener(frontend, plan)
    if plan.serves_targets:
        return _make_prompt_listener(frontend, plan)
    return AgentListener(frontend, plan) if plan.agents else Listener(frontend, plan)


def _make_prompt_listener(frontend: Frontend, plan: ListenerPlan) -> Listener:
    # Imported here: what prompt targets need (aiohttp, jsonschema) is memory that other frontends do without.
    from plano.frontends.prompt import PromptListener
    from plano.functions.endpoints import Endpoints

    endpoints = frontend.endpoints
    if endpoints is None:
        calls = [target.call for target in frontend.plan.targets if target.call is not None]
        endpoints = frontend.endpoints = Endpoints(calls, frontend.plan.tls_ca_path)
    return PromptListener(frontend, plan, endpoints)
