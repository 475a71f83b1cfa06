"""Each way an attempt can fail before content: it is tried again, then elsewhere, then told."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import replace

import pytest

from tests.frontends.client import Client, Response, chat_request
from tests.frontends.conftest import Connect, Serve
from tests.frontends.plans import NO_RETRY, QUICK_RETRY, make_plan, make_provider
from tests.frontends.records import RecordSocket
from tests.frontends.upstream import (
    CLOSE,
    DONE,
    LAST_CHUNK,
    RESET,
    ROLE,
    STREAM_HEAD,
    Step,
    Upstream,
    answer_object,
    chunk,
    document,
    refusal,
    response,
    say,
    stream,
)
from tests.frontends.waiting import wait_until
from tests.frontends.wire import WiredFrontend

ERROR_EVENT = b'data: {"error":{"message":"no capacity","type":"overloaded"}}\n\n'
ERROR_DOCUMENT = json.dumps({"error": {"message": "no capacity", "type": "overloaded"}})
TRUNCATED = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n" + b'{"half":'

# What the upstream does, whether for a stream, and the kind of failure it is.
FAILURES = [
    pytest.param((CLOSE,), False, "reset", id="closed-before-the-head"),
    pytest.param((RESET,), False, "reset", id="reset-before-the-head"),
    pytest.param((b"HTTP/1.1 200 OK\r\ncontent-", CLOSE), False, "reset", id="closed-within-the-head"),
    pytest.param((TRUNCATED, CLOSE), False, "reset", id="truncated-document"),
    pytest.param((TRUNCATED, RESET), False, "reset", id="reset-within-a-document"),
    pytest.param((b"SSH-2.0-OpenSSH\r\n",), False, "protocol", id="not-http"),
    pytest.param((b"HTTP/1.1 200 OK\r\n" + b"x-a: %b\r\n" % (b"a" * 300_000),), False, "protocol", id="endless-head"),
    pytest.param((response("200 OK", "not json"),), False, "protocol", id="not-json"),
    pytest.param((response("200 OK", "[1]"),), False, "protocol", id="an-array"),
    pytest.param((response("200 OK", '{"cut":'),), False, "protocol", id="half-a-document"),
    pytest.param((response("200 OK", "<html>", {"content-type": "text/html"}),), False, "protocol", id="html"),
    pytest.param((response("302 Found", "", {"location": "http://x/"}),), False, "protocol", id="redirect"),
    pytest.param((response("999 Request Denied", "{}"),), False, "protocol", id="unknown-status"),
    pytest.param((b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\n\r\n",), False, "protocol", id="upgrade"),
    pytest.param((response("200 OK", ""),), False, "empty", id="empty-document"),
    pytest.param((response("200 OK", " \n "),), False, "empty", id="blank-document"),
    pytest.param((b"HTTP/1.1 204 No Content\r\n\r\n",), False, "empty", id="no-content"),
    pytest.param((response("200 OK", ERROR_DOCUMENT),), False, "error_event", id="error-in-200"),
    pytest.param((STREAM_HEAD, chunk(ERROR_EVENT), LAST_CHUNK), True, "error_event", id="error-event-first"),
    pytest.param((STREAM_HEAD, chunk(ROLE), chunk(ERROR_EVENT)), True, "error_event", id="error-event-after-role"),
    pytest.param((response("200 OK", ERROR_DOCUMENT),), True, "error_event", id="error-in-200-for-a-stream"),
    pytest.param((STREAM_HEAD, LAST_CHUNK), True, "empty", id="empty-stream"),
    pytest.param((STREAM_HEAD, chunk(DONE), LAST_CHUNK), True, "empty", id="only-done"),
    pytest.param((STREAM_HEAD, chunk(b": ping\n\n"), LAST_CHUNK), True, "empty", id="only-comments"),
    pytest.param((STREAM_HEAD, chunk(ROLE), chunk(DONE), LAST_CHUNK), True, "empty", id="role-then-done"),
    pytest.param((STREAM_HEAD, chunk(ROLE), CLOSE), True, "reset", id="role-then-closed"),
    pytest.param((STREAM_HEAD, chunk(ROLE), RESET), True, "reset", id="role-then-reset"),
    pytest.param((STREAM_HEAD, chunk(say("a"))[:40], CLOSE), True, "reset", id="closed-within-the-first-event"),
    pytest.param((STREAM_HEAD, chunk(b"data: {nonsense\n\n")), True, "protocol", id="garbage-event"),
    pytest.param((STREAM_HEAD, b"not a chunk"), True, "protocol", id="broken-framing"),
    *(
        pytest.param((refusal(f"{status} Status"),), False, "status", id=f"status-{status}")
        for status in (408, 429, 500, 502, 503, 504, 529)
    ),
    pytest.param((refusal("503 Unavailable"),), True, "status", id="status-503-for-a-stream"),
]


async def ask(client: Client, *, streaming: bool = False) -> Response:
    """The answer to a chat request."""
    await client.send(chat_request(stream=streaming))
    return await client.read_response()


@pytest.mark.parametrize(("steps", "streaming", "kind"), FAILURES)
async def test_a_failed_attempt_is_repeated_unseen(
    serve: Serve,
    connect: Connect,
    upstream: Upstream,
    records: RecordSocket,
    steps: tuple[Step, ...],
    streaming: bool,
    kind: str,
) -> None:
    upstream.script(*steps)
    upstream.script(*(stream("fine") if streaming else (document("fine"),)))
    client = await connect(serve(make_plan(make_provider(upstream.port, retry=QUICK_RETRY))))
    answer = await ask(client, streaming=streaming)
    assert answer.status == 200
    assert answer.header("x-plano-attempts") == "2"
    assert answer.text == "fine" if streaming else answer.json == answer_object("fine")
    record = await records.read_one()
    assert [attempt.error for attempt in record.attempts] == [kind, ""]
    assert (record.status, record.error) == (200, "")
    assert upstream.received[0].body == upstream.received[1].body


@pytest.mark.parametrize(("steps", "streaming", "kind"), FAILURES)
async def test_a_failure_that_lasts_is_told_in_the_openai_shape(
    client: Client, upstream: Upstream, steps: tuple[Step, ...], streaming: bool, kind: str
) -> None:
    upstream.script(*steps)
    answer = await ask(client, streaming=streaming)
    assert answer.header("x-plano-attempts") == "1"
    assert answer.header("x-plano-model") == "test/one"
    assert answer.header("content-type") == "application/json"
    assert answer.error["message"]
    if kind == "status":
        assert answer.status in (408, 429, 500, 502, 503, 504, 529)
    else:
        assert answer.status == 502
    upstream.script(document("fine"))
    assert (await ask(client)).json == answer_object("fine")  # the connection goes on


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 422, 501])
async def test_what_would_fail_again_is_passed_on_at_once(
    serve: Serve, connect: Connect, upstream: Upstream, second_upstream: Upstream, status: int
) -> None:
    retry = replace(QUICK_RETRY, fallback_models=("test/two",))
    providers = (make_provider(upstream.port, retry=retry), make_provider(second_upstream.port, "two"))
    client = await connect(serve(make_plan(*providers)))
    upstream.script(refusal(f"{status} Status", "the provider's own words"))
    answer = await ask(client)
    assert answer.status == status
    assert answer.json == {"error": {"message": "the provider's own words", "type": "t", "param": None, "code": "c"}}
    assert answer.header("x-plano-attempts") == "1"
    assert (len(upstream.received), len(second_upstream.received)) == (1, 0)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ('{"detail":"too long"}', "too long"),
        ('{"error":"too long"}', "too long"),
        ('{"message":"too long"}', "too long"),
        ("<html>Bad</html>", None),
        ("", None),
    ],
)
async def test_an_error_of_another_shape_is_put_into_ours(
    client: Client, upstream: Upstream, body: str, message: str | None
) -> None:
    upstream.script(response("400 Bad Request", body))
    answer = await ask(client)
    assert answer.status == 400
    assert answer.error["message"] == (message or "The provider test answered with status 400.")
    assert bool(answer.error.get("upstream")) == bool(body)


async def test_candidates_are_tried_in_order(
    serve: Serve, connect: Connect, upstream: Upstream, second_upstream: Upstream, records: RecordSocket
) -> None:
    retry = replace(QUICK_RETRY, attempts=2, fallback_models=("test/two", "test/three", "test/two"))
    providers = (
        make_provider(upstream.port, retry=retry),
        make_provider(second_upstream.port, "two", retry=NO_RETRY),
        make_provider(second_upstream.port, "three", retry=QUICK_RETRY),
    )
    upstream.script(refusal("503 Unavailable"))
    upstream.script(refusal("429 Too Many"))
    second_upstream.script(CLOSE)
    second_upstream.script(document("third"))
    client = await connect(serve(make_plan(*providers)))
    answer = await ask(client)
    assert answer.json == answer_object("third")
    assert answer.header("x-plano-model") == "test/three"
    assert answer.header("x-plano-attempts") == "4"
    assert [received.json["model"] for received in second_upstream.received] == ["two", "three"]
    record = await records.read_one()
    assert [(attempt.model, attempt.status, attempt.error) for attempt in record.attempts] == [
        ("test/one", 503, "status"),
        ("test/one", 429, "status"),
        ("test/two", 0, "reset"),
        ("test/three", 200, ""),
    ]
    assert (record.model, record.provider) == ("test/three", "test")


async def test_the_last_error_of_the_chain_is_the_answer(
    serve: Serve, connect: Connect, upstream: Upstream, second_upstream: Upstream, records: RecordSocket
) -> None:
    retry = replace(NO_RETRY, fallback_models=("test/two",))
    providers = (make_provider(upstream.port, retry=retry), make_provider(second_upstream.port, "two"))
    upstream.script(refusal("500 Broken", "first"))
    second_upstream.script(refusal("429 Too Many", "second", {"retry-after": "7"}))
    client = await connect(serve(make_plan(*providers)))
    answer = await ask(client)
    assert (answer.status, answer.error["message"]) == (429, "second")
    assert answer.header("retry-after") == "7"
    assert answer.header("x-plano-attempts") == "2"
    assert answer.header("x-plano-model") == "test/two"
    record = await records.read_one()
    assert (record.status, record.error) == (429, "upstream_error")


async def test_an_upstream_that_is_not_there_is_passed_by(
    serve: Serve, connect: Connect, upstream: Upstream, refusing_port: int
) -> None:
    retry = replace(QUICK_RETRY, attempts=2, fallback_models=("test/two",))
    plan = make_plan(make_provider(refusing_port, retry=retry), make_provider(upstream.port, "two"))
    answer = await ask(await connect(serve(plan)))
    assert (answer.status, answer.header("x-plano-attempts")) == (200, "3")


@pytest.mark.parametrize("host", ["nowhere.invalid", "a..b", "x" * 70 + ".invalid"])
async def test_a_name_that_does_not_resolve_is_told_without_naming_it(
    serve: Serve, connect: Connect, host: str
) -> None:
    answer = await ask(await connect(serve(make_plan(make_provider(80, host=host)))))
    assert (answer.status, answer.error["code"]) == (502, "upstream_connect_error")
    assert host.encode() not in answer.body


async def test_a_connection_that_takes_too_long_is_given_up(
    serve: Serve, connect: Connect, upstream: Upstream, silent_port: int
) -> None:
    retry = replace(NO_RETRY, fallback_models=("test/two",))
    providers = (make_provider(silent_port, retry=retry), make_provider(upstream.port, "two"))
    began_s = time.monotonic()
    answer = await ask(await connect(serve(make_plan(*providers, connect_timeout_s=0.3))))
    assert (answer.status, answer.header("x-plano-attempts")) == (200, "2")
    assert 0.25 < time.monotonic() - began_s < 3


async def test_an_upstream_that_accepts_and_closes_does_not_leave_a_request_hanging(
    serve: Serve, connect: Connect, upstream: Upstream
) -> None:
    client = await connect(serve(make_plan(make_provider(upstream.port))))
    for greeting in [CLOSE, RESET] * 20:
        upstream.greeting = greeting
        answer = await ask(client)
        assert answer.status == 502


@pytest.mark.parametrize("end", [CLOSE, RESET])
async def test_a_stale_connection_is_replaced_without_counting_an_attempt(
    client: Client, upstream: Upstream, records: RecordSocket, end: Step
) -> None:
    assert (await ask(client)).status == 200
    upstream.script(end)  # at the moment the next request arrives
    answer = await ask(client)
    assert answer.status == 200
    assert answer.header("x-plano-attempts") == "1"
    assert len(upstream.links) == 2
    assert [record.attempts for record in await records.read(2)] == [(), ()]


async def test_a_connection_that_idled_before_its_first_request_may_be_stale_too(
    upstream: Upstream, records: RecordSocket
) -> None:
    async with WiredFrontend(records.address, port=upstream.port) as wired:
        idle, _ = wired.provide()  # as when the client that it was dialled for has left
        client, wire = wired.accept()
        client.data_received(chat_request())
        idle.connection_lost(None)
        await wait_until(lambda: wire.written)
        assert wire.data.startswith(b"HTTP/1.1 200 OK\r\n")
        assert b"x-plano-attempts: 1\r\n" in wire.data


async def test_nothing_is_repeated_after_content(serve: Serve, connect: Connect, upstream: Upstream) -> None:
    upstream.script(STREAM_HEAD, chunk(say("a")), CLOSE)
    client = await connect(serve(make_plan(make_provider(upstream.port, retry=QUICK_RETRY))))
    answer = await ask(client, streaming=True)
    assert answer.events[-1] == b"[DONE]"
    assert b'"error"' in answer.body
    assert len(upstream.received) == 1


async def test_a_hundred_failures_at_once_do_not_become_three_hundred_requests(
    serve: Serve, connect: Connect, upstream: Upstream
) -> None:
    upstream.default = (refusal("503 Unavailable"),)
    retry = replace(QUICK_RETRY, attempts=20)
    frontend = serve(make_plan(make_provider(upstream.port, retry=retry)))
    clients = [await connect(frontend) for _ in range(100)]
    answers = await asyncio.gather(*(ask(client) for client in clients))
    assert {answer.status for answer in answers} == {503}
    # 100 saved up, 0.2 for each request, 10 a second
    assert 150 < len(upstream.received) < 270
