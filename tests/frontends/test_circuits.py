"""Circuits in a running frontend: who is called, who is passed over, and what happens when nobody else is left."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

from plano.config.plan import RetryPlan
from tests.frontends.client import Client, Response, chat_request
from tests.frontends.conftest import Connect, Serve
from tests.frontends.plans import make_plan, make_provider
from tests.frontends.process import FrontendProcess
from tests.frontends.records import RecordSocket
from tests.frontends.upstream import CLOSE, HANG, RESET, Upstream, document, refusal, stream

OPEN_S = 0.4
# Three failures in a row open a circuit; then the fallback is asked.
FRAGILE = RetryPlan(breaker_failures=3, breaker_open_s=OPEN_S, fallback_models=("test/two",))


async def ask(client: Client, model: str = "test/one", *, streaming: bool = False) -> Response:
    await client.send(chat_request(model, stream=streaming))
    return await client.read_response()


def serve_two(
    serve: Serve, upstream: Upstream, second: Upstream, retry: RetryPlan = FRAGILE, timeout_s: float = 20.0
) -> FrontendProcess:
    """A frontend with `test/one`, and `test/two` to fall back on."""
    other = make_provider(second.port, "two", retry=replace(retry, fallback_models=()))
    return serve(make_plan(make_provider(upstream.port, retry=retry), other, timeout_s=timeout_s))


async def open_circuit(client: Client, upstream: Upstream) -> None:
    """Let `test/one` fail three times."""
    for _ in range(3):
        upstream.script(refusal("503 Unavailable"))
        assert (await ask(client)).status == 200
    assert len(upstream.received) == 3


async def test_an_upstream_that_keeps_failing_is_passed_over(
    serve: Serve, connect: Connect, upstream: Upstream, second_upstream: Upstream, records: RecordSocket
) -> None:
    client = await connect(serve_two(serve, upstream, second_upstream, replace(FRAGILE, breaker_open_s=60.0)))
    await open_circuit(client, upstream)
    for streaming in (False, True):
        if streaming:
            second_upstream.script(*stream("b"))
        answer = await ask(client, streaming=streaming)
        assert (answer.status, answer.header("x-plano-model"), answer.header("x-plano-attempts")) == (
            200,
            "test/two",
            "1",
        )
    assert len(upstream.received) == 3
    *failing, passed_over, _ = await records.read(5)
    assert [[(a.model, a.error) for a in record.attempts] for record in failing] == [
        [("test/one", "status"), ("test/two", "")]
    ] * 3
    assert [(a.model, a.status, a.error) for a in passed_over.attempts] == [
        ("test/one", 0, "circuit_open"),
        ("test/two", 200, ""),
    ]


async def test_it_is_asked_again_when_its_time_is_over(
    serve: Serve, connect: Connect, upstream: Upstream, second_upstream: Upstream
) -> None:
    client = await connect(serve_two(serve, upstream, second_upstream))
    await open_circuit(client, upstream)
    opened_s = time.monotonic()
    while (await ask(client)).header("x-plano-model") == "test/two":
        assert time.monotonic() < opened_s + 5
        await asyncio.sleep(0.01)
    assert time.monotonic() - opened_s > OPEN_S / 2
    assert len(upstream.received) == 4
    assert (await ask(client)).header("x-plano-model") == "test/one"


async def test_a_failed_probe_leaves_it_open(
    serve: Serve, connect: Connect, upstream: Upstream, second_upstream: Upstream
) -> None:
    client = await connect(serve_two(serve, upstream, second_upstream))
    await open_circuit(client, upstream)
    upstream.default = (refusal("500 Broken"),)
    limit_s = time.monotonic() + 5
    while len(upstream.received) == 3:
        assert (await ask(client)).status == 200
        assert time.monotonic() < limit_s
        await asyncio.sleep(0.01)
    for _ in range(5):
        assert (await ask(client)).header("x-plano-attempts") == "1"
    assert len(upstream.received) == 4


async def test_the_only_candidate_is_called_whatever_its_circuit_says(
    serve: Serve, connect: Connect, upstream: Upstream
) -> None:
    retry = replace(FRAGILE, fallback_models=(), breaker_open_s=60.0)
    client = await connect(serve(make_plan(make_provider(upstream.port, retry=retry))))
    upstream.default = (refusal("503 Unavailable"),)
    for _ in range(5):
        answer = await ask(client)
        assert (answer.status, answer.header("x-plano-attempts")) == (503, "1")
    assert len(upstream.received) == 5
    upstream.default = (document("back"),)
    assert (await ask(client)).status == 200


async def test_when_every_circuit_is_open_the_candidates_are_asked_in_their_order(
    serve: Serve, connect: Connect, upstream: Upstream, second_upstream: Upstream, records: RecordSocket
) -> None:
    client = await connect(serve_two(serve, upstream, second_upstream, replace(FRAGILE, breaker_open_s=60.0)))
    for each in (upstream, second_upstream):
        each.default = (refusal("502 Bad Gateway"),)
    for _ in range(3):
        assert (await ask(client)).status == 502
    answer = await ask(client)
    assert (answer.status, answer.header("x-plano-attempts")) == (502, "2")
    upstream.default = (document("back"),)
    assert (await ask(client)).header("x-plano-model") == "test/one"
    panicking = (await records.read(5))[3]
    assert [(a.model, a.error) for a in panicking.attempts] == [("test/one", "status"), ("test/two", "status")]


async def test_a_connection_that_is_refused_or_reset_counts_too(
    serve: Serve, connect: Connect, upstream: Upstream, second_upstream: Upstream
) -> None:
    client = await connect(serve_two(serve, upstream, second_upstream, replace(FRAGILE, breaker_open_s=60.0)))
    for step in (RESET, CLOSE, RESET):
        upstream.script(step)
        assert (await ask(client)).status == 200
    assert (await ask(client)).header("x-plano-attempts") == "1"
    assert len(upstream.received) == 3


async def test_an_upstream_that_hangs_for_the_whole_deadline_counts(
    serve: Serve, connect: Connect, upstream: Upstream, second_upstream: Upstream
) -> None:
    retry = replace(FRAGILE, breaker_failures=1, breaker_open_s=60.0)
    client = await connect(serve_two(serve, upstream, second_upstream, retry, timeout_s=0.3))
    upstream.script(HANG)
    answer = await ask(client)
    assert (answer.status, answer.error["code"]) == (504, "deadline_exceeded")
    assert (await ask(client)).header("x-plano-model") == "test/two"


async def test_requests_the_upstream_refuses_do_not_open_its_circuit(
    serve: Serve, connect: Connect, upstream: Upstream, second_upstream: Upstream
) -> None:
    client = await connect(serve_two(serve, upstream, second_upstream))
    upstream.default = (refusal("429 Too Many Requests", headers={"retry-after": "60"}),)
    for _ in range(5):
        assert (await ask(client)).header("x-plano-model") == "test/two"
    upstream.default = (refusal("400 Bad Request"),)
    for _ in range(5):
        assert (await ask(client)).status == 400
    assert len(upstream.received) == 10


async def test_successes_between_failures_keep_it_closed(
    serve: Serve, connect: Connect, upstream: Upstream, second_upstream: Upstream
) -> None:
    client = await connect(serve_two(serve, upstream, second_upstream))
    for _ in range(3):
        for _ in range(2):
            upstream.script(refusal("500 Broken"))
            assert (await ask(client)).header("x-plano-model") == "test/two"
        assert (await ask(client)).header("x-plano-model") == "test/one"


async def test_tries_of_one_request_open_the_circuit_for_the_next(
    serve: Serve, connect: Connect, upstream: Upstream, second_upstream: Upstream
) -> None:
    retry = replace(FRAGILE, attempts=6, backoff_base_s=0.002, backoff_max_s=0.01, breaker_open_s=60.0)
    client = await connect(serve_two(serve, upstream, second_upstream, retry))
    upstream.default = (refusal("500 Broken"),)
    answer = await ask(client)
    assert (answer.header("x-plano-model"), answer.header("x-plano-attempts")) == ("test/two", "4")
    assert len(upstream.received) == 3  # the fourth try finds it open
