"""Back-pressure: a client sets the pace of its upstream, and costs no memory."""

from __future__ import annotations

import pytest

from plano.config.plan import LimitsPlan
from tests.frontends.client import chat_request, render_request
from tests.frontends.conftest import Connect, Serve
from tests.frontends.plans import make_plan, make_provider
from tests.frontends.process import FrontendProcess
from tests.frontends.records import RecordSocket
from tests.frontends.upstream import (
    DONE,
    FINISH,
    LAST_CHUNK,
    STREAM_HEAD,
    Upstream,
    chunk,
    say,
    stream,
)
from tests.frontends.waiting import wait_until
from tests.frontends.wire import WiredFrontend

MIB = 1024 * 1024
EVENT = say("x" * 50_000)
EVENTS = 4_000  # 200 MB
GROWTH_BYTES = 6 * MIB


async def test_a_client_that_does_not_read_costs_no_memory_and_loses_nothing(
    connect: Connect, frontend: FrontendProcess, upstream: Upstream
) -> None:
    client = await connect(frontend, receive_buffer_bytes=16_384)
    await client.send(chat_request())
    await client.read_response()
    before = frontend.rss_bytes()
    flood = chunk(EVENT)
    upstream.script(STREAM_HEAD, *[flood] * EVENTS, chunk(FINISH + DONE), LAST_CHUNK)
    await client.send(chat_request(stream=True))
    await client.read_head()
    await upstream.links[0].wait_paused()
    assert frontend.rss_bytes() - before < GROWTH_BYTES
    received = 0
    ending = b""
    while piece := await client.read_chunk():
        whole, rest = divmod(len(piece), len(EVENT))
        assert piece == EVENT * whole + (FINISH + DONE)[:rest]
        received += whole
        ending += piece[whole * len(EVENT) :]
    assert (received, ending) == (EVENTS, FINISH + DONE)
    assert frontend.rss_bytes() - before < GROWTH_BYTES


async def test_a_client_that_never_reads_is_cut_and_its_upstream_cancelled(
    serve: Serve, connect: Connect, upstream: Upstream, records: RecordSocket
) -> None:
    limits = LimitsPlan(body_timeout_s=0.3)
    frontend = serve(make_plan(make_provider(upstream.port), limits=limits))
    client = await connect(frontend, receive_buffer_bytes=4096)
    upstream.script(STREAM_HEAD, *[chunk(EVENT)] * EVENTS, LAST_CHUNK)
    await client.send(chat_request(stream=True))
    await upstream.wait_received()
    await upstream.wait_closed()
    record = await records.read_one()
    assert record.client_gone
    assert record.duration_s < 5


@pytest.mark.parametrize("lines", [("Connection: close",), ()])
async def test_a_client_that_does_not_take_its_last_answer_is_cut(
    records: RecordSocket, lines: tuple[str, ...]
) -> None:
    limits = LimitsPlan(body_timeout_s=0.1, keepalive_timeout_s=0.1)
    async with WiredFrontend(records.address, limits=limits) as wired:
        client, wire = wired.accept()
        client.data_received(render_request(None, *lines, method="GET", target="/healthz"))
        await wait_until(lambda: wire.closing)
        assert wire.data.startswith(b"HTTP/1.1 200 OK\r\n")
        await wait_until(lambda: wire.aborted, "closing waits for ever")  # for `connection_lost`, as nothing is sent


async def test_a_connection_paused_by_the_end_of_an_answer_serves_the_next(records: RecordSocket) -> None:
    async with WiredFrontend(records.address) as wired:
        upstream, upstream_wire = wired.provide()
        slow, slow_wire = wired.accept()
        quick, quick_wire = wired.accept()
        slow.data_received(chat_request(stream=True))
        upstream.data_received(STREAM_HEAD + chunk(say("a")))
        slow_wire.full_at_bytes = len(slow_wire.data)
        upstream.data_received(chunk(say("b") + FINISH + DONE) + LAST_CHUNK)
        quick.data_received(chat_request(stream=True))
        assert len(upstream_wire.written) == 2, "the same connection is used"
        assert upstream_wire.reading
        upstream.data_received(b"".join(stream("fine")))
        assert b"fine" in quick_wire.data
        slow_wire.empty()
        assert upstream_wire.reading


async def test_an_answer_behind_an_unread_one_waits_too(records: RecordSocket) -> None:
    async with WiredFrontend(records.address) as wired:
        upstream, upstream_wire = wired.provide()
        client, wire = wired.accept()
        client.data_received(chat_request(stream=True))
        upstream.data_received(STREAM_HEAD + chunk(say("a")))
        wire.full_at_bytes = len(wire.data)
        upstream.data_received(chunk(FINISH + DONE) + LAST_CHUNK)
        client.data_received(chat_request(stream=True))
        upstream.data_received(STREAM_HEAD + chunk(say("b")))
        assert not upstream_wire.reading
        wire.empty()
        assert upstream_wire.reading
