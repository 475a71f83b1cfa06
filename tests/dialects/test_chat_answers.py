"""Answers and errors of the chat dialect, of upstreams and for clients."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from openai.types.chat import ChatCompletion

from plano.dialects.chat.answer import parse_answer, parse_error, render_answer, render_error
from plano.dialects.chat.usage import parse_usage
from plano.dialects.conversation import (
    Answer,
    BadAnswer,
    Block,
    Choice,
    Conversation,
    Opaque,
    RedactedThinking,
    Refusal,
    StopReason,
    Text,
    Thinking,
    ToolUse,
    UpstreamError,
    Usage,
)
from tests.dialects.bodies import NESTED

SCHEMAS = json.loads((Path(__file__).parent / "schemas" / "openai_chat.json").read_text())
RESPONSE = Draft202012Validator({"$ref": "#/$defs/CreateChatCompletionResponse", **SCHEMAS})
ERROR = Draft202012Validator({"$ref": "#/$defs/ErrorResponse", **SCHEMAS})
PLAIN = Conversation("m", [])


def answer_of(message: dict[str, Any], finish: Any = "stop", **choice: Any) -> Answer:
    value = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish, **choice}
    return parse_answer({"id": "chatcmpl-1", "model": "m", "created": 5, "choices": [value]})


def message_of(*blocks: Block, stop: StopReason = StopReason.END, conversation: Conversation = PLAIN) -> dict[str, Any]:
    choice = render_answer(Answer("i", "m", list(blocks), stop, Usage()), conversation, 1)["choices"][0]
    return {**choice["message"], "finish": choice["finish_reason"]}


# -- what upstreams answer ------------------------------------------------------------------------------------------


def test_reasoning_text_refusal_and_calls_are_blocks_in_this_order() -> None:
    answer = answer_of(
        {
            "content": "Hi",
            "reasoning": "Hm",
            "refusal": "No",
            "tool_calls": [
                {"id": "1", "type": "function", "function": {"name": "f", "arguments": {"a": 1}}},
                {"id": "2", "type": "custom", "custom": {"name": "g", "input": "x"}},
            ],
        },
        "tool_calls",
    )
    assert answer.blocks == [
        Thinking("Hm"),
        Text("Hi"),
        Refusal("No"),
        ToolUse("1", "f", '{"a":1}'),
        ToolUse("2", "g", "x", custom=True),
    ]
    assert (answer.id, answer.model, answer.created, answer.stop) == ("chatcmpl-1", "m", 5, StopReason.TOOL_USE)


@pytest.mark.parametrize(
    ("finish", "message", "stop"),
    [
        ("stop", {}, StopReason.END),
        ("length", {}, StopReason.MAX_TOKENS),
        ("content_filter", {}, StopReason.FILTERED),
        ("", {}, StopReason.END),
        (None, {}, StopReason.END),
        ("eos", {}, StopReason.END),
        ("end_turn", {}, StopReason.END),
        ("MAX_TOKENS", {}, StopReason.MAX_TOKENS),
        ("insufficient_system_resource", {}, StopReason.OTHER),
        ("stop", {"refusal": "no"}, StopReason.REFUSAL),
        ("stop", {"tool_calls": [{"id": "1", "function": {"name": "f"}}]}, StopReason.TOOL_USE),
        ("length", {"tool_calls": [{"id": "1", "function": {"name": "f"}}]}, StopReason.MAX_TOKENS),
        ("function_call", {"function_call": {"name": "f", "arguments": "{}"}}, StopReason.TOOL_USE),
    ],
)
def test_finish_reasons(finish: Any, message: dict[str, Any], stop: StopReason) -> None:
    assert answer_of({"content": None, **message}, finish).stop is stop


def test_a_stop_sequence_is_known_where_the_server_names_it() -> None:
    answer = answer_of({"content": "a"}, stop_reason="END")
    assert (answer.stop, answer.stop_sequence) == (StopReason.STOP_SEQUENCE, "END")
    assert answer_of({"content": "a"}, stop_reason=128001).stop is StopReason.END


def test_calls_without_an_id_get_one_of_their_own() -> None:
    calls = [{"function": {"name": "f", "arguments": "{}"}}, {"id": "", "function": {"name": "f", "arguments": "{}"}}]
    blocks = answer_of({"tool_calls": calls}).blocks
    assert [block.id for block in blocks if isinstance(block, ToolUse)] == [
        "call_0_0_chatcmpl-1",
        "call_0_1_chatcmpl-1",
    ]


def test_arguments_that_cannot_be_written_again_make_no_answer() -> None:
    call = {"id": "1", "function": {"name": "f", "arguments": NESTED}}
    with pytest.raises(BadAnswer, match="nested too deeply"):
        answer_of({"content": None, "tool_calls": [call]})


def test_signatures_are_marked_as_those_of_this_dialect() -> None:
    details = [
        {"type": "reasoning.text", "text": "a", "signature": "s", "format": "anthropic-claude-v1"},
        {"type": "reasoning.encrypted", "data": "d"},
    ]
    call = {"id": "1", "function": {"name": "f"}, "extra_content": {"google": {"thought_signature": "t"}}}
    assert answer_of({"content": None, "reasoning_details": details, "tool_calls": [call]}).blocks == [
        Thinking("a", "chat:anthropic-claude-v1:s"),
        RedactedThinking("chat::d"),
        ToolUse("1", "f", "", signature="gemini:t"),
    ]


def test_content_in_parts_and_what_only_this_dialect_has() -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}}
    parts = [{"type": "thinking", "thinking": [{"type": "text", "text": "Hm"}]}, {"type": "text", "text": "Hi"}]
    answer = answer_of({"content": parts, "images": [image], "audio": {"id": "a", "data": "AA", "transcript": "b"}})
    assert answer.blocks == [
        Thinking("Hm"),
        Text("Hi"),
        Opaque("chat", {"type": "audio", "audio": {"id": "a", "data": "AA", "transcript": "b"}}),
        Opaque("chat", image),
    ]
    message = message_of(*answer.blocks)
    assert (message["images"], message["audio"]["transcript"]) == ([image], "b")


def test_further_choices_are_alternatives_by_their_index() -> None:
    choices = [{"index": i, "message": {"content": str(i)}, "finish_reason": "stop"} for i in (1, 0)]
    answer = parse_answer({"id": "i", "model": "m", "choices": choices})
    assert (answer.blocks, answer.alternatives) == ([Text("0")], [Choice(1, [Text("1")], StopReason.END)])
    assert [choice["index"] for choice in render_answer(answer, PLAIN, 1)["choices"]] == [0, 1]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"choices": []},
        {"choices": [7]},
        {"choices": [{"message": None}]},
        {"choices": [{"message": {"tool_calls": [{"id": "1"}]}}]},
        {"choices": [{"message": {"tool_calls": [7]}}]},
        {"choices": [{"message": {"content": 7}}]},
        {"error": {"message": "overloaded"}},
        {"object": "error", "message": "bad"},
    ],
)
def test_what_is_no_answer_is_told(body: dict[str, Any]) -> None:
    with pytest.raises(BadAnswer):
        parse_answer(body)


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11}, Usage(9, 2, known=True)),
        (
            {
                "prompt_tokens": 9,
                "completion_tokens": 5,
                "prompt_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 1},
                "completion_tokens_details": {"reasoning_tokens": 3},
            },
            Usage(9, 5, 4, 1, 3, known=True),
        ),
        ({"prompt_tokens": 9, "completion_tokens": 2, "prompt_cache_hit_tokens": 8}, Usage(9, 2, 8, known=True)),
        ({"prompt_tokens": 9, "completion_tokens": 2, "cached_tokens": 8}, Usage(9, 2, 8, known=True)),
        ({"prompt_tokens": 9, "completion_tokens": 2, "cache_read_input_tokens": 8}, Usage(9, 2, 8, known=True)),
        (  # Anthropic's counters as they are: the prompt does not have what was cached
            {
                "prompt_tokens": 9,
                "completion_tokens": 2,
                "cache_read_input_tokens": 80,
                "cache_creation_input_tokens": 10,
            },
            Usage(99, 2, 80, 10, known=True),
        ),
        (  # xAI
            {
                "prompt_tokens": 9,
                "completion_tokens": 2,
                "total_tokens": 16,
                "completion_tokens_details": {"reasoning_tokens": 5},
            },
            Usage(9, 7, 0, 0, 5, known=True),
        ),
        ({"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 16}, Usage(9, 7, 0, 0, 5, known=True)),  # Gemini
        (
            {
                "prompt_tokens": 9,
                "completion_tokens": 7,
                "cached_content_token_count": 4,
                "thoughts_token_count": 5,
            },
            Usage(9, 7, 4, 0, 5, known=True),
        ),
        ({"prompt_tokens": 9.0, "completion_tokens": -2}, Usage(9, 0, known=True)),
        ({"prompt_tokens": "9", "prompt_tokens_details": []}, Usage(known=True)),
        ({}, Usage()),
        (None, Usage()),
        ([], Usage()),
    ],
)
def test_usage(usage: Any, expected: Usage) -> None:
    assert parse_usage(usage) == expected


# -- what clients get -----------------------------------------------------------------------------------------------


def test_an_answer_without_text_has_null_for_it_only_where_something_else_is_said() -> None:
    assert message_of()["content"] == ""
    assert message_of(ToolUse("1", "f", "{}"))["content"] is None
    assert message_of(Refusal("no"))["content"] is None


def test_a_refusal_in_words_finishes_like_openais_and_one_without_as_filtered() -> None:
    assert message_of(Refusal("no"), stop=StopReason.REFUSAL)["finish"] == "stop"
    assert message_of(stop=StopReason.REFUSAL)["finish"] == "content_filter"


def test_clients_of_the_deprecated_functions_get_a_function_call() -> None:
    client = Conversation("m", [], notes={"functions": True})
    message = message_of(ToolUse("1", "f", "{}"), stop=StopReason.TOOL_USE, conversation=client)
    assert message["function_call"] == {"name": "f", "arguments": "{}"}
    assert message["finish"] == "function_call"
    assert "tool_calls" not in message


def test_citations_of_the_web_are_annotations_at_the_place_of_their_text() -> None:
    citation = {"type": "web_search_result_location", "url": "https://x/", "title": None, "cited_text": "c"}
    elsewhere = {"type": "char_location", "cited_text": "c", "document_index": 0}
    message = message_of(Text("ab"), ToolUse("1", "f", ""), Text("cd", citations=[citation, elsewhere]))
    place = {"start_index": 4, "end_index": 6, "url": "https://x/", "title": ""}
    assert message["annotations"] == [{"type": "url_citation", "url_citation": place}]
    assert message["content"][4:6] == "cd"


def test_usage_is_told_only_when_it_is_known() -> None:
    answer = Answer("i", "m", [], StopReason.END, Usage())
    assert "usage" not in render_answer(answer, PLAIN, 1)
    answer.usage = Usage(9, 5, 4, 1, 3, known=True)
    assert parse_usage(render_answer(answer, PLAIN, 1)["usage"]) == answer.usage


texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
contents = st.tuples(
    st.lists(st.builds(Thinking, texts, st.none() | texts), max_size=2),
    st.lists(st.builds(Text, texts), max_size=1),
    st.lists(st.builds(Refusal, texts), max_size=1),
    st.lists(st.builds(ToolUse, texts, texts, st.just('{"a":1}'), custom=st.booleans()), max_size=3),
).map(lambda parts: [block for part in parts for block in part])


@given(contents, st.sampled_from(StopReason), st.sampled_from([None, "default", "standard"]), st.booleans())
def test_any_answer_is_valid_by_the_reference_and_for_the_sdk(
    blocks: list[Block], stop: StopReason, tier: str | None, known: bool
) -> None:
    answer = Answer("i", "m", blocks, stop, Usage(1, 2, known=known), service_tier=tier)
    body = render_answer(answer, PLAIN, 7)
    assert [error.message for error in RESPONSE.iter_errors(body)] == []
    ChatCompletion.model_validate(body, strict=True)
    said = [block for block in parse_answer(body).blocks if isinstance(block, Text | Refusal | ToolUse)]
    assert said == [block for block in blocks if isinstance(block, Text | Refusal | ToolUse)]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
KEYS = [
    *("content", "reasoning", "reasoning_details", "thinking_blocks", "refusal", "tool_calls", "function_call"),
    *("audio", "images", "annotations"),
]


@given(st.dictionaries(st.sampled_from(KEYS), json_values), json_values, json_values)
def test_no_answer_raises_anything_but_bad_answer(message: dict[str, Any], finish: Any, usage: Any) -> None:
    choice = {"message": message, "finish_reason": finish, "index": finish, "stop_reason": usage}
    with suppress(BadAnswer):
        render_answer(parse_answer({"id": usage, "choices": [choice], "usage": usage}), PLAIN, 1)


# -- errors ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "status", "expected"),
    [
        (
            {"error": {"message": "Too long", "type": "invalid_request_error", "param": "messages", "code": "c"}},
            400,
            UpstreamError("invalid_request", "Too long", 400, "c", "messages"),
        ),
        ({"error": {"message": "Slow down", "type": "tokens"}}, 429, UpstreamError("rate_limit", "Slow down", 429)),
        ({"error": "model not found"}, 404, UpstreamError("not_found", "model not found", 404)),
        ({"object": "error", "message": "bad", "code": 400}, 400, UpstreamError("invalid_request", "bad", 400, "400")),
        ({"message": "Unauthorized"}, 401, UpstreamError("authentication", "Unauthorized", 401)),
        (
            {"detail": [{"loc": ["body", "n"], "msg": "must be positive"}]},
            422,
            UpstreamError("invalid_request", "must be positive", 422),
        ),
        (
            [{"error": {"code": 503, "message": "Overloaded", "status": "UNAVAILABLE"}}],
            503,
            UpstreamError("overloaded", "Overloaded", 503, "503"),
        ),
        ("<html>Bad gateway</html>", 502, UpstreamError("server", "<html>Bad gateway</html>", 502)),
        (None, 500, UpstreamError("server", "The upstream answered with status 500.", 500)),
        ({"error": {"message": "x", "code": 429}}, 200, UpstreamError("rate_limit", "x", 429, "429")),
        ({"error": {"message": "x", "type": "overloaded_error"}}, 0, UpstreamError("overloaded", "x")),
        (
            {"error": {"message": "x", "code": "rate_limit_exceeded"}},
            0,
            UpstreamError("rate_limit", "x", 0, "rate_limit_exceeded"),
        ),
        ({"error": {}}, 0, UpstreamError("server", "The upstream reported an error.")),
        ({"error": {"message": "x"}}, 413, UpstreamError("too_large", "x", 413)),
        ({"error": {"message": "x"}}, 418, UpstreamError("invalid_request", "x", 418)),
    ],
)
def test_errors_of_upstreams(body: Any, status: int, expected: UpstreamError) -> None:
    assert parse_error(body, status) == expected


@given(json_values, st.integers(0, 600))
def test_any_error_is_understood_and_rendered_as_the_reference_says(body: Any, status: int) -> None:
    for value in (body, {"error": body}, [body]):
        error = render_error(parse_error(value, status), "req_1")
        assert [problem.message for problem in ERROR.iter_errors(error)] == []
        assert error["error"]["request_id"] == "req_1"
