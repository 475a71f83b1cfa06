"""Whole answers of the responses dialect, and its errors."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
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
    Turn,
    UpstreamError,
    Usage,
)
from plano.dialects.responses.answer import parse_answer, parse_error, render_answer, render_error
from plano.dialects.responses.request import parse_request
from tests.demo import openapi
from tests.dialects.bodies import values

GOLDEN = Path(__file__).parent / "golden"
PLAIN = Conversation("m", [Turn("user", [Text("Hi")])])


def answer(*blocks: Block, stop: StopReason = StopReason.END, **fields: Any) -> Answer:
    return Answer("chatcmpl-7", "m-1", list(blocks), stop, Usage(3, 4, 1, 0, 2, known=True), **fields)


def output(*blocks: Block, conversation: Conversation = PLAIN) -> list[dict[str, Any]]:
    response = render_answer(answer(*blocks), conversation, 9)
    openapi.check("Response", response)
    items: list[dict[str, Any]] = response["output"]
    return items


def item(**fields: Any) -> dict[str, Any]:
    return {"id": "resp_1", "model": "m", "status": "completed", "output": [fields]}


# -- for clients ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*/answer-for.responses*.json")), ids=lambda path: path.parent.name)
def test_golden_answers_are_what_the_reference_says(path: Path) -> None:
    openapi.check("Response", json.loads(path.read_text()))


def test_texts_in_a_row_are_parts_of_one_message() -> None:
    items = output(Text("a"), Text("b"), Refusal("c"), ToolUse("1", "f", ""), Text("d"))
    assert [(each["id"], each["type"]) for each in items] == [
        ("msg_7_0", "message"),
        ("fc_7_1", "function_call"),
        ("msg_7_2", "message"),
    ]
    assert [part.get("text", part.get("refusal")) for part in items[0]["content"]] == ["a", "b", "c"]
    assert items[1]["arguments"] == "{}"


def test_thoughts_of_one_item_are_one_item() -> None:
    items = output(
        Thinking("s1", id="rs_a", summary=True),
        Thinking("s2", "responses:rs_a:gAAAAB", id="rs_a", summary=True),
        Thinking("raw", "EqQ"),
        Thinking("", id="rs_a"),
        RedactedThinking("EmwK"),
    )
    assert items == [
        {
            "id": "rs_a",
            "type": "reasoning",
            "summary": [{"type": "summary_text", "text": "s1"}, {"type": "summary_text", "text": "s2"}],
            "encrypted_content": "gAAAAB",
        },
        {
            "id": "rs_7_1",
            "type": "reasoning",
            "summary": [],
            "content": [{"type": "reasoning_text", "text": "raw"}],
            "encrypted_content": "EqQ",
        },
        {"id": "rs_7_2", "type": "reasoning", "summary": []},
        {"id": "rs_redacted_7_3", "type": "reasoning", "summary": [], "encrypted_content": "EmwK"},
    ]


def test_calls_go_back_to_the_tools_of_the_client() -> None:
    conversation = parse_request(
        {
            "input": "x",
            "tools": [
                {
                    "type": "namespace",
                    "name": "crm",
                    "description": "",
                    "tools": [{"type": "function", "name": "look"}],
                },
                {"type": "custom", "name": "sql"},
            ],
        }
    )
    calls = output(
        ToolUse("1", "look", '{"a": 1}', signature="gemini:x"),
        ToolUse("2", "sql", '{"input": "SELECT 1"}'),
        ToolUse("3", "sql", "SELECT 2", custom=True),
        conversation=conversation,
    )
    assert (calls[0]["namespace"], calls[0]["name"]) == ("crm", "look")
    assert calls[1] == {
        "id": "rs_for_1",
        "type": "reasoning",
        "summary": [],
        "encrypted_content": "gemini:x",
    }
    assert [(call["type"], call["input"]) for call in calls[2:]] == [
        ("custom_tool_call", "SELECT 1"),
        ("custom_tool_call", "SELECT 2"),
    ]


def test_what_comes_back_of_an_answer_is_what_it_was() -> None:
    blocks: list[Block] = [
        Thinking("t", "EqQ"),
        RedactedThinking("EmwK"),
        Text("x"),
        ToolUse("1", "look", "{}", signature="gemini:x"),
    ]
    (turn,) = parse_request({"input": output(*blocks)}).turns
    assert turn.blocks == [Thinking("t", "EqQ", "rs_7_0"), *blocks[1:]]


def test_images_and_what_only_this_dialect_knows() -> None:
    search = {
        "type": "web_search_call",
        "id": "ws_1",
        "status": "completed",
        "action": {"type": "search", "query": "x"},
    }
    items = output(
        Image(data="aGk=", media_type="image/png"), Opaque("responses", search), Opaque("messages", {"type": "x"})
    )
    assert items == [{"id": "ig_7_0", "type": "image_generation_call", "status": "completed", "result": "aGk="}, search]


@pytest.mark.parametrize(
    ("stop", "blocks", "status", "reason"),
    [
        (StopReason.END, [], "completed", None),
        (StopReason.STOP_SEQUENCE, [], "completed", None),
        (StopReason.TOOL_USE, [], "completed", None),
        (StopReason.PAUSE, [], "completed", None),
        (StopReason.OTHER, [], "completed", None),
        (StopReason.MAX_TOKENS, [], "incomplete", "max_output_tokens"),
        (StopReason.CONTEXT, [], "incomplete", "max_output_tokens"),
        (StopReason.FILTERED, [], "incomplete", "content_filter"),
        (StopReason.REFUSAL, [], "incomplete", "content_filter"),
        (StopReason.REFUSAL, [Refusal("No.")], "completed", None),
    ],
)
def test_status(stop: StopReason, blocks: list[Block], status: str, reason: str | None) -> None:
    response = render_answer(answer(*(blocks or [Text("x")]), stop=stop), PLAIN, 9)
    openapi.check("Response", response)
    assert response["status"] == response["output"][-1]["status"] == status
    assert response["incomplete_details"] == (None if reason is None else {"reason": reason})


def test_an_answer_repeats_its_request() -> None:
    request: dict[str, Any] = {
        "instructions": "Be brief.",
        "tools": [{"type": "function", "name": "f"}, {"type": "web_search"}],
        "tool_choice": "required",
        "text": {"format": {"type": "json_object"}, "verbosity": "low"},
        "reasoning": {"effort": "low"},
        "temperature": 0,
        "top_p": 0.5,
        "max_output_tokens": 50,
        "max_tool_calls": 2,
        "parallel_tool_calls": False,
        "store": False,
        "metadata": {"a": "b"},
        "user": "u",
        "truncation": "auto",
        "previous_response_id": "resp_0",
        "prompt_cache_key": "k",
        "safety_identifier": "s",
    }
    response = render_answer(answer(Text("x")), parse_request({"input": "x", **request}), 9)
    openapi.check("Response", response)
    tools = [{"parameters": None, "strict": None, **request["tools"][0]}, request["tools"][1]]
    expected = {**request, "tools": tools, "reasoning": {"effort": "low", "summary": None}}
    assert {name: response[name] for name in request} == expected
    assert (response["id"], response["created_at"], response["model"]) == ("resp_7", 9, "m-1")
    assert response["usage"]["input_tokens_details"]["cached_tokens"] == 1


def test_a_request_too_deep_to_be_repeated_is_not() -> None:
    schema: dict[str, Any] = {}
    for _ in range(400):
        schema = {"properties": schema}
    tools = [{"type": "function", "name": "f", "parameters": schema}]
    response = render_answer(answer(Text("x")), parse_request({"input": "x", "tools": tools}), 9)
    assert response["tools"] == []
    assert response["output"][0]["content"][0]["text"] == "x"


def test_an_answer_without_id_model_usage_or_a_known_tier() -> None:
    bare = Answer("", "", [], StopReason.END, Usage(), service_tier="standard")
    response = render_answer(bare, PLAIN, 255)
    openapi.check("Response", response)
    assert (response["id"], response["model"], response["service_tier"]) == ("resp_ff", "m", "default")
    assert "usage" not in response


CITED = [
    ({"type": "web_search_result_location", "url": "https://a/b", "title": None}, ("url_citation", "https://a/b")),
    ({"type": "search_result_location", "source": "https://a/b", "title": "T"}, ("url_citation", "T")),
    ({"type": "page_location", "document_index": 2, "document_title": None}, ("file_citation", "document_2")),
    ({"type": "char_location", "file_id": "file_9", "document_title": "D"}, ("file_citation", "D")),
    ({"type": "search_result_location", "source": "row 7"}, None),
    ({"type": "new_location"}, None),
    ({}, None),
]


@pytest.mark.parametrize(("citation", "shown"), CITED)
def test_citations_are_annotations(citation: dict[str, Any], shown: tuple[str, str] | None) -> None:
    (message,) = output(Text("abc", citations=[citation]))
    annotations = message["content"][0]["annotations"]
    assert [(each["type"], each.get("title", each.get("filename"))) for each in annotations] == (
        [shown] if shown else []
    )


# -- of upstreams -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "stop"),
    [
        ({}, StopReason.END),
        ({"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}, StopReason.MAX_TOKENS),
        ({"status": "incomplete", "incomplete_details": {"reason": "content_filter"}}, StopReason.FILTERED),
        ({"status": "incomplete", "incomplete_details": None}, StopReason.OTHER),
        ({"status": "cancelled"}, StopReason.OTHER),
        ({"status": None}, StopReason.OTHER),
        ({"output": [{"type": "function_call", "call_id": "1", "name": "f", "arguments": ""}]}, StopReason.TOOL_USE),
        ({"output": [{"type": "message", "content": [{"type": "refusal", "refusal": "No"}]}]}, StopReason.REFUSAL),
    ],
)
def test_why_it_stopped(fields: dict[str, Any], stop: StopReason) -> None:
    assert parse_answer({"id": "resp_1", "model": "m", "status": "completed", "output": [], **fields}).stop is stop


def test_usage_and_times() -> None:
    body = {
        "output": [],
        "created_at": 1741570283.5,
        "usage": {
            "input_tokens": 10,
            "input_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 2},
            "output_tokens": 8,
            "output_tokens_details": {"reasoning_tokens": 5},
        },
    }
    parsed = parse_answer(body)
    assert parsed.usage == Usage(10, 8, 4, 2, 5, known=True)
    assert parsed.created == 1741570283
    assert parse_answer({"output": [], "created_at": 1e300}).created is None
    assert not parse_answer({"output": [], "usage": None}).usage.known


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"output": None},
        {"output": [1]},
        {"output": [], "status": "failed", "error": {"code": "server_error", "message": "boom"}},
        {"output": [], "status": "in_progress"},
        {"output": [], "status": "queued"},
        item(type="message", content="x"),
        item(type="message", content=[1]),
        item(type="message", content=[{"type": "output_text"}]),
        item(type="function_call", call_id="1", arguments="{}"),
        item(type="function_call", call_id="1", name="f", arguments={}),
        item(type="custom_tool_call", call_id="1", name="f"),
        item(type="reasoning", summary={}),
        item(type="reasoning", summary=[{}]),
    ],
)
def test_what_is_no_answer(body: dict[str, Any]) -> None:
    with pytest.raises(BadAnswer):
        parse_answer(body)


@settings(max_examples=200)
@given(
    st.dictionaries(
        st.sampled_from(["id", "model", "output", "status", "usage", "created_at", "incomplete_details", "error"]),
        values,
    ),
    st.lists(
        st.dictionaries(
            st.sampled_from(["id", "content", "summary", "arguments", "name", "call_id", "text", "encrypted_content"]),
            values,
        ),
        max_size=3,
    ),
    st.sampled_from(["message", "function_call", "custom_tool_call", "reasoning", "web_search_call", "output_text"]),
)
def test_no_answer_raises_anything_but_bad_answer(body: dict[str, Any], items: list[dict[str, Any]], kind: str) -> None:
    for candidate in (body, {**body, "status": "completed", "output": [{"type": kind, **each} for each in items]}):
        with contextlib.suppress(BadAnswer):
            render_answer(parse_answer(candidate), PLAIN, 9)
        parse_error(candidate, 0)


# -- errors -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "status", "kind", "message"),
    [
        (
            {"error": {"message": "Bad", "type": "invalid_request_error", "param": "input"}},
            400,
            "invalid_request",
            "Bad",
        ),
        ({"error": {"message": "Slow down", "code": "rate_limit_exceeded"}}, 429, "rate_limit", "Slow down"),
        ({"error": {"message": "x", "code": "server_error"}, "status": "failed"}, 0, "server", "x"),
        ({"error": {"message": "x", "code": "invalid_prompt"}}, 0, "invalid_request", "x"),
        ({"error": {"message": "x", "code": "image_too_large"}}, 0, "invalid_request", "x"),
        ({"error": {"message": "x", "code": "vector_store_timeout"}}, 0, "timeout", "x"),
        ({"error": {"message": "x", "code": "server_is_overloaded"}}, 0, "overloaded", "x"),
        ({"type": "error", "code": "rate_limit_exceeded", "message": "x", "param": None}, 0, "rate_limit", "x"),
        ({"detail": "Not Found"}, 404, "not_found", "Not Found"),
        ("Bad gateway", 502, "server", "Bad gateway"),
        (None, 500, "server", "The upstream answered with status 500."),
    ],
)
def test_errors_of_upstreams(body: Any, status: int, kind: str, message: str) -> None:
    error = parse_error(body, status)
    assert (error.kind, error.message, error.status) == (kind, message, status)


def test_errors_for_clients() -> None:
    body = render_error(UpstreamError("rate_limit", "Slow down", 429, "rate_limit_exceeded"), "req_1")
    openapi.check("ErrorResponse", body)
    assert body["error"]["type"] == "rate_limit_error"


def test_a_custom_tool_that_was_a_function_elsewhere() -> None:
    conversation = Conversation("m", [], tools=[Tool("sql", custom=True)])
    (call,) = output(ToolUse("1", "sql", '{"input": "x"}'), conversation=conversation)
    assert (call["type"], call["input"]) == ("custom_tool_call", "x")
