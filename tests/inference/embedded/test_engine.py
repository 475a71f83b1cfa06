from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from plano.config.plan import RolePlan
from plano.inference.calls import Decision, GuardCall, OrchestratorCall, Route, Turn, Verdict
from plano.inference.engines.embedded import EmbeddedEngine, make_embedded_engine
from plano.inference.engines.engine import Engine, Job
from plano.inference.wire import Status

ROUTES = (Route("weather", "Weather forecasts"), Route("music", "Plays songs and radio"))


class Asked:
    """Jobs of a test, and how each of them ended."""

    def __init__(self) -> None:
        self.ended: dict[int, tuple[Status, Any]] = {}
        self._all_there = asyncio.Event()
        self._expected = 0

    def make(self, *bodies: Any) -> list[Job]:
        jobs = [Job(body, time.monotonic() + 60, b"", self._note) for body in bodies]
        self._expected += len(jobs)
        self._jobs = jobs
        return jobs

    async def wait(self) -> list[tuple[Status, Any]]:
        async with asyncio.timeout(30):
            await self._all_there.wait()
        return [self.ended[id(job)] for job in self._jobs]

    def _note(self, job: Job, status: Status, body: Any) -> None:
        assert id(job) not in self.ended, "a job ended twice"
        self.ended[id(job)] = (status, body)
        if len(self.ended) == self._expected:
            self._all_there.set()


def route(text: str) -> dict[str, Any]:
    return OrchestratorCall((Turn("user", text),), ROUTES).pack()


@pytest.fixture
async def engine() -> Any:
    engine = make_embedded_engine("orchestrator", RolePlan())
    await engine.start()
    yield engine
    await engine.close()


async def test_calls_are_answered(engine: Engine) -> None:
    asked = Asked()
    engine.submit(asked.make(route("will it rain tomorrow"), route("play some jazz")))
    answers = [Decision.unpack(body).routes for status, body in await asked.wait() if status is Status.OK]
    assert answers == [("weather",), ("music",)]
    assert engine.metrics()["answers_total"] == 2


async def test_what_is_no_call_is_refused_and_the_next_one_answered(engine: Engine) -> None:
    asked = Asked()
    engine.submit(asked.make({"turns": [], "routes": []}, 7, None, route("play some jazz")))
    statuses = [status for status, _ in await asked.wait()]
    assert statuses == [Status.BAD_CALL, Status.BAD_CALL, Status.BAD_CALL, Status.OK]
    assert engine.metrics()["failures_total"] == 3


async def test_short_calls_do_not_wait_for_long_ones() -> None:
    engine = make_embedded_engine("guard", RolePlan())
    await engine.start()
    asked = Asked()
    long = GuardCall(("lorem ipsum dolor sit amet " * 4_000,)).pack()
    jobs = asked.make(*[long] * 8, GuardCall(("hello there",)).pack())
    engine.submit(jobs)
    await asked.wait()
    await engine.close()
    order = list(asked.ended)
    assert order.index(id(jobs[-1])) <= 1, "only the one that had been begun may come first"


async def test_a_cancelled_job_is_not_begun(engine: Engine) -> None:
    asked = Asked()
    jobs = asked.make(*[route("play some jazz")] * 3)
    for job in jobs[:2]:
        job.cancel(Status.CANCELLED)
    engine.submit(jobs)
    assert [status for status, _ in await asked.wait()] == [Status.CANCELLED, Status.CANCELLED, Status.OK]
    assert engine.metrics()["answers_total"] == 1


async def test_jobs_that_wait_when_it_closes_fail() -> None:
    engine = make_embedded_engine("orchestrator", RolePlan())
    await engine.start()
    asked = Asked()
    engine.submit(asked.make(*[route(f"play song number {number}") for number in range(200)]))
    await engine.close()
    assert {status for status, _ in await asked.wait()} <= {Status.OK, Status.UNAVAILABLE}


async def test_an_engine_that_does_not_run_says_so() -> None:
    asked = Asked()
    EmbeddedEngine("orchestrator").submit(asked.make(route("play some jazz")))
    ((status, _),) = await asked.wait()
    assert status is Status.UNAVAILABLE


async def test_the_plan_says_how_many_jobs_it_takes() -> None:
    assert make_embedded_engine("guard", RolePlan(concurrency=3)).concurrency == 3


async def test_the_guard_judges() -> None:
    engine = make_embedded_engine("guard", RolePlan())
    await engine.start()
    asked = Asked()
    engine.submit(asked.make(GuardCall(("what a lovely day",)).pack()))
    ((status, body),) = await asked.wait()
    await engine.close()
    assert status is Status.OK
    assert not Verdict.unpack(body).flagged


async def test_the_function_role_answers() -> None:
    engine = make_embedded_engine("function", RolePlan())
    await engine.start()
    asked = Asked()
    tool = ("get_weather", "Current weather", {"type": "object", "properties": {}})
    engine.submit(asked.make({"messages": [{"role": "user", "content": "what is the weather"}], "tools": [tool]}))
    ((status, body),) = await asked.wait()
    await engine.close()
    assert status is Status.OK
    assert body["outcome"] in ("calls", "clarify", "none")
