"""Finding the token usage at the end of an answer."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from plano.dialects.codecs import CLIENTS, UPSTREAMS
from plano.dialects.conversation import Conversation, Text, Turn, Usage
from plano.dialects.identity.chat import find_usage
from plano.dialects.identity.plain import PLAIN_WIRES
from plano.dialects.identity.wire import CHAT, MESSAGES, RESPONSES, Wire
from plano.dialects.tokens import MAX_COUNT
from tests.dialects.bodies import objects, spelled

USAGE = {
    "prompt_tokens": 12,
    "completion_tokens": 34,
    "total_tokens": 46,
    "prompt_tokens_details": {"cached_tokens": 5, "audio_tokens": 0},
    "completion_tokens_details": {"reasoning_tokens": 6},
}
FOUND = (12, 34, 5, 6)
counts = st.integers(0, MAX_COUNT)


@given(st.data(), objects, counts, counts, counts, counts)
def test_usage_is_found_wherever_it_stands(
    data: st.DataObject, rest: dict[str, Any], tokens_in: int, tokens_out: int, cached: int, reasoning: int
) -> None:
    cached, reasoning = min(cached, tokens_in), min(reasoning, tokens_out)
    usage = {
        "prompt_tokens": tokens_in,
        "completion_tokens": tokens_out,
        "prompt_tokens_details": {"cached_tokens": cached},
        "completion_tokens_details": {"reasoning_tokens": reasoning},
    }
    items = [(key, value) for key, value in rest.items() if key != "usage"]
    items.insert(data.draw(st.integers(0, len(items))), ("usage", usage))
    assert find_usage(data.draw(spelled(dict(items)))) == (tokens_in, tokens_out, cached, reasoning)


@given(st.text(), objects)
def test_usage_quoted_in_a_text_is_text(text: str, rest: dict[str, Any]) -> None:
    quoted = text + json.dumps({"usage": USAGE}) + text + json.dumps({"usage": USAGE}, separators=(",", ":"))
    body = {"choices": [{"message": {"content": quoted}}]}
    assert find_usage(json.dumps(body).encode()) is None
    assert find_usage(json.dumps({"usage": USAGE, **body}).encode()) == FOUND
    assert find_usage(json.dumps({**body, "usage": USAGE}, separators=(",", ":")).encode()) == FOUND


def test_the_last_usage_of_a_stream_counts() -> None:
    chunk = b'data: {"choices":[{"delta":{"content":"x"}}],"usage":null}\n\n'
    running = b'data: {"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":1}}\n\n'
    last = b'data: {"choices":[],"usage":%b}\n\ndata: [DONE]\n\n' % json.dumps(USAGE).encode()
    assert find_usage(chunk + running + chunk + last) == FOUND
    assert find_usage(chunk + running + chunk + chunk) == (1, 1, 0, 0)
    assert find_usage(chunk * 3) is None


def test_the_relay_counts_what_a_translation_counts() -> None:
    xai = {
        "prompt_tokens": 9,
        "completion_tokens": 2,
        "total_tokens": 16,
        "completion_tokens_details": {"reasoning_tokens": 5},
    }
    assert find_usage(json.dumps({"usage": xai}).encode()) == (9, 7, 0, 5)
    for name in ("prompt_cache_hit_tokens", "cached_tokens", "cache_read_input_tokens", "cached_content_token_count"):
        usage = {"prompt_tokens": 9, "completion_tokens": 2, name: 8}
        assert find_usage(json.dumps({"usage": usage}).encode()) == (9, 2, 8, 0)


def test_usage_in_an_extension_object_counts() -> None:
    groq = b'data: {"choices":[],"x_groq":{"id":"r","usage":{"prompt_tokens":3,"completion_tokens":4}}}\n\n'
    assert find_usage(groq) == (3, 4, 0, 0)


@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": ")])
def test_a_tail_cut_anywhere_gives_the_whole_usage_or_none(separators: tuple[str, str]) -> None:
    answer = json.dumps({"id": "x", "usage": USAGE, "choices": []}, separators=separators).encode()
    begins = answer.index(b'"usage"')
    for cut in range(len(answer)):
        assert find_usage(answer[cut:]) == (FOUND if cut <= begins else None)
    ends = answer.index(b"}}", begins) + 2
    for cut in range(len(answer) + 1):
        assert find_usage(answer[:cut]) == (FOUND if cut >= ends else None)


@pytest.mark.parametrize(
    "usage",
    [
        b"null",
        b"[]",
        b"{}",
        b'{"prompt_tokens":1}',
        b'{"prompt_tokens":"1","completion_tokens":2}',
        b'{"prompt_tokens":1.5,"completion_tokens":2}',
        b'{"prompt_tokens":true,"completion_tokens":2}',
        b'{"prompt_tokens":-1,"completion_tokens":2}',
        b'{"prompt_tokens":1,"completion_tokens":-2}',
        b'{"prompt_tokens":1,"completion_tokens":99999999999999999999}',
        b'{"prompt_tokens":1,,"completion_tokens":2}',
    ],
)
def test_numbers_that_make_no_sense_are_no_usage(usage: bytes) -> None:
    assert find_usage(b'{"id":"x","usage":%b}' % usage) is None


@pytest.mark.parametrize("details", [b"null", b"[]", b"7", b'{"cached_tokens":null}', b'{"cached_tokens":-3}', b"{}"])
def test_details_that_make_no_sense_count_nothing(details: bytes) -> None:
    usage = b'{"prompt_tokens":1,"prompt_tokens_details":%b,"completion_tokens":2}' % details
    assert find_usage(b'{"id":"x","usage":%b}' % usage) == (1, 2, 0, 0)


@given(st.binary() | st.lists(st.sampled_from([b'"usage"', b":", b"{", b"}", b" ", b'"', b"\\", b"1"])).map(b"".join))
def test_no_bytes_do_more_than_hold_no_usage(tail: bytes) -> None:
    find_usage(tail)


# -- counts that cannot be true ---------------------------------------------------------------------------------------

LARGEST = 2**64 - 1  # that JSON brings as an integer; a sum of two fits no record, no span and no answer
ANSWERS: dict[str, Any] = {
    "chat": lambda count: {
        "choices": [{"message": {"content": "a"}}],
        "usage": {"prompt_tokens": count, "completion_tokens": count, "total_tokens": count},
    },
    "messages": lambda count: {
        "content": [{"type": "text", "text": "a"}],
        "usage": {
            "input_tokens": count,
            "output_tokens": count,
            "cache_read_input_tokens": count,
            "cache_creation_input_tokens": count,
        },
    },
    "responses": lambda count: {
        "status": "completed",
        "output": [{"type": "message", "content": [{"type": "output_text", "text": "a"}]}],
        "usage": {"input_tokens": count, "output_tokens": count},
    },
    "converse": lambda count: {
        "output": {"message": {"content": [{"text": "a"}]}},
        "stopReason": "end_turn",
        "usage": {"inputTokens": count, "outputTokens": count, "cacheReadInputTokens": count},
    },
    "gemini": lambda count: {
        "candidates": [{"content": {"parts": [{"text": "a"}]}, "finishReason": "STOP"}],
        "usageMetadata": {"promptTokenCount": count, "candidatesTokenCount": count, "thoughtsTokenCount": count},
    },
}


@pytest.mark.parametrize("upstream", ANSWERS)
@pytest.mark.parametrize("count", [LARGEST, MAX_COUNT + 1, 2**63, 1e308, -1, True, "7"])
def test_counts_that_cannot_be_true_count_nothing(upstream: str, count: Any) -> None:
    conversation = Conversation("m", [Turn("user", [Text("hi")])])
    usage = UPSTREAMS[upstream].parse_answer(ANSWERS[upstream](count), conversation).usage
    assert usage == Usage(known=usage.known)


@pytest.mark.parametrize("upstream", ANSWERS)
@pytest.mark.parametrize("client", CLIENTS)
def test_the_largest_counts_can_be_added_up_and_passed_on(client: str, upstream: str) -> None:
    conversation = Conversation("m", [Turn("user", [Text("hi")])])
    answer = UPSTREAMS[upstream].parse_answer(ANSWERS[upstream](MAX_COUNT), conversation)
    assert answer.usage.input >= MAX_COUNT <= answer.usage.output
    assert orjson.dumps(CLIENTS[client].render_answer(answer, conversation, 1))


@pytest.mark.parametrize("count", [LARGEST, MAX_COUNT + 1])
@pytest.mark.parametrize("wire", [CHAT, MESSAGES, RESPONSES, PLAIN_WIRES[0]], ids=lambda wire: wire.name)
def test_what_passes_as_it_is_has_no_such_counts_either(wire: Wire, count: int) -> None:
    names = ("prompt_tokens", "completion_tokens") if wire is CHAT else ("input_tokens", "output_tokens")
    usage = json.dumps({"usage": {**dict.fromkeys(names, count), "cache_read_input_tokens": count}})
    assert not any(wire.find_usage(b"", usage.encode()) or ())
