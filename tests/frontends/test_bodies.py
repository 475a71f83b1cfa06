"""Which model a request means, what of its body reaches the upstream, and how a bad one is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest

from plano.config.plan import DialectName
from tests.frontends.client import Client, chat_body, chat_request, render_request
from tests.frontends.conftest import Connect, Serve
from tests.frontends.plans import make_plan, make_provider
from tests.frontends.records import RecordSocket
from tests.frontends.upstream import Upstream
from tests.upstreams.plans import chat_at, speak

MESSAGES = '"messages":[{"role":"user","content":"Hi."}]'


@pytest.mark.parametrize(
    ("body", "param"),
    [
        pytest.param("", None, id="empty"),
        pytest.param("{", None, id="not-json"),
        pytest.param("{" + MESSAGES + "} trailing", None, id="more-than-json"),
        pytest.param(b'{"messages":[{"role":"user","content":"\xff"}]}', None, id="not-utf-8"),
        pytest.param("[" * 100_000, None, id="too-deep"),
        pytest.param("[]", None, id="array"),
        pytest.param('"text"', None, id="string"),
        pytest.param("null", None, id="null"),
        pytest.param('{"model":"test/one"}', "messages", id="no-messages"),
        pytest.param('{"messages":[]}', "messages", id="empty-messages"),
        pytest.param('{"messages":"Hi."}', "messages", id="messages-string"),
        pytest.param('{"messages":{"role":"user"}}', "messages", id="messages-object"),
        pytest.param('{"model":7,' + MESSAGES + "}", "model", id="model-number"),
        pytest.param('{"model":["test/one"],' + MESSAGES + "}", "model", id="model-array"),
        pytest.param('{"stream":"yes",' + MESSAGES + "}", "stream", id="stream-string"),
        pytest.param('{"stream":1,' + MESSAGES + "}", "stream", id="stream-number"),
    ],
)
async def test_a_body_that_is_no_chat_request_is_400_naming_the_field(
    client: Client, upstream: Upstream, body: str | bytes, param: str | None
) -> None:
    await client.send(render_request(body.encode() if isinstance(body, str) else body))
    response = await client.read_response()
    assert response.status == 400
    assert response.error["param"] == param
    assert response.error["type"] == "invalid_request_error"
    assert response.header("x-request-id")
    assert upstream.received == []
    await client.send(chat_request())  # the connection goes on
    assert (await client.read_response()).status == 200


async def test_an_unknown_model_is_404_model_not_found(client: Client, upstream: Upstream) -> None:
    await client.send(chat_request("nobody/knows"))
    response = await client.read_response()
    assert response.status == 404
    assert response.error["code"] == "model_not_found"
    assert response.error["param"] == "model"
    assert "nobody/knows" in response.error["message"]
    assert upstream.received == []


async def test_a_very_long_unknown_model_is_neither_repeated_nor_recorded_whole(
    client: Client, records: RecordSocket
) -> None:
    await client.send(chat_request("x" * 1_000_000))
    response = await client.read_response()
    assert response.status == 404
    assert len(response.body) < 1_000
    assert len((await records.read_one()).requested_model) < 1_000


@pytest.mark.parametrize(
    ("model", "upstream_model"),
    [
        ("test/one", "one"),
        ("one", "one"),
        ("fast", "one"),
        ("other/one", "one"),
        (None, "one"),
        ("", "one"),
        ("none", "one"),
        ("--", "one"),
        ("wild/anything-at-all", "anything-at-all"),
        ("wild/with/slashes:and-colons", "with/slashes:and-colons"),
    ],
)
async def test_a_model_name_reaches_its_provider(
    client: Client, upstream: Upstream, model: str | None, upstream_model: str
) -> None:
    await client.send(chat_request(model))
    assert (await client.read_response()).status == 200
    assert upstream.received[0].json["model"] == upstream_model


async def test_a_request_without_a_model_gets_the_default(client: Client, upstream: Upstream) -> None:
    await client.send(render_request(b"{" + MESSAGES.encode() + b"}"))
    response = await client.read_response()
    assert response.header("x-plano-model") == "test/one"
    assert upstream.received[0].json == {"model": "one", "messages": [{"role": "user", "content": "Hi."}]}


async def test_without_a_default_a_model_must_be_named(serve: Serve, connect: Connect, upstream: Upstream) -> None:
    providers = (make_provider(upstream.port, "one"), make_provider(upstream.port, "two"))
    client = await connect(serve(make_plan(*providers)))
    await client.send(chat_request(None))
    response = await client.read_response()
    assert (response.status, response.error["param"]) == (400, "model")


@pytest.mark.parametrize(
    "body",
    [
        '{"model":"test/one",%s}',
        '{ "model" : "test/one" ,\r\n\t%s }',
        '{"big":12345678901234567890123,"exact":1.10e+2,"twice":1,"twice":2,"model":"test/one",%s}',
        '{"unicode":"\\u00e9\\ud83d\\ude00 \u00e9","slash":"\\/","model":"test/one",%s,"unknown":{"deep":[null]}}',
        '{"metadata":{"note":"test/one"},"model":"test/one",%s}',
    ],
)
async def test_the_body_reaches_the_upstream_byte_for_byte_but_for_the_model(
    client: Client, upstream: Upstream, body: str
) -> None:
    sent = (body % MESSAGES).encode()
    await client.send(render_request(sent))
    assert (await client.read_response()).status == 200
    expected = b'"one"'.join(sent.rsplit(b'"test/one"', 1))
    assert upstream.received[0].body == expected


@pytest.mark.parametrize(
    "body",
    [
        '{"metadata":{"model":"test/one"},"model":"test/one",%s}',
        '{"model":"wild/other","model":"test/one",%s}',
        '{"mod\\u0065l":"test/one",%s}',
        '{"user":"the model","model":"test/one",%s}',
    ],
)
async def test_only_the_model_of_the_request_itself_is_replaced(client: Client, upstream: Upstream, body: str) -> None:
    text = body % MESSAGES
    await client.send(render_request(text.encode()))
    assert (await client.read_response()).status == 200
    assert upstream.received[0].json == {**json.loads(text), "model": "one"}
    assert upstream.received[0].body.count(b'"one"') == 1


@pytest.mark.parametrize(
    "model",
    ["wild/a\r\nX-Injected: 1", "wild/a\nb", "wild/a b", "wild/\u00e9", "wild/a\u2028b", "wild/" + "a" * 300, "wild/"],
)
async def test_a_model_name_cannot_carry_a_header(client: Client, upstream: Upstream, model: str) -> None:
    await client.send(chat_request(model))
    response = await client.read_response()
    assert response.status == 404
    assert "x-injected" not in dict(response.headers)
    assert upstream.received == []


async def test_a_model_in_the_path_is_quoted(serve: Serve, connect: Connect, upstream: Upstream) -> None:
    provider = make_provider(
        upstream.port,
        name="wild/*",
        model="wild/*",
        upstream_model="",
        wildcard=True,
        endpoints=chat_at("/deployments/{model}/chat?v=1"),
    )
    client = await connect(serve(make_plan(provider)))
    await client.send(chat_request("wild/a/../b?c#d"))
    assert (await client.read_response()).status == 200
    assert upstream.received[0].line == "POST /deployments/a%2F..%2Fb%3Fc%23d/chat?v=1 HTTP/1.1"


async def test_a_large_body_arrives_whole(client: Client, upstream: Upstream) -> None:
    body = chat_body(padding="é" * 2_000_000)
    await client.send(render_request(body))
    assert (await client.read_response()).status == 200
    assert upstream.received[0].json["padding"] == "é" * 2_000_000


@pytest.mark.parametrize("coding", ["gzip", "br", "zstd"])
async def test_a_compressed_body_is_refused(client: Client, upstream: Upstream, coding: str) -> None:
    await client.send(render_request(chat_body(), f"Content-Encoding: {coding}"))
    response = await client.read_response()
    assert response.status == 415
    assert response.error["message"]
    assert upstream.received == []


async def test_identity_is_no_compression(client: Client) -> None:
    await client.send(render_request(chat_body(), "Content-Encoding: identity"))
    assert (await client.read_response()).status == 200


@pytest.mark.parametrize(
    ("endpoint", "lines", "roles"),
    [
        ("messages", ("POST /v1/messages HTTP/1.1", "x-api-key", "sk-gateway"), ("messages", 0, "content")),
        ("responses", ("POST /v1/responses HTTP/1.1", "authorization", "Bearer sk-gateway"), ("input", 0, "content")),
        ("gemini", ("POST /v1/models/one:generateContent HTTP/1.1", "x-goog-api-key", "sk-gateway"), ("contents", 0)),
        ("converse", ("POST /v1/model/one/converse HTTP/1.1", "authorization", "Bearer sk-gateway"), ("messages", 0)),
    ],
)
async def test_an_upstream_is_asked_in_its_own_dialect(
    serve: Serve,
    connect: Connect,
    upstream: Upstream,
    endpoint: DialectName,
    lines: tuple[str, str, str],
    roles: tuple[str | int, ...],
) -> None:
    client = await connect(serve(make_plan(make_provider(upstream.port, endpoints=speak(endpoint)))))
    await client.send(chat_request())
    await client.read_response()
    received = upstream.received[0]
    assert (received.line, received.header(lines[1])) == (lines[0], lines[2])
    found = received.json
    for step in roles:
        found = found[step]
    assert "Hi." in str(found)


async def test_a_body_leaves_as_it_came_where_no_quirk_changes_it(
    serve: Serve, connect: Connect, upstream: Upstream
) -> None:
    client = await connect(serve(make_plan(make_provider(upstream.port, quirks=("no_web_search_options",)))))
    spaced = b'{ "model" : "one",  "messages": [{"role":"user","content":"\\u00e9"}], "n":1 }'
    await client.send(render_request(spaced))
    assert (await client.read_response()).status == 200
    assert upstream.received[0].body == spaced


async def test_what_a_quirk_leaves_out_is_named_in_the_answer(
    serve: Serve, connect: Connect, upstream: Upstream
) -> None:
    client = await connect(serve(make_plan(make_provider(upstream.port, quirks=("no_web_search_options",)))))
    await client.send(chat_request(web_search_options={}, n=1))
    response = await client.read_response()
    assert (response.status, response.header("x-plano-dropped")) == (200, "web_search_options")
    assert upstream.received[0].json == {"model": "one", "messages": [{"role": "user", "content": "Hi."}], "n": 1}


@pytest.mark.parametrize("asked", [{}, {"stream_options": {"include_usage": True}}])
async def test_a_provider_that_refuses_stream_options_gets_none(
    serve: Serve, connect: Connect, upstream: Upstream, asked: dict[str, Any]
) -> None:
    plan = make_provider(upstream.port, quirks=("no_stream_options",), usage_in_streams=False)
    client = await connect(serve(make_plan(plan)))
    await client.send(chat_request(stream=True, **asked))
    await client.read_response()
    assert upstream.received[0].json["stream"] is True
    assert "stream_options" not in upstream.received[0].json


async def test_kimi_for_coding_is_not_asked_for_the_usage_of_a_stream(
    serve: Serve, connect: Connect, upstream: Upstream
) -> None:
    client = await connect(serve(make_plan(make_provider(upstream.port, "kimi-for-coding"))))
    await client.send(chat_request("test/kimi-for-coding", stream=True))
    await client.read_response()
    assert "stream_options" not in upstream.received[0].json
