"""The fixture that other rooms' tests start a whole cluster with."""

from __future__ import annotations

import http.client
import json
import os

import psutil
import pytest

from tests.clusters import ClusterProcess
from tests.providers import DemoProcess

CONFIG = """
version: v0.4.0
listeners:
  - {type: model, name: egress, address: 127.0.0.1, port: {port}}
model_providers:
  - {model: openai/demo, base_url: $DEMO_URL, access_key: key, default: true}
"""


def ask(cluster: ClusterProcess, model: str) -> tuple[int, dict[str, object]]:
    connection = http.client.HTTPConnection(cluster.host, cluster.port, timeout=10)
    body = json.dumps({"model": model, "messages": [{"role": "user", "content": "hello"}]})
    connection.request("POST", "/v1/chat/completions", body, {"Content-Type": "application/json"})
    response = connection.getresponse()
    answer = response.status, json.loads(response.read())
    connection.close()
    return answer


def test_a_request_passes_through_the_whole_cluster_and_is_counted(demo_provider: DemoProcess) -> None:
    with ClusterProcess(CONFIG, {"DEMO_URL": demo_provider.url}, workers=2) as cluster:
        assert set(cluster.children()) == {"frontend 0", "frontend 1", "inference", "telemetry"}
        status, answer = ask(cluster, "openai/demo")
        assert (status, answer["object"]) == (200, "chat.completion")
        sample = 'plano_requests_total{listener="egress",model="openai/demo",provider="openai",status="200"} 1.0'
        cluster.wait_until(lambda: sample in cluster.metrics())
        for child in cluster.children().values():
            if child["role"] == "frontend":
                assert psutil.Process(child["pid"]).memory_info().rss < 60 * 1024 * 1024
        folder, pid = cluster.folder, cluster.pid
    assert not folder.exists()
    assert not psutil.pid_exists(pid)


def test_a_cluster_that_cannot_start_is_reported_with_its_words() -> None:
    with pytest.raises(AssertionError, match="DEMO_URL"):
        ClusterProcess(CONFIG, {key: value for key, value in os.environ.items() if key != "DEMO_URL"})
