"""The telemetry worker: takes the frontends' batches and the inference process' reports off the bus, counts them, and
serves the admin port.

A worker that cannot keep up or is gone costs the frontends nothing: the bus is bounded, and what does not fit is
dropped and counted where it was made.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import socket
import time
from typing import Any

import msgspec
import zmq
from aiohttp import web

from plano.inference.sockets import is_readable
from plano.telemetry.cluster import ClusterPicture
from plano.telemetry.exposition import Scrape
from plano.telemetry.inference import REPORT, InferenceNumbers
from plano.telemetry.metrics import MalformedRecord, RequestMetrics
from plano.telemetry.record import WIRE_VERSION
from plano.workers.admin import AdminServer
from plano.workers.boot import TelemetryBoot
from plano.workers.control import Control
from plano.workers.frames import Message

log = logging.getLogger(__name__)

NICENESS = 5

# A worker that counts for milliseconds on end keeps a frontend on the same core from its requests: it rests after each
# message and each slice (half a millisecond), unless so many messages wait that they would be lost.
_SLICE_RECORDS = 400
_REST_S = 0.001
_BACKLOG_MESSAGES = 50
_MAX_MESSAGE_BYTES = 64 * 1024 * 1024
# How often the bus is looked at, by whether there was something last time: a wake-up costs more than what it finds.
_LOOK_S = 0.25
_BUSY_LOOK_S = 0.02
_QUIET_BUS_S = 0.1  # a bus silent for this long after the frontends have ended is empty
_COMPLAIN_EVERY_S = 10.0

# `telemetry.record.Batch`. Records as tuples: the garbage collector has less to look at.
_decode = msgspec.msgpack.Decoder(tuple[int, list[Any], list[tuple[Any, ...]]]).decode


class TelemetryWorker:
    """The numbers, and the loop that keeps them."""

    def __init__(self, boot: TelemetryBoot) -> None:
        self._boot = boot
        self._requests = RequestMetrics(boot.max_model_pairs)
        self._picture = ClusterPicture()
        self._inference = InferenceNumbers()
        self._malformed = 0
        self._complained = float("-inf")
        self._rest_s = 0.0

    async def run(self, control: Control) -> None:
        """Until the supervisor asks for the drain and the bus is empty."""
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        bus = context.socket(zmq.PULL)
        bus.setsockopt(zmq.RCVHWM, self._boot.queue_batches)
        bus.setsockopt(zmq.MAXMSGSIZE, _MAX_MESSAGE_BYTES)
        bus.setsockopt(zmq.LINGER, 0)
        bus.bind(self._boot.address)
        runner = web.AppRunner(self._admin().application(), access_log=None, shutdown_timeout=1.0)
        try:
            await runner.setup()
            await web.SockSite(runner, socket.socket(fileno=self._boot.admin_socket)).start()
            control.on("cluster", self._update_picture)
            await control.ready()
            await self._consume_until_drained(bus, control)
        finally:
            await runner.cleanup()
            context.destroy(linger=0)

    async def take(self, message: bytes) -> None:
        """Counts one message of the bus, a slice at a time. Never raises for what is in it."""
        try:
            version, state, records = _decode(message)
            if version != WIRE_VERSION:
                raise ValueError(f"wire version {version}, not {WIRE_VERSION}")
            if state[0] == REPORT:
                self._inference.report(*state[1:])
            else:
                self._picture.report(state, time.monotonic())
        except (ValueError, TypeError, AttributeError, LookupError, OverflowError, RecursionError) as error:
            self._count_malformed(error)
            return
        for start in range(0, len(records), _SLICE_RECORDS):
            if start:
                await self._rest()
            for record in records[start : start + _SLICE_RECORDS]:
                try:
                    self._requests.add(record)
                except MalformedRecord as error:
                    self._count_malformed(error)

    def scrape(self) -> Scrape:
        """A copy of all numbers as of now."""
        return Scrape(
            self._requests, self._picture, self._malformed, self._boot.version, time.monotonic(), self._inference
        )

    def _admin(self) -> AdminServer:
        return AdminServer(self._boot.version, self._picture, self.scrape)

    def _update_picture(self, message: Message) -> None:
        self._picture.update(message["children"], message["draining"])

    async def _consume_until_drained(self, bus: zmq.Socket[bytes], control: Control) -> None:
        draining = asyncio.create_task(control.draining.wait(), name="draining")
        while not draining.done():
            busy = await self._take_all(bus)
            await asyncio.wait([draining], timeout=_BUSY_LOOK_S if busy else _LOOK_S)
        # The frontends have ended: what they left on the bus is taken as well.
        deadline_s = time.monotonic() + control.drain_deadline_s
        silent = False
        while not silent and time.monotonic() < deadline_s:
            await self._take_all(bus)
            await asyncio.sleep(_QUIET_BUS_S)
            silent = not await self._take_all(bus)

    async def _take_all(self, bus: zmq.Socket[bytes]) -> bool:
        """Takes what is on the bus; False when there was nothing."""
        taken = 0
        while is_readable(bus):
            taken += 1
            self._rest_s = _REST_S if taken < _BACKLOG_MESSAGES else 0.0
            await self.take(bus.recv(zmq.DONTWAIT))
            await self._rest()
        return taken > 0

    async def _rest(self) -> None:
        """Let others have the core, and the admin port its turn."""
        await asyncio.sleep(self._rest_s)

    def _count_malformed(self, error: Exception) -> None:
        self._malformed += 1
        now = time.monotonic()
        if now - self._complained >= _COMPLAIN_EVERY_S:
            self._complained = now
            log.warning("malformed telemetry (%d so far): %s", self._malformed, error)


def calm_garbage_collector() -> None:
    """A batch is up to 400 tuples without a cycle among them: not worth a look for each."""
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


async def serve(boot: TelemetryBoot, control: Control) -> None:
    """The role: see `TelemetryWorker`."""
    # Counting can wait, requests cannot: on a busy machine the frontends come first.
    os.nice(NICENESS)
    calm_garbage_collector()
    await TelemetryWorker(boot).run(control)
