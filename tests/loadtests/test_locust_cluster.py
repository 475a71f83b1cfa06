"""The locust harness against a running cluster, as people run it: headless, judged by its exit status and report."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.clusters import ClusterProcess
from tests.providers import DemoProcess

ROOT = Path(__file__).parents[2]
RUN_TIMEOUT_S = 60.0
ANSWERS = 20
CONFIG = """
version: v0.4.0
listeners:
  - {type: model, name: egress, address: 127.0.0.1, port: {port}}
model_providers:
  - {model: openai/*, base_url: $DEMO_URL, access_key: sk-upstream}
"""


def run_locust(host: str, model: str, *arguments: str) -> tuple[int, str]:
    """Return the exit status and everything locust said, after `ANSWERS` answers of each kind."""
    ended = subprocess.run(
        [
            *(sys.executable, "-m", "locust", "-f", "loadtests/locustfile.py", "--headless", "--host", host),
            *("-u", "8", "-r", "8", "-t", "50s", "--stop-after", str(ANSWERS), "--model", model, *arguments),
        ],
        cwd=ROOT,
        env=os.environ | {"PLANO_LOAD_API_KEY": "sk-client"},
        capture_output=True,
        text=True,
        timeout=RUN_TIMEOUT_S,
    )
    return ended.returncode, ended.stdout + ended.stderr


def test_a_cluster_under_locust_answers_everything_and_counts_it(demo_provider: DemoProcess, tmp_path: Path) -> None:
    with ClusterProcess(CONFIG, {"DEMO_URL": demo_provider.url}, workers=2) as cluster:
        report = tmp_path / "report"
        status, said = run_locust(cluster.url, "openai/demo-chunks-5-10", "--json-file", str(report))
        assert status == 0, said
        rows: dict[str, Any] = {row["name"]: row for row in json.loads(report.with_suffix(".json").read_text())}
        assert set(rows) == {"chat", "stream chat", "ttft stream chat", "gap stream chat", "chunks stream chat"}
        assert all(row["num_failures"] == 0 for row in rows.values())
        assert rows["chat"]["num_requests"] >= ANSWERS
        assert rows["ttft stream chat"]["num_requests"] == rows["stream chat"]["num_requests"] >= ANSWERS
        # Five chunks 10 ms apart come through one by one: the first does not wait for the last.
        assert rows["stream chat"]["min_response_time"] >= 39
        assert rows["ttft stream chat"]["min_response_time"] < 39
        # Requests that were under way when locust ended may come on top.
        measured = rows["chat"]["num_requests"] + rows["stream chat"]["num_requests"]
        cluster.wait_until(lambda: count_requests(cluster) >= measured)
        assert demo_provider.requests()[-1]["headers"]["authorization"] == "Bearer sk-upstream"


def count_requests(cluster: ClusterProcess) -> float:
    """The answers with status 200 that the cluster counted."""
    lines = [line for line in cluster.metrics().splitlines() if line.startswith("plano_requests_total")]
    return sum(float(line.rpartition(" ")[2]) for line in lines if 'status="200"' in line)


def test_a_failing_upstream_fails_the_run(demo_provider: DemoProcess) -> None:
    with ClusterProcess(CONFIG, {"DEMO_URL": demo_provider.url}, workers=1) as cluster:
        status, said = run_locust(cluster.url, "openai/demo-cut-2", "--stream-share", "1")
    assert status == 1, said
    # The gateway turned the cut stream into an error event, so it did not just break.
    assert "an error in a 200" in said
    assert "the stream broke" not in said
