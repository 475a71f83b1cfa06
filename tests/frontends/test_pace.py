"""Back-pressure: a client sets the pace of its upstream, and costs no memory."""

from __future__ import annotations

import json
from dataclasses import replace

from plano.config.plan import LimitsPlan
from tests.frontends.client import chat_request
from tests.frontends.conftest import Connect, Serve
from tests.frontends.plans import NO_RETRY, make_plan, make_provider
from tests.frontends.process import FrontendProcess
from tests.frontends.records import RecordSocket
from tests.frontends.upstream import (
    DONE,
    FINISH,
    LAST_CHUNK,
    STREAM_HEAD,
    Upstream,
    answer_object,
    chunk,
    response,
    say,
    stream,
)

MIB = 1024 * 1024
EVENT = say("x" * 100_000)
EVENTS = 2_000  # 200 MB
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
    head = await client.read_head()
    await upstream.links[0].wait_paused()
    assert frontend.rss_bytes() - before < GROWTH_BYTES
    answer = await client.read_body(*head)
    assert answer.complete
    assert len(answer.body) == len(EVENT) * EVENTS + len(FINISH + DONE)
    assert answer.body[: len(EVENT)] == EVENT
    assert answer.body.count(EVENT) == EVENTS
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


async def test_a_client_that_does_not_take_its_last_answer_is_cut(
    serve: Serve, connect: Connect, upstream: Upstream, records: RecordSocket
) -> None:
    limits = LimitsPlan(body_timeout_s=0.2, keepalive_timeout_s=0.2, max_connections=1)
    frontend = serve(make_plan(make_provider(upstream.port), limits=limits))
    client = await connect(frontend, receive_buffer_bytes=4096)
    body = json.dumps(answer_object("x" * 5_000_000)).encode()
    upstream.script(response("200 OK", body))
    await client.send(chat_request("test/one", "Connection: close"))
    assert (await records.read_one()).duration_s < 5
    while True:  # there is room for one connection: this one's, once the other has been cut
        other = await connect(frontend)
        await other.send(chat_request())
        if (await other.read_response()).status == 200:
            break
        other.close()


async def test_a_connection_that_was_paused_at_the_end_of_an_answer_serves_the_next(
    serve: Serve, connect: Connect, upstream: Upstream
) -> None:
    retry = replace(NO_RETRY, per_try_timeout_s=2.0)
    frontend = serve(make_plan(make_provider(upstream.port, retry=retry)))
    slow, quick = await connect(frontend, receive_buffer_bytes=4096), await connect(frontend)
    for size in (100_000, 200_000, 400_000, 800_000):
        upstream.script(STREAM_HEAD + chunk(say("a")) + chunk(say("x" * size) + FINISH + DONE) + LAST_CHUNK)
        await slow.send(chat_request(stream=True))
        await upstream.wait_received(len(upstream.received) + 1)
        await slow.read_head()
        upstream.script(*stream("fine"))
        await quick.send(chat_request(stream=True))
        assert (await quick.read_response()).text == "fine"
        while await slow.read_chunk():
            pass


async def test_an_answer_behind_an_unread_one_waits_too(
    connect: Connect, frontend: FrontendProcess, upstream: Upstream
) -> None:
    client = await connect(frontend, receive_buffer_bytes=4096)
    await client.send(chat_request())
    await client.read_response()
    before = frontend.rss_bytes()
    first = say("x" * 400_000)
    upstream.script(STREAM_HEAD + chunk(first + FINISH + DONE) + LAST_CHUNK)
    upstream.script(STREAM_HEAD, *[chunk(EVENT)] * EVENTS, chunk(FINISH + DONE), LAST_CHUNK)
    await client.send(chat_request(stream=True) * 2)
    await upstream.wait_received(3)
    await upstream.received[2].connection.wait_paused()
    assert frontend.rss_bytes() - before < GROWTH_BYTES
    assert (await client.read_response()).body == first + FINISH + DONE
    assert len((await client.read_response()).body) == len(EVENT) * EVENTS + len(FINISH + DONE)
