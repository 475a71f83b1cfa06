"""Our own cluster as the bench runs it: one pinned frontend, every feature that exists switched on."""

from __future__ import annotations

import http.client
import os
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from loadtests.processes import BenchError, own_process, pin, read_tail

READY_TIMEOUT_S = 30.0
IDLE_SETTLE_S = 1.0

# An alias, two providers, retry, failover and every time-out: what a careful user would switch on. The record of each
# request goes to the telemetry worker, whose CPU counts as ours.
CONFIG = """\
version: v0.4.0
listeners:
  - name: bench
    type: model
    address: 127.0.0.1
    port: {port}
    timeout: 300s
    max_retries: 2
model_providers:
  - model: mock/mock-upstream
    provider_interface: openai
    base_url: {upstream}/v1
    access_key: sk-up
    default: true
    headers: {{x-bench: plano}}
    retry_policy:
      attempts: 2
      on_statuses: [408, 429, 500, 502, 503, 504, 529]
      backoff: {{base: 250ms, max: 5s}}
      retry_after_max: 10s
      per_try_timeout: 60s
      first_token_timeout: 30s
      idle_timeout: 60s
      fallback_models: [mock/mock-spare]
  - model: mock/mock-spare
    provider_interface: openai
    base_url: {upstream}/v1
    access_key: sk-up
model_aliases:
  bench-model:
    target: mock/mock-upstream
"""


@dataclass(frozen=True, slots=True)
class Gateway:
    """A running cluster. `idle_frontend_mib` is the largest resident size of a frontend before its first request."""

    url: str
    admin_url: str
    pid: int
    frontends: tuple[int, ...]
    idle_frontend_mib: float


def find_free_port() -> int:
    """A loopback port nobody listens on right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def write_config(path: Path, port: int, upstream: str) -> None:
    """Write the config that routes `bench-model` to the mock at `upstream` (scheme and authority)."""
    path.write_text(CONFIG.format(port=port, upstream=upstream))


def measure_roles(pid: int) -> dict[str, float]:
    """CPU seconds used so far by role: the supervisor `pid` and its children, by their titles."""
    supervisor = psutil.Process(pid)
    used: dict[str, float] = {}
    for process in [supervisor, *supervisor.children(recursive=True)]:
        try:
            title, times = " ".join(process.cmdline()), process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        words = title.removeprefix("plano: ").split() if title.startswith("plano: ") else []
        role = "supervisor" if process.pid == pid else words[0] if words else "other"
        used[role] = used.get(role, 0.0) + times.user + times.system
    return used


def find_frontends(pid: int) -> tuple[int, ...]:
    """Process ids of the frontends below a supervisor, known by their titles (`plano: frontend N`)."""
    found = []
    for child in psutil.Process(pid).children(recursive=True):
        try:
            if " ".join(child.cmdline()).startswith("plano: frontend"):
                found.append(child.pid)
        except psutil.NoSuchProcess:
            continue
    return tuple(found)


@contextmanager
def run_gateway(upstream: str, cpu: str, log: Path, workers: int = 1) -> Iterator[Gateway]:
    """Start a cluster bound to the core `cpu`, in a run folder of its own, while the block runs.

    Raises BenchError with the end of its log when it is not ready within 30 seconds.
    """
    port, admin = find_free_port(), f"127.0.0.1:{find_free_port()}"
    with tempfile.TemporaryDirectory(prefix="plano-bench-") as folder:
        config = Path(folder) / "bench.yaml"
        write_config(config, port, upstream)
        command = [*_find_command(), "start", str(config), "--workers", str(workers), "--admin", admin]
        command += ["--run-dir", str(Path(folder) / "run")]
        env = {**os.environ, "PYTHONUNBUFFERED": "1"}
        with own_process(pin(command, cpu), log, env=env, cwd=Path(folder)) as process:
            deadline = time.monotonic() + READY_TIMEOUT_S
            while not is_ready(admin):
                if process.poll() is not None:
                    raise BenchError(f"plano-cluster ended with status {process.returncode}:\n{read_tail(log)}")
                if time.monotonic() > deadline:
                    raise BenchError(f"plano-cluster was not ready within {READY_TIMEOUT_S:.0f} s:\n{read_tail(log)}")
                time.sleep(0.05)
            time.sleep(IDLE_SETTLE_S)  # start-up garbage is collected before the idle size is taken
            frontends = find_frontends(process.pid)
            if len(frontends) != workers:
                raise BenchError(f"{workers} frontends were asked for, {len(frontends)} found:\n{read_tail(log)}")
            idle = max(psutil.Process(pid).memory_info().rss for pid in frontends) / 2**20
            url = f"http://127.0.0.1:{port}/v1/chat/completions"
            yield Gateway(url, f"http://{admin}", process.pid, frontends, idle)


def is_ready(admin: str) -> bool:
    """Whether the cluster's admin port (`host:port`) says that every frontend takes requests."""
    connection = http.client.HTTPConnection(admin, timeout=2.0)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False  # not listening yet: the caller asks again until its deadline
    finally:
        connection.close()


def _find_command() -> list[str]:
    beside = Path(sys.executable).parent / "plano-cluster"
    found = str(beside) if beside.exists() else shutil.which("plano-cluster")
    if found is None:
        raise BenchError("plano-cluster is not installed in this environment: run `make bench`, or pip install -e .")
    return [found]
