"""The asynchronous SDK, many calls at a time."""

from __future__ import annotations

import asyncio

import openai
import pytest

from tests.conformance.conftest import Gateway, Mood, ask, make_tool

CALLS = 50


async def stream_text(client: openai.AsyncOpenAI, model: str, text: str) -> str:
    """The text of a streamed answer."""
    stream = await client.chat.completions.create(model=model, messages=ask(text), stream=True)
    return "".join([choice.delta.content or "" async for chunk in stream for choice in chunk.choices])


async def test_answers_and_streams_of_fifty_calls_at_once_are_not_mixed_up(async_client: openai.AsyncOpenAI) -> None:
    async def chat(number: int) -> str:
        answer = await async_client.chat.completions.create(model="openai/gpt-4o", messages=ask(f"number {number}"))
        return str(answer.choices[0].message.content)

    chats = [chat(number) for number in range(CALLS)]
    streams = [stream_text(async_client, "openai/gpt-4o", f"number {number}") for number in range(CALLS)]
    answers = await asyncio.gather(*chats, *streams)
    for number in range(CALLS):
        assert answers[number].endswith(f"You said: number {number}")
        assert answers[CALLS + number] == answers[number]


async def test_calls_that_fail_do_not_touch_their_neighbours(async_client: openai.AsyncOpenAI) -> None:
    models = ["openai/gpt-4o", "openai/demo-fail-500", "openai/demo-cut-2", "openai/demo-drop"] * 6
    results = await asyncio.gather(
        *(stream_text(async_client, model, "Hi") for model in models), return_exceptions=True
    )
    for model, result in zip(models, results, strict=True):
        if model == "openai/gpt-4o":
            assert str(result).endswith("You said: Hi")
        else:
            assert isinstance(result, openai.APIError), (model, result)


async def test_the_stream_helper_works_with_tools(async_client: openai.AsyncOpenAI) -> None:
    async with async_client.chat.completions.stream(
        model="openai/gpt-4o", messages=ask("What is the weather in Oslo and Rome?"), tools=[make_tool()]
    ) as stream:
        final = await stream.get_final_completion()
    calls = final.choices[0].message.tool_calls
    assert [call.function.parsed_arguments["city"] for call in calls] == ["Oslo", "Rome"]


async def test_structured_answers_are_parsed(async_client: openai.AsyncOpenAI) -> None:
    answer = await async_client.chat.completions.parse(
        model="openai/gpt-4o", messages=ask("How are you?"), response_format=Mood
    )
    assert isinstance(answer.choices[0].message.parsed, Mood)


async def test_models_are_listed(async_client: openai.AsyncOpenAI) -> None:
    names = [model.id async for model in async_client.models.list()]
    assert names[0] == "openai/gpt-4o"


async def test_a_cancelled_task_cancels_the_upstream(async_client: openai.AsyncOpenAI, gateway: Gateway) -> None:
    call = asyncio.create_task(async_client.chat.completions.create(model="openai/demo-slow-20001", messages=ask("Hi")))
    await asyncio.to_thread(gateway.provider.wait_for_request, "demo-slow-20001")
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await asyncio.to_thread(gateway.provider.wait_for_request, "demo-slow-20001", disconnected=True)


async def test_errors_keep_their_class(async_client: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.RateLimitError):
        await async_client.chat.completions.create(model="openai/demo-fail-429", messages=ask("Hi"))
    with pytest.raises(openai.NotFoundError):
        await async_client.chat.completions.create(model="nowhere/model", messages=ask("Hi"))
