"""Both ends of the wire, started and ended for a test: servers, clients, and callers that keep no rules."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self

import msgpack
import zmq
import zmq.asyncio

from plano.inference.client import InferenceClient, Outcome, PendingCall, WatchPolicy
from plano.inference.engines.engine import Engine, EngineError, Job
from plano.inference.keeper import KeeperPolicy
from plano.inference.server import EngineSlot, InferenceServer
from plano.inference.wire import UNASKED, Kind, Status

PATIENCE_S = 20.0
QUICK_POLICY = KeeperPolicy(check_s=0.02, restart_first_s=0.02, restart_max_s=0.1)
VERDICT = {"probability": 0.25, "flagged": False}


class ParkedEngine(Engine):
    """Keeps every job until the test ends it."""

    name = "parked"
    model = "none"

    def __init__(self, concurrency: int = 64) -> None:
        self.concurrency = concurrency
        self.batches: list[list[Job]] = []
        self.cancelled: list[Job] = []
        self.broken: str | None = None
        self.closed = False

    @property
    def jobs(self) -> list[Job]:
        return [job for batch in self.batches for job in batch]

    async def start(self) -> None:
        return

    def submit(self, jobs: Sequence[Job]) -> None:
        self.batches.append(list(jobs))
        for job in jobs:
            job.on_cancel = lambda job=job: self.cancelled.append(job)

    def check(self) -> str | None:
        return self.broken

    async def close(self) -> None:
        self.closed = True


class InstantEngine(Engine):
    """Has the answer before it is asked."""

    name = "instant"

    def __init__(self, answer: Any = VERDICT) -> None:
        self.answer = answer
        self.seen: list[Any] = []

    async def start(self) -> None:
        return

    def submit(self, jobs: Sequence[Job]) -> None:
        for job in jobs:
            self.seen.append(job.request)
            job.finish(self.answer)


class LoadingEngine(InstantEngine):
    """Loads until the test lets it, or fails to."""

    def __init__(self) -> None:
        super().__init__()
        self.outcome: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()

    async def start(self) -> None:
        cause = await self.outcome
        if cause is not None:
            raise EngineError(cause)


class Ends:
    """What a test has started. Addresses are made of names: the socket `name` in the test's folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._servers: list[InferenceServer] = []
        self._clients: list[InferenceClient] = []
        self._processes: list[ServerProcess] = []
        self._callers: list[RawCaller] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        for client in self._clients:
            await client.close()
        for caller in self._callers:
            caller.close()
        for server in self._servers:
            await server.close()
        for process in self._processes:
            process.kill()

    def address(self, name: str = "a") -> str:
        return f"ipc://{self.folder / name}"

    async def serve(
        self, engine: Engine | Callable[[], Engine], name: str = "a", *, role: str = "guard", **options: Any
    ) -> InferenceServer:
        """A server in this process, loaded."""
        make = (lambda: engine) if isinstance(engine, Engine) else engine
        slot = EngineSlot(make, options.pop("queue", 1_024), options.pop("concurrency", None))
        addresses = options.pop("addresses", (self.address(name),))
        load = options.pop("load", True)
        server = InferenceServer({role: slot}, addresses, policy=QUICK_POLICY, **options)
        self._servers.append(server)
        await server.start()
        if load:
            await server.loaded()
        return server

    def connect(self, *names: str, **options: Any) -> Asker:
        """A client of these sockets ("a" when none is named), or of `addresses`."""
        addresses = options.pop("addresses", None) or tuple(self.address(name) for name in names or ("a",))
        client = InferenceClient(addresses, options.pop("curve", None), policy=WatchPolicy(**options))
        self._clients.append(client)
        client.start()
        return Asker(client)

    def start_process(self, name: str = "a", *, answer_after_s: float = 0.0) -> ServerProcess:
        """A server in a process of its own, ready."""
        process = ServerProcess(self.address(name), answer_after_s)
        self._processes.append(process)
        process.wait_until_ready()
        return process

    def call_raw(self, name: str = "a") -> RawCaller:
        caller = RawCaller(self.address(name))
        self._callers.append(caller)
        return caller


class Asker:
    """A client whose outcomes can be awaited."""

    def __init__(self, client: InferenceClient) -> None:
        self.client = client

    def begin(self, timeout_s: float = 10.0, role: str = "guard", body: Any = None) -> Asked:
        return Asked(self.client, role, {"texts": ["hello"]} if body is None else body, timeout_s)

    async def ask(self, timeout_s: float = 10.0, role: str = "guard", body: Any = None) -> Outcome:
        return await self.begin(timeout_s, role, body)

    async def until_ready(self, count: int) -> None:
        """So many replicas serve the role of the guard."""
        await until(lambda: self.client.figures().ready.get("guard") == count)

    async def until_alive(self, count: int) -> None:
        await until(lambda: self.client.figures().alive == count)


class Asked:
    """A call under way. `outcomes` has one entry at most, or something is wrong."""

    def __init__(self, client: InferenceClient, role: str, body: Any, timeout_s: float) -> None:
        self.outcomes: list[Outcome] = []
        self._ended = asyncio.Event()
        self.pending: PendingCall = client.call(role, body, timeout_s, b"", self._take)
        assert not self.outcomes, "an outcome from within `call`"

    def __await__(self) -> Any:
        return self._wait().__await__()

    def cancel(self) -> None:
        self.pending.cancel()

    async def _wait(self) -> Outcome:
        async with asyncio.timeout(PATIENCE_S):
            await self._ended.wait()
        assert len(self.outcomes) == 1
        return self.outcomes[0]

    def _take(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)
        self._ended.set()


class RawCaller:
    """A DEALER that sends whatever the test wants, and never probes."""

    def __init__(self, address: str) -> None:
        self._context = zmq.asyncio.Context()
        self.socket = self._context.socket(zmq.DEALER)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.connect(address)
        self._ids = itertools.count(1)
        self.told: list[dict[str, str]] = []

    async def send(self, *frames: bytes) -> None:
        await self.socket.send_multipart(frames)

    async def receive(self) -> list[Any]:
        """The next message that is an answer to something; what is told unasked is kept in `told`."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                message = list(msgpack.unpackb(await self.socket.recv()))
                if message[1:3] != [Kind.HEALTH, UNASKED]:
                    return message
                self.told.append({role: health[0] for role, health in message[3].items()})

    async def status_of(self, *frames: bytes) -> tuple[int, Status]:
        """The id and the status that come back for what is sent."""
        await self.send(*frames)
        _, _, id, status, *_ = await self.receive()
        return id, Status(status)

    def close(self) -> None:
        self._context.destroy(linger=0)


class ServerProcess:
    """`tests.inference.bus.serving` in a process of its own."""

    def __init__(self, address: str, answer_after_s: float) -> None:
        command = [sys.executable, "-m", "tests.inference.bus.serving", address, str(answer_after_s)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE)

    def wait_until_ready(self) -> None:
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == b"ready\n"

    def stop(self) -> None:
        """Like a machine that hangs."""
        os.kill(self.process.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        os.kill(self.process.pid, signal.SIGCONT)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()


async def until(condition: Callable[[], Any]) -> None:
    """Returns when the condition holds. Raises TimeoutError."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            await asyncio.sleep(0.005)
