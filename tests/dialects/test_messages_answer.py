"""The messages dialect: answers and errors."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from anthropic.types import Message
from hypothesis import given, settings
from hypothesis import strategies as st

from plano.dialects.conversation import (
    Answer,
    BadAnswer,
    Block,
    Conversation,
    Image,
    Opaque,
    RedactedThinking,
    Refusal,
    StopReason,
    Text,
    Thinking,
    Tool,
    ToolUse,
    UpstreamError,
    Usage,
)
from plano.dialects.custom_tools import restore
from plano.dialects.messages.answer import parse_answer, parse_error, render_answer, render_error
from tests.dialects.bodies import values

ASKED = Conversation("alias", [])
CREATED = 1700000000


def answer(*blocks: Block, stop: StopReason = StopReason.END, **fields: Any) -> Answer:
    return Answer("msg_1", "m", list(blocks), stop, fields.pop("usage", Usage()), **fields)


def rendered(*blocks: Block, stop: StopReason = StopReason.END, **fields: Any) -> dict[str, Any]:
    return render_answer(answer(*blocks, stop=stop, **fields), ASKED, CREATED)


def upstream(**fields: Any) -> dict[str, Any]:
    return {"id": "msg_1", "type": "message", "model": "m", "content": [], "stop_reason": "end_turn", **fields}


@pytest.mark.parametrize(
    ("reason", "stop"),
    [
        ("end_turn", StopReason.END),
        ("max_tokens", StopReason.MAX_TOKENS),
        ("stop_sequence", StopReason.STOP_SEQUENCE),
        ("tool_use", StopReason.TOOL_USE),
        ("pause_turn", StopReason.PAUSE),
        ("refusal", StopReason.REFUSAL),
        ("model_context_window_exceeded", StopReason.CONTEXT),
    ],
)
def test_stop_reasons_go_there_and_back(reason: str, stop: StopReason) -> None:
    assert parse_answer(upstream(stop_reason=reason)).stop is stop
    assert rendered(stop=stop)["stop_reason"] == reason


def test_stop_reasons_that_only_one_side_has() -> None:
    assert parse_answer(upstream(stop_reason="compaction")).stop is StopReason.OTHER
    assert parse_answer(upstream(stop_reason=None)).stop is StopReason.END
    assert parse_answer(upstream(stop_reason=["x"])).stop is StopReason.OTHER
    assert rendered(stop=StopReason.FILTERED)["stop_reason"] == "refusal"
    assert rendered(stop=StopReason.OTHER)["stop_reason"] == "end_turn"
    # Some providers report a plain end.
    assert rendered(ToolUse("1", "f", "{}"))["stop_reason"] == "tool_use"
    assert rendered(Refusal("No."))["stop_reason"] == "refusal"


def test_usage_counts_the_cache_as_input_in_the_hub_and_apart_here() -> None:
    usage = {
        "input_tokens": 10,
        "cache_creation_input_tokens": 20,
        "cache_read_input_tokens": 300,
        "output_tokens": 7,
        "output_tokens_details": {"thinking_tokens": 5},
        "service_tier": "priority",
    }
    parsed = parse_answer(upstream(usage=usage))
    assert parsed.usage == Usage(330, 7, cache_read=300, cache_write=20, reasoning=5, known=True)
    assert parsed.service_tier == "priority"
    assert render_answer(parsed, ASKED, CREATED)["usage"] == usage
    assert parse_answer(upstream()).usage == Usage()
    # A provider may count less input than it says it read from its cache.
    assert rendered(usage=Usage(5, 1, cache_read=9, known=True))["usage"]["input_tokens"] == 0


def test_an_answer_is_what_the_sdk_expects() -> None:
    body = rendered(
        Thinking("unsigned"),
        Thinking("signed", "EqQB"),
        RedactedThinking("EmwK"),
        Text("Hi", citations=[{"type": "web_search_result_location", "cited_text": "a", "url": "https://a"}]),
        Refusal("but no"),
        ToolUse("1", "f", '{"a": 1}'),
        ToolUse("2", "g", "plain", custom=True),
        ToolUse("3", "h", ""),
        Image(data="iVBORw0KGgo", media_type="image/png"),
        Opaque("messages", {"type": "container_upload", "file_id": "file_1"}),
        Opaque("responses", {"type": "web_search_call"}),
        stop=StopReason.TOOL_USE,
        usage=Usage(3, 2, known=True),
    )
    content = body["content"]
    assert [block["type"] for block in content] == [
        "thinking",
        "thinking",
        "redacted_thinking",
        "text",
        "text",
        "tool_use",
        "tool_use",
        "tool_use",
        "image",
        "container_upload",
    ]
    assert [block["signature"] for block in content[:2]] == ["", "EqQB"]
    assert [block["input"] for block in content[5:8]] == [{"a": 1}, {"input": "plain"}, {}]
    message = Message.model_validate({**body, "content": content[:3] + content[4:8]})
    assert message.usage.input_tokens == 3
    assert message.stop_sequence is None


def test_an_answer_without_id_or_model_gets_them() -> None:
    body = render_answer(Answer("", "", [], StopReason.END, Usage()), ASKED, CREATED)
    assert (body["id"], body["model"]) == ("msg_6553f100", "alias")


def test_arguments_cut_off_are_none_and_broken_ones_are_an_error() -> None:
    call = ToolUse("1", "f", '{"a": ')
    assert rendered(call, stop=StopReason.MAX_TOKENS)["content"][0]["input"] == {}
    with pytest.raises(BadAnswer, match="'f'"):
        rendered(call, stop=StopReason.TOOL_USE)


def test_a_refusal_is_told_in_the_apis_words() -> None:
    details = {"type": "refusal", "category": "cyber", "explanation": "Declined."}
    parsed = parse_answer(upstream(stop_reason="refusal", stop_details=details))
    assert parsed.blocks == [Refusal("Declined.")]
    assert parse_answer(upstream(stop_reason="refusal", stop_details={"type": "refusal"})).blocks == []


def test_calls_of_free_text_tools_are_restored() -> None:
    parsed = parse_answer(
        upstream(
            content=[
                {"type": "tool_use", "id": "1", "name": "g", "input": {"input": "plain"}},
                {"type": "tool_use", "id": "2", "name": "f", "input": {"input": "json"}},
            ]
        )
    )
    restore(parsed, Conversation("m", [], tools=[Tool("g", custom=True), Tool("f")]))
    assert parsed.blocks == [ToolUse("1", "g", "plain", custom=True), ToolUse("2", "f", '{"input":"json"}')]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}},
        {"error": "no"},
        upstream(content=None),
        upstream(content="Hi"),
        upstream(content=["Hi"]),
        upstream(content=[{"type": "text"}]),
        upstream(content=[{"type": "tool_use", "id": "1", "name": "f", "input": [1]}]),
        upstream(content=[{"type": "tool_use", "name": "f", "input": {}}]),
    ],
)
def test_what_is_no_answer_is_refused(body: dict[str, Any]) -> None:
    with pytest.raises(BadAnswer) as caught:
        parse_answer(body)
    assert str(caught.value)


@pytest.mark.parametrize(
    ("body", "status", "kind", "message"),
    [
        ({"type": "error", "error": {"type": "invalid_request_error", "message": "m"}}, 400, "invalid_request", "m"),
        ({"type": "error", "error": {"type": "authentication_error", "message": "m"}}, 401, "authentication", "m"),
        ({"type": "error", "error": {"type": "billing_error", "message": "m"}}, 402, "permission", "m"),
        ({"type": "error", "error": {"type": "permission_error", "message": "m"}}, 403, "permission", "m"),
        ({"type": "error", "error": {"type": "not_found_error", "message": "m"}}, 404, "not_found", "m"),
        ({"type": "error", "error": {"type": "request_too_large", "message": "m"}}, 413, "too_large", "m"),
        ({"type": "error", "error": {"type": "rate_limit_error", "message": "m"}}, 429, "rate_limit", "m"),
        ({"type": "error", "error": {"type": "api_error", "message": "m"}}, 500, "server", "m"),
        ({"type": "error", "error": {"type": "timeout_error", "message": "m"}}, 504, "timeout", "m"),
        ({"type": "error", "error": {"type": "overloaded_error", "message": "m"}}, 529, "overloaded", "m"),
        ({"type": "error", "error": {"type": "overloaded_error", "message": "m"}}, 0, "overloaded", "m"),
        ({"error": {"type": "new_error", "message": "m"}}, 418, "invalid_request", "m"),
        ({"error": {"message": "m"}}, 529, "overloaded", "m"),
        ({"error": "m"}, 502, "server", "m"),
        ({"message": "m"}, 403, "permission", "m"),
        ({"detail": "m"}, 422, "invalid_request", "m"),
        ("m", 503, "overloaded", "m"),
        ("", 503, "overloaded", "The upstream answered with status 503."),
        (None, 0, "server", "The upstream reported an error."),
        ([1], 408, "timeout", "The upstream answered with status 408."),
        ({"error": {"message": 5}}, 500, "server", "The upstream answered with status 500."),
    ],
)
def test_errors_are_read(body: Any, status: int, kind: str, message: str) -> None:
    error = parse_error(body, status)
    assert (error.kind, error.message, error.status) == (kind, message, status)


@pytest.mark.parametrize(
    "name",
    [
        "invalid_request_error",
        "authentication_error",
        "permission_error",
        "not_found_error",
        "request_too_large",
        "rate_limit_error",
        "api_error",
        "timeout_error",
        "overloaded_error",
    ],
)
def test_errors_go_there_and_back(name: str) -> None:
    body = {"type": "error", "error": {"type": name, "message": "m"}}
    assert render_error(parse_error(body, 0), None) == body
    assert render_error(parse_error(body, 0), "req_1") == {**body, "request_id": "req_1"}


def test_the_field_at_fault_is_named_once() -> None:
    def message(text: str) -> str:
        error = UpstreamError("invalid_request", text, param="max_tokens")
        return str(render_error(error, None)["error"]["message"])

    assert message("is missing") == "max_tokens: is missing"
    assert message("'max_tokens' is missing.") == "'max_tokens' is missing."


_junk_blocks = st.fixed_dictionaries(
    {"type": st.sampled_from(["text", "thinking", "redacted_thinking", "tool_use", "new"]) | values},
    optional=dict.fromkeys(("text", "thinking", "signature", "data", "id", "name", "input", "citations"), values),
)


@settings(max_examples=100, deadline=None)
@given(
    st.fixed_dictionaries(
        {"content": st.lists(_junk_blocks | values, max_size=3) | values},
        optional=dict.fromkeys(
            ("id", "model", "stop_reason", "stop_sequence", "usage", "stop_details", "error"), values
        ),
    ),
    st.integers(0, 600),
)
def test_no_answer_raises_anything_but_that_it_is_none(body: dict[str, Any], status: int) -> None:
    assert parse_error(body, status).message
    with suppress(BadAnswer):
        render_answer(parse_answer(body), ASKED, CREATED)
