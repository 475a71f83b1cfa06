"""Content that the dialect of the upstream has no place for: told otherwise, named, or refused."""

from __future__ import annotations

import json
from typing import Any

import pytest

from plano.dialects.codecs import CLIENTS, UPSTREAMS
from plano.dialects.conversation import Dropped, Untranslatable
from plano.dialects.field_names import name_field

MODELS = {
    "chat": "gpt-4o",
    "messages": "claude-sonnet-4-5",
    "responses": "gpt-5.1",
    "converse": "anthropic.claude-sonnet-4-5",
    "gemini": "gemini-3-pro",
}
VIDEO = {"type": "video_url", "video_url": {"url": "https://x/y.mp4"}}
UPLOAD = {"type": "container_upload", "file_id": "file_1"}
SMELL = {"type": "input_smell", "smell": "rose"}
ASKED = {"type": "text", "text": "What is it?"}
CALLED = [
    {"role": "user", "content": "Look it up."},
    {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "search", "input": {}}]},
]
FOUND = {
    "type": "search_result",
    "source": "https://x/",
    "title": "The X",
    "content": [{"type": "text", "text": "It is"}, {"type": "text", "text": "blue."}],
    "citations": {"enabled": True},
}


def render(client: str, upstream: str, body: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    dropped = Dropped()
    conversation = CLIENTS[client].parse_request({"model": "m", "max_tokens": 99, **body})
    return UPSTREAMS[upstream].render_request(conversation, MODELS[upstream], dropped), dropped.names


def result(*content: dict[str, Any]) -> dict[str, Any]:
    return {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": list(content)}]}


GIVEN = [
    ("chat", {"messages": [{"role": "user", "content": [ASKED, VIDEO]}]}, "messages[0].content[1]"),
    ("messages", {"messages": [{"role": "user", "content": [ASKED, UPLOAD]}]}, "messages[0].content[1]"),
    ("messages", {"messages": [*CALLED, result(ASKED, UPLOAD)]}, "messages[2].content[0].content"),
    ("responses", {"input": [{"role": "user", "content": [{**ASKED, "type": "input_text"}, SMELL]}]}, "content[1]"),
]


@pytest.mark.parametrize("upstream", MODELS)
@pytest.mark.parametrize(("client", "body", "param"), GIVEN)
def test_what_a_user_or_a_tool_has_given_is_not_left_out(
    client: str, upstream: str, body: dict[str, Any], param: str
) -> None:
    if client == upstream:
        render(client, upstream, body)
        return
    with pytest.raises(Untranslatable) as caught:
        render(client, upstream, body)
    assert param in str(caught.value.param)


@pytest.mark.parametrize("upstream", ["chat", "responses", "converse", "gemini"])
def test_what_only_points_elsewhere_is_left_out_by_name(upstream: str) -> None:
    reference = {"type": "tool_reference", "tool_name": "f"}
    body, dropped = render("messages", upstream, {"messages": [*CALLED, result(ASKED, reference)]})
    assert len(dropped) == 1
    assert "What is it?" in json.dumps(body)
    assert "Attached" not in json.dumps(body)


@pytest.mark.parametrize("upstream", MODELS)
@pytest.mark.parametrize("inside", [False, True])
def test_search_results_reach_every_model(upstream: str, inside: bool) -> None:
    messages = [*CALLED, result(FOUND)] if inside else [{"role": "user", "content": [FOUND, ASKED]}]
    body, dropped = render("messages", upstream, {"messages": messages})
    sent = json.dumps(body)
    for text in ("https://x/", "The X", "It is", "blue."):
        assert text in sent
    citing = upstream in ("messages", "converse")
    assert ("citations" in dropped) is not citing
    assert ('"citations": {"enabled": true}' in sent) is citing
    if not inside and upstream == "messages":
        assert body["messages"][0]["content"][0] == FOUND
    if not inside and upstream == "converse":
        assert body["messages"][0]["content"][0] == {
            "searchResult": {
                "source": "https://x/",
                "title": "The X",
                "content": [{"text": "It is"}, {"text": "blue."}],
                "citations": {"enabled": True},
            }
        }


def test_models_at_bedrock_that_know_no_search_results_read_them() -> None:
    conversation = CLIENTS["messages"].parse_request(
        {"model": "m", "max_tokens": 99, "messages": [{"role": "user", "content": [FOUND]}]}
    )
    dropped = Dropped()
    body = UPSTREAMS["converse"].render_request(conversation, "amazon.nova-pro-v1:0", dropped)
    (block,) = body["messages"][0]["content"]
    assert block["text"] == "Search result: The X\nSource: https://x/\n\nIt is\nblue."
    assert dropped.names == ["citations"]


AUDIO = {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}
PDF_ID = {"type": "document", "source": {"type": "file", "file_id": "file-1"}}
TOOL_CALLS = [{"id": name, "type": "function", "function": {"name": "f", "arguments": "{}"}} for name in ("a", "b")]


@pytest.mark.parametrize(
    ("client", "upstream", "body", "param"),
    [
        (
            "chat",
            "messages",
            {"messages": [{"role": "system", "content": "x"}, {"role": "user", "content": [{**ASKED}, AUDIO]}]},
            "messages[1].content[1]",
        ),
        (
            "chat",
            "messages",
            {
                "messages": [
                    {"role": "user", "content": "x"},
                    {"role": "assistant", "tool_calls": TOOL_CALLS},
                    {"role": "tool", "tool_call_id": "a", "content": "x"},
                    {"role": "tool", "tool_call_id": "b", "content": [ASKED, AUDIO]},
                ]
            },
            "messages[3].content[1]",
        ),
        (
            "messages",
            "gemini",
            {"messages": [{"role": "system", "content": "x"}, {"role": "user", "content": [ASKED, PDF_ID]}]},
            "messages[1].content[1]",
        ),
        (
            "messages",
            "chat",
            {"messages": [*CALLED, {"role": "user", "content": [*result(ASKED)["content"], UPLOAD]}]},
            "messages[2].content[1]",
        ),
        (
            "responses",
            "messages",
            {"input": [{"role": "developer", "content": "x"}, {"role": "user", "content": [AUDIO]}]},
            "input[1].content[0]",
        ),
    ],
)
def test_a_refusal_names_the_place_in_the_clients_own_request(
    client: str, upstream: str, body: dict[str, Any], param: str
) -> None:
    with pytest.raises(Untranslatable) as caught:
        render(client, upstream, body)
    assert name_field(client, str(caught.value.param), body) == param
