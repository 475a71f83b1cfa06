"""The telemetry worker on a real bus, in the test's own event loop."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import msgpack
import pytest
import zmq

from plano.telemetry.record import WIRE_VERSION, Batch, FrontendState
from plano.workers.boot import TelemetryBoot
from plano.workers.control import Control
from plano.workers.telemetry import TelemetryWorker
from tests.telemetry.test_metrics import PLAIN

STATE = FrontendState(0, 1, {}, {}, 0, 0.0)
COUNTED = 'plano_requests_total{listener="egress",model="openai/gpt-4o",provider="openai",status="200"}'


def batch(records: int) -> bytes:
    message: bytes = msgpack.packb(Batch(WIRE_VERSION, STATE, [PLAIN] * records))
    return message


def exposition(worker: TelemetryWorker) -> str:
    return worker.scrape().render("")[0].decode()


@asynccontextmanager
async def running_worker(folder: Path) -> AsyncIterator[tuple[TelemetryWorker, str, zmq.Socket[bytes]]]:
    """A worker that is ready, the URL of its admin port, and a frontend's end of its bus. At the end it drains."""
    address = f"ipc://{folder}/bus"
    ready = asyncio.Event()
    control = Control()
    control.drain_deadline_s = 10.0
    control.ready = lambda **info: _set(ready)  # type: ignore[method-assign]
    with socket.create_server(("127.0.0.1", 0)) as admin, zmq.Context() as context, context.socket(zmq.PUSH) as bus:
        bus.setsockopt(zmq.LINGER, 0)
        url = f"http://127.0.0.1:{admin.getsockname()[1]}"
        worker = TelemetryWorker(TelemetryBoot("1.2.3", address, admin.detach()))
        running = asyncio.create_task(worker.run(control))
        await ready.wait()
        bus.connect(address)
        yield worker, url, bus
        control.draining.set()
        await running


async def _set(event: asyncio.Event) -> None:
    event.set()


async def test_what_is_on_the_bus_when_the_drain_begins_is_counted(tmp_path: Path) -> None:
    async with running_worker(tmp_path) as (worker, _, bus):
        for _ in range(200):
            bus.send(batch(10))
    assert f"{COUNTED} 2000.0" in exposition(worker)


async def test_the_admin_port_answers_while_batches_pour_in(tmp_path: Path) -> None:
    async with running_worker(tmp_path) as (worker, url, bus), aiohttp.ClientSession(url) as client:
        pouring = threading.Thread(target=lambda: [bus.send(batch(500)) for _ in range(100)])
        pouring.start()
        for path, status in (("/", 200), ("/healthz", 200), ("/readyz", 503), ("/metrics", 200), ("/nothing", 404)):
            async with client.get(path) as response:
                assert response.status == status, path
        async with client.get("/cluster") as response:
            assert json.loads(await response.text())["children"] == []
        await asyncio.to_thread(pouring.join)
    assert f"{COUNTED} 50000.0" in exposition(worker)


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"\xc1",
        b"\x93\x01\x02",
        msgpack.packb(5),
        msgpack.packb({}),
        msgpack.packb([WIRE_VERSION]),
        msgpack.packb([WIRE_VERSION, STATE, "records"]),
        msgpack.packb([WIRE_VERSION, [], []]),
        msgpack.packb([WIRE_VERSION + 1, STATE, []]),
        msgpack.packb([WIRE_VERSION, STATE, [{}]]),
        msgpack.packb([[[]] * 3]),
    ],
)
async def test_malformed_messages_are_counted_and_never_fatal(message: bytes) -> None:
    worker = TelemetryWorker(TelemetryBoot("1.2.3", "", -1))
    await worker.take(message)
    await worker.take(batch(1))
    text = exposition(worker)
    assert "plano_bus_malformed_total 1.0" in text
    assert f"{COUNTED} 1.0" in text
