"""Answers and every event of streams, checked against what the APIs' own descriptions say of them."""

from __future__ import annotations

import json
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request as Post
from urllib.request import urlopen

import anthropic.types
import pytest
from pydantic import TypeAdapter

from tests.conformance.conftest import Gateway
from tests.conformance.speakers import Speaker, model_at
from tests.demo.openapi import check

OPENAI_SCHEMAS = {
    "chat": ("CreateChatCompletionResponse", "CreateChatCompletionStreamResponse"),
    "responses": ("Response", "ResponseStreamEvent"),
}
MESSAGE: TypeAdapter[Any] = TypeAdapter(anthropic.types.Message)
MESSAGE_EVENT: TypeAdapter[Any] = TypeAdapter(anthropic.types.RawMessageStreamEvent)
TWO_PLACES = "What is the weather in Oslo and Rome?"
CASES = [
    ("says", "Hi", ()),
    ("demo-think-says", "Hi", ()),
    ("demo-think-calls", TWO_PLACES, ("get_weather",)),
    ("demo-usage-3-5", "Hi", ()),
]


def fetch(gateway: Gateway, speaker: Speaker, body: dict[str, Any]) -> str:
    """The text of an answer, an error's too."""
    post = Post(gateway.cluster.url + speaker.path, json.dumps(body).encode())
    try:
        with urlopen(post, timeout=20) as answer:
            return str(answer.read().decode())
    except HTTPError as error:
        return error.read().decode()


def check_answer(speaker: Speaker, answer: dict[str, Any]) -> None:
    """Raise where an answer is not what the API promises."""
    if speaker.name == "messages":
        MESSAGE.validate_python(answer)
    else:
        check(OPENAI_SCHEMAS[speaker.name][0], answer)


def check_event(speaker: Speaker, event: dict[str, Any]) -> None:
    """Raise where an event is not what the API promises."""
    if speaker.name != "messages":
        check(OPENAI_SCHEMAS[speaker.name][1], event)
    elif event["type"] not in ("ping", "error"):  # the SDK leaves these out of its union
        MESSAGE_EVENT.validate_python(event)


def read_events(speaker: Speaker, text: str) -> list[dict[str, Any]]:
    """The events of a stream; their names and the end mark are checked here."""
    blocks = [block for block in text.split("\n\n") if block.strip()]
    if speaker.name == "chat":
        assert blocks.pop() == "data: [DONE]"
        return [json.loads(block.removeprefix("data: ")) for block in blocks]
    events = []
    for block in blocks:
        name, data = block.split("\n")
        events.append(json.loads(data.removeprefix("data: ")))
        assert name == f"event: {events[-1]['type']}"
    return events


def thin_out(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One event of each kind and shape: checking every word of a text takes long and shows nothing new."""
    shapes = {(event.get("type"), _shape(event)): event for event in events}
    return list(shapes.values())


def _shape(value: Any) -> str:
    if isinstance(value, dict):
        return f"({','.join(f'{key}:{_shape(each)}' for key, each in sorted(value.items()))})"
    if isinstance(value, list):
        return f"[{','.join(sorted({_shape(each) for each in value}))}]"
    return type(value).__name__


@pytest.mark.parametrize(("model", "text", "tools"), CASES, ids=[case[0] for case in CASES])
def test_answers_are_as_the_apis_describe_them(
    gateway: Gateway, speaker: Speaker, upstream: str, model: str, text: str, tools: tuple[str, ...]
) -> None:
    body = speaker.ask(model_at(upstream, model, speaker), text, tools=tools)
    check_answer(speaker, json.loads(fetch(gateway, speaker, body)))
    events = read_events(speaker, fetch(gateway, speaker, {**body, "stream": True}))
    assert len(events) > 5
    for event in thin_out(events):
        check_event(speaker, event)
    if speaker.name == "responses":
        assert [event["sequence_number"] for event in events] == list(range(len(events)))


def test_answers_cut_short_are_as_the_apis_describe_them(gateway: Gateway, speaker: Speaker, upstream: str) -> None:
    body = speaker.ask(model_at(upstream, "is-cut", speaker), "Hi") | speaker.limit(2)
    check_answer(speaker, json.loads(fetch(gateway, speaker, body)))
    for event in thin_out(read_events(speaker, fetch(gateway, speaker, {**body, "stream": True}))):
        check_event(speaker, event)


def test_errors_are_as_the_apis_describe_them(gateway: Gateway, speaker: Speaker, upstream: str) -> None:
    body = speaker.ask(model_at(upstream, "demo-fail-429", speaker), "Hi")
    error = json.loads(fetch(gateway, speaker, body))
    if speaker.name == "messages":
        TypeAdapter(anthropic.types.ErrorResponse).validate_python(error | {"request_id": error.get("request_id")})
    else:
        check("ErrorResponse", error)


@pytest.mark.parametrize("fault", ["cut-2", "error-mid-2"])
def test_the_end_of_a_broken_stream_is_as_the_apis_describe_it(
    gateway: Gateway, speaker: Speaker, upstream: str, fault: str
) -> None:
    body = speaker.ask(model_at(upstream, f"demo-{fault}", speaker), "Hi")
    events = read_events(speaker, fetch(gateway, speaker, {**body, "stream": True}))
    last = events[-1]
    if speaker.name == "chat":
        check("ErrorResponse", last)
    elif speaker.name == "messages":
        assert last["type"] == "error"
        assert last["error"].keys() >= {"type", "message"}
    else:
        assert last["type"] in ("response.failed", "error")
        for event in thin_out(events):
            check_event(speaker, event)
