"""The tier of the task-specific models killed, stopped, slow and failing, as clients of the cluster see it (design,
section 5): a request is answered whatever becomes of it, in time, and says what it had to go without."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psutil
import pytest

from tests.cluster.conftest import Metrics
from tests.cluster.load import OK, Answer, Load, ask_once, connected, make_body
from tests.clusters import ClusterProcess, InferenceNode
from tests.providers import DemoProcess

# `general` is the default, `coder` is what a request for code is routed to. `judge` does the roles' work where the test
# is about an engine in trouble.
MODELS = """
version: v0.4.0
listeners:
  - {type: model, name: egress, address: 127.0.0.1, port: {port}}
model_providers:
  - {model: openai/general, base_url: $DEMO_URL, access_key: k, default: true}
  - {model: openai/coder, base_url: $DEMO_URL, access_key: k}
  - {model: openai/judge, base_url: $DEMO_URL, access_key: k}
routing_preferences:
  - {name: code generation, description: writing new code and functions from a description, models: [openai/coder]}
  - {name: travel booking, description: "booking flights, hotels and rental cars", models: [openai/general]}
"""
WITHOUT_ROUTES = MODELS.partition("routing_preferences")[0]
GUARDED = """
prompt_guards: {input_guards: {jailbreak: {listeners: [model], on_exception: {message: Not with me.}}}}
"""
EMBEDDED = "inference: {orchestrator: {engine: embedded, timeout: 1s}}\n"
JUDGE = "engine: upstream, model: openai/judge"


def judge_does_it(orchestrator: str = "timeout: 1s", guard: str = "timeout: 1s") -> str:
    """All roles are done by the model `judge`, which a test can give any fault."""
    roles = f"orchestrator: {{{JUDGE}, {orchestrator}}}, guard: {{{JUDGE}, {guard}}}, function: {{{JUDGE}}}"
    return f"inference: {{{roles}}}\n"


CODE = "Write a python function that sorts a list of numbers"
CHOSEN = '{"route": ["code generation"]}'
DEADLINE_S = 1.0
SLACK_S = 1.5  # of a busy machine, on top of a deadline

HARMLESS = '{"attack": false, "certainty": 90}'
CODER, GENERAL = "openai/coder", "openai/general"


def guard_config(on_failure: str) -> str:
    return WITHOUT_ROUTES + GUARDED + judge_does_it(guard=f"timeout: 1s, on_failure: {on_failure}")


async def ask(cluster: ClusterProcess, text: str = CODE, model: str | None = None, **more: Any) -> Answer:
    body = {**make_body(model or "", text), **more}
    if model is None:
        del body["model"]
    return await ask_once(cluster.host, cluster.port, body)


def judged(answer: Answer) -> tuple[int, str | None, str | None]:
    """Status, model, and what the gateway had to go without."""
    return answer.status, answer.headers.get("x-plano-model"), answer.headers.get("x-plano-degraded")


async def wait_until(cluster: ClusterProcess, *expected: Any) -> None:
    """Asks again until the answer is judged as expected."""
    last = None
    async with asyncio.timeout(20):
        while last != expected:
            last = judged(await ask(cluster))
            await asyncio.sleep(0.02)


def pid_of(cluster: ClusterProcess, child: str = "inference") -> int:
    return int(cluster.children()[child]["pid"])


def is_back(cluster: ClusterProcess) -> bool:
    """Has the inference process been started again, and is it ready?"""
    child = cluster.children()["inference"]
    return bool(child["restarts"] == 1 and child["state"] == "ready")


def kill_family(cluster: ClusterProcess) -> None:
    """SIGKILL for the supervisor and all its children: nothing is left to bring them back."""
    family = psutil.Process(cluster.pid).children(recursive=True)
    os.kill(cluster.pid, signal.SIGKILL)
    for process in family:
        process.kill()


@contextmanager
def stopped(cluster: ClusterProcess) -> Iterator[int]:
    """Its inference process stands still meanwhile: it lives, and does not answer."""
    pid = pid_of(cluster)
    os.kill(pid, signal.SIGSTOP)
    try:
        yield pid
    finally:
        os.kill(pid, signal.SIGCONT)


async def recovers(cluster: ClusterProcess, provider: DemoProcess) -> None:
    """Asks again until the guard looks at the prompt again."""
    async with asyncio.timeout(20):
        while True:
            provider.queue_answers("judge", HARMLESS)
            if judged(await ask(cluster, "Hello")) == (200, GENERAL, None):
                return
            await asyncio.sleep(0.05)


@pytest.fixture
def embedded(demo_provider: DemoProcess) -> Iterator[ClusterProcess]:
    with ClusterProcess(MODELS + EMBEDDED, {"DEMO_URL": demo_provider.url}, workers=1) as cluster:
        yield cluster


@pytest.fixture
def upstream(demo_provider: DemoProcess) -> Iterator[ClusterProcess]:
    with ClusterProcess(MODELS + judge_does_it(), {"DEMO_URL": demo_provider.url}, workers=1) as cluster:
        yield cluster


# -- the orchestrator -------------------------------------------------------------------------------------------------


async def test_killed_the_default_model_answers_until_it_is_back(embedded: ClusterProcess) -> None:
    await wait_until(embedded, 200, CODER, None)
    load = Load(embedded.host, embedded.port)
    load.add_clients(4, "openai/general", keep_alive=True)
    await load.wait_for_more(20)
    os.kill(pid_of(embedded), signal.SIGKILL)
    seen = {judged(await ask(embedded)) for _ in range(20)}
    await asyncio.to_thread(embedded.wait_until, lambda: is_back(embedded))
    await load.wait_for_more(20)
    tally = await load.stop()  # before the next question: on a slow machine these would keep the model busy for good
    await wait_until(embedded, 200, CODER, None)
    # Both is fine: routed before it died or after it came back, or not routed and said so.
    assert seen <= {(200, GENERAL, "orchestrator"), (200, CODER, None)}
    assert not tally.others(OK), tally
    assert 'plano_child_restarts_total{child="inference"} 1.0' in embedded.metrics()


async def test_stopped_it_costs_one_deadline_and_then_nothing(embedded: ClusterProcess) -> None:
    await wait_until(embedded, 200, CODER, None)
    with stopped(embedded) as pid:
        began_s = time.monotonic()
        assert judged(await ask(embedded)) == (200, GENERAL, "orchestrator")
        assert time.monotonic() - began_s < DEADLINE_S + SLACK_S
        # Within a second it counts as dead, and nobody waits for it any more.
        await asyncio.sleep(1.0)
        began_s = time.monotonic()
        for _ in range(10):
            assert judged(await ask(embedded)) == (200, GENERAL, "orchestrator")
        assert time.monotonic() - began_s < 3 * DEADLINE_S
    await wait_until(embedded, 200, CODER, None)
    assert pid_of(embedded) == pid


async def test_the_model_a_request_names_answers_when_there_is_no_orchestrator(embedded: ClusterProcess) -> None:
    with stopped(embedded):
        answer = await ask(embedded, model="openai/judge")
    assert judged(answer) == (200, "openai/judge", "orchestrator")


async def test_elsewhere_and_gone_for_good_it_is_done_without(demo_provider: DemoProcess) -> None:
    with InferenceNode() as node:
        place = ("--inference", node.address)
        with ClusterProcess(MODELS + EMBEDDED, {"DEMO_URL": demo_provider.url}, 1, place) as cluster:
            await wait_until(cluster, 200, CODER, None)
            kill_family(node)
            await wait_until(cluster, 200, GENERAL, "orchestrator")
            began_s = time.monotonic()
            for _ in range(10):
                assert judged(await ask(cluster)) == (200, GENERAL, "orchestrator")
            assert time.monotonic() - began_s < 3 * DEADLINE_S
            unreachable = {"child": "inference", "state": "unreachable", "frontends": [0]}
            told = {"status": "ready", "degraded": [unreachable]}
            await asyncio.to_thread(cluster.wait_until, lambda: json.loads(cluster.admin("/readyz")[1]) == told)
            assert cluster.admin("/readyz")[0] == 200
            assert 'plano_inference_replicas_alive{frontend="0"} 0.0' in cluster.metrics()
            with InferenceNode(arguments=("--bind", node.address)):
                await wait_until(cluster, 200, CODER, None)
                await asyncio.to_thread(cluster.wait_until, lambda: "degraded" not in cluster.admin("/readyz")[1])


async def test_of_two_replicas_one_may_go(demo_provider: DemoProcess) -> None:
    with InferenceNode() as first, InferenceNode() as second:
        place = ("--inference", f"{first.address},{second.address}")
        with ClusterProcess(MODELS + EMBEDDED, {"DEMO_URL": demo_provider.url}, 1, place) as cluster:
            await wait_until(cluster, 200, CODER, None)
            kill_family(first)
            seen = {judged(await ask(cluster)) for _ in range(30)}
            assert seen == {(200, CODER, None)}  # what was under way moves to the other one


@pytest.mark.parametrize("fault", ["hang", "fail-500", "garbage"])
async def test_an_engine_in_trouble_is_done_without(
    upstream: ClusterProcess, demo_provider: DemoProcess, fault: str
) -> None:
    demo_provider.queue_answers("judge", CHOSEN)
    assert judged(await ask(upstream)) == (200, CODER, None)
    demo_provider.queue_faults("judge", fault)
    began_s = time.monotonic()
    assert judged(await ask(upstream)) == (200, GENERAL, "orchestrator")
    assert time.monotonic() - began_s < DEADLINE_S + SLACK_S
    demo_provider.queue_answers("judge", CHOSEN)
    assert judged(await ask(upstream)) == (200, CODER, None)
    if fault == "hang":  # what nobody waits for is not paid for
        await asyncio.to_thread(demo_provider.wait_for_request, "judge", disconnected=True)


async def test_a_client_that_leaves_calls_off_the_decision(
    demo_provider: DemoProcess,
) -> None:
    patient = MODELS + judge_does_it("timeout: 30s")
    with ClusterProcess(patient, {"DEMO_URL": demo_provider.url}, workers=1) as cluster:
        demo_provider.queue_faults("judge", "hang")
        async with connected(cluster.host, cluster.port) as connection:
            body = make_body("", CODE)
            del body["model"]
            await connection.send(body)
            await asyncio.to_thread(demo_provider.wait_for_request, "judge")
        await asyncio.to_thread(demo_provider.wait_for_request, "judge", disconnected=True)
        assert {entry["model"] for entry in demo_provider.requests()} == {"judge"}


async def test_a_full_queue_costs_nobody_a_deadline(demo_provider: DemoProcess) -> None:
    narrow = judge_does_it("timeout: 5s, concurrency: 1, queue: 1")
    with ClusterProcess(MODELS + narrow, {"DEMO_URL": demo_provider.url}, workers=1) as cluster:
        demo_provider.queue_faults("judge", "hang", "hang")
        began_s = time.monotonic()
        asked = [asyncio.create_task(ask(cluster)) for _ in range(6)]
        done, waiting = await asyncio.wait(asked, timeout=3.0)
        assert len(done) == 4
        assert {judged(task.result()) for task in done} == {(200, GENERAL, "orchestrator")}
        assert {judged(answer) for answer in await asyncio.gather(*waiting)} == {(200, GENERAL, "orchestrator")}
        assert time.monotonic() - began_s < 5.0 + 2 * SLACK_S


# -- the guard --------------------------------------------------------------------------------------------------------


async def test_without_the_guard_requests_are_allowed_and_say_so(demo_provider: DemoProcess) -> None:
    with ClusterProcess(guard_config("allow"), {"DEMO_URL": demo_provider.url}, workers=1) as cluster:
        demo_provider.queue_answers("judge", HARMLESS)
        assert judged(await ask(cluster, "Hello")) == (200, GENERAL, None)
        with stopped(cluster):
            assert judged(await ask(cluster, "Hello")) == (200, GENERAL, "guard")


async def test_without_the_guard_nothing_passes_where_the_config_wants_it_so(demo_provider: DemoProcess) -> None:
    with ClusterProcess(guard_config("block"), {"DEMO_URL": demo_provider.url}, workers=1) as cluster:
        demo_provider.queue_answers("judge", HARMLESS)
        assert judged(await ask(cluster, "Hello")) == (200, GENERAL, None)
        demo_provider.clear_requests()
        with stopped(cluster):
            answer = await ask(cluster, "Hello")
        assert (answer.status, answer.json()["error"]["code"]) == (503, "guard_unavailable")
        assert answer.headers["x-plano-degraded"] == "guard"
        os.kill(pid_of(cluster), signal.SIGKILL)
        answer = await ask(cluster, "Hello")
        assert (answer.status, answer.json()["error"]["code"]) == (503, "guard_unavailable")
        assert demo_provider.requests("general") == []
        await recovers(cluster, demo_provider)


@pytest.mark.parametrize("fault", ["hang", "fail-500", "garbage"])
async def test_a_guard_in_trouble_counts_as_none(demo_provider: DemoProcess, fault: str) -> None:
    with ClusterProcess(guard_config("allow"), {"DEMO_URL": demo_provider.url}, workers=1) as cluster:
        demo_provider.queue_answers("judge", HARMLESS)
        assert judged(await ask(cluster, "Hello")) == (200, GENERAL, None)
        demo_provider.queue_faults("judge", fault)
        began_s = time.monotonic()
        assert judged(await ask(cluster, "Hello")) == (200, GENERAL, "guard")
        assert time.monotonic() - began_s < DEADLINE_S + SLACK_S


async def test_guard_and_orchestrator_are_waited_for_at_the_same_time(demo_provider: DemoProcess) -> None:
    config = MODELS + GUARDED + judge_does_it("timeout: 1500ms", "timeout: 1500ms")
    with ClusterProcess(config, {"DEMO_URL": demo_provider.url}, workers=1) as cluster:
        demo_provider.queue_faults("judge", "hang", "hang")
        began_s = time.monotonic()
        status, model, degraded = judged(await ask(cluster))
        took_s = time.monotonic() - began_s
        assert (status, model) == (200, GENERAL)
        assert degraded is not None
        assert set(degraded.split(", ")) == {"guard", "orchestrator"}
        assert 1.4 < took_s < 2.8  # one deadline, not two


# -- what is told of it -----------------------------------------------------------------------------------------------


async def test_going_without_is_counted(upstream: ClusterProcess, demo_provider: DemoProcess) -> None:
    demo_provider.queue_faults("judge", "fail-500", "fail-500")
    for _ in range(2):
        assert judged(await ask(upstream))[2] == "orchestrator"
    await asyncio.to_thread(
        upstream.wait_until, lambda: Metrics(upstream).sum("plano_inference_calls_total", status="failed") == 2
    )
    await asyncio.to_thread(
        upstream.wait_until,
        lambda: Metrics(upstream).sum("plano_degraded_requests_total", role="orchestrator") == 2,
    )
