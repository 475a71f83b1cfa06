"""Event streams on their way: whole events, one write for head and first content, honest ends."""

from __future__ import annotations

import asyncio
import gzip
import json
from dataclasses import replace

import pytest

from tests.frontends.client import Client, Response, chat_request, render_request
from tests.frontends.conftest import Connect, Serve
from tests.frontends.plans import NO_RETRY, make_plan, make_provider
from tests.frontends.records import RecordSocket
from tests.frontends.upstream import (
    CLOSE,
    DONE,
    FINISH,
    HANG,
    LAST_CHUNK,
    RESET,
    ROLE,
    STREAM_HEAD,
    USAGE,
    Step,
    Upstream,
    Wait,
    chunk,
    say,
    stream,
    stream_events,
)

UNTIL_CLOSE_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n"


async def ask_stream(client: Client) -> Response:
    """The answer to a streaming request."""
    await client.send(chat_request(stream=True))
    return await client.read_response()


def expect_error_end(response: Response, code: str) -> None:
    """The stream ended with an error event, [DONE], and a proper last chunk."""
    assert response.complete
    assert response.events[-1] == b"[DONE]"
    error = json.loads(response.events[-2])["error"]
    assert error["code"] == code
    assert error["message"]


async def test_events_are_passed_on_unchanged(client: Client, upstream: Upstream) -> None:
    upstream.script(*stream("Hel", "lo"))
    response = await ask_stream(client)
    assert response.status == 200
    assert response.body == b"".join(stream_events("Hel", "lo"))


async def test_head_and_first_content_leave_in_one_write(client: Client, upstream: Upstream) -> None:
    head_sent, role_sent, go_on = asyncio.Event(), asyncio.Event(), asyncio.Event()
    upstream.script(STREAM_HEAD, Wait(head_sent), chunk(ROLE), Wait(role_sent), chunk(say("a")), Wait(go_on), CLOSE)
    await client.send(chat_request(stream=True))
    await upstream.wait_received()
    head_sent.set()
    await asyncio.sleep(0)
    role_sent.set()
    data = await client.recv()
    assert data.startswith(b"HTTP/1.1 200 OK\r\n")
    assert data.endswith(chunk(ROLE + say("a")))


async def test_each_event_leaves_when_it_comes(client: Client, upstream: Upstream) -> None:
    turns = [asyncio.Event() for _ in range(5)]
    steps: list[Step] = [STREAM_HEAD, chunk(say("0"))]
    for number, turn in enumerate(turns, 1):
        steps += [Wait(turn), chunk(say(str(number)))]
    upstream.script(*steps, chunk(FINISH + DONE), LAST_CHUNK)
    await client.send(chat_request(stream=True))
    await client.read_head()
    for number, turn in enumerate(turns):
        assert await client.read_chunk() == say(str(number))
        turn.set()


async def test_half_an_event_waits_for_its_other_half(client: Client, upstream: Upstream) -> None:
    go_on = asyncio.Event()
    event = say("whole")
    upstream.script(
        STREAM_HEAD, chunk(say("a") + event[:20]), Wait(go_on), chunk(event[20:]), chunk(FINISH + DONE), LAST_CHUNK
    )
    await client.send(chat_request(stream=True))
    await client.read_head()
    assert await client.read_chunk() == say("a")
    go_on.set()
    assert (await client.read_chunk()).startswith(event)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"".join(stream_events("a", "b")).replace(b"\n", b"\r\n"), id="crlf"),
        pytest.param(b": ping\n\n" + ROLE + b": ping\n\n" + say("a") + b": ping\n\n" + FINISH + DONE, id="comments"),
        pytest.param(b"\xef\xbb\xbf" + b"".join(stream_events("a")), id="byte-order-mark"),
        pytest.param(b"event: message\nid: 7\n" + say("a") + b"retry: 10\n" + FINISH + DONE, id="other-fields"),
    ],
)
async def test_other_ways_to_write_a_stream_pass_as_they_are(client: Client, upstream: Upstream, body: bytes) -> None:
    upstream.script(STREAM_HEAD, *(chunk(body[place : place + 7]) for place in range(0, len(body), 7)), LAST_CHUNK)
    response = await ask_stream(client)
    assert response.complete
    assert response.body == body


async def test_a_missing_done_is_added(client: Client, upstream: Upstream) -> None:
    upstream.script(STREAM_HEAD, chunk(say("a")), chunk(FINISH), chunk(USAGE), LAST_CHUNK)
    assert (await ask_stream(client)).body == say("a") + FINISH + USAGE + DONE


