"""What an upstream's dialect cannot say: left out and named, or refused in the client's own words."""

from __future__ import annotations

import json
from typing import Any

import anthropic
import openai
import pytest

from tests.conformance.conftest import Gateway, ask
from tests.conformance.speakers import UPSTREAMS, Speaker, model_at


def create(client: openai.OpenAI, claude: anthropic.Anthropic, name: str, model: str, change: dict[str, Any]) -> None:
    """Ask something in the dialect `name`, with a change to the ordinary request."""
    if name == "chat":
        client.chat.completions.create(**{"model": model, "messages": ask("Hi"), **change})
    elif name == "responses":
        client.responses.create(**{"model": model, "input": "Hi", **change})
    else:
        claude.messages.create(**{"model": model, "max_tokens": 9, "messages": ask("Hi"), **change})


def dropped(raw: Any) -> list[str]:
    """The fields an answer says were left out."""
    return [name for name in raw.headers.get("x-plano-dropped", "").split(", ") if name]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("upstream", ["messages", "converse", "gemini"])
def test_fields_that_change_little_are_named(client: openai.OpenAI, upstream: str, stream: bool) -> None:
    raw = client.chat.completions.with_raw_response.create(
        model=model_at(upstream, "drops"), messages=ask("Hi"), logit_bias={"50256": -100}, stream=stream
    )
    assert raw.status_code == 200
    assert dropped(raw) == ["logit_bias"]
    raw.http_response.close()


def test_what_was_left_out_is_counted(client: openai.OpenAI, gateway: Gateway) -> None:
    sample = 'plano_dropped_fields_total{field="logit_bias",provider="anthropic"}'

    def counted() -> float:
        lines = [line for line in gateway.cluster.metrics().splitlines() if line.startswith(sample)]
        return float(lines[0].split()[-1]) if lines else 0.0

    before = counted()
    client.chat.completions.create(model=model_at("messages", "drops"), messages=ask("Hi"), logit_bias={"1": 2})
    gateway.cluster.wait_until(lambda: counted() > before)


def test_nothing_is_named_where_nothing_was_left_out(speaker: Speaker, upstream: str) -> None:
    raw = speaker.raw(**speaker.ask(model_at(upstream, "drops", speaker), "Hi", system="Be brief.", tools=["look_up"]))
    # Every OpenAI SDK's user says `strict` and `store`, which other providers need not be told.
    assert set(dropped(raw)) <= {"tools[0].strict", "tools[0].function.strict", "store", "max_tokens"}


def test_the_same_dialect_drops_nothing(client: openai.OpenAI, claude: anthropic.Anthropic, gateway: Gateway) -> None:
    raw = client.chat.completions.with_raw_response.create(
        model="groq/keeps-chat", messages=ask("Hi"), logit_bias={"1": 2}, extra_body={"of_tomorrow": [1]}
    )
    assert dropped(raw) == []
    assert gateway.provider.wait_for_request("keeps-chat")["body"]["of_tomorrow"] == [1]
    cached = {"type": "text", "text": "Hi", "cache_control": {"type": "ephemeral"}, "of_tomorrow": True}
    turns: list[Any] = [{"role": "user", "content": [cached]}]
    message = claude.messages.with_raw_response.create(
        model="anthropic/keeps-messages",
        max_tokens=9,
        messages=turns,
        extra_body={"of_tomorrow": 1},
        extra_headers={"anthropic-beta": "tomorrow-2027-01-01"},
    )
    assert dropped(message) == []
    received = gateway.provider.wait_for_request("keeps-messages")
    assert received["body"]["messages"] == turns
    assert received["body"]["of_tomorrow"] == 1
    assert received["headers"]["anthropic-beta"] == "tomorrow-2027-01-01"


def test_an_upstream_that_only_streams_gets_the_request_as_it_came_too(client: openai.OpenAI, gateway: Gateway) -> None:
    said = [{"type": "output_text", "text": "Hm", "annotations": []}]
    items: list[Any] = [
        {"role": "user", "content": [{"type": "input_text", "text": "Hi", "of_tomorrow": True}]},
        {"type": "message", "id": "msg_1", "role": "assistant", "phase": "commentary", "content": said},
        {"type": "reasoning", "id": "rs_1_0", "summary": [{"type": "summary_text", "text": "another provider's"}]},
        {"role": "user", "content": "And?"},
    ]
    member = {"type": "function", "name": "look", "parameters": {"type": "object"}, "defer_loading": True}
    space: Any = {"type": "namespace", "name": "eyes", "description": "To see with", "tools": [member]}
    raw = client.responses.with_raw_response.create(
        model="chatgpt/keeps-responses", input=items, tools=[space], extra_body={"of_tomorrow": [1]}
    )
    assert raw.parse().output_text
    assert dropped(raw) == ["reasoning"]
    body = gateway.provider.wait_for_request("keeps-responses")["body"]
    assert body["input"] == [*items[:2], items[3]]
    assert body["tools"] == [space]
    assert body["of_tomorrow"] == [1]


