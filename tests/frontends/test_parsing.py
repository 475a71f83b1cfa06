"""Requests in every shape that TCP and HTTP/1.1 allow."""

from __future__ import annotations

import asyncio

import pytest

from tests.frontends.client import Client, chat_body, chat_request, chunked_request, render_request
from tests.frontends.records import RecordSocket
from tests.frontends.upstream import STREAM_HEAD, Upstream, Wait, answer_object, chunk, document, say, stream
from tests.frontends.waiting import wait_until
from tests.frontends.wire import WiredFrontend


async def test_a_chat_completion_is_answered(client: Client, upstream: Upstream) -> None:
    await client.send(chat_request())
    response = await client.read_response()
    assert (response.status, response.version) == (200, "HTTP/1.1")
    assert response.json == answer_object()
    assert upstream.received[0].line == "POST /v1/chat/completions HTTP/1.1"


@pytest.mark.parametrize(
    "data", [chat_request(), chunked_request(chat_body(), extension=b";a=b", trailers=b"t: v\r\n")]
)
async def test_a_request_may_be_split_at_every_byte(records: RecordSocket, upstream: Upstream, data: bytes) -> None:
    async with WiredFrontend(records.address, port=upstream.port) as wired:
        splits = [[data[:place], data[place:]] for place in range(1, len(data))]
        splits.append([data[place : place + 1] for place in range(len(data))])
        wires = []
        for pieces in splits:
            connection, wire = wired.accept()
            wires.append(wire)
            for piece in pieces:
                connection.data_received(piece)
        await wait_until(lambda: all(wire.data.endswith(b"}}") for wire in wires))
        assert len(upstream.received) == len(splits)
        assert {received.body for received in upstream.received} == {chat_body("one")}
        assert {wire.data.partition(b"\r\n")[0] for wire in wires} == {b"HTTP/1.1 200 OK"}


async def test_a_request_that_comes_byte_by_byte_is_answered(client: Client) -> None:
    for byte in chat_request("test/one", "X-Custom: 1"):
        await client.send(bytes([byte]))
        await asyncio.sleep(0)
    assert (await client.read_response()).status == 200


async def test_pipelined_requests_are_answered_in_order(client: Client, upstream: Upstream) -> None:
    slow = asyncio.Event()
    upstream.script(Wait(slow), document("first"))
    upstream.script(document("second"))
    await client.send(
        chat_request() + chat_request() + render_request(method="GET", target="/healthz") + chat_request(stream=True)
    )
    await upstream.wait_received(1)
    upstream.script(*stream("fourth"))
    slow.set()
    assert (await client.read_response()).json == answer_object("first")
    assert (await client.read_response()).json == answer_object("second")
    assert (await client.read_response()).json == {"status": "ok"}
    assert (await client.read_response()).text == "fourth"


async def test_pipelined_requests_are_started_one_at_a_time(client: Client, upstream: Upstream) -> None:
    slow = asyncio.Event()
    upstream.script(Wait(slow), document("first"))
    await client.send(chat_request() * 50)
    await upstream.wait_received(1)
    await client.send(chat_request() * 50)
    assert len(upstream.received) == 1
    slow.set()
    for _ in range(100):
        assert (await client.read_response()).status == 200
    assert len(upstream.received) == 100


async def test_a_stream_that_follows_a_stream_does_not_mix_with_it(client: Client, upstream: Upstream) -> None:
    go_on = asyncio.Event()
    upstream.script(STREAM_HEAD, chunk(say("a")), Wait(go_on), *stream("b")[1:])
    upstream.script(*stream("c"))
    await client.send(chat_request(stream=True) * 2)
    head = await client.read_head()
    go_on.set()
    assert (await client.read_body(*head)).text == "ab"
    assert (await client.read_response()).text == "c"


async def test_a_head_behind_a_large_body_in_one_read_is_not_taken_for_a_large_head(client: Client) -> None:
    body = chat_body(padding="x" * 200_000)
    request = render_request(body)
    await client.send(request + request[:60])
    assert (await client.read_response()).status == 200
    await client.send(request[60:])
    assert (await client.read_response()).status == 200


