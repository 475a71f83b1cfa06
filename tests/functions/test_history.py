"""The conversation as the function model sees it, and the state that clients bring back."""

from __future__ import annotations

import json
from typing import Any

import pytest

from plano.dialects.conversation import BadRequest
from plano.functions.history import (
    MAX_TEXT_BYTES,
    MAX_TOTAL_BYTES,
    asks_something,
    parse_state,
    render_state,
    restore_calls,
    select_messages,
    without_state,
)

Json = dict[str, Any]


def user(text: Any) -> Json:
    return {"role": "user", "content": text}


def assistant(text: str) -> Json:
    return {"role": "assistant", "content": text}


CALL: Json = {
    "role": "assistant",
    "content": "",
    "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
}
RESULT: Json = {"role": "tool", "tool_call_id": "c", "content": "42"}


def test_state_is_read_as_it_was_written() -> None:
    state = [user("Hi."), CALL, RESULT]
    assert parse_state({"x-arch-state": render_state(state)}) == state
    assert parse_state({"x-arch-state": {"messages": state}}) == state
    assert parse_state({"x-arch-state": json.dumps({"messages": state})}) == state
    assert parse_state(None) == parse_state({}) == parse_state({"x-arch-state": None}) == []


@pytest.mark.parametrize("state", ["", "{", 1, True, [], {"messages": 1}, {"messages": [{}]}, {"messages": "x" * 9}])
def test_anything_else_is_refused(state: Any) -> None:
    with pytest.raises(BadRequest):
        parse_state({"x-arch-state": state})


def test_state_that_is_too_large_is_refused() -> None:
    with pytest.raises(BadRequest, match="larger"):
        parse_state({"x-arch-state": " " * 5_000_000})


@pytest.mark.parametrize(
    ("messages", "restored"),
    [
        ([user("a"), assistant("1"), user("b")], [user("a"), CALL, RESULT, assistant("1"), user("b")]),
        ([user("b")], [user("b")]),
        ([user("a"), CALL, RESULT, assistant("1")], [user("a"), CALL, RESULT, assistant("1")]),
        ([user("a"), user("a")], [user("a"), CALL, RESULT, user("a")]),
        ([user([{"type": "text", "text": "a"}])], [user([{"type": "text", "text": "a"}]), CALL, RESULT]),
    ],
    ids=["in its place", "cut off", "kept by the client", "said twice", "in parts"],
)
def test_hidden_calls_go_where_they_were(messages: list[Json], restored: list[Json]) -> None:
    assert restore_calls(messages, [user("a"), CALL, RESULT]) == restored


def test_the_newest_messages_are_kept_within_bounds() -> None:
    messages = [user("x" * 50_000) for _ in range(20)] + [user("y" * 3 * MAX_TEXT_BYTES)]
    selected = select_messages(messages)
    assert len(json.dumps(selected)) <= MAX_TOTAL_BYTES + 4_096
    assert len(selected) > 3
    assert len(selected[-1]["content"].encode()) <= MAX_TEXT_BYTES
    assert selected[-1]["content"].startswith("y")


def test_only_what_the_function_model_can_use_is_sent() -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    message = {"role": "user", "content": [image, {"type": "text", "text": "What is it?"}], "name": "n", "extra": 1}
    odd = {"role": "assistant", "content": None, "tool_calls": [7, {"function": {"name": 3, "arguments": {}}}]}
    assert select_messages([message, odd]) == [
        {"role": "user", "content": "What is it?", "name": "n"},
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [{"id": "", "type": "function", "function": {"name": "3", "arguments": "{}"}}],
        },
    ]


@pytest.mark.parametrize(
    ("messages", "asks"),
    [
        ([user("Hi.")], True),
        ([user([{"type": "text", "text": "Hi."}])], True),
        ([user("  ")], False),
        ([user([{"type": "image_url"}])], False),
        ([user("Hi."), assistant("Yes?")], False),
        ([user("Hi."), RESULT], False),
        ([], False),
    ],
)
def test_only_words_of_the_user_are_a_prompt(messages: list[Json], asks: bool) -> None:
    assert asks_something(messages) is asks


def test_metadata_of_ours_does_not_travel_on() -> None:
    body: Json = {"model": "m", "metadata": {"x-arch-state": "s", "own": "1"}}
    assert without_state(body) == {"model": "m", "metadata": {"own": "1"}}
    assert without_state({"model": "m", "metadata": {"x-arch-state": "s"}}) == {"model": "m"}
    plain: Json = {"metadata": {"own": "1"}}
    assert without_state(plain) is plain
