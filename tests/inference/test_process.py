"""The inference process in the test's own loop, with engines of the test's making."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgpack
import pytest
import zmq
import zmq.asyncio

from plano.config.plan import ClusterPlan, GuardPlan, InferencePlan, RolePlan
from plano.inference import process
from plano.inference.engines.engine import Engine, EngineError, Job
from plano.telemetry.record import WIRE_VERSION
from plano.workers.boot import InferenceBoot
from plano.workers.control import Control

PLAN = ClusterPlan(
    listeners=(),
    providers=(),
    aliases={},
    model_ids=(),
    inference=InferencePlan(orchestrator=RolePlan("embedded"), guard=GuardPlan("vllm", "some/classifier")),
)


class Answering(Engine):
    """Starts when it is allowed to."""

    name = "test"

    def __init__(self, may_start: asyncio.Event) -> None:
        self.model = "tiny"
        self._may_start = may_start

    async def start(self) -> None:
        await self._may_start.wait()

    def submit(self, jobs: Sequence[Job]) -> None:
        for job in jobs:
            job.finish({})

    def metrics(self) -> dict[str, float]:
        return {"steps_total": 3.0}


class Broken(Engine):
    async def start(self) -> None:
        raise EngineError("inference.guard: the model needs 900 GiB; choose a smaller one")

    def submit(self, jobs: Sequence[Job]) -> None:
        raise AssertionError("never started")


class Supervisor(Control):
    """Keeps what the process says."""

    def __init__(self, *, proven: bool = False) -> None:
        super().__init__(proven=proven)
        self.is_ready = asyncio.Event()
        self.info: list[dict[str, Any]] = []
        self.refusals: list[str] = []

    async def ready(self, **info: object) -> None:
        self.info.append(dict(info))
        self.is_ready.set()

    def tell(self, **info: object) -> None:
        self.info.append(dict(info))

    async def refuse(self, message: str) -> None:
        self.refusals.append(message)

    def states(self) -> dict[str, str]:
        """What was said last, by role."""
        return {name: role["state"] for name, role in self.info[-1]["roles"].items()}

    async def hears(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(10):
            while not (self.info and condition()):
                await asyncio.sleep(0.01)


@asynccontextmanager
async def running(
    folder: Path, supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch, make: Callable[..., Engine]
) -> AsyncIterator[tuple[asyncio.Task[None], zmq.asyncio.Socket]]:
    """The process, and the telemetry worker's end of the bus. At the end it is told to drain."""
    monkeypatch.setattr(process, "make_engine", make)
    monkeypatch.setattr(process, "REPORT_S", 0.05)
    monkeypatch.setattr(process.gc, "freeze", lambda: None)  # of the test's own process
    with zmq.asyncio.Context() as context, context.socket(zmq.PULL) as bus:
        bus.setsockopt(zmq.LINGER, 0)
        bus.bind(f"ipc://{folder}/bus")
        boot = InferenceBoot(PLAN, f"ipc://{folder}/inference", f"ipc://{folder}/bus")
        task = asyncio.create_task(process.serve(boot, supervisor))
        try:
            yield task, bus
        finally:
            supervisor.draining.set()
            async with asyncio.timeout(10):
                await task


async def test_it_tells_what_it_loads_and_is_ready_when_all_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    supervisor, may_start = Supervisor(), asyncio.Event()
    async with running(tmp_path, supervisor, monkeypatch, lambda role, plan: Answering(may_start)) as (_, bus):
        await supervisor.hears(lambda: supervisor.states() == dict.fromkeys(PLAN_ROLES, "loading"))
        told = supervisor.info[-1]["roles"]
        assert (told["guard"]["engine"], told["guard"]["model"]) == ("vllm", "some/classifier")
        assert told["orchestrator"]["engine"] == "embedded"
        assert not supervisor.is_ready.is_set()
        may_start.set()
        await supervisor.hears(supervisor.is_ready.is_set)
        assert supervisor.info[-1]["address"] == f"ipc://{tmp_path}/inference"
        assert supervisor.info[-1]["roles"]["guard"] == {
            "state": "ready",
            "engine": "test",
            "model": "tiny",
            "error": "",
        }
        async with asyncio.timeout(10):
            while True:
                version, (kind, pid, figures), records = msgpack.unpackb(await bus.recv())
                assert (version, kind, pid, records) == (WIRE_VERSION, "inference", os.getpid(), [])
                if figures["roles"]["guard"]["state"] == "ready":
                    break
        assert figures["roles"]["guard"]["engine_metrics"] == {"steps_total": 3.0}
    assert not supervisor.refusals


PLAN_ROLES = ("orchestrator", "guard", "function")


def make_guard_fail(role: str, plan: ClusterPlan) -> Engine:
    allowed = asyncio.Event()
    allowed.set()
    return Broken() if role == "guard" else Answering(allowed)


async def test_a_report_that_cannot_be_made_does_not_keep_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    supervisor, may_start = Supervisor(), asyncio.Event()
    may_start.set()
    attempts = 0

    def refuse(pid: int, figures: object) -> bytes:
        nonlocal attempts
        attempts += 1
        if attempts < 4:
            raise ValueError("no report can be made of this")
        return b"a report"

    monkeypatch.setattr(process, "pack_report", refuse)
    async with running(tmp_path, supervisor, monkeypatch, lambda role, plan: Answering(may_start)) as (_, bus):
        async with asyncio.timeout(10):
            assert await bus.recv() == b"a report"
    assert len([line for line in caplog.records if line.exc_info and "no report can" in str(line.exc_info[1])]) == 1
    assert not supervisor.refusals


async def test_an_engine_that_does_not_start_at_first_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    supervisor = Supervisor()
    async with running(tmp_path, supervisor, monkeypatch, make_guard_fail) as (task, _):
        async with asyncio.timeout(10):
            await task
        assert not supervisor.is_ready.is_set()
    assert supervisor.refusals == [
        "guard: inference.guard: the model needs 900 GiB; choose a smaller one",
    ]


async def test_later_it_is_one_role_less_and_the_others_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    supervisor = Supervisor(proven=True)
    async with running(tmp_path, supervisor, monkeypatch, make_guard_fail):
        await supervisor.hears(supervisor.is_ready.is_set)
        await supervisor.hears(lambda: supervisor.states()["guard"] == "failed")
        assert supervisor.states()["orchestrator"] == "ready"
        assert "900 GiB" in supervisor.info[-1]["roles"]["guard"]["error"]
    assert not supervisor.refusals


async def test_it_ends_in_the_middle_of_loading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    supervisor, never = Supervisor(), asyncio.Event()
    async with running(tmp_path, supervisor, monkeypatch, lambda role, plan: Answering(never)):
        await supervisor.hears(lambda: "loading" in supervisor.states().values())
    assert not supervisor.is_ready.is_set()
    assert not supervisor.refusals


async def test_an_address_that_cannot_be_had_is_refused(tmp_path: Path) -> None:
    supervisor = Supervisor()
    boot = InferenceBoot(PLAN, f"ipc://{tmp_path}/no/such/folder", f"ipc://{tmp_path}/bus")
    await process.serve(boot, supervisor)
    assert "cannot listen on" in supervisor.refusals[0]
