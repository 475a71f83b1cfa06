"""Bounds: sizes, times, connections, requests in flight. What is refused is told, even to a client still sending."""

from __future__ import annotations

import asyncio
import time

import pytest

from plano.config.plan import LimitsPlan
from tests.frontends.client import Client, chat_body, chat_request, encode_chunks, render_request
from tests.frontends.conftest import Connect, Serve
from tests.frontends.plans import make_plan, make_provider
from tests.frontends.process import FrontendProcess
from tests.frontends.upstream import Upstream, Wait, document

MAX_BODY_BYTES = 100_000
CHUNKED_HEAD = render_request(None, "Transfer-Encoding: chunked")


@pytest.fixture
def frontend(serve: Serve, upstream: Upstream) -> FrontendProcess:
    """A frontend with narrow bounds."""
    limits = LimitsPlan(
        max_body_bytes=MAX_BODY_BYTES,
        max_header_bytes=16 * 1024,
        max_connections=3,
        max_in_flight=2,
        header_timeout_s=0.2,
        body_timeout_s=0.2,
        keepalive_timeout_s=0.4,
    )
    return serve(make_plan(make_provider(upstream.port), limits=limits))


async def expect_refusal(client: Client, status: int, code: str) -> None:
    """The next answer is this error, and the connection ends."""
    answer = await client.read_response()
    assert (answer.status, answer.error["code"]) == (status, code)
    assert answer.header("connection") == "close"
    await client.read_to_end()


@pytest.mark.parametrize(
    "head",
    [
        pytest.param(render_request(None, "X-Large: " + "a" * 70_000, method="GET"), id="one-long-header"),
        pytest.param(render_request(None, *["X-Many: a"] * 7_000, method="GET"), id="many-headers"),
        pytest.param(render_request(None, "X-Endless: " + "a" * 70_000, method="GET")[:-4], id="endless-header"),
        pytest.param(render_request(None, "X" * 70_000 + ": a", method="GET"), id="long-name"),
    ],
)
@pytest.mark.parametrize("piece_bytes", [1 << 20, 4_000])
async def test_a_large_head_is_refused(client: Client, head: bytes, piece_bytes: int) -> None:
    for place in range(0, len(head), piece_bytes):
        await client.send(head[place : place + piece_bytes])
        await asyncio.sleep(0)
    await expect_refusal(client, 431, "headers_too_large")


async def test_a_long_target_is_refused(client: Client) -> None:
    await client.send(render_request(method="GET", target="/" + "a" * 9_000))
    await expect_refusal(client, 414, "uri_too_long")


async def test_a_head_within_the_bounds_is_not_refused(client: Client) -> None:
    await client.send(chat_request("test/one", "X-Large: " + "a" * 15_000))
    assert (await client.read_response()).status == 200


async def test_a_body_of_the_largest_size_is_accepted(client: Client, upstream: Upstream) -> None:
    body = chat_body(padding="x" * (MAX_BODY_BYTES - len(chat_body(padding=""))))
    assert len(body) == MAX_BODY_BYTES
    await client.send(render_request(body))
    assert (await client.read_response()).status == 200


async def test_a_body_declared_too_large_is_refused_before_it_comes(client: Client, upstream: Upstream) -> None:
    await client.send(render_request(None, f"Content-Length: {MAX_BODY_BYTES + 1}", "Expect: 100-continue"))
    await expect_refusal(client, 413, "body_too_large")
    assert upstream.received == []


async def test_a_chunked_body_that_grows_too_large_is_refused(client: Client, upstream: Upstream) -> None:
    await client.send(CHUNKED_HEAD + encode_chunks(b"x" * (MAX_BODY_BYTES + 1), 10_000))
    await expect_refusal(client, 413, "body_too_large")
    assert upstream.received == []


@pytest.mark.parametrize("chunked", [True, False])
async def test_a_refusal_can_be_read_while_the_client_still_sends(client: Client, chunked: bool) -> None:
    head = CHUNKED_HEAD if chunked else render_request(None, "Content-Length: 5000000")
    body = b"x" * 5_000_000
    # All of it is sent before a byte is read: were the connection reset, the answer would be lost.
    await client.send(head + (encode_chunks(body, 100_000) if chunked else body))
    await expect_refusal(client, 413, "body_too_large")


@pytest.mark.parametrize(
    "junk",
    [
        pytest.param(b"x-trailer: " + b"a" * 10_000 + b"\r\n", id="trailers"),
        pytest.param(b"a" * 10_000, id="one-trailer"),
    ],
)
async def test_endless_trailers_are_refused(client: Client, junk: bytes) -> None:
    await client.send(CHUNKED_HEAD + encode_chunks(chat_body(), 100)[:-2] + b"x-first: ")
    for _ in range(60):
        await client.send(junk)
        await asyncio.sleep(0)
    await expect_refusal(client, 431, "headers_too_large")


