"""Keys and paths: each upstream is called in its own scheme, each client refused in its own shape."""

from __future__ import annotations

from typing import Any

import anthropic
import openai
import pytest

from tests.conformance.conftest import Gateway, ask
from tests.conformance.speakers import Speaker, model_at

HEADERS = {
    "chat": ("authorization", "Bearer sk-groq"),
    "messages": ("x-api-key", "sk-anthropic"),
    "responses": ("authorization", "Bearer sk-chatgpt"),
    "converse": ("authorization", "Bearer sk-bedrock"),
    "gemini": ("x-goog-api-key", "sk-google"),
}
PASSED = {"chat": ("authorization", "Bearer {}"), "messages": ("x-api-key", "{}"), "gemini": ("x-goog-api-key", "{}")}
CLIENT_KEYS = {"chat": "sk-client", "messages": "sk-ant-client", "responses": "sk-client"}
SCHEMES = ("authorization", "x-api-key", "x-goog-api-key", "api-key")


def sent_credentials(received: dict[str, Any]) -> dict[str, str]:
    """The headers of a request that hold a key."""
    return {name: received["headers"][name] for name in SCHEMES if name in received["headers"]}


def test_each_upstream_gets_the_configured_key_in_its_own_scheme(
    speaker: Speaker, upstream: str, gateway: Gateway
) -> None:
    model = f"is-let-in-{speaker.name}-{upstream}"
    speaker.create(speaker.ask(model_at(upstream, model), "Hi"))
    header, value = HEADERS[upstream]
    assert sent_credentials(gateway.provider.wait_for_request(model)) == {header: value}


@pytest.mark.parametrize("upstream", list(PASSED))
def test_the_clients_own_key_passes_in_the_upstreams_scheme(speaker: Speaker, upstream: str, gateway: Gateway) -> None:
    gateway.provider.clear_requests()
    speaker.create(speaker.ask(f"knows-{upstream}", "Hi"))
    header, value = PASSED[upstream]
    received = gateway.provider.wait_for_request("knows-you")
    assert sent_credentials(received) == {header: value.format(CLIENT_KEYS[speaker.name])}


def test_anthropics_version_is_always_told(speaker: Speaker, gateway: Gateway) -> None:
    model = f"has-a-version-{speaker.name}"
    speaker.create(speaker.ask(f"anthropic/{model}", "Hi"))
    assert gateway.provider.wait_for_request(model)["headers"]["anthropic-version"] == "2023-06-01"


def test_anthropics_sdk_is_told_of_unknown_models_in_its_own_shape(claude: anthropic.Anthropic) -> None:
    with pytest.raises(anthropic.NotFoundError) as raised:
        claude.messages.create(model="nowhere/model", max_tokens=9, messages=ask("Hi"))
    body: Any = raised.value.body
    assert (body["type"], body["error"]["type"]) == ("error", "not_found_error")
    assert "nowhere/model" in body["error"]["message"]
    assert raised.value.request_id or raised.value.response.headers["x-request-id"]


def test_anthropics_sdk_is_told_of_unknown_paths_in_its_own_shape(claude: anthropic.Anthropic) -> None:
    with pytest.raises(anthropic.NotFoundError) as raised:
        claude.messages.batches.list()
    body: Any = raised.value.body
    assert (body["type"], body["error"]["type"]) == ("error", "not_found_error")


def test_openais_sdk_is_told_of_unknown_models_in_responses_too(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as raised:
        client.responses.create(model="nowhere/model", input="Hi")
    assert (raised.value.code, raised.value.param) == ("model_not_found", "model")


def test_the_usage_of_a_stream_is_asked_for_and_kept_from_clients_that_did_not(
    speaker: Speaker, gateway: Gateway
) -> None:
    model = f"is-asked-for-usage-{speaker.name}"
    speaker.read_pieces(speaker.ask(f"groq/{model}", "Hi"))
    assert gateway.provider.wait_for_request(model)["body"]["stream_options"] == {"include_usage": True}


def test_chat_chunks_hold_usage_only_when_asked_for(client: openai.OpenAI, upstream: str) -> None:
    model = model_at(upstream, "counts")
    plain = list(client.chat.completions.create(model=model, messages=ask("Hi"), stream=True))
    assert all(chunk.choices and chunk.usage is None for chunk in plain)
    counted = list(
        client.chat.completions.create(
            model=model, messages=ask("Hi"), stream=True, stream_options={"include_usage": True}
        )
    )
    assert counted[-1].choices == []
    assert counted[-1].usage is not None
    assert all(chunk.usage is None for chunk in counted[:-1])
    assert len({chunk.id for chunk in counted}) == 1
    assert {chunk.model for chunk in counted} == {"counts"}
