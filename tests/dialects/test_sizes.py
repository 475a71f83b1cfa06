"""Requests of very many small things take time in proportion: a frontend answers all its clients from one thread."""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest

from plano.dialects.codecs import CLIENTS, UPSTREAMS
from plano.dialects.conversation import BadRequest, Dropped

FEW = 2_500
TIMES = 8  # one to two megabytes then
HI = {"role": "user", "content": "Hi"}


def call(identity: str) -> dict[str, Any]:
    return {"id": identity, "type": "function", "function": {"name": "f", "arguments": "{}"}}


def offer(name: str) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name}}


def bodies(count: int) -> dict[str, tuple[str, dict[str, Any]]]:
    """Requests of `count` small things each, with the dialect they are in."""
    return {
        "unknown fields": ("chat", {"messages": [HI], **{f"x{number}": 1 for number in range(count)}}),
        "named messages": ("chat", {"messages": [{**HI, "name": "Ann"}] * count}),
        "unknown fields of blocks": (
            "messages",
            {
                "max_tokens": 1,
                "messages": [{"role": "user", "content": [{"type": "text", "text": "a", "x": 1}] * count}],
            },
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
                        * count,
                    }
                ],
            },
        ),
        "calls of one id": ("chat", {"messages": [HI, {"role": "assistant", "tool_calls": [call("a")] * count}, HI]}),
        "calls of one long id": (
            "chat",
            {"messages": [HI, {"role": "assistant", "tool_calls": [call("a" * 64)] * count}, HI]},
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
                            for number in range(count)
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
                    {"type": "function_call_output", "call_id": f"c{number}", "output": "a"} for number in range(count)
                ]
            },
        ),
        "allowed tools": (
            "chat",
            {
                "messages": [HI],
                "tools": [offer(f"f{number}") for number in range(count)],
                "tool_choice": {
                    "type": "allowed_tools",
                    "allowed_tools": {"mode": "auto", "tools": [offer(f"f{number}") for number in range(count)]},
                },
            },
        ),
    }


def take_s(client: str, body: dict[str, Any], upstream: str) -> float:
    """The CPU time of translating this request, in seconds."""
    dropped = Dropped()
    began_s = time.process_time()
    with suppress(BadRequest):
        conversation = CLIENTS[client].parse_request({"model": "m", **body})
        UPSTREAMS[upstream].render_request(conversation, "claude-sonnet-4-5", dropped)
    return time.process_time() - began_s


@pytest.fixture(autouse=True)
def no_garbage_collector() -> Iterator[None]:
    """What it takes grows with everything that lives in the process of the tests."""
    gc.disable()
    yield
    gc.enable()


@pytest.mark.parametrize("upstream", UPSTREAMS)
@pytest.mark.parametrize("kind", bodies(1))
def test_time_grows_in_proportion(kind: str, upstream: str) -> None:
    few = min(take_s(*bodies(FEW)[kind], upstream) for _ in range(3))
    many = min(take_s(*bodies(TIMES * FEW)[kind], upstream) for _ in range(2))
    assert many / few < TIMES**1.5  # with the square of the count it would be TIMES**2
