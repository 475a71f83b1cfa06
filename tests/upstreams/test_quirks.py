"""Quirks: what is sent to providers and models that want more, less or otherwise than their dialect says."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plano.config.plan import ProviderPlan
from plano.dialects.conversation import BadRequest, Dropped
from plano.upstreams.catalogue import catalogue
from plano.upstreams.quirks import CODEX_INSTRUCTIONS, Call, apply_quirks, quirks_for
from tests.upstreams.plans import provider

HELLO: dict[str, Any] = {"messages": [{"role": "user", "content": "hello"}]}
QUIRKY = (
    "xai/m",
    "mistral/m",
    "moonshotai/kimi-k3",
    "moonshotai/kimi-for-coding",
    "chatgpt/gpt-5",
    "openai/o3",
    "openai/gpt-5",
)
CODEX_READY: dict[str, Any] = {"instructions": CODEX_INSTRUCTIONS, "input": [], "store": False, "stream": True}


def entry(model: str) -> ProviderPlan:
    known = catalogue()[model.partition("/")[0]]
    return provider(model, quirks=known.quirks)


def send(
    model: str, body: dict[str, Any], *, client: str = "chat", upstream: str = "chat"
) -> tuple[dict[str, Any], list[str]]:
    """What a provider gets for `body`, and the fields named as dropped."""
    plan = entry(model)
    before = copy.deepcopy(body)
    dropped = Dropped()
    sent = apply_quirks(quirks_for(plan.quirks, plan.upstream_model), body, Call(client, upstream), dropped)
    assert body == before, "the body belongs to the caller"
    assert sent == before or sent is not body
    return sent, dropped.names


# -- whose quirks


@pytest.mark.parametrize(
    ("model", "names"),
    [
        ("openai/gpt-4o", []),
        ("mistral/mistral-large-latest", ["no_stream_options", "no_reasoning_history"]),
        ("xai/grok-4.3", ["no_web_search_options"]),
        ("moonshotai/kimi-k3", ["kimi_k3"]),
        ("moonshotai/kimi-k3-preview", []),
        ("openrouter/kimi-k3", []),
        ("moonshotai/kimi-for-coding", ["kimi_coding"]),
        ("openrouter/kimi-for-coding", ["kimi_coding"]),
        ("moonshotai/kimi-for-coding-2", []),
        ("chatgpt/gpt-5.4", ["codex", "completion_tokens", "fixed_temperature"]),
        ("openai/o3", ["completion_tokens"]),
        ("openai/o3-mini", ["completion_tokens"]),
        ("openrouter/openai/o3", ["completion_tokens"]),
        ("openai/o4-mini", ["completion_tokens"]),
        ("openai/gpt-5-mini", ["completion_tokens", "fixed_temperature"]),
        ("openai/gpt-4.1", []),
    ],
)
def test_quirks_go_by_provider_and_model(model: str, names: list[str]) -> None:
    plan = entry(model)
    assert [quirk.name for quirk in quirks_for(plan.quirks, plan.upstream_model)] == names


def test_only_the_chatgpt_backend_streams_unasked() -> None:
    streaming = [
        prefix for prefix, known in catalogue().items() if any(q.always_streams for q in quirks_for(known.quirks, "m"))
    ]
    assert streaming == ["chatgpt"]


def test_who_must_not_be_asked_for_the_usage_of_a_stream() -> None:
    refusing = [
        model
        for model in ("openai/gpt-4o", "mistral/m", "moonshotai/kimi-for-coding", "moonshotai/kimi-k3", "xai/m")
        if not all(quirk.usage_in_streams for quirk in quirks_for(entry(model).quirks, model.partition("/")[2]))
    ]
    assert refusing == ["mistral/m", "moonshotai/kimi-for-coding"]


def test_an_unknown_quirk_is_an_error_of_ours() -> None:
    with pytest.raises(KeyError):
        quirks_for(("nonesuch",), "m")


@pytest.mark.parametrize(
    ("model", "body", "client", "upstream"),
    [
        ("xai/grok-4.3", HELLO, "chat", "chat"),
        ("xai/grok-4.3", {"input": "x", "web_search_options": {}}, "responses", "responses"),
        ("moonshotai/kimi-k3", {**HELLO, "reasoning_effort": "high"}, "chat", "chat"),
        ("moonshotai/kimi-for-coding", {**HELLO, "temperature": 1}, "chat", "chat"),
        ("moonshotai/kimi-for-coding", {**HELLO, "store": True}, "messages", "messages"),
        ("chatgpt/gpt-5.4", CODEX_READY, "responses", "responses"),
        ("openai/gpt-5", {**HELLO, "temperature": 0.2}, "chat", "chat"),
        ("openai/gpt-5", {**HELLO, "temperature": 1.0}, "messages", "chat"),
        ("openai/gpt-5", {**HELLO, "temperature": None}, "messages", "chat"),
        ("openai/o3", {**HELLO, "max_completion_tokens": 9}, "chat", "chat"),
        ("vercel/gpt-5", {**HELLO, "max_tokens": 9, "temperature": 0.2}, "messages", "messages"),
    ],
)
def test_a_body_that_needs_no_change_stays_the_same_object(
    model: str, body: dict[str, Any], client: str, upstream: str
) -> None:
    sent, dropped = send(model, body, client=client, upstream=upstream)
    assert sent is body
    assert dropped == []


# -- xai


def test_xai_gets_no_web_search_options() -> None:
    sent, dropped = send("xai/grok-4.3", {**HELLO, "web_search_options": {}, "n": 2})
    assert sent == {**HELLO, "n": 2}
    assert dropped == ["web_search_options"]


# -- Mistral


def test_mistral_gets_no_stream_options() -> None:
    body = {**HELLO, "stream": True, "stream_options": {"include_usage": True}}
    assert send("mistral/mistral-large-latest", body) == ({**HELLO, "stream": True}, [])


# -- Kimi


def test_kimi_for_coding_gets_no_options_it_refuses() -> None:
    refused = {
        "stream_options": {"include_usage": True},
        "reasoning_effort": "high",
        "web_search_options": {},
        "service_tier": "auto",
        "store": False,
        "thinking": {"type": "enabled"},
    }
    sent, dropped = send("moonshotai/kimi-for-coding", {**HELLO, **refused, "stream": True})
    assert sent == {**HELLO, "stream": True}
    assert set(dropped) == set(refused) - {"stream_options"}, "usage was asked for by the gateway"


def test_kimi_for_coding_gets_no_thinking_in_the_messages_dialect() -> None:
    body = {**HELLO, "thinking": {"type": "adaptive"}, "service_tier": "auto"}
    sent, dropped = send("moonshotai/kimi-for-coding", body, client="messages", upstream="messages")
    assert sent == {**HELLO, "service_tier": "auto"}
    assert dropped == ["thinking"]


def test_kimi_k3_gets_no_sampling_options() -> None:
    sampling = {"temperature": 0.1, "top_p": 0.9, "n": 1, "presence_penalty": 0, "frequency_penalty": 0}
    sent, dropped = send("moonshotai/kimi-k3", {**HELLO, **sampling, "max_tokens": 5})
    assert sent == {**HELLO, "max_tokens": 5}
    assert dropped == list(sampling)


@pytest.mark.parametrize(
    ("asked", "effort"),
    [
        ("none", "low"),
        ("minimal", "low"),
        ("low", "low"),
        ("medium", "high"),
        ("high", "high"),
        ("max", "max"),
        ("xhigh", None),
        (None, None),
        (3, None),
        ({}, None),
    ],
)
def test_kimi_k3_knows_three_efforts(asked: Any, effort: str | None) -> None:
    sent, dropped = send("moonshotai/kimi-k3", {**HELLO, "reasoning_effort": asked})
    assert sent.get("reasoning_effort") == effort
    assert ("reasoning_effort" in sent) == (effort is not None)
    assert dropped == ([] if effort else ["reasoning_effort"])


# -- ChatGPT


def codex(**fields: Any) -> dict[str, Any]:
    return send("chatgpt/gpt-5.4", {"model": "gpt-5.4", **fields}, client="responses", upstream="responses")[0]


def test_the_chatgpt_backend_gets_what_it_insists_on() -> None:
    assert codex(input="hello", store=True) == {
        "model": "gpt-5.4",
        "instructions": CODEX_INSTRUCTIONS,
        "input": [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hello"}]}],
        "store": False,
        "stream": True,
    }


@pytest.mark.parametrize(
    ("given_", "sent"),
    [
        (None, CODEX_INSTRUCTIONS),
        ("", CODEX_INSTRUCTIONS),
        ("Be brief.", f"{CODEX_INSTRUCTIONS}\n\nBe brief."),
        (CODEX_INSTRUCTIONS, CODEX_INSTRUCTIONS),
        (f"{CODEX_INSTRUCTIONS} And be brief.", f"{CODEX_INSTRUCTIONS} And be brief."),
    ],
)
def test_codex_instructions_come_first_and_once(given_: str | None, sent: str) -> None:
    assert codex(input=[], instructions=given_)["instructions"] == sent


def test_a_single_item_becomes_a_list() -> None:
    item = {"role": "user", "content": "hello"}
    assert codex(input=item)["input"] == [item]
    assert codex(input=[item])["input"] == [item]


def test_the_chatgpt_backend_only_streams() -> None:
    with pytest.raises(BadRequest) as caught:
        codex(input="hello", stream=False)
    assert caught.value.param == "stream"
    assert codex(input="hello", stream=None)["stream"] is True


def test_the_chatgpt_backend_gets_no_limits_and_no_sampling() -> None:
    body = {**CODEX_READY, "temperature": 0.5, "max_output_tokens": 100, "user": "u", "reasoning": {"effort": "low"}}
    sent, dropped = send("chatgpt/gpt-5.4", body, client="messages", upstream="responses")
    assert sent == {**CODEX_READY, "reasoning": {"effort": "low"}}
    assert dropped == ["temperature", "max_output_tokens", "user"]


# -- OpenAI's reasoning models


@pytest.mark.parametrize("upstream", ["chat", "responses"])
def test_gpt_5_knows_one_temperature(upstream: str) -> None:
    body = {**HELLO, "temperature": 0.2}
    assert send("openai/gpt-5-mini", body, client="messages", upstream=upstream) == ({**HELLO, "temperature": 1.0}, [])


@pytest.mark.parametrize("model", ["openai/o3", "openai/o3-mini", "openrouter/openai/o3", "openai/gpt-5"])
def test_reasoning_models_are_told_the_limit_by_its_new_name(model: str) -> None:
    assert send(model, {**HELLO, "max_tokens": 9}) == ({**HELLO, "max_completion_tokens": 9}, [])
    both = {**HELLO, "max_tokens": 9, "max_completion_tokens": 7}
    assert send(model, both) == ({**HELLO, "max_completion_tokens": 7}, [])
    assert send(model, {**HELLO, "max_tokens": None}) == (HELLO, [])


# -- any body


@given(
    model=st.sampled_from(
        [
            "xai/m",
            "mistral/m",
            "moonshotai/kimi-k3",
            "moonshotai/kimi-for-coding",
            "chatgpt/gpt-5",
            "openai/o3",
            "openai/gpt-5",
        ]
    ),
    client=st.sampled_from(["chat", "messages", "responses"]),
    upstream=st.sampled_from(["chat", "messages", "responses", "converse", "gemini"]),
    body=st.dictionaries(
        st.sampled_from(
            [
                "instructions",
                "input",
                "stream",
                "store",
                "max_tokens",
                "temperature",
                "reasoning_effort",
                "thinking",
                "n",
            ]
        ),
        st.none() | st.booleans() | st.integers() | st.text(max_size=3) | st.lists(st.integers()) | st.just({}),
    ),
)
def test_any_body_is_sent_or_refused_and_twice_is_as_good_as_once(
    model: str, client: str, upstream: str, body: dict[str, Any]
) -> None:
    try:
        sent, _ = send(model, body, client=client, upstream=upstream)
    except BadRequest:
        assert body["stream"] is False
    else:
        assert send(model, sent, client=client, upstream=upstream)[0] is sent


def test_groq_and_mistral_are_not_shown_earlier_reasoning() -> None:
    (quirk,) = quirks_for(("no_reasoning_history",), "llama")
    thought = {"role": "assistant", "content": "4", "reasoning_content": "2 + 2", "reasoning_details": []}
    body = {"messages": [{"role": "user", "content": "2 + 2?"}, thought]}
    sent = quirk.apply(body, Call("messages", "chat"))
    assert sent == {"messages": [body["messages"][0], {"role": "assistant", "content": "4"}]}
    assert quirk.apply(sent, Call("chat", "chat")) is sent