@pytest.mark.parametrize("size", [1, 5, 1000])
async def test_chunked_bodies_are_put_together(client: Client, upstream: Upstream, size: int) -> None:
    await client.send(chunked_request(chat_body(), size))
    assert (await client.read_response()).status == 200
    received = await upstream.wait_received()
    assert received.json["messages"] == [{"role": "user", "content": "Hi."}]
    assert received.header("transfer-encoding") is None


async def test_chunk_extensions_are_ignored(client: Client) -> None:
    await client.send(chunked_request(chat_body(), extension=b';name="value"'))
    assert (await client.read_response()).status == 200


async def test_trailers_are_not_taken_for_headers(client: Client, upstream: Upstream) -> None:
    trailers = b"x-late: 1\r\nauthorization: Bearer late\r\nx-request-id: late\r\nhost: other\r\n"
    await client.send(chunked_request(chat_body(), trailers=trailers))
    response = await client.read_response()
    assert response.status == 200
    assert response.header("x-request-id") != "late"
    received = await upstream.wait_received()
    assert received.header("x-late") is None
    await client.send(chat_request())  # and the connection goes on
    assert (await client.read_response()).status == 200


async def test_100_continue_is_sent_before_the_body_is(client: Client) -> None:
    body = chat_body()
    head = render_request(None, f"Content-Length: {len(body)}", "Expect: 100-continue")
    await client.send(head)
    assert await client.read_until(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    await client.send(body)
    assert (await client.read_response()).status == 200


async def test_100_continue_waits_for_the_answers_before_it(client: Client, upstream: Upstream) -> None:
    slow = asyncio.Event()
    upstream.script(Wait(slow), document("first"))
    body = chat_body()
    await client.send(chat_request() + render_request(None, f"Content-Length: {len(body)}", "Expect: 100-continue"))
    await upstream.wait_received(1)
    slow.set()
    assert (await client.read_response()).json == answer_object("first")
    assert await client.read_until(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    await client.send(body)
    assert (await client.read_response()).status == 200


async def test_an_unknown_expectation_is_refused(client: Client) -> None:
    await client.send(render_request(chat_body(), "Expect: the-unexpected"))
    assert (await client.read_response()).status == 417
    assert await client.closed()


@pytest.mark.parametrize(("target", "status"), [("/healthz", 200), ("/v1/models", 200), ("/nothing", 404)])
async def test_head_is_answered_like_get_without_a_body(client: Client, target: str, status: int) -> None:
    await client.send(render_request(method="GET", target=target) + render_request(method="HEAD", target=target))
    get = await client.read_response()
    head = await client.read_response(head_only=True)
    assert (get.status, head.status) == (status, status)
    assert head.header("content-length") == get.header("content-length")
    await client.send(render_request(method="GET", target="/healthz"))  # no stray body lies before this answer
    assert (await client.read_response()).json == {"status": "ok"}


async def test_browsers_may_ask_for_the_models(client: Client) -> None:
    await client.send(render_request(method="OPTIONS", target="/v1/models"))
    response = await client.read_response()
    assert response.status == 204
    assert response.header("access-control-allow-origin") == "*"
    assert response.header("content-length") is None


async def test_an_unknown_path_is_404_in_the_openai_shape(client: Client) -> None:
    await client.send(render_request(chat_body(), target="/v2/chat/completions"))
    response = await client.read_response()
    assert response.status == 404
    assert "/v1/chat/completions" in response.error["message"]
    await client.send(chat_request())
    assert (await client.read_response()).status == 200


@pytest.mark.parametrize(
    ("method", "target", "allowed"),
    [("GET", "/v1/chat/completions", "POST"), ("DELETE", "/v1/models", "GET, OPTIONS"), ("PUT", "/healthz", "GET")],
)
async def test_a_wrong_method_is_405_and_told_the_right_one(
    client: Client, method: str, target: str, allowed: str
) -> None:
    await client.send(render_request(method=method, target=target))
    response = await client.read_response()
    assert response.status == 405
    assert response.header("allow") == allowed
    assert response.error["code"] == "method_not_allowed"


async def test_a_query_string_does_not_change_the_route(client: Client, upstream: Upstream) -> None:
    await client.send(render_request(chat_body(), target="/v1/chat/completions?api-version=1&x=%20"))
    assert (await client.read_response()).status == 200
    assert upstream.received[0].line == "POST /v1/chat/completions HTTP/1.1"


async def test_a_target_in_absolute_form_is_understood(client: Client) -> None:
    await client.send(render_request(chat_body(), target="http://gateway/v1/chat/completions?x=1"))
    assert (await client.read_response()).status == 200


async def test_a_connection_serves_many_requests(client: Client, upstream: Upstream) -> None:
    for _ in range(20):
        await client.send(chat_request())
        response = await client.read_response()
        assert response.status == 200
        assert response.header("connection") is None
    assert len(upstream.links) == 1


@pytest.mark.parametrize("streaming", [False, True])
async def test_connection_close_is_honoured(client: Client, upstream: Upstream, streaming: bool) -> None:
    upstream.script(*(stream("a") if streaming else (document(),)))
    await client.send(chat_request("test/one", "Connection: close", stream=streaming))
    response = await client.read_response()
    assert response.header("connection") == "close"
    assert await client.closed()


async def test_what_follows_connection_close_is_not_a_request(client: Client, upstream: Upstream) -> None:
    await client.send(render_request(None, "Connection: close", method="GET", target="/healthz") + chat_request())
    assert (await client.read_response()).status == 200
    assert await client.closed()
    assert upstream.received == []


async def test_http_1_0_ends_with_the_connection(client: Client) -> None:
    await client.send(render_request(chat_body(), version="1.0", host=None))
    response = await client.read_response()
    assert response.json == answer_object()
    assert response.header("connection") == "close"
    assert await client.closed()


async def test_http_1_0_may_keep_the_connection_alive(client: Client) -> None:
    for _ in range(2):
        await client.send(render_request(chat_body(), "Connection: keep-alive", version="1.0"))
        response = await client.read_response()
        assert response.json == answer_object()
        assert response.header("connection") == "keep-alive"


@pytest.mark.parametrize("lines", [(), ("Connection: keep-alive",)])
async def test_a_stream_to_http_1_0_is_not_chunked_and_ends_with_the_connection(
    client: Client, upstream: Upstream, lines: tuple[str, ...]
) -> None:
    upstream.script(*stream("a", "b"))
    await client.send(render_request(chat_body(stream=True), *lines, version="1.0"))
    response = await client.read_response()
    assert response.header("transfer-encoding") is None
    assert response.header("connection") == "close"
    assert response.text == "ab"
    assert response.events[-1] == b"[DONE]"


@pytest.mark.parametrize("body", [b"", chat_body()])
async def test_an_offer_to_upgrade_is_not_taken_up(client: Client, upstream: Upstream, body: bytes) -> None:
    lines = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA")
    target, method = ("/v1/chat/completions", "POST") if body else ("/v1/models", "GET")
    await client.send(render_request(body or None, *lines, method=method, target=target))
    assert (await client.read_response()).status == 200
    if body:
        assert upstream.received[0].header("upgrade") is None
        assert upstream.received[0].header("http2-settings") is None
        assert upstream.received[0].json["messages"]


async def test_the_body_of_an_offer_to_upgrade_may_come_late_and_chunked(client: Client, upstream: Upstream) -> None:
    request = chunked_request(chat_body(), 9, "Connection: upgrade", "Upgrade: websocket", "X-Custom: 1")
    head, _, body = request.partition(b"\r\n\r\n")
    await client.send(head + b"\r\n\r\n")
    for start in range(0, len(body), 10):
        await client.send(body[start : start + 10])
        await asyncio.sleep(0)
    assert (await client.read_response()).status == 200
    assert upstream.received[0].header("x-custom") == "1"


async def test_empty_lines_before_a_request_are_skipped(client: Client) -> None:
    await client.send(b"\r\n\r\n" + chat_request())
    assert (await client.read_response()).status == 200
