"""A provider in trouble: retries, pauses and the model that takes over, seen by clients of a whole cluster."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import pytest

from tests.cluster.conftest import StartCluster
from tests.cluster.load import BROKEN, ERROR_EVENT, Load, ask_once, expected_text, make_body
from tests.clusters import ClusterProcess
from tests.providers import DemoProcess

CONFIG = """
version: v0.4.0
listeners:
  - {type: model, name: egress, address: 127.0.0.1, port: {port}}
model_providers:
  - model: openai/main
    base_url: $DEMO_URL
    access_key: k
    retry_policy:
      attempts: 2
      backoff: {base: 1ms}
      retry_after_max: 2s
      per_try_timeout: 400ms
      circuit_breaker: {failures: 0}
      fallback_models: [mistral/spare]
  - {model: mistral/spare, base_url: $SPARE_URL, access_key: k}
"""
BREAKING = CONFIG.replace("{failures: 0}", "{open_for: 200ms, max_open_for: 400ms}")

FAULTS = ("fail-503", "drop", "hang", "empty", "error-first", "html-502")
# A broken document that looks like JSON at both ends is not among them: answers are not parsed (design, section 8).
IN_STREAMS = ("garbage", "done-only", "role-then-cut")


@dataclass(frozen=True)
class Both:
    """A cluster whose first provider fails on demand, and the spare one."""

    address: tuple[str, int]
    main: DemoProcess
    spare: DemoProcess


@pytest.fixture(scope="module")
def both() -> Iterator[Both]:
    """One for all tests here: what they queue they use up."""
    with DemoProcess.start() as main, DemoProcess.start() as spare:
        urls = {"DEMO_URL": main.url, "SPARE_URL": spare.url}
        with ClusterProcess(CONFIG, urls, workers=2) as cluster:
            yield Both((cluster.host, cluster.port), main, spare)


@pytest.mark.parametrize(
    ("fault", "stream"), [*product(FAULTS, (False, True)), *((fault, True) for fault in IN_STREAMS)]
)
async def test_the_fallback_answers_for_a_provider_that_fails(fault: str, stream: bool, both: Both) -> None:
    body = make_body("openai/main", "Hi", stream=stream)
    both.main.queue_faults("main", fault, fault, fault)  # a third: a stale connection is no attempt
    answer = await ask_once(*both.address, body)
    both.main.clear_faults()
    assert answer.status == 200
    assert answer.headers["x-plano-model"] == "mistral/spare"
    assert answer.headers["x-plano-attempts"] == "3"
    assert answer.text() == expected_text("spare", "Hi")


async def test_retry_after_is_waited_for(both: Both) -> None:
    both.main.clear_requests()
    both.main.queue_faults("main", "fail-429-after-1", None)
    answer = await ask_once(*both.address, make_body("openai/main"))
    assert (answer.headers["x-plano-model"], answer.headers["x-plano-attempts"]) == ("openai/main", "2")
    first, second = both.main.requests("main")
    assert second["started_unix_s"] - first["started_unix_s"] >= 1


async def test_a_retry_after_beyond_the_bound_means_the_next_model_now(both: Both) -> None:
    both.main.clear_requests()
    both.main.queue_faults("main", "fail-429-after-30")
    began = time.monotonic()
    answer = await ask_once(*both.address, make_body("openai/main"))
    assert (answer.headers["x-plano-model"], answer.headers["x-plano-attempts"]) == ("mistral/spare", "2")
    assert time.monotonic() - began < 5
    assert len(both.main.requests("main")) == 1


async def test_when_all_fail_the_last_error_is_told_with_the_attempts(both: Both) -> None:
    both.main.queue_faults("main", "fail-500", "fail-500")
    both.spare.queue_faults("spare", "fail-429-after-9")
    answer = await ask_once(*both.address, make_body("openai/main"))
    assert answer.status == 429
    assert answer.headers["x-plano-attempts"] == "3"
    assert answer.headers["x-plano-model"] == "mistral/spare"
    assert answer.headers["retry-after"] == "9"
    assert "Rate limit" in answer.json()["error"]["message"]


async def test_a_provider_that_dies_under_load_costs_only_the_streams_it_was_sending(
    start_cluster: StartCluster, demo_provider: DemoProcess
) -> None:
    with DemoProcess.start() as dying:
        port = str(dying.port)
        cluster = start_cluster(BREAKING, DEMO_URL=dying.url, SPARE_URL=demo_provider.url)
        load = Load(cluster.host, cluster.port)
        load.add_clients(6, "openai/main", keep_alive=True)
        load.add_clients(6, "openai/main", stream=True, keep_alive=True)
        await load.wait_for_more(60)
        os.kill(dying.pid, signal.SIGKILL)
        await load.wait_for_more(60)
    tally = await load.stop()
    # Whole answers stay right: a document is asked for again, a stream that had begun ends with an error event.
    assert not tally.others(ERROR_EVENT), tally
    assert tally.outcomes[ERROR_EVENT] <= 6
    assert BROKEN not in tally.outcomes
    assert {entry["model"] for entry in demo_provider.requests()} == {"spare"}
    # And it comes back, when the circuit lets a probe through.
    with DemoProcess.start("--port", port) as revived:
        limit_s = time.monotonic() + 10
        while True:
            answer = await ask_once(cluster.host, cluster.port, make_body("openai/main"))
            if answer.headers["x-plano-model"] == "openai/main":
                break
            assert answer.headers["x-plano-attempts"] == "1"
            assert time.monotonic() < limit_s
            await asyncio.sleep(0.05)
        assert len(revived.requests("main")) == 1
