"""A client that leaves cancels its upstream call at once, whatever stage it is in; and so says the record."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

import pytest

from tests.frontends.client import Client, chat_request
from tests.frontends.conftest import Connect, Serve
from tests.frontends.plans import QUICK_RETRY, make_plan, make_provider
from tests.frontends.process import FrontendProcess
from tests.frontends.records import RecordSocket
from tests.frontends.upstream import (
    HANG,
    ROLE,
    STREAM_HEAD,
    Step,
    Upstream,
    Wait,
    chunk,
    document,
    refusal,
    say,
)

AT_ONCE_S = 0.2  # 1 ms on a quiet machine
HALF_DOCUMENT = b'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 900\r\n\r\n{"id":'

leave = pytest.mark.parametrize(
    "leave", [Client.close, Client.reset, Client.stop_sending], ids=["close", "reset", "half-close"]
)


@leave
@pytest.mark.parametrize(
    ("steps", "streaming", "shown"),
    [
        pytest.param((HANG,), False, b"", id="before-the-head"),
        pytest.param((STREAM_HEAD, HANG), True, b"", id="before-content"),
        pytest.param((STREAM_HEAD, chunk(ROLE), HANG), True, b"", id="after-the-role"),
        pytest.param((STREAM_HEAD, chunk(say("a")), HANG), True, say("a"), id="mid-stream"),
        pytest.param((HALF_DOCUMENT, HANG), False, b"", id="mid-document"),
    ],
)
async def test_the_upstream_call_is_cancelled_at_once(
    client: Client,
    upstream: Upstream,
    records: RecordSocket,
    leave: object,
    steps: tuple[Step, ...],
    streaming: bool,
    shown: bytes,
) -> None:
    reached = asyncio.Event()

    def reach() -> bytes:
        reached.set()
        return b""

    upstream.script(*steps[:-1], reach, HANG)
    await client.send(chat_request(stream=streaming))
    await reached.wait()
    if shown:
        await client.read_until(shown)
    assert callable(leave)
    left_s = time.monotonic()
    leave(client)
    link = await upstream.wait_closed()
    assert link.closed_s is not None
    assert link.closed_s - left_s < AT_ONCE_S
    record = await records.read_one()
    assert (record.client_gone, record.status, record.error) == (True, 499, "client_closed")
    assert record.bytes_out == len(shown)
    assert record.streaming is streaming


async def test_a_client_that_leaves_while_the_upstream_is_dialled_sends_it_nothing(
    serve: Serve, connect: Connect, upstream: Upstream, records: RecordSocket, silent_port: int
) -> None:
    client = await connect(serve(make_plan(make_provider(silent_port))))
    other = await connect(serve(make_plan(make_provider(upstream.port))))
    await client.send(chat_request())
    await other.send(chat_request())
    assert (await other.read_response()).status == 200
    client.close()
    left = [record for record in await records.read(2) if record.client_gone]
    assert [record.status for record in left] == [499]


async def test_a_client_that_leaves_between_two_tries_ends_them(
    serve: Serve, connect: Connect, upstream: Upstream, records: RecordSocket
) -> None:
    retry = replace(QUICK_RETRY, backoff_base_s=0.4, backoff_max_s=0.4)
    client = await connect(serve(make_plan(make_provider(upstream.port, retry=retry))))
    upstream.script(refusal("503 Unavailable"))
    await client.send(chat_request())
    await upstream.wait_received()
    client.close()
    record = await records.read_one()
    assert record.client_gone
    assert record.duration_s < 0.4
    await asyncio.sleep(0.5)  # the backoff would have ended by now
    assert len(upstream.received) == 1


async def test_a_client_that_leaves_while_it_is_paused_cancels_too(
    connect: Connect, frontend: FrontendProcess, upstream: Upstream, records: RecordSocket
) -> None:
    client = await connect(frontend, receive_buffer_bytes=4096)
    flood = [chunk(say("x" * 60_000))] * 2_000
    upstream.script(STREAM_HEAD, *flood, HANG)
    await client.send(chat_request(stream=True))
    await client.read_head()
    link = upstream.links[0]
    await link.wait_paused()
    client.reset()
    await upstream.wait_closed()
    assert (await records.read_one()).client_gone


async def test_other_requests_go_on(connect: Connect, frontend: FrontendProcess, upstream: Upstream) -> None:
    stays, leaves = await connect(frontend), await connect(frontend)
    go_on = asyncio.Event()
    upstream.script(Wait(go_on), document("stays"))
    upstream.script(HANG)
    await stays.send(chat_request())
    await upstream.wait_received(1)
    await leaves.send(chat_request())
    await upstream.wait_received(2)
    leaves.reset()
    await upstream.wait_closed(upstream.links[1])
    go_on.set()
    assert (await stays.read_response()).status == 200


async def test_requests_behind_that_of_a_client_that_left_are_never_started(
    client: Client, upstream: Upstream, records: RecordSocket
) -> None:
    upstream.script(HANG)
    await client.send(chat_request())
    await upstream.wait_received()
    await client.send(b"GET /v1/models HTTP/1.1\r\nHost: a\r\nX-Unfinished")
    client.reset()
    await upstream.wait_closed()
    assert (await records.read_one()).client_gone
    assert len(upstream.received) == 1


async def test_a_client_that_left_is_not_a_failure_of_the_upstream(
    client: Client, upstream: Upstream, records: RecordSocket
) -> None:
    upstream.script(STREAM_HEAD, chunk(say("a")), HANG)
    await client.send(chat_request(stream=True))
    await client.read_until(say("a"))
    client.close()
    record = await records.read_one()
    assert record.attempts == ()
    assert record.tokens_out is None
