"""The function role by the real vLLM: its three outcomes, and the guess that becomes a question."""

from __future__ import annotations

import asyncio

import pytest

from plano.inference.calls import FunctionAnswer, FunctionCall, ToolCall
from plano.inference.engines.engine import Engine
from plano.inference.wire import Status
from tests.inference.engines.jobs import ask
from tests.vllm.conftest import Fleet
from tests.vllm.lessons import GREETING, QUESTION, TOOLS, WEATHER, WEATHER_IN_PARIS, WEATHER_SOMEWHERE

pytestmark = [pytest.mark.vllm, pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(600)]


async def answer(engine: Engine, text: str) -> FunctionAnswer:
    call = FunctionCall(({"role": "user", "content": text},), TOOLS)
    ending = await ask(engine, call.pack(), 60.0)
    assert ending.status is Status.OK, ending
    return FunctionAnswer.unpack(ending.body)


async def test_a_call_with_its_arguments(fleet: Fleet) -> None:
    answered = await answer(fleet.function, WEATHER_IN_PARIS)
    assert answered.outcome == "calls"
    assert answered.calls == (ToolCall("get_weather", {"city": "Paris"}),)


async def test_a_question_where_something_required_is_missing(fleet: Fleet) -> None:
    answered = await answer(fleet.function, WEATHER)
    assert (answered.outcome, answered.question) == ("clarify", QUESTION)


async def test_none_where_no_tool_serves(fleet: Fleet) -> None:
    answered = await answer(fleet.function, GREETING)
    assert (answered.outcome, answered.calls) == ("none", ())


async def test_a_guessed_value_becomes_a_question(fleet: Fleet) -> None:
    trusting = await answer(fleet.function, WEATHER_SOMEWHERE)
    assert trusting.calls == (ToolCall("get_weather", {"city": "Oslo"}),)
    wary = await answer(fleet.wary, WEATHER_SOMEWHERE)
    assert (wary.outcome, wary.question, wary.calls) == ("clarify", QUESTION, ())


async def test_a_value_that_was_said_is_no_guess(fleet: Fleet) -> None:
    assert (await answer(fleet.wary, WEATHER_IN_PARIS)).calls == (ToolCall("get_weather", {"city": "Paris"}),)


async def test_what_is_broken_off_is_aborted_in_the_engine(fleet: Fleet) -> None:
    await asyncio.gather(*(answer(fleet.wary, WEATHER_SOMEWHERE) for _ in range(8)))
    async with asyncio.timeout(5.0):
        while fleet.wary.metrics()["running_requests"] > 0:
            await asyncio.sleep(0.01)


async def test_an_unknown_question_is_answered_in_one_of_the_forms(fleet: Fleet) -> None:
    call = FunctionCall(({"role": "user", "content": 'zzz 日本語 \\ " ```'},), TOOLS)
    ending = await ask(fleet.function, call.pack(), 60.0)
    # A tiny model may go on for ever within a string; that is no answer, but nothing else may go wrong.
    assert ending.status is Status.OK or "no usable answer" in ending.body
