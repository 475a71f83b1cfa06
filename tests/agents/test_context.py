"""What an agent said, as the next agent reads it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from plano.agents.context import add_answer, read_answer
from plano.dialects.conversation import Answer, BadAnswer, Conversation, StopReason, Text, Thinking, ToolUse, Usage

NOTHING = Conversation(None, [])


def say(*blocks: Any) -> Answer:
    return Answer("a", "m", list(blocks), StopReason.END, Usage())


SUNNY = say(Thinking("hm"), Text("Sunny."), ToolUse("call_1", "book", '{"day": 1}'))


def test_chat_names_the_message_after_the_agent() -> None:
    question = {"role": "user", "content": "And the hotel?"}
    body = {"model": "m", "messages": [{"role": "system", "content": "Be kind."}, question], "seed": 7}
    assert add_answer("chat", body, SUNNY, "weather agent") == {
        "model": "m",
        "seed": 7,
        "messages": [
            {"role": "system", "content": "Be kind."},
            {
                "role": "assistant",
                "content": "Sunny.",
                "tool_calls": [
                    {"id": "call_1", "type": "function", "function": {"name": "book", "arguments": '{"day": 1}'}}
                ],
                "name": "weather_agent",
            },
            question,
        ],
    }


def test_messages_begin_with_the_agents_name() -> None:
    body = {"messages": [{"role": "user", "content": "And the hotel?"}]}
    added = add_answer("messages", body, say(Text("Sunny.")), "weather")["messages"][0]
    assert added["role"] == "assistant"
    assert added["content"] in ("weather: Sunny.", [{"type": "text", "text": "weather: Sunny."}])


@pytest.mark.parametrize("question", ["And the hotel?", [{"role": "user", "content": "And the hotel?"}]])
def test_responses_take_both_forms_of_input(question: Any) -> None:
    items = add_answer("responses", {"input": question}, SUNNY, "weather")["input"]
    assert [item.get("role") or item["type"] for item in items] == ["assistant", "function_call", "user"]
    assert items[0]["content"][0]["text"] == "weather: Sunny."
    assert items[2]["content"] == "And the hotel?"


def test_a_tool_call_and_its_result_stay_together() -> None:
    turns = [
        {"role": "user", "content": "Book."},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "f", "input": {}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": "done"}]},
    ]
    added = add_answer("messages", {"messages": turns}, say(Text("Sunny.")), "weather")["messages"]
    assert added[1:] == turns


def test_an_answer_without_words_and_calls_changes_nothing() -> None:
    body = {"messages": [{"role": "user", "content": "Hi."}]}
    assert add_answer("chat", body, say(Thinking("hm"), Text("")), "weather") is body


CHAT_ANSWER = {
    "id": "c",
    "object": "chat.completion",
    "created": 1,
    "model": "m",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Sunny."}, "finish_reason": "stop"}],
}
CHUNKS = [
    {"choices": [{"index": 0, "delta": {"role": "assistant", "content": "Sun"}, "finish_reason": None}]},
    {"choices": [{"index": 0, "delta": {"content": "ny."}, "finish_reason": None}]},
    {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
]


def test_documents_and_streams_are_read() -> None:
    document = read_answer("chat", json.dumps(CHAT_ANSWER).encode(), NOTHING, streamed=False)
    stream = "".join(f"data: {json.dumps({'id': 'c', 'model': 'm', **chunk})}\n\n" for chunk in CHUNKS)
    streamed = read_answer("chat", (stream + "data: [DONE]\n\n").encode(), NOTHING, streamed=True)
    assert document.blocks == streamed.blocks == [Text("Sunny.")]


@pytest.mark.parametrize(
    ("data", "streamed"),
    [
        (b"<html>", False),
        (b"[]", False),
        (b"{}", False),
        (b'data: {"id":"c","model":"m","choices":[{"index":0,"delta":{"content":"Sun"}}]}\n\n', True),
        (b'data: {"error":{"message":"no capacity"}}\n\n', True),
    ],
    ids=["html", "array", "empty", "half a stream", "error"],
)
def test_what_is_no_answer_is_not_taken_for_one(data: bytes, streamed: bool) -> None:
    with pytest.raises(BadAnswer):
        read_answer("chat", data, NOTHING, streamed=streamed)
