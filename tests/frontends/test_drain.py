"""Draining: what is in flight finishes, what is idle closes, what does not end is cut at the deadline."""

from __future__ import annotations

import asyncio
import time

import pytest

from plano.frontends.listener import DRAIN_GRACE_S
from tests.frontends.client import Client, chat_request
from tests.frontends.conftest import Connect
from tests.frontends.process import FrontendProcess
from tests.frontends.records import RecordSocket
from tests.frontends.upstream import (
    DONE,
    FINISH,
    HANG,
    LAST_CHUNK,
    STREAM_HEAD,
    Upstream,
    Wait,
    chunk,
    document,
    say,
    stream,
)


async def wait_refused(frontend: FrontendProcess) -> None:
    """Return once no new connection is accepted."""
    limit_s = time.monotonic() + 10
    while time.monotonic() < limit_s:
        try:
            async with asyncio.timeout(0.3):
                client = await Client.connect(frontend.port)
        except (ConnectionRefusedError, TimeoutError):
            return
        client.close()
        await asyncio.sleep(0.01)
    raise TimeoutError("connections are still accepted")


async def test_requests_in_flight_are_finished(
    connect: Connect, frontend: FrontendProcess, upstream: Upstream, records: RecordSocket
) -> None:
    go_on = asyncio.Event()
    streaming, waiting = await connect(frontend), await connect(frontend)
    upstream.script(STREAM_HEAD, chunk(say("a")), Wait(go_on), chunk(say("b") + FINISH + DONE), LAST_CHUNK)
    await streaming.send(chat_request(stream=True))
    head = await streaming.read_head()
    upstream.script(Wait(go_on), document("late"))
    await waiting.send(chat_request())
    await upstream.wait_received(2)
    frontend.drain(20)
    await wait_refused(frontend)
    go_on.set()
    assert (await streaming.read_body(*head)).text == "ab"
    answer = await waiting.read_response()
    assert (answer.status, answer.header("connection")) == (200, "close")
    assert await waiting.closed()
    assert await streaming.closed()
    await frontend.wait_ended()
    assert [record.status for record in await records.read(2)] == [200, 200]


@pytest.mark.parametrize("target", ["chat", "stream", "models"])
async def test_a_kept_connection_gets_one_more_answer_and_is_closed(
    client: Client, frontend: FrontendProcess, upstream: Upstream, target: str
) -> None:
    await client.send(chat_request())
    assert (await client.read_response()).header("connection") is None
    frontend.drain(20)
    request = chat_request(stream=target == "stream")
    if target == "models":
        request = b"GET /v1/models HTTP/1.1\r\nHost: a\r\n\r\n"
    if target == "stream":
        upstream.script(*stream("a"))
    limit_s = time.monotonic() + DRAIN_GRACE_S
    answer = None
    while time.monotonic() < limit_s:  # the drain begins when the frontend hears of it
        await client.send(request)
        answer = await client.read_response()
        assert answer.status == 200
        if answer.header("connection") == "close":
            break
        if target == "stream":
            upstream.script(*stream("a"))
    assert answer is not None
    assert answer.header("connection") == "close"
    assert await client.closed()
    await frontend.wait_ended()


async def test_idle_connections_are_closed_after_a_grace(client: Client, frontend: FrontendProcess) -> None:
    began_s = time.monotonic()
    frontend.drain(20)
    assert await client.closed()
    assert DRAIN_GRACE_S * 0.9 <= time.monotonic() - began_s < DRAIN_GRACE_S + 3
    await frontend.wait_ended()


async def test_a_drain_without_connections_ends_at_once(frontend: FrontendProcess) -> None:
    began_s = time.monotonic()
    frontend.drain(20)
    await frontend.wait_ended()
    assert time.monotonic() - began_s < 3


async def test_what_does_not_end_is_cut_at_the_deadline(
    client: Client, frontend: FrontendProcess, upstream: Upstream, records: RecordSocket
) -> None:
    upstream.script(STREAM_HEAD, chunk(say("a")), HANG)
    await client.send(chat_request(stream=True))
    await client.read_until(say("a"))
    frontend.drain(0.5)
    await client.read_to_end()
    await upstream.wait_closed()
    await frontend.wait_ended()
    assert (await records.read_one()).status == 499  # nothing of it is lost in the end of the process