async def test_endless_chunk_extensions_are_refused(client: Client) -> None:
    await client.send(CHUNKED_HEAD + b"5;")
    for _ in range(60):
        await client.send(b"a" * 10_000)
        await asyncio.sleep(0)
    await expect_refusal(client, 431, "headers_too_large")


@pytest.mark.parametrize("sent", [b"POST /v1/chat", chat_request().partition(b"\r\n\r\n")[0]])
async def test_a_head_that_does_not_end_is_given_up(client: Client, sent: bytes) -> None:
    await client.send(sent)
    await expect_refusal(client, 408, "request_timeout")


async def test_a_head_that_trickles_in_is_given_up_all_the_same(client: Client) -> None:
    async def trickle() -> None:
        await client.send(b"GET /healthz HTTP/1.1\r\nX-Slow: ")
        while True:
            await client.send(b"a")
            await asyncio.sleep(0.05)  # the pace of the attack

    trickling = asyncio.ensure_future(trickle())
    try:
        await expect_refusal(client, 408, "request_timeout")
    finally:
        trickling.cancel()


@pytest.mark.parametrize("head", [CHUNKED_HEAD + b"5\r\nhel", render_request(None, "Content-Length: 50") + b"hello"])
async def test_a_body_that_does_not_end_is_given_up(client: Client, head: bytes, upstream: Upstream) -> None:
    await client.send(head)
    await expect_refusal(client, 408, "request_timeout")
    assert upstream.received == []


@pytest.mark.parametrize("used", [False, True])
async def test_an_idle_connection_is_closed_without_a_word(client: Client, used: bool) -> None:
    began_s = time.monotonic()
    if used:
        await client.send(chat_request())
        assert (await client.read_response()).status == 200
    assert await client.closed()
    assert time.monotonic() - began_s >= 0.4


async def test_a_request_that_waits_for_its_upstream_is_not_idle(client: Client, upstream: Upstream) -> None:
    go_on = asyncio.Event()
    upstream.script(Wait(go_on), document())
    await client.send(chat_request())
    asyncio.get_running_loop().call_later(2.2, go_on.set)  # two sweeps of the idle connections later
    assert (await client.read_response()).status == 200


async def test_too_many_connections_are_told_to_come_later(connect: Connect, frontend: FrontendProcess) -> None:
    clients = [await connect(frontend) for _ in range(3)]
    for client in clients:
        await client.send(chat_request())
        assert (await client.read_response()).status == 200
    surplus = await connect(frontend)
    answer = await surplus.read_response()
    assert (answer.status, answer.error["code"]) == (503, "too_many_connections")
    assert answer.header("retry-after") == "1"
    assert await surplus.closed()


async def test_too_many_requests_in_flight_are_told_to_come_later(
    connect: Connect, frontend: FrontendProcess, upstream: Upstream
) -> None:
    go_on = asyncio.Event()
    clients = [await connect(frontend) for _ in range(3)]
    for client in clients[:2]:
        upstream.script(Wait(go_on), document())
        await client.send(chat_request())
    await upstream.wait_received(2)
    await clients[2].send(chat_request())
    answer = await clients[2].read_response()
    assert (answer.status, answer.error["code"]) == (503, "overloaded")
    assert answer.header("retry-after") == "1"
    assert len(upstream.received) == 2
    go_on.set()
    for client in clients[:2]:
        assert (await client.read_response()).status == 200
    await clients[2].send(chat_request())  # the same connection, once there is room
    assert (await clients[2].read_response()).status == 200


async def test_connections_to_an_upstream_are_bounded_and_waited_for(
    serve: Serve, connect: Connect, upstream: Upstream
) -> None:
    frontend = serve(make_plan(make_provider(upstream.port), limits=LimitsPlan(upstream_max_connections=2)))
    go_on = asyncio.Event()
    clients = [await connect(frontend) for _ in range(5)]
    for client in clients:
        upstream.script(Wait(go_on), document())
        await client.send(chat_request())
    await upstream.wait_received(2)
    go_on.set()
    for client in clients:
        assert (await client.read_response()).status == 200
    assert len(upstream.links) == 2


async def test_who_leaves_the_queue_for_an_upstream_is_not_served(
    serve: Serve, connect: Connect, upstream: Upstream
) -> None:
    frontend = serve(make_plan(make_provider(upstream.port), limits=LimitsPlan(upstream_max_connections=1)))
    go_on = asyncio.Event()
    upstream.script(Wait(go_on), document("first"))
    first, second, third = [await connect(frontend) for _ in range(3)]
    await first.send(chat_request())
    await upstream.wait_received(1)
    await second.send(chat_request(user="second"))
    await third.send(chat_request(user="third"))
    second.reset()
    go_on.set()
    assert (await third.read_response()).status == 200
    assert [received.json.get("user") for received in upstream.received][-1] == "third"
