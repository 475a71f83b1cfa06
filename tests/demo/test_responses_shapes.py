"""Responses against OpenAI's own OpenAPI document: the object, the events in order, tools, refusals."""

from __future__ import annotations

import json
from typing import Any

import pytest

from plano.demo.provider import DemoProvider
from tests.demo import openapi
from tests.demo.wire import exchange

TOOL = {
    "type": "function",
    "name": "get_weather",
    "description": "The weather of a city",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    "strict": False,
}
SQL = {"type": "custom", "name": "run_sql", "description": "Runs a query"}


async def respond(provider: DemoProvider, said: Any = "Hi", **more: Any) -> dict[str, Any]:
    answer = await exchange(provider.url, {"model": "gpt-4o", "input": said, **more}, path="/v1/responses")
    assert answer.status == 200, answer.body
    openapi.check("Response", answer.json)
    response: dict[str, Any] = answer.json
    return response


async def stream(provider: DemoProvider, said: Any = "Hi", **more: Any) -> list[dict[str, Any]]:
    body = {"model": "gpt-4o", "input": said, "stream": True, **more}
    answer = await exchange(provider.url, body, path="/v1/responses")
    assert answer.complete
    for number, event in enumerate(answer.events):
        openapi.check("ResponseStreamEvent", event)
        assert event["sequence_number"] == number
    names = [line.removeprefix("event: ") for line in answer.body.decode().split("\n") if line.startswith("event: ")]
    assert names == [event["type"] for event in answer.events]
    return answer.events


def without_ids(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{key: value for key, value in item.items() if key not in ("id", "call_id")} for item in items]


async def test_a_response_repeats_the_request_and_counts(provider: DemoProvider) -> None:
    response = await respond(provider, instructions="Be kind.", temperature=0.5, tools=[TOOL], metadata={"a": "b"})
    (message,) = response["output"]
    assert message["content"][0]["text"].endswith("You said: Hi")
    assert (response["instructions"], response["temperature"]) == ("Be kind.", 0.5)
    assert response["metadata"] == {"a": "b"}
    assert response["tools"] == [TOOL]
    usage = response["usage"]
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]


async def test_a_stream_builds_the_response_in_order(provider: DemoProvider) -> None:
    events = await stream(provider)
    names = list(dict.fromkeys(event["type"] for event in events))
    assert names == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    text = "".join(event["delta"] for event in events if event["type"] == "response.output_text.delta")
    final = events[-1]["response"]
    assert final["output"][0]["content"][0]["text"] == text
    assert without_ids(final["output"]) == without_ids((await respond(provider))["output"])
    assert events[0]["response"]["id"] == final["id"]


@pytest.mark.parametrize("tool", [TOOL, SQL], ids=["function", "custom"])
async def test_tools_are_called_and_their_results_used(provider: DemoProvider, tool: dict[str, Any]) -> None:
    question = f"Please {tool['name']} for the weather in Oslo"
    response = await respond(provider, question, tools=[tool])
    (call,) = response["output"]
    text = "arguments" if tool is TOOL else "input"
    said = json.loads(call["arguments"]) if tool is TOOL else call["input"]
    assert said == ({"city": "Oslo"} if tool is TOOL else question)
    events = await stream(provider, question, tools=[tool])
    assert "".join(event["delta"] for event in events if event["type"].endswith(".delta")) == call[text]
    assert without_ids(events[-1]["response"]["output"]) == without_ids([call])
    output = {"type": f"{call['type']}_output", "call_id": call["call_id"], "output": "cold and clear"}
    history = [{"role": "user", "content": question}, call, output]
    answered = await respond(provider, history, tools=[tool])
    assert "cold and clear" in answered["output"][0]["content"][0]["text"]


async def test_a_response_cut_short_is_incomplete(provider: DemoProvider) -> None:
    response = await respond(provider, max_output_tokens=2)
    assert (response["status"], response["incomplete_details"]) == ("incomplete", {"reason": "max_output_tokens"})
    assert response["output"][0]["content"][0]["text"] == "Hello! I"
    events = await stream(provider, max_output_tokens=2)
    assert events[-1]["type"] == "response.incomplete"


async def test_structured_output_follows_the_schema(provider: DemoProvider) -> None:
    schema = {"type": "object", "properties": {"mood": {"enum": ["good"]}}, "required": ["mood"]}
    response = await respond(provider, text={"format": {"type": "json_schema", "name": "mood", "schema": schema}})
    assert json.loads(response["output"][0]["content"][0]["text"]) == {"mood": "good"}


async def test_images_and_roles_are_read(provider: DemoProvider) -> None:
    parts = [
        {"type": "input_text", "text": "What?"},
        {"type": "input_image", "image_url": "data:image/png;base64,AA=="},
    ]
    history = [
        {"role": "developer", "content": "Be kind."},
        {"type": "message", "role": "user", "content": parts},
    ]
    assert "(I also see an image.)" in (await respond(provider, history))["output"][0]["content"][0]["text"]


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"model": None}, "model"),
        ({"input": None}, "input"),
        ({"input": []}, "input"),
        ({"input": [{"type": "smell"}]}, "input[0].type"),
        ({"input": [{"role": "tool", "content": "x"}]}, "input[0].role"),
        ({"input": [{"role": "user", "content": [{"type": "text", "text": "x"}]}]}, "input[0].content[0]"),
        ({"input": [{"type": "function_call_output", "call_id": "x", "output": "1"}]}, "input"),
        ({"input": [{"type": "function_call", "call_id": "x"}]}, "input[0]"),
        ({"instructions": 1}, "instructions"),
        ({"tools": [{"type": "function", "function": {"name": "x"}}]}, "tools[0]"),
        ({"tool_choice": {"type": "function", "name": "x"}}, "tool_choice"),
        ({"text": {"format": {"type": "xml"}}}, "text.format"),
        ({"include": "x"}, "include"),
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
    ],
)
async def test_a_bad_body_is_refused_and_the_fault_named(
    provider: DemoProvider, change: dict[str, Any], param: str
) -> None:
    answer = await exchange(provider.url, {"model": "gpt-4o", "input": "Hi"} | change, path="/v1/responses")
    assert answer.status == 400
    openapi.check("ErrorResponse", answer.json)
    assert answer.json["error"]["param"] == param


async def test_an_error_in_the_stream_is_an_error_event(provider: DemoProvider) -> None:
    body = {"model": "demo-error-mid-2", "input": "Hi", "stream": True}
    answer = await exchange(provider.url, body, path="/v1/responses")
    openapi.check("ResponseErrorEvent", answer.events[-1])
    assert [event["type"] for event in answer.events[-3:-1]] == ["response.output_text.delta"] * 2
