"""Whole answers through the official SDK."""

from __future__ import annotations

import re

import openai
import pytest

from tests.conformance.conftest import Gateway, Mood, ask

PIXEL = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAA"
    "DUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


def test_a_chat_is_answered_with_its_usage(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(model="openai/gpt-4o", messages=ask("Hi there"))
    assert answer.object == "chat.completion"
    assert answer.model == "gpt-4o"
    assert answer.choices[0].finish_reason == "stop"
    assert answer.choices[0].message.content.endswith("You said: Hi there")
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens > 0


@pytest.mark.parametrize("model", ["gpt-4o", "openai/gpt-4o", "fast"])
def test_one_model_answers_to_its_id_its_name_and_its_alias(client: openai.OpenAI, model: str) -> None:
    raw = client.chat.completions.with_raw_response.create(model=model, messages=ask("Hi"))
    assert raw.headers["x-plano-model"] == "openai/gpt-4o"
    assert raw.parse().model == "gpt-4o"


def test_a_wildcard_passes_any_model_of_its_provider(client: openai.OpenAI, gateway: Gateway) -> None:
    raw = client.chat.completions.with_raw_response.create(model="mistral/model-of-tomorrow", messages=ask("Hi"))
    assert raw.parse().model == "model-of-tomorrow"
    assert raw.headers["x-plano-model"] == "mistral/model-of-tomorrow"
    received = gateway.provider.wait_for_request("model-of-tomorrow")
    assert received["headers"]["authorization"] == "Bearer sk-mistral"


def test_the_raw_response_tells_what_happened(client: openai.OpenAI) -> None:
    raw = client.chat.completions.with_raw_response.create(
        model="openai/gpt-4o", messages=ask("Hi"), extra_headers={"x-request-id": "my-own-id"}
    )
    assert raw.status_code == 200
    assert raw.headers["content-type"].startswith("application/json")
    assert raw.headers["x-request-id"] == raw.request_id == "my-own-id"
    assert raw.headers["x-plano-attempts"] == "1"
    assert raw.headers["x-upstream-request-id"].startswith("req_")


def test_a_request_without_an_id_gets_one(client: openai.OpenAI) -> None:
    answers = [client.chat.completions.create(model="openai/gpt-4o", messages=ask("Hi")) for _ in range(2)]
    ids = {answer._request_id for answer in answers}
    assert len(ids) == 2
    assert all(re.fullmatch(r"[0-9a-f]{32}", str(each)) for each in ids)


def test_several_choices_come_back(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(model="openai/gpt-4o", messages=ask("Hi"), n=3)
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    assert len({choice.message.content for choice in answer.choices}) == 3


def test_images_and_long_conversations_arrive_as_they_were_sent(client: openai.OpenAI, gateway: Gateway) -> None:
    parts = [{"type": "text", "text": "What is this? 🖼 \u2028"}, {"type": "image_url", "image_url": {"url": PIXEL}}]
    messages = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello"},
        {"role": "user", "content": parts},
    ]
    answer = client.chat.completions.create(model="openai/sees-images", messages=messages, max_completion_tokens=100)
    assert "an image" in answer.choices[0].message.content
    body = gateway.provider.wait_for_request("sees-images")["body"]
    assert body == {"model": "sees-images", "messages": messages, "max_completion_tokens": 100}


def test_fields_the_gateway_does_not_know_reach_the_upstream(client: openai.OpenAI, gateway: Gateway) -> None:
    client.chat.completions.create(
        model="openai/knows-more", messages=ask("Hi"), seed=7, extra_body={"of_tomorrow": {"deep": [1.50, None]}}
    )
    body = gateway.provider.wait_for_request("knows-more")["body"]
    assert (body["seed"], body["of_tomorrow"]) == (7, {"deep": [1.5, None]})


def test_an_answer_cut_by_max_tokens_says_so(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(model="openai/gpt-4o", messages=ask("Hi"), max_completion_tokens=2)
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage.completion_tokens == 2


def test_structured_answers_are_parsed(client: openai.OpenAI) -> None:
    answer = client.chat.completions.parse(model="openai/gpt-4o", messages=ask("How are you?"), response_format=Mood)
    assert isinstance(answer.choices[0].message.parsed, Mood)


def test_json_mode_gives_json(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model="openai/gpt-4o", messages=ask("Hi"), response_format={"type": "json_object"}
    )
    assert (answer.choices[0].message.content[0], answer.choices[0].message.content[-1]) == ("{", "}")


def test_models_are_listed_wildcards_expanded(client: openai.OpenAI) -> None:
    models = client.models.list().data
    owners = {model.id: model.owned_by for model in models}
    assert models[0].id == "openai/gpt-4o"
    assert owners["openai/gpt-4o"] == "OpenAI"
    assert sum(name.startswith("mistral/") for name in owners) > 3
    assert "mistral/*" not in owners
    assert len(owners) == len(models)


def test_a_failing_provider_is_retried_then_replaced(client: openai.OpenAI) -> None:
    raw = client.chat.completions.with_raw_response.create(model="groq/broken", messages=ask("Hi"))
    assert raw.headers["x-plano-model"] == "openai/gpt-4o"
    assert raw.headers["x-plano-attempts"] == "3"
    assert raw.parse().choices[0].message.content.endswith("You said: Hi")


def test_a_large_answer_and_a_large_question_pass_whole(client: openai.OpenAI, gateway: Gateway) -> None:
    question = "word " * 200_000
    answer = client.chat.completions.create(model="openai/demo-big-2048", messages=ask(question))
    assert len(answer.choices[0].message.content) == 2048 * 1024
    received = gateway.provider.wait_for_request("demo-big-2048")
    assert received["body"]["messages"][0]["content"] == question


def test_connections_are_kept_alive_on_both_legs(gateway: Gateway) -> None:
    before = gateway.provider.stats()
    with openai.OpenAI(base_url=gateway.base_url, api_key="k", max_retries=0) as client:
        for _ in range(20):
            client.chat.completions.create(model="openai/gpt-4o", messages=ask("Hi"))
    after = gateway.provider.stats()
    assert after["requests"] - before["requests"] == 20
    # One client connection meets one frontend, which needs one connection for requests that follow one another. Reading
    # the totals opens one of its own; and the test before may have left a connection that had just been closed.
    assert after["connections_opened"] - before["connections_opened"] <= 3
