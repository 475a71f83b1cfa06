"""Messages as Anthropic serves them: the events in order, tools, errors."""

from __future__ import annotations

import json
from typing import Any

import pytest

from plano.demo.provider import DemoProvider
from tests.demo.wire import RawAnswer, exchange

TOOL = {
    "name": "get_weather",
    "description": "The weather of a city",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}


async def ask(provider: DemoProvider, content: Any, model: str = "claude-sonnet", **more: Any) -> RawAnswer:
    body = {"model": model, "max_tokens": 200, "messages": [{"role": "user", "content": content}]} | more
    return await exchange(provider.url, body, path="/v1/messages", headers={"x-api-key": "k"})


async def test_a_message_greets_and_counts(provider: DemoProvider) -> None:
    message = (await ask(provider, "Hi", system=[{"type": "text", "text": "Be kind."}])).json
    assert (message["type"], message["role"], message["stop_reason"]) == ("message", "assistant", "end_turn")
    (block,) = message["content"]
    assert block["text"].endswith("You said: Hi")
    assert message["usage"]["output_tokens"] == len(block["text"].split())
    assert message["usage"]["input_tokens"] > 0


async def test_a_stream_has_the_events_in_order(provider: DemoProvider) -> None:
    answer = await ask(provider, "Hi", stream=True)
    names = [line.removeprefix("event: ") for line in answer.body.decode().split("\n") if line.startswith("event: ")]
    assert names == [event["type"] for event in answer.events]
    deltas = [event for event in answer.events if event["type"] == "content_block_delta"]
    assert names == [
        "message_start",
        "content_block_start",
        "ping",
        *["content_block_delta"] * len(deltas),
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    assert "".join(delta["delta"]["text"] for delta in deltas).endswith("You said: Hi")
    assert answer.events[-2]["usage"]["output_tokens"] == len(deltas)


async def test_tools_are_called_and_their_results_used(provider: DemoProvider) -> None:
    message = (await ask(provider, "What is the weather in Oslo?", tools=[TOOL])).json
    assert message["stop_reason"] == "tool_use"
    (call,) = message["content"]
    assert (call["type"], call["name"], call["input"]) == ("tool_use", "get_weather", {"city": "Oslo"})
    result = {"type": "tool_result", "tool_use_id": call["id"], "content": [{"type": "text", "text": "cold and clear"}]}
    history = [
        {"role": "user", "content": "What is the weather in Oslo?"},
        {"role": "assistant", "content": [call]},
        {"role": "user", "content": [result]},
    ]
    answer = (await ask(provider, "", tools=[TOOL], messages=history)).json
    assert "cold and clear" in answer["content"][0]["text"]
    assert "weather in Oslo" in answer["content"][0]["text"]


async def test_tool_arguments_stream_as_partial_json(provider: DemoProvider) -> None:
    answer = await ask(provider, "The weather in Oslo and Rome, please", tools=[TOOL], stream=True)
    inputs: dict[int, str] = {}
    for event in answer.events:
        if event["type"] == "content_block_delta":
            inputs[event["index"]] = inputs.get(event["index"], "") + event["delta"]["partial_json"]
    assert [json.loads(each) for each in inputs.values()] == [{"city": "Oslo"}, {"city": "Rome"}]


@pytest.mark.parametrize(
    ("choice", "calls"),
    [({"type": "none"}, 0), ({"type": "any"}, 1), ({"type": "tool", "name": "get_weather"}, 1), ({"type": "auto"}, 0)],
)
async def test_tool_choice_is_honoured(provider: DemoProvider, choice: dict[str, Any], calls: int) -> None:
    message = (await ask(provider, "Tell me a story", tools=[TOOL], tool_choice=choice)).json
    assert sum(block["type"] == "tool_use" for block in message["content"]) == calls


async def test_limits_and_stop_sequences_are_told(provider: DemoProvider) -> None:
    cut = (await ask(provider, "Hi", max_tokens=2)).json
    assert (cut["stop_reason"], cut["content"][0]["text"]) == ("max_tokens", "Hello! I")
    stopped = (await ask(provider, "Hi", stop_sequences=["demo"])).json
    assert (stopped["stop_reason"], stopped["stop_sequence"]) == ("stop_sequence", "demo")


async def test_images_are_seen(provider: DemoProvider) -> None:
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}}
    message = (await ask(provider, [image, {"type": "text", "text": "What is this?"}])).json
    assert "(I also see an image.)" in message["content"][0]["text"]


async def test_cached_tokens_stand_beside_the_input(provider: DemoProvider) -> None:
    usage = (await ask(provider, "Hi", model="demo-usage-5-0")).json["usage"]
    plain = (await ask(provider, "Hi", model="demo-usage-0-0")).json["usage"]
    assert usage["cache_read_input_tokens"] == 5
    assert usage["input_tokens"] + 5 == plain["input_tokens"]


@pytest.mark.parametrize(
    "change",
    [
        {"max_tokens": None},
        {"max_tokens": 0},
        {"messages": []},
        {"messages": [{"role": "system", "content": "hi"}]},
        {"messages": [{"role": "user", "content": [{"type": "smell"}]}]},
        {"temperature": 2},
        {"tools": [{"name": "x"}]},
        {"tool_choice": {"type": "any"}},
        {"stop_sequences": "x"},
    ],
)
async def test_a_bad_body_is_refused(provider: DemoProvider, change: dict[str, Any]) -> None:
    answer = await ask(provider, "Hi", **change)
    assert answer.status == 400
    assert answer.json["type"] == "error"
    assert answer.json["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    ("model", "status", "kind"),
    [
        ("missing-model", 404, "not_found_error"),
        ("demo-fail-429", 429, "rate_limit_error"),
        ("demo-fail-500", 500, "api_error"),
        ("demo-fail-529", 529, "overloaded_error"),
    ],
)
async def test_failures_have_the_dialects_shape(provider: DemoProvider, model: str, status: int, kind: str) -> None:
    answer = await ask(provider, "Hi", model=model)
    assert answer.status == status
    assert (answer.json["type"], answer.json["error"]["type"]) == ("error", kind)


async def test_an_error_in_the_stream_is_an_error_event(provider: DemoProvider) -> None:
    answer = await ask(provider, "Hi", model="demo-error-mid-2", stream=True)
    assert [event["type"] for event in answer.events[-3:]] == ["content_block_delta", "content_block_delta", "error"]
    assert b"event: error\n" in answer.body


async def test_role_then_cut_ends_after_what_opens_the_stream(provider: DemoProvider) -> None:
    answer = await ask(provider, "Hi", model="demo-role-then-cut", stream=True)
    *whole, part = answer.body.decode().split("\n\n")
    assert [each.split("\n")[0] for each in whole] == [
        "event: message_start",
        "event: content_block_start",
        "event: ping",
    ]
    assert part.startswith("event: content_block_delta")
    assert not answer.complete


async def test_models_come_in_the_shape_of_the_api_that_asks(provider: DemoProvider) -> None:
    answer = await exchange(provider.url, path="/v1/models", method="GET", headers={"anthropic-version": "2023-06-01"})
    assert answer.json["data"][0]["type"] == "model"
    assert answer.json["first_id"] == answer.json["data"][0]["id"]