async def test_a_missing_last_empty_line_is_added(client: Client, upstream: Upstream) -> None:
    upstream.script(STREAM_HEAD, chunk(say("a") + FINISH), chunk(b"data: [DONE]"), LAST_CHUNK)
    assert (await ask_stream(client)).body == say("a") + FINISH + DONE


async def test_the_word_done_in_an_answer_is_no_end_mark(client: Client, upstream: Upstream) -> None:
    upstream.script(STREAM_HEAD, chunk(say("data: [DONE]")), chunk(FINISH), LAST_CHUNK)
    assert (await ask_stream(client)).events[-1] == b"[DONE]"


@pytest.mark.parametrize("last", [b"", b"5\r\nda", b"ff\r\n" + say("b")[:30], b"zz\r\n"], ids=repr)
@pytest.mark.parametrize("end", [CLOSE, RESET])
async def test_a_stream_that_breaks_off_ends_with_an_error_event(
    client: Client, upstream: Upstream, last: bytes, end: Step, records: RecordSocket
) -> None:
    seen = asyncio.Event()
    upstream.script(STREAM_HEAD, chunk(say("a")), Wait(seen), last or chunk(b"data: "), end)
    await client.send(chat_request(stream=True))
    head = await client.read_head()
    first = await client.read_chunk()
    seen.set()
    response = await client.read_body(*head)
    response.body = first + response.body
    expect_error_end(response, "upstream_protocol_error" if last == b"zz\r\n" else "upstream_reset")
    assert response.body.startswith(say("a") + b'data: {"error"')
    record = await records.read_one()
    assert (record.status, record.client_gone) == (200, False)
    assert record.error in ("stream_reset", "stream_protocol")
    await client.send(chat_request())
    assert (await client.read_response()).status == 200


async def test_a_stream_that_ends_without_an_end_mark_is_told_from_a_whole_one(
    client: Client, upstream: Upstream
) -> None:
    upstream.script(STREAM_HEAD, chunk(say("half an ans")), LAST_CHUNK)
    expect_error_end(await ask_stream(client), "upstream_reset")


async def test_an_error_event_of_the_upstream_reaches_the_client_once(client: Client, upstream: Upstream) -> None:
    error = b'data: {"error":{"message":"overloaded","type":"server_error"}}\n\n'
    upstream.script(STREAM_HEAD, chunk(say("a")), chunk(error), LAST_CHUNK)
    assert (await ask_stream(client)).body == say("a") + error + DONE


@pytest.mark.parametrize("end", [CLOSE, RESET])
async def test_a_stream_that_was_whole_before_it_broke_is_whole(
    client: Client, upstream: Upstream, end: Step, records: RecordSocket
) -> None:
    seen = asyncio.Event()
    upstream.script(STREAM_HEAD, chunk(b"".join(stream_events("a"))), Wait(seen), end)
    await client.send(chat_request(stream=True))
    head = await client.read_head()
    assert await client.read_chunk() == b"".join(stream_events("a"))
    seen.set()
    assert (await client.read_body(*head)).body == b""
    record = await records.read_one()
    assert (record.error, record.tokens_in, record.tokens_out) == ("", 11, 5)


async def test_a_stream_that_stands_still_ends_with_an_error_event(
    serve: Serve, connect: Connect, upstream: Upstream
) -> None:
    provider = make_provider(upstream.port, retry=replace(NO_RETRY, idle_timeout_s=0.1))
    client = await connect(serve(make_plan(provider)))
    upstream.script(STREAM_HEAD, chunk(say("a")), HANG)
    response = await ask_stream(client)
    expect_error_end(response, "upstream_idle_timeout")
    assert response.body.startswith(say("a"))
    await upstream.wait_closed()


async def test_a_slow_stream_is_not_taken_for_one_that_stands_still(
    serve: Serve, connect: Connect, upstream: Upstream
) -> None:
    provider = make_provider(upstream.port, retry=replace(NO_RETRY, idle_timeout_s=0.3))
    client = await connect(serve(make_plan(provider)))
    turns = [asyncio.Event() for _ in range(6)]
    steps: list[Step] = [STREAM_HEAD, chunk(say("0"))]
    for turn in turns:
        steps += [Wait(turn), chunk(say("."))]
    upstream.script(*steps, chunk(FINISH + DONE), LAST_CHUNK)
    await client.send(chat_request(stream=True))
    head = await client.read_head()
    for turn in turns:
        await client.read_chunk()
        await asyncio.sleep(0.12)  # the pace of this upstream: well below the time-out, in sum above twice of it
        turn.set()
    assert (await client.read_body(*head)).events[-1] == b"[DONE]"