def test_anthropics_own_fields_survive_on_the_way_to_anthropic_models_elsewhere(
    claude: anthropic.Anthropic, gateway: Gateway
) -> None:
    cached: Any = {"type": "text", "text": "Hi", "cache_control": {"type": "ephemeral"}}
    claude.messages.create(
        model="amazon_bedrock/caches-claude",
        max_tokens=9,
        system=[cached],
        messages=[{"role": "user", "content": [cached]}],
        extra_body={"top_k": 7},
    )
    body = gateway.provider.wait_for_request("caches-claude")["body"]
    assert {"cachePoint": {"type": "default"}} in body["system"]
    assert body["additionalModelRequestFields"]["top_k"] == 7


RECORDING = {"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}}
REFUSED: list[tuple[str, dict[str, Any], str, str]] = [
    ("chat", {"n": 2}, "messages", "n"),
    ("chat", {"n": 2}, "converse", "n"),
    (
        "chat",
        {"messages": [{"role": "user", "content": [RECORDING]}]},
        "messages",
        "messages[0].content[0]",
    ),
    (
        "chat",
        {"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": [RECORDING]}]},
        "messages",
        "messages[1].content[0]",
    ),
    (
        "responses",
        {"input": [{"role": "user", "content": [{"type": "input_image", "detail": "auto", "file_id": "file-1"}]}]},
        "messages",
        "input",
    ),
    ("responses", {"previous_response_id": "resp_1"}, "messages", "previous_response_id"),
    (
        "messages",
        {"messages": [{"role": "user", "content": [{"type": "image", "source": {"type": "file", "file_id": "f"}}]}]},
        "converse",
        "messages[0].content[0]",
    ),
]


@pytest.mark.parametrize(("name", "change", "upstream", "param"), REFUSED)
def test_what_would_change_the_meaning_is_refused(
    gateway: Gateway,
    client: openai.OpenAI,
    claude: anthropic.Anthropic,
    name: str,
    change: dict[str, Any],
    upstream: str,
    param: str,
) -> None:
    model = model_at(upstream, "is-not-asked")
    with pytest.raises((openai.BadRequestError, anthropic.BadRequestError)) as raised:
        create(client, claude, name, model, change)
    body: Any = raised.value.body
    error = body["error"] if name == "messages" else body
    assert error["param"].startswith(param)
    assert error["type"] == "invalid_request_error"
    assert gateway.provider.requests("is-not-asked") == []


@pytest.mark.parametrize(
    ("name", "change", "param"),
    [
        ("chat", {"messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
        ("chat", {"messages": [{"role": "nobody", "content": "Hi"}]}, "messages[0].role"),
        ("chat", {"temperature": "hot"}, "temperature"),
        ("chat", {"tools": [{"type": "function", "function": {}}]}, "tools[0].function.name"),
        ("messages", {"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages[0].content[0].text"),
        ("messages", {"max_tokens": "many"}, "max_tokens"),
        ("messages", {"system": 5}, "system"),
        ("messages", {"tools": [{"input_schema": {}}]}, "tools[0].name"),
        ("responses", {"input": [{"type": "function_call_output", "output": "x"}]}, "input[0].call_id"),
        ("responses", {"input": 5}, "input"),
        ("responses", {"instructions": 5}, "instructions"),
        ("responses", {"max_output_tokens": "many"}, "max_output_tokens"),
    ],
)
def test_a_wrong_type_in_a_known_field_is_named_whatever_the_upstream_speaks(
    client: openai.OpenAI, claude: anthropic.Anthropic, name: str, change: dict[str, Any], param: str
) -> None:
    for upstream in UPSTREAMS:
        if upstream == name:
            continue  # its own provider says so
        model = model_at(upstream, "is-malformed")
        with pytest.raises((openai.BadRequestError, anthropic.BadRequestError)) as raised:
            create(client, claude, name, model, change)
        body: Any = raised.value.body
        error = body["error"] if name == "messages" else body
        assert (upstream, error["param"]) == (upstream, param)
        assert param in error["message"]


def test_what_was_dropped_is_named_as_the_client_named_it(speaker: Speaker) -> None:
    request = {**speaker.ask("chatgpt/has-no-limit", "Hi"), **speaker.limit(50)}
    assert set(speaker.limit(50)) <= set(dropped(speaker.raw(**request)))


@pytest.mark.parametrize("upstream", ["groq", "anthropic", "chatgpt", "amazon_bedrock", "gemini_native"])
def test_search_results_of_anthropics_clients_reach_every_upstream(
    claude: anthropic.Anthropic, gateway: Gateway, upstream: str
) -> None:
    content: list[Any] = [
        {
            "type": "search_result",
            "source": "https://x/",
            "title": "Colours",
            "content": [{"type": "text", "text": "The sky is blue."}],
        },
        {"type": "text", "text": "What colour?"},
    ]
    name = "us.anthropic.claude-sonnet-4-6" if upstream == "amazon_bedrock" else f"finds-{upstream}"
    turns: list[Any] = [{"role": "user", "content": content}]
    message = claude.messages.create(model=f"{upstream}/{name}", max_tokens=99, messages=turns)
    assert message.content
    body = json.dumps(gateway.provider.wait_for_request(name)["body"])
    assert "The sky is blue." in body
    assert "Colours" in body
