"""What goes wrong at an upstream of any dialect, as the SDK of any client dialect tells it."""

from __future__ import annotations

import json
from typing import Any
from urllib.request import Request as Post
from urllib.request import urlopen

import anthropic
import openai
import pytest

from tests.conformance.conftest import Gateway
from tests.conformance.speakers import Speaker, model_at

CLASSES = {
    400: "BadRequestError",
    401: "AuthenticationError",
    403: "PermissionDeniedError",
    404: "NotFoundError",
    429: "RateLimitError",
    500: "InternalServerError",
    503: "InternalServerError",
}
ANTHROPIC_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
    500: "api_error",
}
OPENAI_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "invalid_request_error",
    429: "rate_limit_error",
    500: "server_error",
}


def raise_status(speaker: Speaker, request: dict[str, Any], stream: bool) -> Any:
    """The exception that answers a request."""
    with pytest.raises((openai.APIStatusError, anthropic.APIStatusError)) as raised:
        speaker.raw(**request, stream=stream)
    return raised.value


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("status", [400, 401, 403, 404, 429, 500])
def test_a_status_becomes_the_exception_of_the_clients_own_sdk(
    speaker: Speaker, upstream: str, status: int, stream: bool
) -> None:
    request = speaker.ask(model_at(upstream, f"demo-fail-{status}", speaker), "Hi")
    error = raise_status(speaker, request, stream)
    assert isinstance(error, getattr(speaker.sdk, CLASSES[status]))
    assert error.status_code == status
    assert error.response.headers["x-plano-attempts"] == "1"
    said = error.body
    if speaker.name == "messages":
        assert said["type"] == "error"
        said = said["error"]
        assert said["type"] == ANTHROPIC_TYPES[status]
    else:
        assert {"message", "type", "param", "code"} <= said.keys()
    # the provider's own words, whatever shape they came in
    assert said["message"].strip()
    assert "The provider" not in said["message"]


@pytest.mark.parametrize("upstream", ["messages", "converse", "gemini"])
@pytest.mark.parametrize("status", [400, 401, 404, 429, 500])
def test_openais_types_name_errors_of_other_dialects(client: openai.OpenAI, upstream: str, status: int) -> None:
    with pytest.raises(openai.APIStatusError) as raised:
        client.responses.create(model=model_at(upstream, f"demo-fail-{status}"), input="Hi")
    assert raised.value.type == OPENAI_TYPES[status]


def test_retry_after_reaches_every_client(speaker: Speaker, upstream: str) -> None:
    model = model_at(upstream, "demo-fail-429-after-7", speaker)
    error = raise_status(speaker, speaker.ask(model, "Hi"), False)
    assert error.response.headers.get_list("retry-after") == ["7"]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("fault", ["drop", "error-200", "garbage", "empty", "html-502"])
def test_what_is_no_answer_is_a_bad_gateway(speaker: Speaker, upstream: str, fault: str, stream: bool) -> None:
    if fault == "garbage" and upstream == speaker.name and not stream:
        pytest.skip("in the client's own dialect a document passes as it is: its SDK finds out")
    error = raise_status(speaker, speaker.ask(model_at(upstream, f"demo-{fault}", speaker), "Hi"), stream)
    assert (error.status_code, type(error).__name__) == (502, "InternalServerError")


@pytest.mark.parametrize("fault", ["error-first", "role-then-cut"])
def test_a_stream_that_fails_before_its_first_word_has_a_status(speaker: Speaker, upstream: str, fault: str) -> None:
    error = raise_status(speaker, speaker.ask(model_at(upstream, f"demo-{fault}", speaker), "Hi"), True)
    assert (error.status_code, type(error).__name__) == (502, "InternalServerError")


@pytest.mark.parametrize("fault", ["cut-1", "truncate"])
def test_half_a_document_is_no_answer(speaker: Speaker, upstream: str, fault: str) -> None:
    request = speaker.ask(model_at(upstream, f"demo-{fault}", speaker), "Hi")
    assert raise_status(speaker, request, False).status_code == 502


@pytest.mark.parametrize("fault", ["cut-2", "reset-2", "error-mid-2", "stall"])
def test_a_stream_that_breaks_raises_and_never_looks_whole(speaker: Speaker, upstream: str, fault: str) -> None:
    model = model_at(upstream, f"demo-{fault}", speaker) if fault != "stall" else f"stalls-{upstream}"
    request = speaker.ask(model, "Hi")
    pieces: list[str] = []
    with pytest.raises(speaker.error) as raised:
        pieces += speaker.read_pieces(request)
    assert not isinstance(raised.value, openai.APIConnectionError | anthropic.APIConnectionError)
    assert str(raised.value)
    if fault != "stall":  # takes its time
        with pytest.raises((speaker.error, RuntimeError)):
            speaker.stream(request)


@pytest.mark.parametrize("fault", ["cut-2", "error-mid-2"])
def test_what_arrived_before_the_break_reached_the_client_and_an_error_came_last(
    gateway: Gateway, speaker: Speaker, upstream: str, fault: str
) -> None:
    request = speaker.ask(model_at(upstream, f"demo-{fault}", speaker), "Hi")
    body = json.dumps({**request, "stream": True}).encode()
    with urlopen(Post(gateway.cluster.url + speaker.path, body), timeout=20) as answer:
        text = answer.read().decode()
    events = [event for event in text.split("\n\n") if event.strip()]
    assert "Hello!" in text
    assert '"error"' in "".join(events[-2:])
    # Nothing a client could take for the end of an answer.
    for mark in ('"finish_reason":"stop"', '"message_stop"', '"stop_reason":"end_turn"', '"response.completed"'):
        assert mark not in text
    if speaker.name == "chat":
        assert events[-1] == "data: [DONE]"


@pytest.mark.parametrize("fault", ["comments", "crlf", "gzip", "slow-token-30", "no-done", "truncate"])
def test_every_way_to_write_a_good_answer_is_understood(speaker: Speaker, upstream: str, fault: str) -> None:
    if fault == "no-done" and upstream in ("responses", "gemini"):
        pytest.skip("the last event says why the answer ended: without it half is missing")
    request = speaker.ask(model_at(upstream, f"demo-{fault}", speaker), "Hi")
    assert "".join(speaker.read_pieces(request)).endswith("You said: Hi")
    if fault not in ("no-done", "truncate"):
        assert speaker.read(speaker.create(request)).text.endswith("You said: Hi")


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_failover_goes_through_all_dialects(speaker: Speaker, stream: bool, gateway: Gateway) -> None:
    request = speaker.ask("groq/demo-fail-502", "What is the weather in Oslo and Rome?", tools=("get_weather",))
    answer = speaker.stream(request) if stream else speaker.create(request)
    assert [call[1]["city"] for call in speaker.read(answer).calls] == ["Oslo", "Rome"]
    raw = speaker.raw(**request, stream=stream)
    assert raw.headers["x-plano-model"] == "anthropic/last-link"
    assert raw.headers["x-plano-attempts"] == "6"
    raw.http_response.close()