@pytest.mark.parametrize("size", [60_000, 70_000, 300_000, 2_000_000])
async def test_large_events_arrive_whole(client: Client, upstream: Upstream, size: int) -> None:
    event = say("x" * size)
    upstream.script(STREAM_HEAD, chunk(say("a")), chunk(event), chunk(FINISH + DONE), LAST_CHUNK)
    assert (await ask_stream(client)).body == say("a") + event + FINISH + DONE


async def test_a_large_first_event_arrives_whole(client: Client, upstream: Upstream) -> None:
    event = say("x" * 1_000_000)
    upstream.script(STREAM_HEAD, chunk(event), chunk(FINISH + DONE), LAST_CHUNK)
    assert (await ask_stream(client)).body == event + FINISH + DONE


async def test_half_a_large_event_is_never_followed_by_another(client: Client, upstream: Upstream) -> None:
    event = say("x" * 500_000)
    upstream.script(STREAM_HEAD, chunk(say("a")), chunk(event)[:400_000], CLOSE)
    response = await ask_stream(client)
    assert response.body.startswith(say("a"))
    if response.complete:
        assert response.events  # nothing of the large event had been passed on
        expect_error_end(response, "upstream_reset")
        assert json.loads(response.events[1])["error"]
    else:
        assert b'"error"' not in response.body  # cut: that the answer is not whole cannot be missed


async def test_a_stream_may_last_until_the_upstream_closes(client: Client, upstream: Upstream) -> None:
    upstream.script(UNTIL_CLOSE_HEAD, *stream_events("a", "b"), CLOSE)
    response = await ask_stream(client)
    assert response.complete
    assert response.text == "ab"
    await client.send(chat_request())
    assert (await client.read_response()).status == 200


async def test_a_stream_may_have_a_length(client: Client, upstream: Upstream) -> None:
    body = b"".join(stream_events("a"))
    upstream.script(
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: %d\r\n\r\n" % len(body), body
    )
    response = await ask_stream(client)
    assert response.body == body
    assert response.header("content-length") is None
    assert len(upstream.links) == 1


async def test_a_compressed_stream_passes_unread(client: Client, upstream: Upstream) -> None:
    body = gzip.compress(b"".join(stream_events("a")))
    upstream.script(
        STREAM_HEAD[:-2] + b"content-encoding: gzip\r\n\r\n", chunk(body[:10]), chunk(body[10:]), LAST_CHUNK
    )
    response = await ask_stream(client)
    assert response.header("content-encoding") == "gzip"
    assert response.body == body


async def test_trailers_of_the_upstream_end_here(client: Client, upstream: Upstream) -> None:
    upstream.script(STREAM_HEAD + b"".join(stream("a")[1:-1]) + b"0\r\nX-Late: 1\r\ncontent-type: text/plain\r\n\r\n")
    response = await ask_stream(client)
    assert response.header("x-late") is None
    assert response.header("content-type") == "text/event-stream; charset=utf-8"
    assert response.text == "a"


async def test_a_stream_is_recorded(client: Client, upstream: Upstream, records: RecordSocket) -> None:
    upstream.script(*stream("a", "b"))
    request = chat_request("fast", "X-Request-Id: mine", stream=True)
    await client.send(request)
    response = await client.read_response()
    record = await records.read_one()
    assert (record.request_id, record.listener, record.path) == (b"mine", "llm", b"/v1/chat/completions")
    assert (record.requested_model, record.provider, record.model) == ("fast", "test", "test/one")
    assert (record.status, record.error, record.streaming, record.client_gone) == (200, "", True, False)
    assert (record.tokens_in, record.tokens_out) == (11, 5)
    assert record.bytes_out == len(response.body)
    assert record.bytes_in == len(request.partition(b"\r\n\r\n")[2])
    assert record.ttft_s is not None
    assert 0 < record.ttft_s <= record.duration_s < 10
    assert record.attempts == ()


async def test_a_stream_asked_for_over_http_1_0_that_breaks_ends_with_an_error_event(
    client: Client, upstream: Upstream
) -> None:
    upstream.script(STREAM_HEAD, chunk(say("a")), CLOSE)
    await client.send(render_request(chat_request(stream=True).partition(b"\r\n\r\n")[2], version="1.0"))
    expect_error_end(await client.read_response(), "upstream_reset")
