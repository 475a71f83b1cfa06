"""Engine `upstream` when the provider is picky, slow, gone or talks nonsense."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from plano.config.plan import ClusterPlan, RetryPlan
from plano.inference.engines.engine import EngineError
from plano.inference.engines.upstream import UpstreamEngine, make_upstream_engine
from plano.inference.wire import Status
from tests.inference.engines.jobs import Asked, ask
from tests.inference.engines.plans import is_attack, make_provider, plan_for, which_route
from tests.inference.engines.provider import PickyProvider, completion, refusal
from tests.providers import DemoProcess
from tests.upstreams.origin import Origin, Visit

Json = dict[str, Any]

RECIPES = '{"route": ["recipes"]}'
CHOSEN = {"routes": ("recipes",), "confidence": None}
QUESTION = which_route("What can I cook with leeks?")


@asynccontextmanager
async def engine_for(plan: ClusterPlan, role: Any = "orchestrator") -> AsyncIterator[UpstreamEngine]:
    engine = make_upstream_engine(role, getattr(plan.inference, role), plan)
    assert isinstance(engine, UpstreamEngine)
    await engine.start()
    try:
        yield engine
    finally:
        await engine.close()


def without(*fields: str, why: Callable[[str], str]) -> Callable[[Json], tuple[int, Any]]:
    """A provider that refuses these fields and otherwise answers RECIPES."""

    def answer(body: Json) -> tuple[int, Any]:
        for field in fields:
            if field in body:
                return refusal(why(field))
        return 200, completion(RECIPES)

    return answer


# -- refused parameters -----------------------------------------------------------------------------------------------


async def test_a_provider_without_schemas_is_asked_in_words_and_that_is_remembered() -> None:
    async with PickyProvider(without("response_format", why="{} is not supported".format)) as provider:
        async with engine_for(plan_for(make_provider(provider.port))) as engine:
            assert (await ask(engine, QUESTION)).body == CHOSEN
            assert (await ask(engine, QUESTION)).body == CHOSEN
        assert ["response_format" in body for body in provider.bodies] == [True, False, False]
        assert "JSON Schema" in json.dumps(provider.bodies[-1]["messages"])


async def test_a_model_with_a_temperature_of_its_own_keeps_the_schema() -> None:
    async with PickyProvider(without("temperature", why="Unsupported value: '{}'".format)) as provider:
        async with engine_for(plan_for(make_provider(provider.port))) as engine:
            assert (await ask(engine, QUESTION)).body == CHOSEN
        assert ["temperature" in body for body in provider.bodies] == [True, False]
        assert all("response_format" in body for body in provider.bodies)


async def test_both_can_be_refused_by_one_model() -> None:
    async with PickyProvider(without("temperature", "response_format", why="no {}, please".format)) as provider:
        async with engine_for(plan_for(make_provider(provider.port))) as engine:
            assert (await ask(engine, QUESTION)).body == CHOSEN
        assert len(provider.bodies) == 3


async def test_a_refusal_that_has_another_reason_teaches_nothing() -> None:
    answers = [refusal("too long"), refusal("too long"), (200, completion(RECIPES))]
    async with PickyProvider(lambda body: answers.pop(0)) as provider:
        async with engine_for(plan_for(make_provider(provider.port))) as engine:
            assert (await ask(engine, QUESTION)) == (Status.FAILED, "test/one: status 400: too long")
            assert (await ask(engine, QUESTION)).body == CHOSEN
        assert "response_format" in provider.bodies[-1]


async def test_a_model_that_thinks_gets_more_tokens_and_that_is_remembered() -> None:
    def think(body: Json) -> tuple[int, Any]:
        return (200, completion(RECIPES)) if body["max_tokens"] > 500 else (200, completion("", "length"))

    async with PickyProvider(think) as provider:
        async with engine_for(plan_for(make_provider(provider.port))) as engine:
            assert (await ask(engine, QUESTION)).body == CHOSEN
            assert (await ask(engine, QUESTION)).body == CHOSEN
        limits = [body["max_tokens"] for body in provider.bodies]
        assert len(limits) == 3
        assert limits[1] == limits[2] == 8 * limits[0]
        assert [body.get("reasoning_effort") for body in provider.bodies] == [None, "low", "low"]


async def test_a_model_that_cannot_hurry_is_left_to_think_as_it_likes() -> None:
    def think(body: Json) -> tuple[int, Any]:
        if "reasoning_effort" in body:
            return refusal("Unknown parameter: reasoning_effort")
        return (200, completion(RECIPES)) if body["max_tokens"] > 500 else (200, completion("", "length"))

    async with PickyProvider(think) as provider, engine_for(plan_for(make_provider(provider.port))) as engine:
        assert (await ask(engine, QUESTION)).body == CHOSEN
        assert (await ask(engine, QUESTION)).body == CHOSEN
        assert len(provider.bodies) == 4
        assert all("response_format" in body for body in provider.bodies)


@pytest.mark.parametrize("document", [{}, {"choices": []}, {"choices": [{"message": 3}]}, [1], "text", None])
async def test_a_document_that_is_no_completion_fails_the_job(document: Any) -> None:
    picky = PickyProvider(lambda body: (200, document))
    async with picky as provider, engine_for(plan_for(make_provider(provider.port))) as engine:
        assert (await ask(engine, QUESTION)).status is Status.FAILED


# -- error answers ----------------------------------------------------------------------------------------------------


async def test_the_message_of_a_failure_never_shows_the_key() -> None:
    said = refusal("Incorrect API key provided: sk-gateway", 401)
    other = refusal("bad request for\nsk-gateway", 404)
    answers = [said, other]
    async with PickyProvider(lambda body: answers.pop(0)) as provider:
        plan = plan_for(make_provider(provider.port))
        async with engine_for(plan) as engine:
            assert await ask(engine, QUESTION) == (Status.FAILED, "test/one: status 401: the key was refused")
            assert (await ask(engine, QUESTION)).body == "test/one: status 404: bad request for ..."


@pytest.mark.parametrize("fault", ["fail-500", "fail-429", "html-502", "drop", "garbage", "empty", "error-200"])
async def test_trouble_at_the_provider_fails_the_job_and_the_next_one_is_answered(
    demo_provider: DemoProcess, fault: str
) -> None:
    demo_provider.queue_faults("one", fault, fault)
    demo_provider.queue_answers("one", RECIPES, RECIPES)
    async with engine_for(plan_for(make_provider(demo_provider.port))) as engine:
        failed = await ask(engine, QUESTION)
        assert failed.status is Status.FAILED
        assert failed.body.startswith("test/one: ")
        demo_provider.clear_faults()
        assert (await ask(engine, QUESTION)).body == CHOSEN
        assert engine.metrics()["failures_total"] == 1


@pytest.mark.parametrize("text", ["I would say recipes!", '{"route": 7}', '{"route": ["recip'])
async def test_an_answer_that_is_none_fails_the_job(demo_provider: DemoProcess, text: str) -> None:
    demo_provider.queue_answers("one", text)
    async with engine_for(plan_for(make_provider(demo_provider.port))) as engine:
        failed = await ask(engine, QUESTION)
    assert failed.status is Status.FAILED
    assert failed.body.startswith("test/one answered something else than it was asked for")


async def test_a_compressed_answer_is_read_although_nobody_asked_for_it(demo_provider: DemoProcess) -> None:
    demo_provider.queue_faults("one", "gzip")
    async with engine_for(plan_for(make_provider(demo_provider.port))) as engine:
        assert await ask(engine, QUESTION) == (Status.OK, {"routes": (), "confidence": None})


async def test_a_fallback_model_takes_over(demo_provider: DemoProcess) -> None:
    first = make_provider(demo_provider.port, "one", retry=RetryPlan(fallback_models=("test/two",)), default=True)
    demo_provider.queue_faults("one", "fail-503")
    demo_provider.queue_answers("two", RECIPES)
    async with engine_for(plan_for(first, make_provider(demo_provider.port, "two"))) as engine:
        assert (await ask(engine, QUESTION)).body == CHOSEN
    assert [entry["model"] for entry in demo_provider.requests()] == ["one", "two"]


# -- the way there ----------------------------------------------------------------------------------------------------


async def test_a_provider_that_is_not_there_is_tried_twice_and_then_fails_the_job() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, and nobody listens
        async with engine_for(plan_for(make_provider(taken.getsockname()[1]))) as engine:
            failed = await ask(engine, QUESTION)
            assert failed.status is Status.FAILED
            assert "cannot connect" in failed.body
            assert engine.metrics()["tries_total"] == 2


async def test_no_second_try_when_the_deadline_leaves_no_time_for_it() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        async with engine_for(plan_for(make_provider(taken.getsockname()[1]))) as engine:
            assert (await ask(engine, QUESTION, timeout_s=0.0)).status is Status.FAILED
            assert engine.metrics()["tries_total"] == 1


async def test_a_connection_that_was_closed_meanwhile_costs_nothing() -> None:
    said = json.dumps(completion(RECIPES)).encode()

    async def serve_one(visit: Visit) -> None:
        head = await visit.request()
        if head:
            visit.send(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(said))
            visit.send(said)

    async with Origin(serve_one) as origin, engine_for(plan_for(make_provider(origin.port))) as engine:
        for _ in range(3):
            assert (await ask(engine, QUESTION)).body == CHOSEN


async def test_a_try_has_the_time_its_provider_is_given(demo_provider: DemoProcess) -> None:
    impatient = RetryPlan(per_try_timeout_s=0.05, fallback_models=("test/two",))
    demo_provider.queue_faults("one", "hang")
    demo_provider.queue_answers("two", RECIPES)
    providers = (
        make_provider(demo_provider.port, "one", retry=impatient, default=True),
        make_provider(demo_provider.port, "two"),
    )
    async with engine_for(plan_for(*providers)) as engine:
        assert (await ask(engine, QUESTION)).body == CHOSEN
    await asyncio.to_thread(demo_provider.wait_for_request, "one", disconnected=True)


# -- cancel, close ----------------------------------------------------------------------------------------------------


async def test_cancelling_closes_the_connection_to_the_provider(demo_provider: DemoProcess) -> None:
    demo_provider.queue_faults("one", "hang")
    async with engine_for(plan_for(make_provider(demo_provider.port))) as engine:
        asked = Asked(engine, QUESTION)
        await asyncio.to_thread(demo_provider.wait_for_request, "one")
        assert engine.metrics()["under_way"] == 1
        asked.job.cancel(Status.CANCELLED)
        await asyncio.to_thread(demo_provider.wait_for_request, "one", disconnected=True)
        assert asked.endings == [(Status.CANCELLED, "")]
        assert (engine.metrics()["under_way"], engine.metrics()["cancelled_total"]) == (0, 1)
        demo_provider.queue_answers("one", RECIPES)
        assert (await ask(engine, QUESTION)).body == CHOSEN


async def test_cancelling_before_there_is_a_connection_asks_nobody(demo_provider: DemoProcess) -> None:
    async with engine_for(plan_for(make_provider(demo_provider.port))) as engine:
        Asked(engine, QUESTION).job.cancel(Status.EXPIRED)
        demo_provider.queue_answers("one", RECIPES)
        assert (await ask(engine, QUESTION)).body == CHOSEN
    assert len(demo_provider.requests()) == 1


async def test_one_failed_piece_of_a_long_text_calls_off_the_others(demo_provider: DemoProcess) -> None:
    demo_provider.queue_faults("one", "fail-500", *["hang"] * 7)
    async with engine_for(plan_for(make_provider(demo_provider.port)), "guard") as engine:
        failed = await ask(engine, is_attack("word " * 60_000))
        assert failed.body == "test/one: status 500: " + failed.body.partition("500: ")[2]
        assert engine.metrics()["under_way"] == 0
    assert len(demo_provider.requests()) <= 8  # never more at once, and none after the failure


async def test_closing_fails_what_is_under_way(demo_provider: DemoProcess) -> None:
    demo_provider.queue_faults("one", "hang")
    async with engine_for(plan_for(make_provider(demo_provider.port))) as engine:
        asked = Asked(engine, QUESTION)
        await asyncio.to_thread(demo_provider.wait_for_request, "one")
    assert (await asked.ending()).status is Status.UNAVAILABLE
    await asyncio.to_thread(demo_provider.wait_for_request, "one", disconnected=True)


# -- bad calls --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("body", [None, 7, {}, {"turns": [["user", "x"]], "routes": []}, {"turns": 3}])
async def test_a_call_that_is_none_is_answered_as_such(body: Any) -> None:
    async with engine_for(plan_for(make_provider(9))) as engine:
        assert (await ask(engine, body)).status is Status.BAD_CALL


async def test_engine_args_are_refused_at_start() -> None:
    plan = plan_for(make_provider(1), function={"engine": "upstream", "engine_args": {"seed": 1}})
    with pytest.raises(EngineError, match="engine_args do not go with engine 'upstream'"):
        make_upstream_engine("function", plan.inference.function, plan)


async def test_the_trace_goes_on_to_the_provider_unless_it_is_none() -> None:
    async with PickyProvider(lambda body: (200, completion(RECIPES))) as provider:
        async with engine_for(plan_for(make_provider(provider.port))) as engine:
            trace = b"00-" + b"a" * 32 + b"-" + b"b" * 16 + b"-01"
            await Asked(engine, QUESTION, traceparent=trace).ending()
            await Asked(engine, QUESTION, traceparent=b"00-evil\r\nx-injected: 1").ending()
        assert provider.headers[0]["traceparent"] == trace.decode()
        assert "traceparent" not in provider.headers[1]
        assert "x-injected" not in provider.headers[1]
        assert provider.headers[0]["user-agent"].startswith("plano/")
