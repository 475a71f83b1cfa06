"""Answers and errors of generateContent."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plano.dialects.conversation import (
    BadAnswer,
    Opaque,
    Refusal,
    StopReason,
    Text,
    Thinking,
    ToolUse,
    UpstreamError,
    Usage,
)
from plano.dialects.gemini.answer import parse_answer, parse_error

ANYTHING = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-5, 5), st.floats(allow_nan=False), st.text(max_size=3)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=3), inner, max_size=3)),
    max_leaves=4,
)
FIELDS: tuple[tuple[str | int, ...], ...] = (
    (),
    ("candidates",),
    ("candidates", 0),
    ("candidates", 0, "content"),
    ("candidates", 0, "content", "parts"),
    ("candidates", 0, "content", "parts", 0),
    ("candidates", 0, "content", "parts", 0, "text"),
    ("candidates", 0, "content", "parts", 0, "thoughtSignature"),
    ("candidates", 0, "content", "parts", 1, "functionCall"),
    ("candidates", 0, "content", "parts", 1, "functionCall", "args"),
    ("candidates", 0, "content", "parts", 1, "functionCall", "name"),
    ("candidates", 0, "content", "parts", 1, "functionCall", "id"),
    ("candidates", 0, "finishReason"),
    ("candidates", 0, "index"),
    ("candidates", 0, "groundingMetadata"),
    ("candidates", 0, "groundingMetadata", "groundingChunks"),
    ("candidates", 0, "groundingMetadata", "groundingSupports", 0),
    ("candidates", 0, "groundingMetadata", "groundingSupports", 0, "groundingChunkIndices"),
    ("usageMetadata",),
    ("usageMetadata", "promptTokenCount"),
    ("promptFeedback",),
    ("responseId",),
    ("modelVersion",),
)


def make_body(*parts: dict[str, Any], finish: str | None = "STOP", **more: Any) -> dict[str, Any]:
    candidate: dict[str, Any] = {"content": {"role": "model", "parts": list(parts)}, "index": 0}
    if finish is not None:
        candidate["finishReason"] = finish
    return {"candidates": [candidate], "responseId": "r-1/x", "modelVersion": "gemini-2.5-pro", **more}


FULL = make_body(
    {"text": "Hi", "thoughtSignature": "QQ=="},
    {"functionCall": {"name": "f", "args": {"a": 1}, "id": "1"}},
    usageMetadata={"promptTokenCount": 3},
    promptFeedback={"blockReason": "SAFETY"},
)
FULL["candidates"][0]["groundingMetadata"] = {
    "groundingChunks": [{"web": {"uri": "https://a", "title": "A"}}],
    "groundingSupports": [{"segment": {"text": "Hi"}, "groundingChunkIndices": [0]}],
}


def replace(value: Any, path: tuple[str | int, ...], new: Any) -> Any:
    if not path:
        return new
    copy = value.copy()
    copy[path[0]] = replace(value[path[0]], path[1:], new)
    return copy


@pytest.mark.parametrize(
    ("reason", "stop"),
    [
        ("STOP", StopReason.END),
        ("MAX_TOKENS", StopReason.MAX_TOKENS),
        *[
            (each, StopReason.FILTERED)
            for each in ("SAFETY", "RECITATION", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "LANGUAGE", "IMAGE_SAFETY")
        ],
        ("MALFORMED_FUNCTION_CALL", StopReason.OTHER),
        ("OTHER", StopReason.OTHER),
        ("SOMETHING_NEW", StopReason.OTHER),
        ("FINISH_REASON_UNSPECIFIED", StopReason.END),
        (None, StopReason.END),
    ],
)
def test_stop_reasons(reason: str | None, stop: StopReason) -> None:
    assert parse_answer(make_body({"text": "Hi"}, finish=reason)).stop is stop


def test_calls_make_the_stop_reason_unless_the_answer_was_cut() -> None:
    call = {"functionCall": {"name": "f", "args": {"b": [1, "ü"]}}}
    answer = parse_answer(make_body({"text": "I call."}, call, call))
    assert answer.stop is StopReason.TOOL_USE
    assert answer.blocks == [
        Text("I call."),
        ToolUse("call_r-1x_0", "f", '{"b":[1,"ü"]}'),
        ToolUse("call_r-1x_1", "f", '{"b":[1,"ü"]}'),
    ]
    assert parse_answer(make_body(call, finish="MAX_TOKENS")).stop is StopReason.MAX_TOKENS


def test_calls_keep_their_id_and_signature_and_get_a_stable_id_without_one() -> None:
    signed = {"functionCall": {"name": "f", "id": "abc"}, "thoughtSignature": "QUJD"}
    assert parse_answer(make_body(signed)).blocks == [ToolUse("abc", "f", "{}", signature="gemini:QUJD")]
    nameless = make_body({"functionCall": {"name": "f", "args": {"x": 1}}}) | {"responseId": None}
    (first,), (again,) = parse_answer(nameless).blocks, parse_answer(nameless).blocks
    assert isinstance(first, ToolUse)
    assert first == again
    assert first.id.startswith("call_")


def test_neighbouring_parts_of_a_kind_are_one_block() -> None:
    answer = parse_answer(
        make_body(
            {"text": "Let me ", "thought": True},
            {"text": "think.", "thought": True},
            {"text": "It ", "thoughtSignature": "QUJD"},
            {"text": "is "},
            {"text": ""},
            {"text": "so."},
            {"executableCode": {"language": "PYTHON", "code": "1"}},
            {"text": "End", "thoughtSignature": "REVG"},
        )
    )
    assert answer.blocks == [
        Thinking("Let me think.", "gemini:QUJD", summary=True),
        Text("It is so."),
        Opaque("gemini", {"executableCode": {"language": "PYTHON", "code": "1"}}),
        Text("End"),
    ]


def test_a_blocked_prompt_is_a_filtered_answer() -> None:
    body = {"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": {"promptTokenCount": 7}}
    answer = parse_answer(body)
    assert answer.stop is StopReason.FILTERED
    assert answer.blocks == [Refusal("The prompt was blocked by the provider (SAFETY).")]
    assert answer.usage == Usage(input=7, known=True)
    said = parse_answer({"promptFeedback": {"blockReason": "OTHER", "blockReasonMessage": "No."}})
    assert said.blocks == [Refusal("No.")]


def test_usage_counts_thoughts_as_output_and_the_cache_as_input() -> None:
    counts = {
        "promptTokenCount": 100,
        "toolUsePromptTokenCount": 10,
        "candidatesTokenCount": 20,
        "thoughtsTokenCount": 5,
        "cachedContentTokenCount": 80,
    }
    answer = parse_answer(make_body({"text": "Hi"}, usageMetadata=counts))
    assert answer.usage == Usage(input=110, output=25, cache_read=80, reasoning=5, known=True)
    assert parse_answer(make_body({"text": "Hi"})).usage == Usage()


def test_candidates_come_as_alternatives_in_the_order_of_their_index() -> None:
    body = make_body({"text": "A"})
    body["candidates"].insert(0, {"content": {"parts": [{"text": "B"}]}, "index": 1, "finishReason": "MAX_TOKENS"})
    answer = parse_answer(body)
    assert answer.blocks == [Text("A")]
    (other,) = answer.alternatives
    assert (other.index, other.blocks, other.stop) == (1, [Text("B")], StopReason.MAX_TOKENS)


def test_sources_become_citations() -> None:
    answer = parse_answer(replace(FULL, ("candidates", 0, "content", "parts"), [{"text": "Hi"}]))
    (block,) = answer.blocks
    assert isinstance(block, Text)
    assert block.citations == [
        {
            "type": "web_search_result_location",
            "url": "https://a",
            "title": "A",
            "cited_text": "Hi",
            "encrypted_index": "",
        }
    ]
    recited = make_body({"text": "Hi"})
    recited["candidates"][0]["citationMetadata"] = {"citations": [{"uri": "https://b", "startIndex": 0}]}
    (other,) = parse_answer(recited).blocks
    assert isinstance(other, Text)
    assert [each["url"] for each in other.citations] == ["https://b"]


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("candidates",), "x"),
        (("candidates",), []),
        (("candidates", 0), "x"),
        (("candidates", 0, "content"), []),
        (("candidates", 0, "content", "parts"), {}),
        (("candidates", 0, "content", "parts", 0), "x"),
        (("candidates", 0, "content", "parts", 0, "text"), 1),
        (("candidates", 0, "content", "parts", 1, "functionCall"), "x"),
        (("candidates", 0, "content", "parts", 1, "functionCall", "name"), ""),
        (("candidates", 0, "content", "parts", 1, "functionCall", "args"), "{}"),
    ],
)
def test_an_answer_of_wrong_types_is_bad(path: tuple[str | int, ...], value: Any) -> None:
    with pytest.raises(BadAnswer):
        parse_answer(replace(FULL, path, value) | {"promptFeedback": None})


@given(st.sampled_from(FIELDS[1:]), ANYTHING)
def test_whatever_an_answer_holds_it_is_read_or_bad(path: tuple[str | int, ...], value: Any) -> None:
    try:
        answer = parse_answer(replace(FULL, path, value))
    except BadAnswer:
        return
    assert answer.stop in StopReason


def test_arguments_nested_too_deep_are_bad() -> None:
    nested: dict[str, Any] = {}
    for _ in range(400):
        nested = {"a": nested}
    with pytest.raises(BadAnswer):
        parse_answer(make_body({"functionCall": {"name": "f", "args": nested}}))


@pytest.mark.parametrize(
    ("name", "status", "kind"),
    [
        ("INVALID_ARGUMENT", 400, "invalid_request"),
        ("FAILED_PRECONDITION", 400, "invalid_request"),
        ("UNAUTHENTICATED", 401, "authentication"),
        ("PERMISSION_DENIED", 403, "permission"),
        ("NOT_FOUND", 404, "not_found"),
        ("RESOURCE_EXHAUSTED", 429, "rate_limit"),
        ("INTERNAL", 500, "server"),
        ("UNAVAILABLE", 503, "overloaded"),
        ("DEADLINE_EXCEEDED", 504, "timeout"),
        ("SOMETHING_NEW", 413, "too_large"),
    ],
)
def test_errors(name: str, status: int, kind: str) -> None:
    body = {"error": {"code": status, "message": "Because.", "status": name}}
    assert parse_error(body, status) == UpstreamError(kind, "Because.", status, name)
    assert parse_error([body], 0) == UpstreamError(kind, "Because.", status, name)


def test_an_error_names_the_field_and_a_wrong_key() -> None:
    details = [
        {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"},
        {"@type": "type.googleapis.com/google.rpc.BadRequest", "fieldViolations": [{"field": "contents[0]"}]},
    ]
    error = parse_error({"error": {"message": "m", "status": "INVALID_ARGUMENT", "details": details}}, 400)
    assert (error.kind, error.param) == ("authentication", "contents[0]")


@given(ANYTHING, st.sampled_from([0, 200, 400, 401, 418, 500, 599]))
def test_whatever_an_error_holds_it_is_read(body: Any, status: int) -> None:
    for each in (body, [body], {"error": body}, {"error": {"details": body, "message": body, "status": body}}):
        error = parse_error(each, status)
        assert error.kind
        assert error.message
