"""Tool calls through the official SDK: whole, streamed, in parallel, and the turn that answers them."""

from __future__ import annotations

import json
from typing import Any

import openai

from tests.conformance.conftest import ask, make_tool

WEATHER = make_tool()
IN_PARIS = ask("What is the weather in Paris?")
IN_TWO_PLACES = ask("What is the weather in Oslo and Rome?")


def test_a_tool_is_called(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(model="openai/gpt-4o", messages=IN_PARIS, tools=[WEATHER])
    assert answer.choices[0].finish_reason == "tool_calls"
    assert answer.choices[0].message.content is None
    (call,) = answer.choices[0].message.tool_calls
    assert call.function.name == "get_weather"
    assert json.loads(call.function.arguments) == {"city": "Paris"}


def test_tool_calls_can_be_put_together_from_raw_deltas(client: openai.OpenAI) -> None:
    stream = client.chat.completions.create(model="openai/gpt-4o", messages=IN_TWO_PLACES, tools=[WEATHER], stream=True)
    calls: dict[int, dict[str, str]] = {}
    finishes = []
    for chunk in stream:
        finishes += [chunk.choices[0].finish_reason]
        for delta in chunk.choices[0].delta.tool_calls or []:
            call = calls.setdefault(delta.index, {"id": "", "name": "", "arguments": ""})
            call["id"] += delta.id or ""
            call["name"] += delta.function.name or ""
            call["arguments"] += delta.function.arguments or ""
    assert [json.loads(call["arguments"]) for call in calls.values()] == [{"city": "Oslo"}, {"city": "Rome"}]
    assert {call["name"] for call in calls.values()} == {"get_weather"}
    assert len({call["id"] for call in calls.values()}) == 2
    assert finishes[-1] == "tool_calls"
    assert set(finishes[:-1]) == {None}


def test_the_stream_helper_parses_parallel_calls(client: openai.OpenAI) -> None:
    with client.chat.completions.stream(model="openai/gpt-4o", messages=IN_TWO_PLACES, tools=[WEATHER]) as stream:
        events = [event for event in stream if event.type == "tool_calls.function.arguments.done"]
        final = stream.get_final_completion()
    assert [event.arguments for event in events] == ['{"city":"Oslo"}', '{"city":"Rome"}']
    calls = final.choices[0].message.tool_calls
    assert [call.function.parsed_arguments for call in calls] == [{"city": "Oslo"}, {"city": "Rome"}]


def test_parallel_calls_can_be_switched_off(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model="openai/gpt-4o", messages=IN_TWO_PLACES, tools=[WEATHER], parallel_tool_calls=False
    )
    assert len(answer.choices[0].message.tool_calls) == 1


def test_a_tool_choice_is_honoured(client: openai.OpenAI) -> None:
    tools = [WEATHER, make_tool("get_time", "place")]

    def called(choice: Any) -> list[str]:
        answer = client.chat.completions.create(
            model="openai/gpt-4o", messages=IN_PARIS, tools=tools, tool_choice=choice
        )
        return [call.function.name for call in answer.choices[0].message.tool_calls or []]

    assert called("none") == []
    assert called("required") == ["get_weather"]
    assert called({"type": "function", "function": {"name": "get_time"}}) == ["get_time"]


def test_the_turn_after_a_call_uses_its_results(client: openai.OpenAI) -> None:
    first = client.chat.completions.create(model="openai/gpt-4o", messages=IN_TWO_PLACES, tools=[WEATHER])
    message = first.choices[0].message
    results = [
        {"role": "tool", "tool_call_id": call.id, "content": f"{n} degrees"}
        for n, call in enumerate(message.tool_calls)
    ]
    history: list[Any] = [*IN_TWO_PLACES, message, *results]
    whole = client.chat.completions.create(model="openai/gpt-4o", messages=history, tools=[WEATHER])
    assert "1 degrees" in whole.choices[0].message.content
    with client.chat.completions.stream(model="openai/gpt-4o", messages=history, tools=[WEATHER]) as stream:
        assert stream.get_final_completion().choices[0].message.content == whole.choices[0].message.content
