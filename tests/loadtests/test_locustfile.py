"""The locust harness as people run it: headless, against a real server, judged by its exit status and its report."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.providers import DemoProcess

ROOT = Path(__file__).parents[2]
RUN_TIMEOUT_S = 60.0


@pytest.fixture(scope="module")
def provider() -> Iterator[DemoProcess]:
    with DemoProcess.start("--require-key", "sk-right") as process:
        yield process


def run_locust(host: str, *arguments: str, run_time_s: int = 50, key: str = "sk-right") -> tuple[int, str]:
    """Return the exit status and everything locust said. A run ends after a few answers, or at `run_time_s`."""
    ended = subprocess.run(
        [
            *(sys.executable, "-m", "locust", "-f", "loadtests/locustfile.py", "--headless", "--host", host),
            *("-u", "4", "-r", "4", "-t", f"{run_time_s}s", "--stop-after", "4", *arguments),
        ],
        cwd=ROOT,
        env=os.environ | {"PLANO_LOAD_API_KEY": key},
        capture_output=True,
        text=True,
        timeout=RUN_TIMEOUT_S,
    )
    return ended.returncode, ended.stdout + ended.stderr


def test_both_kinds_of_users_pass_and_are_measured(provider: DemoProcess, tmp_path: Path) -> None:
    options = ("--model", "demo-chunks-5-20", "--max-tokens", "7", "--prompt-words", "30")
    status, said = run_locust(provider.url, *options, "--json-file", str(tmp_path / "report"))
    assert status == 0, said
    rows: dict[str, Any] = {row["name"]: row for row in json.loads((tmp_path / "report.json").read_text())}
    assert set(rows) == {"chat", "stream chat", "ttft stream chat", "gap stream chat", "chunks stream chat"}
    streams = rows["stream chat"]["num_requests"]
    assert streams == rows["ttft stream chat"]["num_requests"] > 0
    assert all(row["num_failures"] == 0 for row in rows.values())
    assert rows["chunks stream chat"]["max_response_time"] == rows["chunks stream chat"]["min_response_time"] == 5
    # Five chunks 20 ms apart: the first token does not wait for the last, the total does.
    assert rows["stream chat"]["min_response_time"] >= 79
    assert rows["ttft stream chat"]["min_response_time"] < 60
    assert rows["gap stream chat"]["min_response_time"] >= 15
    body = provider.requests("demo-chunks-5-20")[-1]["body"]
    assert body["max_tokens"] == 7
    assert len(body["messages"][0]["content"].split()) == 30


@pytest.mark.parametrize(
    ("model", "share", "complaint"),
    [
        ("demo-no-done", "1", "the stream ended without [DONE]"),
        ("demo-cut-2", "1", "the stream broke"),
        ("demo-error-mid-2", "1", "an error in a 200"),
        ("demo-fail-503", "1", "status 503"),
        ("demo-error-200", "0", "an error in a 200"),
        ("demo-garbage", "0", "not JSON"),
        ("demo-truncate", "0", "the answer broke"),
        ("demo-drop", "0", "no answer"),
    ],
)
def test_wrong_answers_fail_the_run(provider: DemoProcess, model: str, share: str, complaint: str) -> None:
    status, said = run_locust(provider.url, "--model", model, "--stream-share", share)
    assert status == 1, said
    assert complaint in said
    assert ("stream chat" in said) == (share == "1")


def test_a_refused_key_fails_the_run(provider: DemoProcess) -> None:
    status, said = run_locust(provider.url, key="sk-wrong")
    assert status == 1
    assert "status 401" in said


def test_a_run_that_measured_nothing_fails(provider: DemoProcess) -> None:
    status, said = run_locust(provider.url, "--model", "demo-hang", run_time_s=1)
    assert status == 1, said
    assert "Error report" not in said


@pytest.mark.parametrize("share", ["1.5", "-1"])
def test_a_share_that_is_none_is_refused(provider: DemoProcess, share: str) -> None:
    status, said = run_locust(provider.url, f"--stream-share={share}")
    assert status != 0
    assert "--stream-share must lie between 0 and 1" in said
