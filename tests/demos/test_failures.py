"""Examples that cannot work say so, end with status 1, and leave nothing behind."""

from __future__ import annotations

import socket
import subprocess
import sys
import tempfile
import time

from tests.demos.runs import ROOT, DemoRun

DISAPPOINTED = """
import sys
from dataclasses import replace
from demos.show import perform
from demos.weather.__main__ import SHOW

first = replace(SHOW.scenes[0], says=("hail",), told=("POST",), silent=("api",), status=201, route="forecast")
sys.exit(perform(replace(SHOW, scenes=(first,))))
"""
UNKNOWN_SERVICE = """
import sys
from dataclasses import replace
from demos.show import perform
from demos.stage import Service
from demos.weather.__main__ import SHOW

sys.exit(perform(replace(SHOW, needs=replace(SHOW.needs, services=(Service("api", "demos.weather.missing"),)))))
"""


def run_python(text: str) -> subprocess.CompletedProcess[str]:
    """A show of a test's own, run once."""
    arguments = [sys.executable, "-c", text, "--once", "--free-ports"]
    return subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False)


def test_a_port_that_is_taken_is_named_with_the_way_to_another() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        env = {"PLANO_DEMO_PORT_MODELS": port, "PLANO_DEMO_PORT_TRAVEL": "0"}
        with DemoRun("travel", "--once", "--free-ports", env=env) as run:
            assert run.wait() == 1
    assert f"port {port}, where models is to listen, is in use: set PLANO_DEMO_PORT_MODELS" in run.output


def test_a_port_that_is_none_is_refused() -> None:
    with DemoRun("travel", "--once", env={"PLANO_DEMO_PORT_MODELS": "http"}) as run:
        assert run.wait() == 1
    assert "PLANO_DEMO_PORT_MODELS=http is not a port" in run.output


def test_an_example_that_is_killed_leaves_no_process_behind() -> None:
    # Its folder of temporary files is the one thing that stays: here in one that the test removes.
    with (
        tempfile.TemporaryDirectory(prefix="plano-kill-") as folder,
        DemoRun("guardrails", "--free-ports", env={"TMPDIR": folder}) as run,
    ):
        run.wait_for("1. ")  # everything is up
        assert len(run.find_processes()) > 5
        run.kill()
        deadline_s = time.monotonic() + 30
        while (left := run.find_processes()) and time.monotonic() < deadline_s:
            time.sleep(0.05)
        assert left == []


def test_answers_that_are_not_as_they_should_be_end_an_example_with_status_1() -> None:
    result = run_python(DISAPPOINTED)
    assert result.returncode == 1, result.stderr
    for fault in (
        "the status should be 201",
        "the route should be 'forecast'",
        "the answer should hold 'hail'",
        "the services should have said 'POST'",
        "api should not have been asked",
    ):
        assert f"WRONG: {fault}" in result.stdout
    assert "1 of 1 went wrong." in result.stdout


def test_a_service_that_does_not_start_is_named_with_what_it_said() -> None:
    result = run_python(UNKNOWN_SERVICE)
    assert result.returncode == 1
    assert "No module named demos.weather.missing" in result.stdout
    assert "api ended with status 1 instead of starting" in result.stdout
