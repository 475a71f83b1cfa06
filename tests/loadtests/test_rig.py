"""The bench environment: its copy of the harness, its lock, and processes that never outlive it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from loadtests import gateway
from loadtests.foreign import ForeignLoad
from loadtests.gateway import run_gateway
from loadtests.load import read_report, run_mock
from loadtests.processes import BenchError, own_process
from loadtests.rig import Rig, copy_harness, hold_bench
from plano.config.compiling import compile_plan
from plano.config.loading import load
from plano.config.settings import load_settings

DEADLINE_S = 20.0


def wait_until(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    (folder / "contenders").mkdir(parents=True)
    (folder / "run").mkdir()
    (folder / "run_bench.py").write_text("one")
    (folder / "contenders" / "p.py").write_text("two")
    (folder / "run" / "clean.json").write_text("someone else's results")
    (folder / "run_bench.py").chmod(0o444)
    return folder


def test_the_copy_of_the_harness_may_be_written_to_and_has_no_results_of_others(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "copy"
    assert {file.name for file in copy_harness(source, target)} == {"run_bench.py", "p.py"}
    assert os.access(target / "run_bench.py", os.W_OK)
    assert not (target / "run").exists()


def test_only_what_changed_is_copied_again_and_our_results_stay(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "copy"
    copy_harness(source, target)
    (target / "run").mkdir()
    (target / "run" / "results.json").write_text("ours")
    (source / "contenders" / "p.py").write_text("three")
    assert [file.name for file in copy_harness(source, target)] == ["p.py"]
    assert copy_harness(source, target) == []
    assert (target / "run" / "results.json").read_text() == "ours"


def test_two_benches_do_not_run_at_once(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    with hold_bench(rig), pytest.raises(BenchError, match="another bench"), hold_bench(rig, wait_s=0.0):
        pytest.fail("the lock was given twice")
    with hold_bench(rig, wait_s=0.0):
        pass


FAMILY = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"])
print(child.pid, flush=True)
time.sleep(300)
"""


def test_a_failing_bench_ends_what_it_started_and_its_children(tmp_path: Path) -> None:
    log = tmp_path / "log"
    started: list[Any] = []

    def fail_half_way() -> None:
        with own_process([sys.executable, "-c", FAMILY], log) as process:
            started.append(process)
            assert wait_until(lambda: log.read_text().endswith("\n"))
            started.append(psutil.Process(int(log.read_text())))
            raise BenchError("half way")

    with pytest.raises(BenchError, match="half way"):
        fail_half_way()
    process, child = started
    assert process.returncode is not None
    assert wait_until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE)


STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(300)"
)


def test_a_process_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with own_process([sys.executable, "-c", STUBBORN], log, grace_s=0.2) as process:
        assert wait_until(lambda: log.read_text() == "up\n")
    assert process.returncode == -9


BENCH = """
import sys, time
from pathlib import Path
from loadtests.processes import own_process
with own_process([sys.executable, "-c", "import time; time.sleep(300)"], Path(sys.argv[1])) as process:
    print(process.pid, flush=True)
    time.sleep(300)
"""


def test_a_bench_that_is_killed_leaves_no_orphan(tmp_path: Path) -> None:
    command = [sys.executable, "-c", BENCH, str(tmp_path / "log")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as bench:
        assert bench.stdout is not None
        owned = psutil.Process(int(bench.stdout.readline()))
        bench.kill()
    assert wait_until(lambda: not owned.is_running() or owned.status() == psutil.STATUS_ZOMBIE)


def test_a_cluster_that_ends_at_start_is_reported_in_its_own_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = "import sys; print('port 12000 is taken'); sys.exit(3)"
    monkeypatch.setattr(gateway, "_find_command", lambda: [sys.executable, "-c", script])
    with (
        pytest.raises(BenchError, match=r"status 3:\s+port 12000 is taken"),
        run_gateway("http://127.0.0.1:9", "0", tmp_path / "log"),
    ):
        pytest.fail("a dead cluster was taken for a ready one")


def test_a_mock_port_that_is_taken_is_refused(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(BenchError, match="already in use"), run_mock(Rig(tmp_path), "0", taken.getsockname()[1]):
            pytest.fail("two servers on one port")


def test_a_load_generator_without_a_report_is_an_error_with_its_words() -> None:
    with pytest.raises(BenchError, match="refusing: loopback only"):
        read_report("", "refusing: loopback only\n")


def test_a_busy_process_outside_the_bench_is_seen_as_foreign_load(tmp_path: Path) -> None:
    idle = [sys.executable, "-c", "import time; time.sleep(300)"]
    busy = [sys.executable, "-c", "while True: pass"]
    with (
        own_process(idle, tmp_path / "idle") as bench,
        own_process(busy, tmp_path / "busy"),
        ForeignLoad([bench.pid], interval_s=0.1) as foreign,
    ):
        assert wait_until(lambda: max(foreign.cores, default=0.0) > 0.05)
    assert foreign.summarise()["max"] > 0.05


def test_no_sample_is_no_load() -> None:
    assert ForeignLoad().summarise() == {"mean": 0.0, "p90": 0.0, "max": 0.0}


def test_the_config_of_the_bench_routes_its_model_with_everything_on(tmp_path: Path) -> None:
    config = tmp_path / "bench.yaml"
    gateway.write_config(config, 12345, "http://127.0.0.1:9100")
    loaded = load(config, {})
    assert not loaded.warnings
    plan = compile_plan(loaded.config, load_settings())
    used = next(provider for provider in plan.providers if provider.name == plan.aliases["bench-model"])
    assert (used.scheme, used.host, used.port) == ("http", "127.0.0.1", 9100)
    assert used.endpoints[0].path == "/v1/chat/completions"
    assert used.retry.attempts == 2
    assert used.retry.fallback_models == ("mock/mock-spare",)
    assert used.access_key
