"""The frontend's end of the bus: records of requests go to the telemetry worker in batches, or are dropped and counted.

A batch is packed when it is full (400 records, some 70 us of the loop's time) or a quarter of a second old: what a
message costs on its way (two I/O threads, four wake-ups) is shared by the records in it.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import msgspec
import zmq

from plano.telemetry.record import WIRE_VERSION, InferenceView

if TYPE_CHECKING:
    from plano.frontends.request import Request
    from plano.frontends.trace import Trace

log = logging.getLogger(__name__)

BATCH_RECORDS: Final = 400
FLUSH_S: Final = 0.25
# A telemetry worker that has just begun learns the gauges of a quiet frontend after this many flushes.
QUIET_FLUSHES: Final = 20
# Messages that may wait for a telemetry worker that is away; at 400 records each some 30 MB.
QUEUED_BATCHES: Final = 250

# What a frontend says of itself at the moment: the gauges of `telemetry.record.FrontendState`, in its order.
Gauges = tuple[dict[str, int], dict[str, int], list[tuple[str, str]], dict[str, tuple[float, bool]], InferenceView]


class Recorder:
    """See the module. `unix_offset_s` turns monotonic times into Unix times (renewed with every flush)."""

    def __init__(self, index: int, address: str, gauges: Callable[[], Gauges]) -> None:
        self._index = index
        self._gauges = gauges
        self._records: list[tuple[Any, ...]] = []
        self._dropped = 0
        self._quiet = 0
        self._lag_s = 0.0
        self._due_s = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._last_gauges: object = None
        self._pack = msgspec.msgpack.Encoder().encode
        self._context = zmq.Context(io_threads=1)
        self._socket = self._context.socket(zmq.PUSH)
        self._socket.sndhwm = QUEUED_BATCHES
        self._socket.linger = 1_000
        self._socket.connect(address)
        self.unix_offset_s = time.time() - time.monotonic()

    def start(self) -> None:
        self._schedule()

    def add(self, record: tuple[Any, ...]) -> None:
        """Queue one record (the fields of `telemetry.record.Record`; text may be bytes)."""
        records = self._records
        records.append(record)
        if len(records) >= BATCH_RECORDS:
            self._send(self._gauges())

    def add_local(
        self, listener: str, request: Request, request_id: bytes, trace: Trace, status: int, error: str
    ) -> None:
        """The record of a request the gateway answered by itself."""
        self.add(
            (
                request_id,
                trace[0],
                trace[2],
                trace[1],
                listener,
                request.method,
                request.target[:1024],
                "",
                "",
                "",
                status,
                error,
                False,
                False,
                request.received_s + self.unix_offset_s,
                time.monotonic() - request.received_s,
                None,
                len(request.body),
                0,
                None,
                None,
                None,
                None,
                (),
                (),
                None,
            )
        )

    def close(self) -> None:
        """Send what is left, and wait at most a second for it to leave."""
        if self._timer is not None:
            self._timer.cancel()
        self._send(self._gauges())
        self._socket.close()
        self._context.term()

    def _schedule(self) -> None:
        loop = asyncio.get_running_loop()
        self._due_s = loop.time() + FLUSH_S
        self._timer = loop.call_later(FLUSH_S, self._flush)

    def _flush(self) -> None:
        self._lag_s = max(0.0, asyncio.get_running_loop().time() - self._due_s)
        self._schedule()  # first: whatever is wrong with these records, others follow
        self.unix_offset_s = time.time() - time.monotonic()
        gauges = self._gauges()
        self._quiet += 1
        if self._records or gauges != self._last_gauges or self._quiet >= QUIET_FLUSHES:
            self._last_gauges = gauges
            self._quiet = 0
            self._send(gauges)

    def _send(self, gauges: Gauges) -> None:
        records = self._records
        self._records = []
        in_flight, connections, circuits, certificates, inference = gauges
        state = (
            self._index,
            os.getpid(),
            in_flight,
            connections,
            self._dropped,
            self._lag_s,
            circuits,
            certificates,
            inference,
        )
        try:
            self._socket.send(self._pack((WIRE_VERSION, state, records)), zmq.DONTWAIT)
        except zmq.Again:
            self._dropped += len(records)
        except (OverflowError, TypeError, ValueError):  # a number or a text that msgpack has no place for
            self._dropped += len(records)
            log.exception("%d records cannot be sent", len(records))
