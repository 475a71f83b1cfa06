"""Errors through the official SDK: each becomes the exception its users catch, and the SDK's own retries work."""

from __future__ import annotations

import time
from typing import Any

import openai
import pytest

from tests.conformance.conftest import Gateway, ask


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"messages": []}, "messages"),
        ({"messages": "hi"}, "messages"),
        ({"temperature": 9}, "temperature"),
        ({"n": 0}, "n"),
        ({"tools": [{"type": "function", "function": {}}]}, "tools[0].function.name"),
    ],
)
def test_a_bad_request_names_the_field(client: openai.OpenAI, change: dict[str, Any], param: str) -> None:
    request: dict[str, Any] = {"model": "openai/gpt-4o", "messages": ask("Hi")} | change
    with pytest.raises(openai.BadRequestError) as raised:
        client.chat.completions.create(**request)
    assert raised.value.param == param
    assert raised.value.type == "invalid_request_error"
    assert raised.value.request_id


def test_an_unknown_model_is_not_found(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="nowhere/model") as raised:
        client.chat.completions.create(model="nowhere/model", messages=ask("Hi"))
    assert raised.value.code == "model_not_found"
    assert raised.value.param == "model"


def test_a_model_the_upstream_does_not_know_is_not_found_either(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as raised:
        client.chat.completions.create(model="openai/missing-model", messages=ask("Hi"))
    assert raised.value.code == "model_not_found"


def test_an_unknown_path_is_not_found(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="/v1/threads"):
        client.beta.threads.create()


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("fault", "error", "status"),
    [
        ("fail-400", openai.BadRequestError, 400),
        ("fail-401", openai.AuthenticationError, 401),
        ("fail-403", openai.PermissionDeniedError, 403),
        ("fail-409", openai.ConflictError, 409),
        ("fail-422", openai.UnprocessableEntityError, 422),
        ("fail-429", openai.RateLimitError, 429),
        ("fail-500", openai.InternalServerError, 500),
        ("fail-503", openai.InternalServerError, 503),
        ("html-502", openai.InternalServerError, 502),
        ("drop", openai.InternalServerError, 502),
        ("error-200", openai.InternalServerError, 502),
    ],
)
def test_what_went_wrong_upstream_becomes_the_right_exception(
    client: openai.OpenAI, fault: str, error: type[openai.APIStatusError], status: int, stream: bool
) -> None:
    with pytest.raises(error) as raised:
        client.chat.completions.create(model=f"openai/demo-{fault}", messages=ask("Hi"), stream=stream)
    assert raised.value.status_code == status
    assert isinstance(raised.value.body, dict)  # of OpenAI's shape, the web page of a proxy too
    assert raised.value.message
    assert raised.value.response.headers["x-plano-model"] == f"openai/demo-{fault}"
    assert raised.value.response.headers["x-plano-attempts"] == "1"


def test_retry_after_reaches_the_client(client: openai.OpenAI) -> None:
    with pytest.raises(openai.RateLimitError) as raised:
        client.chat.completions.create(model="openai/demo-fail-429-after-7", messages=ask("Hi"))
    assert raised.value.response.headers.get_list("retry-after") == ["7"]


@pytest.mark.parametrize("model", ["demo-truncate", "demo-cut-1"])
def test_half_a_document_is_an_error_and_not_an_answer(client: openai.OpenAI, model: str) -> None:
    with pytest.raises(openai.InternalServerError) as raised:
        client.chat.completions.create(model=f"openai/{model}", messages=ask("Hi"))
    assert raised.value.code == "upstream_reset"


def test_a_client_time_out_cancels_the_upstream(client: openai.OpenAI, gateway: Gateway) -> None:
    with pytest.raises(openai.APITimeoutError):
        client.chat.completions.create(model="openai/demo-slow-30000", messages=ask("Hi"), timeout=0.3)
    entry = gateway.provider.wait_for_request("demo-slow-30000", disconnected=True)
    assert entry["disconnected_after_ms"] < 5_000


def test_a_client_time_out_in_mid_stream_cancels_the_upstream(client: openai.OpenAI, gateway: Gateway) -> None:
    stream = client.chat.completions.create(model="openai/demo-stall-4", messages=ask("Hi"), stream=True, timeout=0.3)
    # Inside a body the SDK passes its HTTP library's own exception on.
    with pytest.raises(Exception, match=r"(?i)timed? ?out"):
        list(stream)
    gateway.provider.wait_for_request("demo-stall-4", disconnected=True)


def test_the_retries_of_the_sdk_reach_the_upstream(gateway: Gateway) -> None:
    gateway.provider.queue_faults("comes-back", "fail-503", "fail-429", None)
    with openai.OpenAI(base_url=gateway.base_url, api_key="k", max_retries=2) as client:
        began = time.monotonic()
        raw = client.chat.completions.with_raw_response.create(model="openai/comes-back", messages=ask("Hi"))
    assert raw.retries_taken == 2
    assert raw.headers["x-plano-attempts"] == "1"
    assert [entry["status"] for entry in gateway.provider.requests("comes-back")] == [503, 429, 200]
    assert time.monotonic() - began < 10


def test_the_sdk_retries_its_own_time_outs(gateway: Gateway) -> None:
    gateway.provider.queue_faults("wakes-up", "hang", None)
    with openai.OpenAI(base_url=gateway.base_url, api_key="k", max_retries=1, timeout=0.5) as client:
        answer = client.chat.completions.create(model="openai/wakes-up", messages=ask("Hi"))
    assert answer.choices[0].finish_reason == "stop"
    assert len(gateway.provider.requests("wakes-up")) == 2
