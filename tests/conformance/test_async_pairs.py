"""The asynchronous SDKs, every client dialect to every upstream dialect at once."""

from __future__ import annotations

import asyncio
from typing import Any

import anthropic
import openai

from tests.conformance.conftest import ask, make_tool
from tests.conformance.speakers import CITY, UPSTREAMS, model_at

TWO_PLACES = ask("What is the weather in Oslo and Rome?")
CALLS = 4


async def test_streams_of_all_pairs_at_once_are_not_mixed_up(
    async_client: openai.AsyncOpenAI, async_claude: anthropic.AsyncAnthropic
) -> None:
    async def chat(model: str, text: str) -> str:
        stream = await async_client.chat.completions.create(model=model, messages=ask(text), stream=True)
        return "".join([choice.delta.content or "" async for chunk in stream for choice in chunk.choices])

    async def respond(model: str, text: str) -> str:
        async with async_client.responses.stream(model=model, input=text) as stream:
            return (await stream.get_final_response()).output_text

    async def write(model: str, text: str) -> str:
        async with async_claude.messages.stream(model=model, max_tokens=99, messages=ask(text)) as stream:
            return await stream.get_final_text()

    asked = [(model_at(upstream, "mixes"), f"{upstream} {number}") for upstream in UPSTREAMS for number in range(CALLS)]
    answers = await asyncio.gather(
        *(way(model, f"{way.__name__} {text}") for way in (chat, respond, write) for model, text in asked)
    )
    expected = [f"{way.__name__} {text}" for way in (chat, respond, write) for _, text in asked]
    for answer, text in zip(answers, expected, strict=True):
        assert answer.endswith(f"You said: {text}")


async def test_parallel_tool_calls_are_put_together(
    async_client: openai.AsyncOpenAI, async_claude: anthropic.AsyncAnthropic, upstream: str
) -> None:
    model = model_at(upstream, "calls")
    async with async_client.chat.completions.stream(model=model, messages=TWO_PLACES, tools=[make_tool()]) as chat:
        completion = await chat.get_final_completion()
    calls: Any = completion.choices[0].message.tool_calls
    assert [call.function.parsed_arguments["city"] for call in calls] == ["Oslo", "Rome"]
    function: Any = {"type": "function", "name": "get_weather", "parameters": CITY, "strict": True}
    async with async_client.responses.stream(model=model, input=TWO_PLACES, tools=[function]) as responses:
        response = await responses.get_final_response()
    assert [item.parsed_arguments["city"] for item in response.output if item.type == "function_call"] == [
        "Oslo",
        "Rome",
    ]
    tool: Any = {"name": "get_weather", "input_schema": CITY}
    async with async_claude.messages.stream(model=model, max_tokens=99, messages=TWO_PLACES, tools=[tool]) as messages:
        snapshots = [event.snapshot async for event in messages if event.type == "input_json"]
        message = await messages.get_final_message()
    assert [block.input for block in message.content if block.type == "tool_use"] == [
        {"city": "Oslo"},
        {"city": "Rome"},
    ]
    assert snapshots[-1] == {"city": "Rome"}


async def test_failures_do_not_touch_their_neighbours(
    async_client: openai.AsyncOpenAI, async_claude: anthropic.AsyncAnthropic
) -> None:
    async def write(model: str) -> str:
        async with async_claude.messages.stream(model=model, max_tokens=99, messages=ask("Hi")) as stream:
            return await stream.get_final_text()

    async def chat(model: str) -> str:
        stream = await async_client.chat.completions.create(model=model, messages=ask("Hi"), stream=True)
        return "".join([choice.delta.content or "" async for chunk in stream for choice in chunk.choices])

    names = ("well", "demo-cut-2", "demo-fail-429", "demo-error-mid-1", "demo-drop")
    models = [model_at(upstream, name) for upstream in UPSTREAMS for name in names]
    for way, error in ((write, anthropic.APIError), (chat, openai.APIError)):
        results = await asyncio.gather(*map(way, models), return_exceptions=True)
        for model, result in zip(models, results, strict=True):
            if model.endswith("/well"):
                assert str(result).endswith("You said: Hi"), (model, result)
            else:
                assert isinstance(result, error), (model, result)
