"""Decisions by the real vLLM: always within the routes, and within the time."""

from __future__ import annotations

import asyncio
import time

import pytest

from plano.inference.calls import Decision, OrchestratorCall, Route, Turn
from plano.inference.engines.engine import Engine
from plano.inference.wire import Status
from tests.inference.engines.jobs import Asked, ask
from tests.vllm.conftest import Fleet
from tests.vllm.lessons import FIX_CODE, GREETING, REFUND_AND_FIX, ROUTES

pytestmark = [pytest.mark.vllm, pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(600)]

PATIENCE_S = 60.0

UNUSUAL_NAMES = (
    ("code", "code review", "code-review", "cod"),
    ('say "hi"', "it's", "back\\slash", "new\nline", "tab\there"),
    ("naïve café", "日本語のルート", "💻 developer", "ру́сский"),
    ("]}", '", "', "[]", "{routes}", " leading", "trailing "),
    ("a",),
    tuple(f"route number {number}" for number in range(24)),
    ("x" * 120, "x" * 119),
)


def one_question(text: str, routes: tuple[Route, ...] = ROUTES, multiple: bool = True) -> OrchestratorCall:
    return OrchestratorCall((Turn("user", text),), routes, multiple)


async def decide(engine: Engine, call: OrchestratorCall) -> Decision:
    ending = await ask(engine, call.pack(), PATIENCE_S)
    assert ending.status is Status.OK, ending
    return Decision.unpack(ending.body)


async def test_a_learnt_route_is_chosen_with_confidence(fleet: Fleet) -> None:
    decision = await decide(fleet.orchestrator, one_question(FIX_CODE))
    assert decision.routes == ("code",)
    assert decision.confidence is not None
    assert decision.confidence > 0.7


async def test_several_routes_come_in_the_order_of_the_answer(fleet: Fleet) -> None:
    assert (await decide(fleet.orchestrator, one_question(REFUND_AND_FIX))).routes == ("billing", "code")


async def test_no_route_is_an_answer(fleet: Fleet) -> None:
    assert (await decide(fleet.orchestrator, one_question(GREETING))).routes == ()


@pytest.mark.parametrize("multiple", [False, True], ids=["one", "several"])
@pytest.mark.parametrize("names", UNUSUAL_NAMES, ids=range(len(UNUSUAL_NAMES)))
async def test_an_answer_names_nothing_but_routes(fleet: Fleet, names: tuple[str, ...], multiple: bool) -> None:
    routes = tuple(Route(name, f"About {name}") for name in names)
    calls = [one_question(text, routes, multiple) for text in ("Hello", FIX_CODE, "zzz ]} ```", "")]
    for decision in await asyncio.gather(*(decide(fleet.orchestrator, call) for call in calls)):
        assert set(decision.routes) <= set(names)
        assert len(set(decision.routes)) == len(decision.routes)
        assert multiple or len(decision.routes) <= 1
        assert decision.confidence is not None
        assert 0.0 <= decision.confidence <= 1.0


async def test_a_conversation_longer_than_the_context_is_decided(fleet: Fleet) -> None:
    turns = tuple(Turn("user" if number % 2 == 0 else "assistant", "word " * 800) for number in range(9))
    assert await decide(fleet.orchestrator, OrchestratorCall(turns, ROUTES, True))


async def test_routes_that_leave_no_room_are_the_callers_mistake(fleet: Fleet) -> None:
    routes = tuple(Route(f"route {number}", "described at length " * 20) for number in range(100))
    ending = await ask(fleet.orchestrator, one_question(FIX_CODE, routes).pack())
    assert ending.status is Status.BAD_CALL
    assert "no room" in ending.body


async def test_a_body_that_is_no_call_fails_alone(fleet: Fleet) -> None:
    bad, good = Asked(fleet.orchestrator, {"turns": 7}), Asked(fleet.orchestrator, one_question(FIX_CODE).pack())
    assert (await bad.ending()).status is Status.BAD_CALL
    assert (await good.ending()).status is Status.OK


async def test_the_routes_are_read_once_and_then_taken_from_the_prefix_cache(fleet: Fleet) -> None:
    routes = tuple(Route(f"cached {number}", "what it is about, in some words") for number in range(20))
    await decide(fleet.orchestrator, one_question("The first question", routes))
    before = fleet.orchestrator.metrics()
    await decide(fleet.orchestrator, one_question("Something else altogether", routes))
    after = fleet.orchestrator.metrics()
    asked = after["prefix_cache_queries_total"] - before["prefix_cache_queries_total"]
    hits = after["prefix_cache_hits_total"] - before["prefix_cache_hits_total"]
    assert asked > 500
    assert hits / asked > 0.6


@pytest.mark.parametrize("how", [Status.CANCELLED, Status.EXPIRED])
async def test_what_nobody_waits_for_is_aborted_in_the_engine(fleet: Fleet, how: Status) -> None:
    asked = [Asked(fleet.orchestrator, slow_question(number).pack(), PATIENCE_S) for number in range(64)]
    await until_running(fleet.orchestrator, lambda running: running > 0)
    for one in asked:
        one.job.cancel(how)
    assert await until_running(fleet.orchestrator, lambda running: running == 0) < 2.0
    written = fleet.orchestrator.metrics()["generation_tokens_total"]
    endings = [(await one.ending()).status for one in asked]
    assert endings.count(how) > 32
    await asyncio.sleep(0.2)
    after = fleet.orchestrator.metrics()
    assert (after["generation_tokens_total"], after["waiting_requests"]) == (written, 0.0)
    assert (await decide(fleet.orchestrator, one_question(FIX_CODE))).routes == ("code",)


async def test_nothing_is_ended_twice_when_the_cancel_meets_the_answer(fleet: Fleet) -> None:
    asked = [Asked(fleet.orchestrator, one_question(FIX_CODE).pack(), PATIENCE_S) for _ in range(24)]
    for number, one in enumerate(asked):
        await asyncio.sleep(0.002 * (number % 5))
        one.job.cancel(Status.CANCELLED)
    endings = [await one.ending() for one in asked]
    assert {ending.status for ending in endings} <= {Status.OK, Status.CANCELLED}
    await until_running(fleet.orchestrator, lambda running: running == 0)


def slow_question(number: int) -> OrchestratorCall:
    """One whose answer takes hundreds of steps when it names a route: a long name, letter after letter."""
    routes = tuple(Route(f"{letter * 290} {number}", "") for letter in "qzj")
    return one_question(f"{FIX_CODE} {number}", routes)


async def until_running(engine: Engine, wanted: object) -> float:
    """Waits until the engine's own count of running requests is as `wanted`; seconds it took."""
    assert callable(wanted)
    begun = time.monotonic()
    async with asyncio.timeout(PATIENCE_S):
        while not wanted(engine.metrics()["running_requests"]):
            await asyncio.sleep(0.005)
    return time.monotonic() - begun
