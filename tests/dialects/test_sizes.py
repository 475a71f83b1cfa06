"""Requests of very many small things take time in proportion: a frontend answers all its clients from one thread."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Any

import pytest

from plano.dialects.codecs import CLIENTS, UPSTREAMS
from plano.dialects.conversation import BadRequest, Dropped
from plano.dialects.field_names import name_message

COUNT = 20_000  # one to two megabytes
LIMIT_S = 1.5  # ten times what it takes; with time in the square of the count it took 2 to 25 s
HI = {"role": "user", "content": "Hi"}


def call(identity: str) -> dict[str, Any]:
    return {"id": identity, "type": "function", "function": {"name": "f", "arguments": "{}"}}


def offer(name: str) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name}}


MANY: dict[str, tuple[str, dict[str, Any]]] = {
    "unknown fields": ("chat", {"messages": [HI], **{f"x{number}": 1 for number in range(COUNT)}}),
    "named messages": ("chat", {"messages": [{**HI, "name": "Ann"}] * COUNT}),
    "unknown fields of blocks": (
        "messages",
        {"max_tokens": 1, "messages": [{"role": "user", "content": [{"type": "text", "text": "a", "x": 1}] * COUNT}]},
    ),
    "documents of one name": (
        "messages",
        {
            "max_tokens": 1,
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "a"}}
                    ]
                    * COUNT,
                }
            ],
        },
    ),
    "calls of one id": ("chat", {"messages": [HI, {"role": "assistant", "tool_calls": [call("a")] * COUNT}, HI]}),
    "calls of one long id": (
        "chat",
        {"messages": [HI, {"role": "assistant", "tool_calls": [call("a" * 64)] * COUNT}, HI]},
    ),
    "calls of many tools": (
        "messages",
        {
            "max_tokens": 1,
            "messages": [
                HI,
                {
                    "role": "assistant",
                    "content": [
                        {"type": "tool_use", "id": f"t{number}", "name": f"f{number}", "input": {}}
                        for number in range(COUNT)
                    ],
                },
                HI,
            ],
        },
    ),
    "results": (
        "responses",
        {
            "input": [
                {"type": "function_call_output", "call_id": f"c{number}", "output": "a"} for number in range(COUNT)
            ]
        },
    ),
    "allowed tools": (
        "chat",
        {
            "messages": [HI],
            "tools": [offer(f"f{number}") for number in range(COUNT)],
            "tool_choice": {
                "type": "allowed_tools",
                "allowed_tools": {"mode": "auto", "tools": [offer(f"f{number}") for number in range(COUNT)]},
            },
        },
    ),
}


@pytest.mark.parametrize("upstream", UPSTREAMS)
@pytest.mark.parametrize(("client", "body"), MANY.values(), ids=MANY)
def test_very_many_small_things_are_translated_in_no_time(client: str, body: dict[str, Any], upstream: str) -> None:
    dropped = Dropped()
    began_s = time.process_time()
    with suppress(BadRequest):
        conversation = CLIENTS[client].parse_request({"model": "m", **body})
        UPSTREAMS[upstream].render_request(conversation, "claude-sonnet-4-5", dropped)
        assert len([name_message(name, conversation) for name in dropped.names]) <= COUNT + 1
    assert time.process_time() - began_s < LIMIT_S
