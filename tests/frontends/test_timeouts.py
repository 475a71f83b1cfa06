"""Every wait for an upstream has a deadline, and a defined answer for when it passes."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from plano.config.plan import RetryPlan
from tests.frontends.client import Client, Response, chat_request
from tests.frontends.conftest import Connect, Serve
from tests.frontends.plans import NO_RETRY, QUICK_RETRY, make_plan, make_provider
from tests.frontends.records import RecordSocket
from tests.frontends.upstream import (
    HANG,
    ROLE,
    STREAM_HEAD,
    Step,
    Upstream,
    answer_object,
    chunk,
    document,
    refusal,
    say,
    stream,
)

HALF_DOCUMENT = b'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 900\r\n\r\n{"id":'


async def ask(client: Client, *, streaming: bool = False) -> tuple[Response, float]:
    """The answer to a chat request, and the seconds it took."""
    began_s = time.monotonic()
    await client.send(chat_request(stream=streaming))
    answer = await client.read_response()
    return answer, time.monotonic() - began_s


async def start(serve: Serve, connect: Connect, upstream: Upstream, retry: RetryPlan, timeout_s: float = 20) -> Client:
    """A connection to a frontend with one provider of this retry policy."""
    return await connect(serve(make_plan(make_provider(upstream.port, retry=retry), timeout_s=timeout_s)))


@pytest.mark.parametrize(
    "steps",
    [(HANG,), (b"HTTP/1.1 200 OK\r\n", HANG), (HALF_DOCUMENT, HANG), (refusal("500 Broken")[:-5], HANG)],
    ids=["silent", "half-a-head", "half-a-document", "half-an-error"],
)
async def test_a_try_that_takes_too_long_is_cancelled_and_repeated(
    serve: Serve, connect: Connect, upstream: Upstream, records: RecordSocket, steps: tuple[Step, ...]
) -> None:
    client = await start(serve, connect, upstream, replace(QUICK_RETRY, per_try_timeout_s=0.15))
    upstream.script(*steps)
    upstream.script(document("fine"))
    answer, took_s = await ask(client)
    assert (answer.status, answer.json) == (200, answer_object("fine"))
    assert answer.header("x-plano-attempts") == "2"
    assert 0.15 <= took_s < 2
    await upstream.wait_closed(upstream.links[0])
    assert [attempt.error for attempt in (await records.read_one()).attempts] == ["timeout", ""]


async def test_the_last_try_that_takes_too_long_is_504(serve: Serve, connect: Connect, upstream: Upstream) -> None:
    client = await start(serve, connect, upstream, replace(NO_RETRY, per_try_timeout_s=0.1))
    upstream.script(HANG)
    answer, _ = await ask(client)
    assert (answer.status, answer.error["code"], answer.error["type"]) == (504, "upstream_timeout", "timeout_error")
    assert "0.1 s" in answer.error["message"]


@pytest.mark.parametrize("steps", [(STREAM_HEAD, HANG), (STREAM_HEAD, chunk(ROLE), chunk(b": ping\n\n"), HANG)])
async def test_the_first_token_has_its_own_deadline(
    serve: Serve, connect: Connect, upstream: Upstream, steps: tuple[Step, ...]
) -> None:
    client = await start(serve, connect, upstream, replace(QUICK_RETRY, first_token_timeout_s=0.15))
    upstream.script(*steps)
    upstream.script(*stream("fine"))
    answer, took_s = await ask(client, streaming=True)
    assert answer.text == "fine"
    assert answer.header("x-plano-attempts") == "2"
    assert 0.15 <= took_s < 2
    await upstream.wait_closed(upstream.links[0])


async def test_the_deadline_of_the_first_token_is_for_streams_only(
    serve: Serve, connect: Connect, upstream: Upstream
) -> None:
    retry = replace(NO_RETRY, first_token_timeout_s=0.05, per_try_timeout_s=0.4)
    client = await start(serve, connect, upstream, retry)
    upstream.script(HANG)
    _, took_s = await ask(client)
    assert took_s >= 0.4


async def test_a_stream_may_take_longer_than_a_try_once_it_has_begun(
    serve: Serve, connect: Connect, upstream: Upstream
) -> None:
    retry = replace(NO_RETRY, per_try_timeout_s=0.1, first_token_timeout_s=0.1, idle_timeout_s=0.5)
    client = await start(serve, connect, upstream, retry)
    upstream.script(STREAM_HEAD, chunk(say("a")), HANG)
    answer, took_s = await ask(client, streaming=True)
    assert b"upstream_idle_timeout" in answer.body
    assert took_s >= 0.5


async def test_all_attempts_share_the_deadline_of_the_listener(
    serve: Serve, connect: Connect, upstream: Upstream, records: RecordSocket
) -> None:
    retry = replace(QUICK_RETRY, attempts=10, per_try_timeout_s=0.2, fallback_models=("test/one",))
    client = await start(serve, connect, upstream, retry, timeout_s=0.9)
    upstream.default = (HANG,)
    answer, took_s = await ask(client)
    assert (answer.status, answer.error["code"]) == (504, "deadline_exceeded")
    assert 0.9 <= took_s < 3
    *timed_out, last = [attempt.error for attempt in (await records.read_one()).attempts]
    # four at best; a busy machine looks at the deadlines later
    assert 1 <= len(timed_out) <= 4
    assert set(timed_out) == {"timeout"}
    assert last == "deadline"
    assert answer.header("x-plano-attempts") == str(len(timed_out) + 1)


async def test_a_candidate_that_hangs_is_passed_by(
    serve: Serve, connect: Connect, upstream: Upstream, second_upstream: Upstream
) -> None:
    retry = replace(NO_RETRY, per_try_timeout_s=0.1, fallback_models=("test/two",))
    providers = (make_provider(upstream.port, retry=retry), make_provider(second_upstream.port, "two"))
    client = await connect(serve(make_plan(*providers)))
    upstream.script(HANG)
    answer, _ = await ask(client)
    assert (answer.status, answer.header("x-plano-model")) == (200, "test/two")


async def test_retry_after_is_waited_for(serve: Serve, connect: Connect, upstream: Upstream) -> None:
    client = await start(serve, connect, upstream, QUICK_RETRY)
    upstream.script(refusal("429 Too Many", headers={"retry-after": "0.3"}))
    answer, took_s = await ask(client)
    assert answer.status == 200
    assert 0.3 <= took_s < 2


async def test_a_long_retry_after_means_the_next_candidate_now(
    serve: Serve, connect: Connect, upstream: Upstream, second_upstream: Upstream
) -> None:
    retry = replace(QUICK_RETRY, retry_after_max_s=5, fallback_models=("test/two",))
    providers = (make_provider(upstream.port, retry=retry), make_provider(second_upstream.port, "two"))
    client = await connect(serve(make_plan(*providers)))
    upstream.script(refusal("429 Too Many", headers={"retry-after": "6"}))
    answer, took_s = await ask(client)
    assert (answer.status, answer.header("x-plano-model")) == (200, "test/two")
    assert len(upstream.received) == 1
    assert took_s < 2


@pytest.mark.parametrize("retry_after", ["6", "Wed, 21 Oct 2099 07:28:00 GMT"])
async def test_a_long_retry_after_without_another_candidate_is_told(
    serve: Serve, connect: Connect, upstream: Upstream, retry_after: str
) -> None:
    client = await start(serve, connect, upstream, replace(QUICK_RETRY, retry_after_max_s=5))
    upstream.script(refusal("503 Unavailable", headers={"retry-after": retry_after}))
    answer, took_s = await ask(client)
    assert answer.status == 503
    assert int(answer.header("retry-after") or 0) >= 6
    assert len(upstream.received) == 1
    assert took_s < 2


@pytest.mark.parametrize("retry_after", ["soon", "-1", "nan", ""])
async def test_a_senseless_retry_after_is_ignored(
    serve: Serve, connect: Connect, upstream: Upstream, retry_after: str
) -> None:
    client = await start(serve, connect, upstream, QUICK_RETRY)
    upstream.script(refusal("503 Unavailable", headers={"retry-after": retry_after}))
    answer, took_s = await ask(client)
    assert answer.status == 200
    assert took_s < 2


async def test_retry_after_beyond_the_deadline_is_not_waited_for(
    serve: Serve, connect: Connect, upstream: Upstream
) -> None:
    client = await start(serve, connect, upstream, QUICK_RETRY, timeout_s=2)
    upstream.script(refusal("503 Unavailable", headers={"retry-after": "3"}))
    answer, took_s = await ask(client)
    assert answer.status == 503
    assert took_s < 1.5
