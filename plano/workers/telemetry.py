"""The telemetry worker: takes the frontends' batches and the inference process' reports off the bus, counts them, and
serves the admin port.

A worker that cannot keep up or is gone costs the frontends nothing: the bus is bounded, and what does not fit is
dropped and counted where it was made.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import time
from typing import Any

import msgpack
import zmq
import zmq.asyncio
from aiohttp import web

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

_SLICE_RECORDS = 250  # about a millisecond between two looks at the admin port
_MAX_MESSAGE_BYTES = 64 * 1024 * 1024
_QUIET_BUS_MS = 100  # a bus silent for this long after the frontends have ended is empty
_COMPLAIN_EVERY_S = 10.0


class TelemetryWorker:
    """The numbers, and the loop that keeps them."""

    def __init__(self, boot: TelemetryBoot) -> None:
        self._boot = boot
        self._requests = RequestMetrics(boot.max_model_pairs)
        self._picture = ClusterPicture()
        self._inference = InferenceNumbers()
        self._malformed = 0
        self._complained = float("-inf")

    async def run(self, control: Control) -> None:
        """Until the supervisor asks for the drain and the bus is empty."""
        context = zmq.asyncio.Context()
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
            version, state, records = _unpack(message)
            if version != WIRE_VERSION:
                raise ValueError(f"wire version {version}, not {WIRE_VERSION}")
            if state == REPORT:
                self._inference.report(*records)
                return
            self._picture.report(state, time.monotonic())
        except (ValueError, TypeError, AttributeError, KeyError, OverflowError, RecursionError) as error:
            self._count_malformed(error)
            return
        for start in range(0, len(records), _SLICE_RECORDS):
            if start:
                await asyncio.sleep(0)
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

    async def _consume_until_drained(self, bus: zmq.asyncio.Socket, control: Control) -> None:
        draining = asyncio.create_task(control.draining.wait(), name="draining")
        while not draining.done():
            receiving = asyncio.ensure_future(bus.recv())
            await asyncio.wait([receiving, draining], return_when=asyncio.FIRST_COMPLETED)
            if receiving.done():
                await self.take(receiving.result())
                # A busy bus always has a message at hand: the admin port must have its turn all the same.
                await asyncio.sleep(0)
            else:
                receiving.cancel()
        await self._empty(bus, time.monotonic() + control.drain_deadline_s)

    async def _empty(self, bus: zmq.asyncio.Socket, deadline: float) -> None:
        """The frontends have ended: takes what they left on the bus. `deadline` is in monotonic seconds."""
        while time.monotonic() < deadline and await bus.poll(_QUIET_BUS_MS):
            await self.take(await bus.recv())

    def _count_malformed(self, error: Exception) -> None:
        self._malformed += 1
        now = time.monotonic()
        if now - self._complained >= _COMPLAIN_EVERY_S:
            self._complained = now
            log.warning("malformed telemetry (%d so far): %s", self._malformed, error)


def _unpack(message: bytes) -> tuple[Any, Any, tuple[Any, ...]]:
    """(version, state, records) of a batch; of a report (version, REPORT, (pid, figures)). Raises ValueError, TypeError
    or RecursionError."""
    fields = msgpack.unpackb(message, use_list=False)
    if not isinstance(fields, tuple):
        raise TypeError("a batch is a list")
    version, state, records = fields[:3]
    if not isinstance(records, tuple):
        raise TypeError("records is a list")
    return version, state, records


async def serve(boot: TelemetryBoot, control: Control) -> None:
    """The role: see `TelemetryWorker`."""
    # Counting can wait, requests cannot: on a busy machine the frontends come first.
    os.nice(NICENESS)
    await TelemetryWorker(boot).run(control)
