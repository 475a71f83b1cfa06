"""Answers and errors of Bedrock Converse."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plano.dialects.conversation import (
    Answer,
    BadAnswer,
    Block,
    Conversation,
    Opaque,
    RedactedThinking,
    StopReason,
    Text,
    Thinking,
    Tool,
    ToolUse,
    Usage,
)
from plano.dialects.converse.answer import parse_answer, parse_error
from plano.dialects.converse.names import converse_tool_name

USAGE = {
    "inputTokens": 10,
    "outputTokens": 5,
    "totalTokens": 145,
    "cacheReadInputTokens": 100,
    "cacheWriteInputTokens": 30,
    "cacheDetails": [{"ttl": "5m", "inputTokens": 30}],
}


def answer(*content: Any, stop: str = "end_turn", **fields: Any) -> dict[str, Any]:
    return {
        "output": {"message": {"role": "assistant", "content": list(content)}},
        "stopReason": stop,
        "usage": USAGE,
        "metrics": {"latencyMs": 100},
        **fields,
    }


def blocks(*content: Any, conversation: Conversation | None = None) -> list[Block]:
    return parse_answer(answer(*content), conversation).blocks


def test_a_plain_answer() -> None:
    body = answer({"text": "Hello"}, serviceTier={"type": "flex"})
    assert parse_answer(body) == Answer(
        id="",
        model="",
        blocks=[Text("Hello")],
        stop=StopReason.END,
        usage=Usage(input=140, output=5, cache_read=100, cache_write=30, known=True),
        service_tier="flex",
    )


def test_the_model_that_a_prompt_router_chose() -> None:
    trace = {"promptRouter": {"invokedModelId": "arn:aws:bedrock:us-east-1::foundation-model/x.y"}}
    assert parse_answer(answer(trace=trace)).model == trace["promptRouter"]["invokedModelId"]


def test_every_kind_of_block() -> None:
    image = {"image": {"format": "png", "source": {"bytes": "AAAA"}}}
    server = {"toolUse": {"toolUseId": "s", "name": "nova_grounding", "input": {}, "type": "server_tool_use"}}
    assert blocks(
        {"reasoningContent": {"reasoningText": {"text": "Hmm", "signature": "c2ln"}}},
        {"reasoningContent": {"reasoningText": {"text": "Hmm"}}},
        {"reasoningContent": {"redactedContent": "AQID"}},
        {"text": ""},
        {"text": "a"},
        {"toolUse": {"toolUseId": "t1", "name": "f", "input": {"b": [1, "ü"]}}},
        {"toolUse": {"toolUseId": "t2", "name": "f"}},
        image,
        server,
    ) == [
        Thinking("Hmm", "c2ln"),
        Thinking("Hmm"),
        RedactedThinking("AQID"),
        Text("a"),
        ToolUse("t1", "f", '{"b":[1,"ü"]}'),
        ToolUse("t2", "f", "{}"),
        Opaque("converse", image),
        Opaque("converse", server),
    ]


def test_names_and_free_text_tools_are_the_clients_again() -> None:
    conversation = Conversation("m", [], tools=[Tool("code.run", custom=True), Tool("files/read")])
    use = {"toolUseId": "t1", "name": converse_tool_name("code.run"), "input": {"input": "print(1)"}}
    read = {"toolUseId": "t2", "name": converse_tool_name("files/read"), "input": {}}
    assert blocks({"toolUse": use}, {"toolUse": read}, conversation=conversation) == [
        ToolUse("t1", "code.run", "print(1)", custom=True),
        ToolUse("t2", "files/read", "{}"),
    ]


@pytest.mark.parametrize(
    ("location", "expected"),
    [
        (
            {"documentChar": {"documentIndex": 1, "start": 0, "end": 20}},
            {
                "type": "char_location",
                "cited_text": "Grass is green.",
                "document_index": 1,
                "document_title": "facts",
                "start_char_index": 0,
                "end_char_index": 20,
            },
        ),
        (
            {"documentPage": {"documentIndex": 0, "start": 2, "end": 3}},
            {
                "type": "page_location",
                "cited_text": "Grass is green.",
                "document_index": 0,
                "document_title": "facts",
                "start_page_number": 2,
                "end_page_number": 3,
            },
        ),
        (
            {"documentChunk": {"documentIndex": 0, "start": 4, "end": 5}},
            {
                "type": "content_block_location",
                "cited_text": "Grass is green.",
                "document_index": 0,
                "document_title": "facts",
                "start_block_index": 4,
                "end_block_index": 5,
            },
        ),
        (
            {"searchResultLocation": {"searchResultIndex": 2, "start": 0, "end": 1}},
            {
                "type": "search_result_location",
                "cited_text": "Grass is green.",
                "search_result_index": 2,
                "source": "https://example.com",
                "title": "facts",
                "start_block_index": 0,
                "end_block_index": 1,
            },
        ),
        (
            {"web": {"url": "https://example.com/a", "domain": "example.com"}},
            {
                "type": "web_search_result_location",
                "cited_text": "Grass is green.",
                "url": "https://example.com/a",
                "title": "facts",
                "encrypted_index": "",
            },
        ),
        ({"web": {}}, None),
        ({"new": {}}, None),
        (None, None),
    ],
)
def test_citations(location: Any, expected: Any) -> None:
    citation = {
        "title": "facts",
        "source": "https://example.com",
        "sourceContent": [{"text": "Grass "}, {"text": "is green."}, {"image": {}}],
        "location": location,
    }
    content = {"content": [{"text": "It is "}, {"text": "green."}], "citations": [citation]}
    assert blocks({"citationsContent": content}) == [
        Text("It is green.", citations=[expected] if expected is not None else [])
    ]


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("end_turn", StopReason.END),
        ("tool_use", StopReason.TOOL_USE),
        ("max_tokens", StopReason.MAX_TOKENS),
        ("stop_sequence", StopReason.STOP_SEQUENCE),
        ("guardrail_intervened", StopReason.FILTERED),
        ("content_filtered", StopReason.FILTERED),
        ("model_context_window_exceeded", StopReason.CONTEXT),
        ("malformed_model_output", StopReason.OTHER),
        ("malformed_tool_use", StopReason.OTHER),
        ("something_new", StopReason.OTHER),
    ],
)
def test_stop_reasons(reason: str, expected: StopReason) -> None:
    assert parse_answer(answer(stop=reason)).stop is expected


def test_the_stop_sequence_where_the_model_tells_it() -> None:
    body = answer(stop="stop_sequence", additionalModelResponseFields={"stop_sequence": "END"})
    assert parse_answer(body).stop_sequence == "END"
    assert parse_answer(answer(stop="stop_sequence", additionalModelResponseFields=None)).stop_sequence is None


def test_usage_that_is_missing_or_odd() -> None:
    body = answer({"text": "a"})
    del body["usage"]
    assert not parse_answer(body).usage.known
    body["usage"] = {"inputTokens": -1, "outputTokens": True, "cacheReadInputTokens": "7"}
    assert parse_answer(body).usage == Usage(known=True)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"output": None},
        {"output": {"message": []}},
        {"output": {"message": {"content": "text"}}},
        answer("text"),
        answer({"text": 1}),
        answer({"toolUse": {"name": "f", "input": {}}}),
        answer({"toolUse": {"toolUseId": "t", "name": "f", "input": {1: object()}}}),
        answer({"reasoningContent": {"reasoningText": {}}}),
        answer({"citationsContent": {"content": {"text": "a"}}}),
        {**answer(), "stopReason": None},
        {**answer(), "usage": []},
    ],
)
def test_what_is_no_answer_is_told(body: dict[str, Any]) -> None:
    with pytest.raises(BadAnswer):
        parse_answer(body)


BLOCKS = ["text", "toolUse", "reasoningContent", "citationsContent", "reasoningText", "redactedContent"]
NAMES = [*BLOCKS, "output", "message", "content", "usage", "citations", "location", "web", "input", "toolUseId", "name"]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=200, deadline=None)
@given(st.lists(JSON, max_size=3), JSON, JSON)
def test_anything_is_an_answer_or_a_bad_answer(content: list[Any], usage: Any, stop: Any) -> None:
    body = {"output": {"message": {"content": content}}, "stopReason": stop, "usage": usage}
    for value in (body, {**body, "stopReason": "end_turn"}, {"output": stop}):
        with suppress(BadAnswer):
            parse_answer(value)


# -- errors -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "status", "kind"),
    [
        ("ThrottlingException", 429, "rate_limit"),
        ("ValidationException", 400, "invalid_request"),
        ("AccessDeniedException", 403, "permission"),
        ("UnrecognizedClientException", 403, "authentication"),
        ("ExpiredTokenException", 403, "authentication"),
        ("ResourceNotFoundException", 404, "not_found"),
        ("ModelTimeoutException", 408, "timeout"),
        ("ModelNotReadyException", 429, "overloaded"),
        ("ModelErrorException", 424, "server"),
        ("InternalServerException", 500, "server"),
        ("ServiceUnavailableException", 503, "overloaded"),
        ("ServiceQuotaExceededException", 400, "rate_limit"),
        ("NewException", 409, "invalid_request"),
        ("NewException", 502, "server"),
    ],
)
def test_errors_by_name(name: str, status: int, kind: str) -> None:
    error = parse_error({"__type": f"com.amazonaws.bedrock#{name}:http://x/", "message": "No."}, status)
    assert (error.kind, error.message, error.status, error.code) == (kind, "No.", status, name)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "invalid_request"),
        (401, "authentication"),
        (403, "permission"),
        (404, "not_found"),
        (413, "too_large"),
        (418, "invalid_request"),
        (424, "server"),
        (429, "rate_limit"),
        (500, "server"),
        (503, "overloaded"),
        (504, "timeout"),
    ],
)
def test_errors_by_status(status: int, kind: str) -> None:
    error = parse_error({"message": "No."}, status)
    assert (error.kind, error.status, error.code) == (kind, status, None)


@pytest.mark.parametrize("body", [None, "", "<html>", [], {}, {"message": 1}, {"Message": ""}, {"__type": 3}])
def test_errors_without_a_message(body: Any) -> None:
    assert parse_error(body, 502).message == "Bedrock answered with status 502."
    assert parse_error({"Message": "User is not authorized"}, 403).message == "User is not authorized"
