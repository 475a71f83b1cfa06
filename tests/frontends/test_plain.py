"""Endpoints that are passed through by model name: what changes of a request and an answer on the way, and what not."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import Any

import pytest

from tests.frontends.client import Client, Response, render_request
from tests.frontends.conftest import Connect, Serve
from tests.frontends.plans import NO_RETRY, QUICK_RETRY, make_plan, make_provider, make_wildcard
from tests.frontends.process import FrontendProcess
from tests.frontends.records import RecordSocket
from tests.frontends.upstream import (
    CLOSE,
    DONE,
    LAST_CHUNK,
    RESET,
    STREAM_HEAD,
    Step,
    Upstream,
    Wait,
    chunk,
    refusal,
    response,
)
from tests.upstreams.plans import speak

OPENAI_PATHS = [
    "/embeddings",
    "/completions",
    "/moderations",
    "/images/generations",
    "/audio/speech",
    "/audio/transcriptions",
    "/audio/translations",
    "/rerank",
]
COUNT_TOKENS = "/messages/count_tokens"
# Spaces, an unknown field and a number that no encoder would write: all must pass.
BODY = b'{ "model" : "%s", "input":"Hi", "x_new": 1.50e1 }'
ANSWER = b'{"object":"list","data":[],"usage":{"prompt_tokens":8,"total_tokens":8}}'
ERROR = '{"error":{"message":"no capacity","type":"overloaded"}}'
AUDIO = bytes(range(256)) * 40
AUDIO_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: audio/mpeg\r\n"
TRANSCRIPT = b'data: {"type":"transcript.text.delta","delta":"Hi"}\n\n'
TRANSCRIPT_DONE = b'data: {"type":"transcript.text.done","text":"Hi","usage":{"input_tokens":9,"output_tokens":2}}\n\n'
COMPLETION = b'data: {"id":"cmpl-1","choices":[{"text":"Hi","index":0,"finish_reason":null}]}\n\n'
COMPLETION_END = b'data: {"id":"cmpl-1","choices":[{"text":"","index":0,"finish_reason":"stop"}]}\n\n'


def request(path: str, model: str = "test/one", *lines: str, **fields: Any) -> bytes:
    """A JSON request for a plain endpoint."""
    body = json.dumps({"model": model, "input": "Hi", **fields}).encode()
    return render_request(body, *lines, target=f"/v1{path}")


def form(
    model: bytes | None = b"test/one", *, file: bytes = AUDIO, boundary: bytes = b"-- x'y", **fields: str
) -> bytes:
    """The body of a form with a file, and a model behind it."""
    parts = [b'form-data; name="file"; filename="a.mp3"\r\nContent-Type: audio/mpeg\r\n\r\n' + file]
    parts += [f'form-data; name="{name}"\r\n\r\n{value}'.encode() for name, value in fields.items()]
    if model is not None:
        parts.append(b'form-data; name="model"\r\n\r\n' + model)
    opened = b"".join(b"--%b\r\nContent-Disposition: %b\r\n" % (boundary, part) for part in parts)
    return opened + b"--%b--\r\n" % boundary


def upload(body: bytes, *, path: str = "/audio/transcriptions", content_type: str | None = None) -> bytes:
    """The request for a form."""
    kind = content_type or 'multipart/form-data; boundary="-- x\'y"'
    lines = [f"Content-Type: {kind}", f"Content-Length: {len(body)}"]
    return render_request(None, *lines, target=f"/v1{path}") + body


async def exchange(client: Client, sent: bytes) -> Response:
    """The answer to a request."""
    await client.send(sent)
    return await client.read_response()


# -- requests --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", OPENAI_PATHS)
async def test_only_the_model_of_a_request_changes(client: Client, upstream: Upstream, path: str) -> None:
    upstream.script(response("200 OK", ANSWER, {"openai-version": "2020-10-01"}))
    answer = await exchange(client, render_request(BODY % b"test/one", "Accept: x/y", target=f"/v1{path}"))
    assert (answer.status, answer.body) == (200, ANSWER)
    assert answer.header("x-plano-model") == "test/one"
    assert answer.header("openai-version") == "2020-10-01"
    received = upstream.received[0]
    assert received.line == f"POST /v1{path} HTTP/1.1"
    assert received.body == BODY % b"one"
    assert received.header("authorization") == "Bearer sk-gateway"
    assert received.header("content-type") == "application/json"
    assert received.header("accept") == "x/y"


async def test_the_path_is_built_of_the_providers_base(serve: Serve, connect: Connect, upstream: Upstream) -> None:
    provider = make_wildcard(upstream.port, base_path="/openai/deployments/{model}", base_query="?api-version=1")
    client = await connect(serve(make_plan(provider)))
    await exchange(client, request("/embeddings", "wild/text/3"))
    assert upstream.received[0].line == "POST /openai/deployments/text%2F3/embeddings?api-version=1 HTTP/1.1"


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        ("application/json; charset=utf-8", "application/json; charset=utf-8"),
        ("application/x-www-form-urlencoded", "application/json"),
    ],
)
async def test_json_is_sent_as_json(client: Client, upstream: Upstream, sent: str, expected: str) -> None:
    await exchange(client, upload(BODY % b"test/one", path="/embeddings", content_type=sent))
    assert upstream.received[0].header("content-type") == expected


async def test_a_configured_content_type_wins(serve: Serve, connect: Connect, upstream: Upstream) -> None:
    provider = make_provider(upstream.port, headers=(("Content-Type", "application/vnd.x+json"),))
    client = await connect(serve(make_plan(provider)))
    await exchange(client, request("/embeddings"))
    assert upstream.received[0].header("content-type") == "application/vnd.x+json"


@pytest.mark.parametrize("path", ["/audio/transcriptions", "/audio/translations"])
@pytest.mark.parametrize("size", [10, 3_000_000])
async def test_a_form_passes_with_its_file(client: Client, upstream: Upstream, path: str, size: int) -> None:
    upstream.script(response("200 OK", '{"text":"Hi"}'))
    file = (AUDIO * (size // len(AUDIO) + 1))[:size]
    answer = await exchange(client, upload(form(file=file, prompt='name="model"'), path=path))
    assert answer.json == {"text": "Hi"}
    received = upstream.received[0]
    assert received.line == f"POST /v1{path} HTTP/1.1"
    assert received.header("content-type") == 'multipart/form-data; boundary="-- x\'y"'
    assert received.body == form(b"one", file=file, prompt='name="model"')


async def test_a_form_is_sent_again_with_each_candidates_model(
    serve: Serve, connect: Connect, upstream: Upstream
) -> None:
    retry = replace(QUICK_RETRY, attempts=2, fallback_models=("test/longer-name",))
    plan = make_plan(make_provider(upstream.port, retry=retry), make_provider(upstream.port, "longer-name"))
    for _ in range(2):
        upstream.script(refusal("503 Unavailable"))
    client = await connect(serve(plan))
    answer = await exchange(client, upload(form()))
    assert answer.header("x-plano-model") == "test/longer-name"
    assert [received.body for received in upstream.received] == [form(b"one"), form(b"one"), form(b"longer-name")]


async def test_a_form_without_a_model_goes_to_the_default(client: Client, upstream: Upstream) -> None:
    assert (await exchange(client, upload(form(None)))).status == 200
    assert upstream.received[0].body.count(b'name="model"\r\n\r\none\r\n') == 1
    assert upstream.received[0].body.endswith(form(None))


@pytest.mark.parametrize(("path", "body"), [("/moderations", b'{"input":"Hi"}'), ("/embeddings", None)])
async def test_a_request_without_a_model_goes_to_the_default(
    client: Client, upstream: Upstream, path: str, body: bytes | None
) -> None:
    """Moderations have a model of their own choice, which is not our default; embeddings have not."""
    await exchange(client, render_request(b'{"input":"Hi"}', target=f"/v1{path}"))
    assert upstream.received[0].body == (body or b'{"input":"Hi","model":"one"}')


@pytest.mark.parametrize(
    ("sent", "message", "param"),
    [
        (render_request(b"{", target="/v1/embeddings"), "not valid JSON", None),
        (render_request(b"[]", target="/v1/embeddings"), "must be a JSON object", None),
        (render_request(b'{"model":1}', target="/v1/rerank"), "must be a string", "model"),
        (render_request(b'{"model":"test/one","stream":1}', target="/v1/completions"), "true or false", "stream"),
        (upload(b"x", content_type="multipart/form-data"), "must name its boundary", None),
        (upload(form()[:-20]), "not closed", None),
        (upload(form(prompt="x").replace(b'"prompt"', b'"model"')), "more than one 'model'", "model"),
    ],
)
async def test_what_makes_no_sense_is_refused(
    client: Client, upstream: Upstream, sent: bytes, message: str, param: str | None
) -> None:
    answer = await exchange(client, sent)
    assert answer.status == 400
    assert message in answer.error["message"]
    assert answer.error["param"] == param
    assert not upstream.received


async def test_an_unknown_model_is_not_found(client: Client) -> None:
    for sent in (request("/embeddings", "nowhere/x"), upload(form(b"nowhere/x"))):
        answer = await exchange(client, sent)
        assert (answer.status, answer.error["code"]) == (404, "model_not_found")


# -- who serves what -------------------------------------------------------------------------------------------------


async def test_tokens_are_counted_where_messages_are_spoken(serve: Serve, connect: Connect, upstream: Upstream) -> None:
    upstream.script(response("200 OK", '{"input_tokens":14}'))
    client = await connect(serve(make_plan(make_provider(upstream.port, endpoints=speak("chat", "messages")))))
    answer = await exchange(client, request(COUNT_TOKENS, "test/one", "anthropic-beta: b"))
    assert answer.json == {"input_tokens": 14}
    received = upstream.received[0]
    assert received.line == "POST /v1/messages/count_tokens HTTP/1.1"
    assert received.header("x-api-key") == "sk-gateway"
    assert received.header("anthropic-version")
    assert received.header("anthropic-beta") == "b"


async def test_errors_of_counting_have_anthropics_shape(client: Client, upstream: Upstream) -> None:
    upstream.script(refusal("400 Bad Request"))
    refused = await exchange(client, request(COUNT_TOKENS))
    unknown = await exchange(client, request(COUNT_TOKENS, "nowhere/x"))
    assert (refused.status, unknown.status) == (400, 404)
    assert refused.json["type"] == unknown.json["type"] == "error"
    assert "test, does not serve /messages/count_tokens" in refused.json["error"]["message"]
    assert not upstream.received


@pytest.mark.parametrize("dialect", ["messages", "converse", "gemini"])
async def test_a_provider_without_openais_endpoints_says_so(
    serve: Serve, connect: Connect, upstream: Upstream, dialect: Any
) -> None:
    client = await connect(serve(make_plan(make_provider(upstream.port, endpoints=speak(dialect)))))
    answer = await exchange(client, request("/embeddings"))
    assert answer.status == 400
    assert "does not serve /embeddings" in answer.error["message"]
    assert answer.error["param"] == "model"


async def test_fallbacks_that_do_not_serve_an_endpoint_are_passed_over(
    serve: Serve, connect: Connect, upstream: Upstream, second_upstream: Upstream
) -> None:
    retry = replace(NO_RETRY, fallback_models=("test/claude", "test/two"))
    plan = make_plan(
        make_provider(upstream.port, retry=retry),
        make_provider(second_upstream.port, "claude", endpoints=speak("messages")),
        make_provider(second_upstream.port, "two"),
    )
    upstream.script(refusal("503 Unavailable"))
    second_upstream.script(response("200 OK", ANSWER))
    answer = await exchange(await connect(serve(plan)), request("/embeddings"))
    assert (answer.body, answer.header("x-plano-model")) == (ANSWER, "test/two")
    assert [received.json["model"] for received in second_upstream.received] == ["two"]


# -- answers ---------------------------------------------------------------------------------------------------------


FAILURES = [
    pytest.param((RESET,), "reset", id="reset"),
    pytest.param((refusal("503 Unavailable"),), "status", id="status"),
    pytest.param((response("200 OK", ""),), "empty", id="empty"),
    pytest.param((response("200 OK", "", {"content-type": "audio/mpeg"}),), "empty", id="no-audio"),
    pytest.param((b"HTTP/1.1 204 No Content\r\n\r\n",), "empty", id="no-content"),
    pytest.param((response("200 OK", ERROR),), "error_event", id="error-document"),
    pytest.param((STREAM_HEAD, chunk(b"data: %b\n\n" % ERROR.encode())), "error_event", id="error-event"),
    pytest.param((STREAM_HEAD, chunk(b'data: {"type":"error","message":"x"}\n\n')), "error_event", id="typed-error"),
    pytest.param((STREAM_HEAD, LAST_CHUNK), "empty", id="empty-stream"),
    pytest.param(
        (b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 99\r\n\r\n[1,", CLOSE),
        "reset",
        id="half-an-array",
    ),
]


@pytest.mark.parametrize(("steps", "kind"), FAILURES)
async def test_a_failed_attempt_is_repeated_unseen(
    serve: Serve, connect: Connect, upstream: Upstream, records: RecordSocket, steps: tuple[Step, ...], kind: str
) -> None:
    upstream.script(*steps)
    upstream.script(response("200 OK", ANSWER))
    client = await connect(serve(make_plan(make_provider(upstream.port, retry=QUICK_RETRY))))
    answer = await exchange(client, request("/embeddings"))
    assert (answer.status, answer.body) == (200, ANSWER)
    record = await records.read_one()
    assert [attempt.error for attempt in record.attempts] == [kind, ""]


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("audio/mpeg", AUDIO),
        ("audio/pcm", b"\x20" * 200),
        ("text/plain; charset=utf-8", b'{"error":"he said"}'),
        ("text/vtt", b"WEBVTT\n"),
        ("application/json", b'[{"index":0,"score":0.5}]'),
        ("application/json", b' {"results": []}\n'),
        ("application/octet-stream", b"\x00"),
    ],
)
@pytest.mark.parametrize("framing", ["length", "chunked", "until-close"])
async def test_an_answer_of_any_kind_passes(
    client: Client, upstream: Upstream, content_type: str, body: bytes, framing: str
) -> None:
    head = f"HTTP/1.1 200 OK\r\ncontent-type: {content_type}\r\n".encode()
    if framing == "length":
        upstream.script(head + b"content-length: %d\r\n\r\n" % len(body), body)
    elif framing == "chunked":
        upstream.script(head + b"transfer-encoding: chunked\r\n\r\n", chunk(body), LAST_CHUNK)
    else:
        upstream.script(head + b"\r\n", body, CLOSE)
    answer = await exchange(client, request("/audio/speech"))
    assert (answer.status, answer.body, answer.complete) == (200, body, True)
    assert answer.header("content-type") == content_type


@pytest.mark.parametrize("framing", [b"transfer-encoding: chunked\r\n\r\n", b"content-length: 10\r\n\r\n"])
async def test_audio_is_passed_on_as_it_comes(client: Client, upstream: Upstream, framing: bytes) -> None:
    heard = asyncio.Event()
    chunked = framing.startswith(b"transfer")
    first, second = (chunk(b"first"), chunk(b"after") + LAST_CHUNK) if chunked else (b"first", b"after")
    upstream.script(AUDIO_HEAD + framing, first, Wait(heard), second)
    await client.send(request("/audio/speech"))
    await client.read_head()
    assert await (client.read_chunk() if chunked else client.read_exactly(5)) == b"first"
    heard.set()
    assert await (client.read_chunk() if chunked else client.read_exactly(5)) == b"after"


async def test_audio_that_breaks_off_is_cut(client: Client, upstream: Upstream, records: RecordSocket) -> None:
    upstream.script(AUDIO_HEAD + b"transfer-encoding: chunked\r\n\r\n", chunk(b"half"), RESET)
    answer = await exchange(client, request("/audio/speech"))
    assert (answer.body, answer.complete) == (b"half", False)
    assert (await records.read_one()).error == "stream_reset"


async def test_a_listener_that_is_slow_costs_no_memory(
    connect: Connect, frontend: FrontendProcess, upstream: Upstream
) -> None:
    client = await connect(frontend, receive_buffer_bytes=16_384)
    await exchange(client, request("/embeddings"))
    before = frontend.rss_bytes()
    piece = chunk(b"x" * 50_000)
    upstream.script(AUDIO_HEAD + b"transfer-encoding: chunked\r\n\r\n", *[piece] * 1_000, LAST_CHUNK)
    await client.send(request("/audio/speech"))
    await client.read_head()
    await upstream.links[0].wait_paused()
    assert frontend.rss_bytes() - before < 6 * 1024 * 1024
    received = 0
    while data := await client.read_chunk():
        received += len(data)
    assert received == 50_000_000


# -- streams ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "events", "added"),
    [
        ("/completions", [COMPLETION, COMPLETION_END, DONE], b""),
        ("/completions", [COMPLETION, COMPLETION_END], DONE),
        ("/audio/transcriptions", [TRANSCRIPT, TRANSCRIPT_DONE], b""),
        ("/audio/transcriptions", [TRANSCRIPT, TRANSCRIPT_DONE, DONE], b""),
        ("/images/generations", [b'event: image\ndata: {"type":"image_generation.completed"}\n\n'], b""),
    ],
)
async def test_a_stream_passes_and_ends_as_its_endpoint_does(
    client: Client, upstream: Upstream, records: RecordSocket, path: str, events: list[bytes], added: bytes
) -> None:
    upstream.script(STREAM_HEAD, *map(chunk, events), LAST_CHUNK)
    answer = await exchange(client, request(path, stream=True))
    assert answer.body == b"".join(events) + added
    assert upstream.received[0].json == {"model": "one", "input": "Hi", "stream": True}
    record = await records.read_one()
    assert (record.streaming, record.error) == (True, "")


@pytest.mark.parametrize(
    ("path", "events", "end"),
    [
        ("/completions", [COMPLETION], RESET),
        ("/completions", [COMPLETION], LAST_CHUNK),
        ("/audio/transcriptions", [TRANSCRIPT], RESET),
    ],
)
async def test_a_stream_that_breaks_off_ends_with_an_error(
    client: Client, upstream: Upstream, records: RecordSocket, path: str, events: list[bytes], end: Step
) -> None:
    upstream.script(STREAM_HEAD, *map(chunk, events), end)
    answer = await exchange(client, request(path, stream=True))
    first, error, last = answer.events
    assert b"data: %b\n\n" % first == events[0]
    assert json.loads(error)["error"]["code"] == "upstream_reset"
    assert last == b"[DONE]"
    assert answer.complete
    assert (await records.read_one()).error == "stream_reset"


async def test_a_whole_transcript_needs_no_farewell(client: Client, upstream: Upstream, records: RecordSocket) -> None:
    upstream.script(STREAM_HEAD, chunk(TRANSCRIPT), chunk(TRANSCRIPT_DONE), RESET)
    answer = await exchange(client, upload(form(stream="true")))
    assert answer.body == TRANSCRIPT + TRANSCRIPT_DONE
    record = await records.read_one()
    assert (record.streaming, record.error, record.tokens_in, record.tokens_out) == (True, "", 9, 2)


# -- accounting ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "usage", "expected"),
    [
        ("/embeddings", {"prompt_tokens": 8, "total_tokens": 8}, (8, 0, 0, 0)),
        ("/completions", {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12}, (5, 7, 0, 0)),
        ("/images/generations", {"input_tokens": 5, "output_tokens": 9, "total_tokens": 14}, (5, 9, 0, 0)),
        (
            "/audio/transcriptions",
            {"type": "tokens", "input_tokens": 4, "input_tokens_details": {"cached_tokens": 3}, "output_tokens": 1},
            (4, 1, 3, 0),
        ),
        ("/audio/transcriptions", {"type": "duration", "seconds": 3}, (None, None, None, None)),
        ("/rerank", {"total_tokens": 30}, (30, 0, 0, 0)),
    ],
)
async def test_tokens_are_counted(
    client: Client,
    upstream: Upstream,
    records: RecordSocket,
    path: str,
    usage: dict[str, Any],
    expected: tuple[int | None, ...],
) -> None:
    upstream.script(response("200 OK", json.dumps({"usage": usage, "data": "x" * 10_000, "first": 0})))
    await exchange(client, request(path))
    record = await records.read_one()
    assert (record.tokens_in, record.tokens_out, record.tokens_cached, record.tokens_reasoning) == expected
    assert (record.model, record.status, record.path) == ("test/one", 200, f"/v1{path}".encode())
