"""A whole cluster whose orchestrator is the real vLLM: decided, killed, restarted, ended."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Iterator
from typing import Any

import psutil
import pytest

from tests import clusters
from tests.cluster.load import ask_once, make_body
from tests.clusters import ClusterProcess
from tests.providers import DemoProcess
from tests.vllm.conftest import ENVIRONMENT, TinyModels
from tests.vllm.lessons import FIX_CODE, REFUND_AND_FIX, ROUTES

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(900)]

START_S = 300.0  # of a cluster with vLLM in it, on a busy machine

CONFIG = """
version: v0.4.0
listeners:
  - {{type: model, name: egress, address: 127.0.0.1, port: {{port}}}}
model_providers:
  - {{model: openai/general, base_url: $DEMO_URL, access_key: k, default: true}}
  - {{model: openai/code, base_url: $DEMO_URL, access_key: k}}
  - {{model: openai/billing, base_url: $DEMO_URL, access_key: k}}
routing_preferences:
{preferences}
inference:
  orchestrator:
    engine: vllm
    model: {model}
    timeout: 2s
    context_length: 2048
    engine_args: {{enforce_eager: true, max_num_seqs: 32, dtype: float32}}
  guard: {{engine: embedded}}
  function: {{engine: embedded}}
"""
MODELS = {"code": "openai/code", "billing": "openai/billing", "travel": "openai/general"}


@pytest.fixture
def cluster(
    tiny_models: TinyModels, demo_provider: DemoProcess, monkeypatch: pytest.MonkeyPatch
) -> Iterator[ClusterProcess]:
    monkeypatch.setattr(clusters, "START_TIMEOUT_S", START_S)
    preferences = "\n".join(
        f"  - {{name: {route.name}, description: {route.description}, models: [{MODELS[route.name]}]}}"
        for route in ROUTES
    )
    config = CONFIG.format(model=tiny_models.language, preferences=preferences)
    with ClusterProcess(config, {"DEMO_URL": demo_provider.url, **ENVIRONMENT}, workers=1) as running:
        yield running


async def ask(cluster: ClusterProcess, text: str) -> tuple[int, str | None, str | None]:
    """Status, the model that answered, and what the gateway had to go without."""
    body = make_body("", text)
    del body["model"]
    answer = await ask_once(cluster.host, cluster.port, body)
    return answer.status, answer.headers.get("x-plano-model"), answer.headers.get("x-plano-degraded")


def engine_cores(cluster: ClusterProcess) -> list[psutil.Process]:
    """The processes that vLLM has started."""
    inference = psutil.Process(int(cluster.children()["inference"]["pid"]))
    return [process for process in inference.children(recursive=True) if "resource_tracker" not in command_of(process)]


def command_of(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return ""


def role_of(cluster: ClusterProcess) -> dict[str, Any]:
    """The orchestrator as /cluster describes it."""
    role: dict[str, Any] = cluster.children()["inference"]["info"]["roles"]["orchestrator"]
    return role


async def until_decided(cluster: ClusterProcess) -> set[tuple[int, str | None, str | None]]:
    """Asks until the orchestrator decides again; the other answers meanwhile."""
    meanwhile: set[tuple[int, str | None, str | None]] = set()
    deadline = time.monotonic() + START_S
    while (last := await ask(cluster, FIX_CODE)) != (200, "openai/code", None):
        assert time.monotonic() < deadline, cluster.log
        meanwhile.add(last)
        await asyncio.sleep(0.1)
    return meanwhile


async def test_a_cluster_decides_by_vllm_and_survives_the_death_of_the_engine(cluster: ClusterProcess) -> None:
    assert await ask(cluster, FIX_CODE) == (200, "openai/code", None)
    assert await ask(cluster, REFUND_AND_FIX) == (200, "openai/billing", None)
    cluster.wait_until(lambda: "plano_inference_engine_prefix_cache_hits_total{" in cluster.metrics())

    # The engine core is killed: noticed, reported, restarted; requests are answered all the while.
    core = next(process for process in engine_cores(cluster) if "EngineCor" in process.name())
    core.send_signal(signal.SIGKILL)
    cluster.wait_until(lambda: role_of(cluster)["state"] != "ready", 10.0)
    assert "killed by SIGKILL" in role_of(cluster)["error"]
    meanwhile = await until_decided(cluster)
    assert meanwhile == {(200, "openai/general", "orchestrator")}
    assert f"vLLM's engine core (pid {core.pid}) was killed by SIGKILL" in cluster.log

    # The inference process is killed: its engine core does not outlive it.
    cores = engine_cores(cluster)
    assert cores
    os.kill(int(cluster.children()["inference"]["pid"]), signal.SIGKILL)
    _, alive = await asyncio.to_thread(psutil.wait_procs, cores, timeout=10.0)
    assert not alive

    # The cluster ends while vLLM loads: nothing is left, nothing is waited for.
    cluster.wait_until(lambda: int(cluster.children()["inference"]["pid"]) > 0)
    family = psutil.Process(cluster.pid).children(recursive=True)
    cluster.terminate()
    assert cluster.wait() == 0
    _, alive = await asyncio.to_thread(psutil.wait_procs, family, timeout=10.0)
    assert not alive
