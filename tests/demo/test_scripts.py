"""Answers that tests put into a model's mouth."""

from __future__ import annotations

from typing import Any

import pytest

from plano.demo.provider import DemoProvider
from tests.demo.wire import chat_body, exchange


async def say(provider: DemoProvider, **more: Any) -> str:
    answer = await exchange(provider.url, {**chat_body("gpt-4o"), **more})
    return str(answer.json["choices"][0]["message"]["content"])


async def test_a_script_is_said_word_for_word_once_each(provider: DemoProvider) -> None:
    order = {"model": "openai/gpt-4o", "answers": ['{"route": ["a b"]}', None, "  two\nlines "]}
    queued = await exchange(provider.url, order, path="/_demo/answers")
    assert queued.json == {"model": "openai/gpt-4o", "queued": 3}
    said = [await say(provider) for _ in range(4)]
    assert (said[0], said[2]) == ('{"route": ["a b"]}', "  two\nlines ")
    assert said[1] == said[3]
    assert said[1].startswith("Hello!")


async def test_a_script_goes_before_a_schema_and_before_tools(provider: DemoProvider) -> None:
    await exchange(provider.url, {"model": "gpt-4o", "answers": ["no JSON", "no call"]}, path="/_demo/answers")
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}}
    tool = {"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object"}}}
    assert await say(provider, response_format=form) == "no JSON"
    assert await say(provider, tools=[tool], tool_choice="required") == "no call"


async def test_a_script_keeps_to_the_bound_of_tokens(provider: DemoProvider) -> None:
    await exchange(provider.url, {"model": "gpt-4o", "answers": ["one two three"]}, path="/_demo/answers")
    answer = await exchange(provider.url, {**chat_body("gpt-4o"), "max_tokens": 2})
    assert answer.json["choices"][0]["finish_reason"] == "length"


async def test_a_fault_leaves_the_script_as_it_is(provider: DemoProvider) -> None:
    await exchange(provider.url, {"model": "gpt-4o", "answers": ["after the storm"]}, path="/_demo/answers")
    await exchange(provider.url, {"model": "gpt-4o", "faults": ["fail-503"]}, path="/_demo/faults")
    assert (await exchange(provider.url, chat_body("gpt-4o"))).status == 503
    assert await say(provider) == "after the storm"


async def test_deleting_answers_empties_the_queues(provider: DemoProvider) -> None:
    await exchange(provider.url, {"model": "gpt-4o", "answers": ["x"]}, path="/_demo/answers")
    pending = await exchange(provider.url, path="/_demo/answers", method="GET")
    assert pending.json == {"pending": {"gpt-4o": ["x"]}}
    await exchange(provider.url, path="/_demo/answers", method="DELETE")
    assert (await say(provider)).startswith("Hello!")


@pytest.mark.parametrize("order", [{}, {"model": "m", "answers": [1]}, {"model": "m", "answers": "x"}, []])
async def test_a_wrong_order_for_answers_is_refused(provider: DemoProvider, order: Any) -> None:
    assert (await exchange(provider.url, order, path="/_demo/answers")).status == 400
