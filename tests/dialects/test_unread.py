"""Fields inside a request that no translator knows are named, wherever they stand."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from plano.dialects.codecs import CLIENTS
from plano.dialects.conversation import Conversation, Dropped
from plano.frontends.translation import Translation

SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"], "additionalProperties": False}
CHAT: dict[str, Any] = {
    "messages": [
        {"role": "system", "content": [{"type": "text", "text": "s"}]},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "t", "cache_control": {"type": "ephemeral"}},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo=", "detail": "auto"}},
                {"type": "file", "file": {"file_data": "data:application/pdf;base64,JVBERi0=", "filename": "a.pdf"}},
            ],
        },
        {
            "role": "assistant",
            "content": "x",
            "refusal": None,
            "annotations": [],
            "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
        },
        {"role": "tool", "tool_call_id": "c", "content": [{"type": "text", "text": "r"}]},
    ],
    "tools": [{"type": "function", "function": {"name": "f", "parameters": SCHEMA}}],
    "tool_choice": {"type": "function", "function": {"name": "f"}},
    "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA}},
}
MESSAGES: dict[str, Any] = {
    "max_tokens": 99,
    "system": [{"type": "text", "text": "s"}],
    "messages": [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "t"},
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}},
                {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "d"}},
            ],
        },
        {"role": "assistant", "content": [{"type": "tool_use", "id": "c", "name": "f", "input": {}}]},
        {
            "role": "user",
            "content": [{"type": "tool_result", "tool_use_id": "c", "content": [{"type": "text", "text": "r"}]}],
        },
    ],
    "tools": [{"name": "f", "input_schema": SCHEMA}],
    "tool_choice": {"type": "auto"},
}
RESPONSES: dict[str, Any] = {
    "input": [
        {
            "role": "user",
            "content": [
                {"type": "input_text", "text": "t"},
                {"type": "input_image", "image_url": "data:image/png;base64,iVBORw0KGgo=", "detail": "auto"},
            ],
        },
        {
            "type": "message",
            "id": "msg_1",
            "role": "assistant",
            "status": "completed",
            "content": [{"type": "output_text", "text": "x", "annotations": [], "logprobs": []}],
        },
        {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}", "caller": {"type": "direct"}},
        {"type": "function_call_output", "call_id": "c", "output": [{"type": "input_text", "text": "r"}]},
    ],
    "tools": [
        {"type": "function", "name": "f", "parameters": SCHEMA},
        {"type": "namespace", "name": "n", "tools": [{"type": "function", "name": "g", "parameters": SCHEMA}]},
    ],
    "tool_choice": {"type": "function", "name": "f"},
    "text": {"format": {"type": "json_schema", "name": "n", "schema": SCHEMA}},
}
BODIES = {"chat": CHAT, "messages": MESSAGES, "responses": RESPONSES}
# What stands in these is data, or not the gateway's to read.
WHOLE = {"parameters", "schema", "input_schema", "cache_control", "caller"}


def objects(value: Any, path: str) -> list[str]:
    found = [path] if type(value) is dict and path else []
    for name, inner in value.items() if type(value) is dict else ():
        if name not in WHOLE and not (name == "input" and type(inner) is dict):
            found += objects(inner, f"{path}.{name}" if path else name)
    for number, inner in enumerate(value) if type(value) is list else ():
        found += objects(inner, f"{path}[{number}]")
    return found


PLACES = [(client, place) for client, body in BODIES.items() for place in objects(body, "")]


def names_of(client: str, body: dict[str, Any], upstream: str) -> list[str]:
    dropped = Dropped()
    conversation: Conversation = CLIENTS[client].parse_request({"model": "m", **body})
    Translation(client, upstream, conversation, "gemini-3-pro", "1").render_request("gemini-3-pro", dropped)
    return dropped.names


@pytest.mark.parametrize("client", BODIES)
def test_what_sdks_send_is_known(client: str) -> None:
    parsed = CLIENTS[client].parse_request({"model": "m", **BODIES[client]})
    assert parsed.unread == []
    assert not [name for name in parsed.extra if "." in name]


@pytest.mark.parametrize(("client", "place"), PLACES)
def test_an_unknown_field_is_named_with_its_place(client: str, place: str) -> None:
    body = copy.deepcopy(BODIES[client])
    target: Any = body
    for step in place.replace("[", ".[").split("."):
        target = target[int(step[1:-1])] if step.startswith("[") else target[step]
    assert f"{place}.of_tomorrow" not in names_of(client, body, "gemini")
    target["of_tomorrow"] = None
    assert f"{place}.of_tomorrow" not in names_of(client, body, "gemini")
    target["of_tomorrow"] = 1
    assert f"{place}.of_tomorrow" in names_of(client, body, "gemini")
