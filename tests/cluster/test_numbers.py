"""After known traffic the metrics hold exactly the known numbers."""

from __future__ import annotations

import asyncio

from tests.cluster.conftest import Metrics, StartCluster
from tests.cluster.load import Connection, ask_once, connected, make_body
from tests.clusters import ClusterProcess
from tests.providers import DemoProcess

CONFIG = """
version: v0.4.0
listeners:
  - {type: model, name: egress, address: 127.0.0.1, port: {port}}
model_providers:
  - model: openai/first
    base_url: $DEMO_URL
    access_key: k
    retry_policy: {attempts: 2, backoff: {base: 1ms}, fallback_models: [mistral/second]}
  - {model: mistral/second, base_url: $DEMO_URL, access_key: k}
  - {model: openai/*, base_url: $DEMO_URL, access_key: k}
"""
FIRST = ("openai", "openai/first")
SECOND = ("mistral", "mistral/second")


async def settled(cluster: ClusterProcess, requests: int) -> Metrics:
    """The metrics once this many requests were counted and no client is left."""

    def is_settled() -> bool:
        metrics = Metrics(cluster)
        return metrics.sum("plano_requests_total") >= requests and not metrics.sum("plano_client_connections")

    await asyncio.to_thread(cluster.wait_until, is_settled)
    return Metrics(cluster)


async def test_every_request_attempt_and_token_is_counted_once(
    start_cluster: StartCluster, demo_provider: DemoProcess
) -> None:
    cluster = start_cluster(CONFIG, workers=2)

    async def ask(model: str, text: str = "Hi", **more: object) -> tuple[int, dict[str, int]]:
        answer = await ask_once(cluster.host, cluster.port, make_body(model, text, **more))
        if answer.status != 200:
            return answer.status, {}
        return 200, answer.json()["usage"]

    usages = [(await ask("openai/first", "word " * count))[1] for count in range(7)]
    for _ in range(5):
        counted = make_body("openai/first", stream=True, stream_options={"include_usage": True})
        assert (await ask_once(cluster.host, cluster.port, counted)).status == 200
    stream_usage = (await ask("openai/first"))[1]
    for _ in range(3):
        assert (await ask_once(cluster.host, cluster.port, make_body("openai/first", stream=True))).status == 200
    demo_provider.queue_faults("first", "fail-503", None)  # one retry
    retried = (await ask("openai/first"))[1]
    demo_provider.queue_faults("first", "fail-503", "empty")  # one retry, one failover
    moved = (await ask("openai/first"))[1]
    demo_provider.queue_faults("first", "fail-400")  # final at once
    assert (await ask("openai/first"))[0] == 400
    demo_provider.queue_faults("second", "fail-429")
    assert (await ask("mistral/second"))[0] == 429
    assert (await ask("nowhere/model"))[0] == 404
    assert (await ask("openai/demo-usage-5-7"))[0] == 200
    assert (await ask_once(cluster.host, cluster.port, {"model": "openai/first"})).status == 400  # no messages

    metrics = await settled(cluster, 7 + 5 + 1 + 3 + 1 + 1 + 1 + 1 + 1 + 1 + 1)
    assert metrics.by("plano_requests_total", "provider", "model", "status") == {
        (*FIRST, "200"): 7 + 5 + 1 + 3 + 1,
        (*FIRST, "400"): 1,
        (*SECOND, "200"): 1,
        (*SECOND, "429"): 1,
        ("openai", "openai/demo-usage-5-7", "200"): 1,
        ("none", "none", "404"): 1,
        ("none", "none", "400"): 1,
    }
    assert metrics.by("plano_attempts_total", "provider", "model", "outcome") == {
        (*FIRST, "ok"): 7 + 5 + 1 + 3 + 1,
        (*FIRST, "status_503"): 2,
        (*FIRST, "empty"): 1,
        (*FIRST, "status_400"): 1,
        (*SECOND, "ok"): 1,
        (*SECOND, "status_429"): 1,
        ("openai", "openai/demo-usage-5-7", "ok"): 1,
    }
    assert metrics.by("plano_retries_total", "model", "reason") == {("openai/first", "status_503"): 2}
    assert metrics.by("plano_failovers_total", "from_provider", "to_provider", "reason") == {
        ("openai", "mistral", "empty"): 1
    }
    firsts = [*usages, stream_usage, retried, *[stream_usage] * 8]  # all streams are asked for their usage
    spoken = metrics.by("plano_tokens_total", "model", "kind")
    assert spoken.pop(("openai/first", "input")) == sum(usage["prompt_tokens"] for usage in firsts)
    assert spoken.pop(("openai/first", "output")) == sum(usage["completion_tokens"] for usage in firsts)
    assert spoken.pop(("mistral/second", "input")) == moved["prompt_tokens"]
    assert spoken.pop(("mistral/second", "output")) == moved["completion_tokens"]
    assert spoken.pop(("openai/demo-usage-5-7", "cached")) == 5
    assert spoken.pop(("openai/demo-usage-5-7", "reasoning")) == 7
    assert {model for model, _ in spoken} == {"openai/demo-usage-5-7"}
    assert metrics.by("plano_usage_missing_total", "model") == {}
    assert metrics.by("plano_time_to_first_token_seconds_count", "model") == {("openai/first",): 5 + 3}
    assert metrics.by("plano_request_duration_seconds_count", "model") == {
        ("openai/first",): 18,
        ("mistral/second",): 2,
        ("openai/demo-usage-5-7",): 1,
        ("none",): 2,
    }
    assert metrics.sum("plano_client_disconnects_total") == 0
    assert metrics.sum("plano_in_flight_requests") == 0
    assert metrics.sum("plano_dropped_records_total") == 0
    assert metrics.sum("plano_bus_malformed_total") == 0
    assert metrics.sum("plano_children_up", role="frontend") == 2


async def test_what_is_in_flight_is_seen_and_clients_that_leave_are_counted(
    start_cluster: StartCluster, demo_provider: DemoProcess
) -> None:
    cluster = start_cluster(CONFIG, workers=2)
    streams = [await Connection.open(cluster.host, cluster.port) for _ in range(6)]
    for stream in streams:
        await stream.send(make_body("openai/demo-stall-3", stream=True))
        await stream.read_head()
    await asyncio.to_thread(
        cluster.wait_until, lambda: Metrics(cluster).sum("plano_in_flight_requests", listener="egress") == 6
    )
    for stream in streams:
        stream.close()
    metrics = await settled(cluster, 6)
    assert metrics.sum("plano_in_flight_requests") == 0
    assert metrics.by("plano_client_disconnects_total", "listener") == {("egress",): 6}
    assert metrics.by("plano_requests_total", "model", "status") == {("openai/demo-stall-3", "499"): 6}
    assert demo_provider.stats()["disconnects"] == 6


async def test_many_requests_are_all_counted(start_cluster: StartCluster) -> None:
    cluster = start_cluster(CONFIG, workers=2)
    wanted = 1_500

    async def ask_in_turn(count: int) -> None:
        async with connected(cluster.host, cluster.port) as connection:
            for _ in range(count):
                assert (await connection.ask(make_body("nowhere/model"))).status == 404

    await asyncio.gather(*(ask_in_turn(wanted // 10) for _ in range(10)))
    metrics = await settled(cluster, wanted)
    assert metrics.by("plano_requests_total", "status") == {("404",): wanted}
    assert metrics.by("plano_http_errors_total", "listener", "code") == {("egress", "model_not_found"): wanted}
