"""Reasoning of another provider is left out of requests that need no translation, and nothing else is touched."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plano.dialects.conversation import Dropped
from plano.dialects.foreign import leave_out_foreign

OWN = {"type": "thinking", "thinking": "a", "signature": "EqQBCgIYAhIM"}
TEXT = {"type": "text", "text": "b", "unknown": 1}


def strip(dialect: str, body: dict[str, Any], *, signed: bool = True) -> tuple[dict[str, Any], list[str]]:
    """The body that remains, and what was dropped."""
    dropped = Dropped()
    return leave_out_foreign(dialect, json.dumps(body).encode(), body, dropped, signed=signed), dropped.names


def assistant(*blocks: Any) -> dict[str, Any]:
    """A messages request with one assistant turn."""
    hello = {"role": "user", "content": "Hi"}
    return {"model": "m", "messages": [hello, {"role": "assistant", "content": list(blocks)}, hello], "of_tomorrow": 1}


@pytest.mark.parametrize(
    "foreign",
    [
        {"type": "thinking", "thinking": "a", "signature": ""},
        {"type": "thinking", "thinking": "a"},
        {"type": "thinking", "thinking": "a", "signature": "gemini:abc"},
        {"type": "thinking", "thinking": "a", "signature": "gAAAAABo"},
        {"type": "redacted_thinking", "data": "responses:rs_1:gAAAA"},
    ],
)
def test_thinking_of_others_does_not_reach_anthropic(foreign: dict[str, Any]) -> None:
    assert strip("messages", assistant(foreign, OWN, TEXT)) == (assistant(OWN, TEXT), ["thinking"])


def test_a_turn_of_nothing_else_goes_as_a_whole() -> None:
    body, _ = strip("messages", assistant({"type": "thinking", "thinking": "a", "signature": ""}))
    assert [turn["role"] for turn in body["messages"]] == ["user", "user"]


def test_providers_that_sign_nothing_keep_their_thinking() -> None:
    body = assistant({"type": "thinking", "thinking": "a", "signature": ""}, TEXT)
    assert strip("messages", body, signed=False)[0] is body


@pytest.mark.parametrize("body", [assistant(OWN, TEXT), assistant(TEXT), {"messages": "thinking"}, {"thinking": 1}])
def test_a_body_without_any_is_the_same_object(body: dict[str, Any]) -> None:
    assert strip("messages", body)[0] is body


@pytest.mark.parametrize(
    ("item", "kept"),
    [
        ({"type": "reasoning", "id": "rs_68af4030baa48193", "summary": [], "encrypted_content": "gAAAA1"}, True),
        ({"type": "reasoning", "id": "rs_68af4030baa48193", "summary": []}, True),
        ({"type": "reasoning", "id": "rs_68af_0", "summary": [], "encrypted_content": "gAAAA1"}, True),
        ({"type": "reasoning", "id": "rs_68af_0", "summary": [], "encrypted_content": "EqQBCgIYAhIM"}, False),
        ({"type": "reasoning", "id": "rs_68af_0", "summary": []}, False),
        ({"type": "reasoning", "id": "rs_for_call_1", "summary": [], "encrypted_content": "gemini:x"}, False),
        ({"type": "reasoning", "summary": [], "encrypted_content": "gemini:x"}, False),
        ({"type": "message", "role": "user", "content": "reasoning"}, True),
    ],
)
def test_reasoning_items_of_others_do_not_reach_openai(item: dict[str, Any], kept: bool) -> None:
    hello = {"role": "user", "content": "Hi"}
    body, names = strip("responses", {"input": [item, hello], "reasoning": {}})
    assert (body["input"], names) == (([item, hello], []) if kept else ([hello], ["thinking"]))


JSON = st.recursive(
    st.none() | st.text(max_size=5) | st.integers(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["type", "content", "signature", "data", "id", "role"]), inner, max_size=3)
    ),
)


@given(JSON)
def test_nothing_raises(value: Any) -> None:
    for dialect in ("messages", "responses", "chat"):
        strip(dialect, {"messages": value, "input": value, "thinking": 1, "reasoning": 1})
        strip(dialect, {"messages": [value], "input": [value], "thinking": 1, "reasoning": 1})
