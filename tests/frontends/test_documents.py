"""Answers that are one JSON document, in every framing HTTP/1.1 has, and what an upstream may say around them."""

from __future__ import annotations

import asyncio
import gzip
import json

import pytest

from tests.frontends.client import Client, chat_request
from tests.frontends.records import RecordSocket
from tests.frontends.upstream import (
    CLOSE,
    LAST_CHUNK,
    RESET,
    Step,
    Upstream,
    Wait,
    answer_object,
    chunk,
    document,
    response,
)

BODY = json.dumps(answer_object()).encode()
JSON_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
FORGED = b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nforged"
LARGE = json.dumps(answer_object("x" * 3_000_000)).encode()


@pytest.mark.parametrize("body", [BODY, LARGE], ids=["small", "large"])
@pytest.mark.parametrize("framing", ["length", "chunked", "until-close"])
async def test_every_framing_is_understood(client: Client, upstream: Upstream, body: bytes, framing: str) -> None:
    if framing == "length":
        upstream.script(JSON_HEAD + b"content-length: %d\r\n\r\n" % len(body), body[:50], body[50:])
    elif framing == "chunked":
        pieces = [chunk(body[place : place + 50_000]) for place in range(0, len(body), 50_000)]
        upstream.script(JSON_HEAD + b"transfer-encoding: chunked\r\n\r\n", *pieces, LAST_CHUNK)
    else:
        upstream.script(JSON_HEAD + b"\r\n", body, CLOSE)
    for _ in range(2):
        await client.send(chat_request())
        answer = await client.read_response()
        assert answer.status == 200
        assert answer.complete
        assert answer.body in (body, BODY)
    assert len(upstream.links) == (2 if framing == "until-close" else 1)


@pytest.mark.parametrize("interim", ["100 Continue", "103 Early Hints", "102 Processing"])
async def test_interim_responses_are_not_the_answer(client: Client, upstream: Upstream, interim: str) -> None:
    early = f"HTTP/1.1 {interim}\r\nx-early: 1\r\ncontent-type: text/early\r\nretry-after: 9\r\n\r\n".encode()
    upstream.script(early, early + document(headers={"x-final": "1"}))
    await client.send(chat_request())
    answer = await client.read_response()
    assert (answer.status, answer.json) == (200, answer_object())
    assert answer.header("x-early") is None
    assert answer.header("x-final") == "1"
    assert answer.header("retry-after") is None
    assert answer.header("content-type") == "application/json"


@pytest.mark.parametrize("together", [True, False])
async def test_bytes_after_the_end_of_an_answer_reach_nobody(
    client: Client, upstream: Upstream, together: bool
) -> None:
    later = asyncio.Event()
    upstream.script(*((document() + FORGED,) if together else (document(), Wait(later), FORGED)))
    await client.send(chat_request())
    assert (await client.read_response()).json == answer_object()
    later.set()
    await upstream.wait_closed()
    await client.send(chat_request())
    assert (await client.read_response()).json == answer_object()
    assert len(upstream.links) == 2


async def test_an_upstream_that_closes_is_not_used_again(client: Client, upstream: Upstream) -> None:
    upstream.script(document(headers={"connection": "close"}))
    for _ in range(2):
        await client.send(chat_request())
        assert (await client.read_response()).status == 200
    assert len(upstream.links) == 2


async def test_a_compressed_document_passes_unread(client: Client, upstream: Upstream) -> None:
    packed = gzip.compress(BODY)
    upstream.script(response("200 OK", packed, {"content-encoding": "gzip"}))
    await client.send(chat_request())
    answer = await client.read_response()
    assert answer.header("content-encoding") == "gzip"
    assert answer.body == packed


@pytest.mark.parametrize("end", [CLOSE, RESET])
async def test_a_large_document_that_breaks_off_is_cut_for_the_client_too(
    client: Client, upstream: Upstream, records: RecordSocket, end: Step
) -> None:
    begun = asyncio.Event()
    upstream.script(JSON_HEAD + b"content-length: %d\r\n\r\n" % len(LARGE), LARGE[:1_000_000], Wait(begun), end)
    await client.send(chat_request())
    head = await client.read_head()
    begun.set()
    try:
        answer = await client.read_body(*head)
    except ConnectionResetError:
        pass
    else:
        assert not answer.complete
    record = await records.read_one()
    assert (record.status, record.error, record.client_gone) == (200, "stream_reset", False)
    assert [attempt.error for attempt in record.attempts] == ["reset"]


async def test_a_document_is_recorded(client: Client, upstream: Upstream, records: RecordSocket) -> None:
    await client.send(chat_request(None))
    answer = await client.read_response()
    record = await records.read_one()
    assert (record.requested_model or "", record.provider, record.model) == ("", "test", "test/one")
    assert (record.status, record.error, record.streaming, record.client_gone) == (200, "", False, False)
    assert (record.tokens_in, record.tokens_out, record.tokens_cached, record.tokens_reasoning) == (7, 3, 0, 0)
    assert record.bytes_out == len(answer.body)
    assert record.attempts == ()
    assert record.request_id.decode() == answer.header("x-request-id")
    traceparent = upstream.received[0].header("traceparent")
    assert traceparent == f"00-{record.trace_id.decode()}-{record.span_id.decode()}-01"
    assert record.parent_span_id == b""


async def test_a_list_of_models_is_served_and_recorded(client: Client, records: RecordSocket) -> None:
    await client.send(chat_request().replace(b"POST /v1/chat/completions", b"GET /v1/models", 1))
    answer = await client.read_response()
    assert answer.json == {
        "object": "list",
        "data": [{"id": "test/one", "object": "model", "created": 0, "owned_by": "test"}],
    }
    assert (await records.read_one()).path == b"/v1/models"
