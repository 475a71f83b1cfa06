"""What the inference process reports, as Prometheus reads it."""

from __future__ import annotations

import copy
from typing import Any

import msgpack
import pytest

from plano.inference.figures import Histogram, ServerFigures
from plano.telemetry.inference import pack_report
from plano.telemetry.record import WIRE_VERSION
from plano.workers.boot import TelemetryBoot
from plano.workers.telemetry import TelemetryWorker


def figures(ok: int = 3, **engine_metrics: float) -> ServerFigures:
    took = Histogram()
    for _ in range(ok):
        took.add(0.002)
    return {
        "roles": {
            "guard": {
                "state": "ready",
                "cause": "",
                "engine": "embedded",
                "model": "",
                "waiting": 1,
                "running": 2,
                "concurrency": 64,
                "starts": 1,
                "state_s": 5.0,
                "calls": {"ok": ok, "expired": 1},
                "queue_s": Histogram().figures(),
                "compute_s": took.figures(),
                "engine_metrics": engine_metrics,
            }
        },
        "peers": 2,
        "faults": {"encoding": 7},
        "refused_peers": 1,
        "undelivered": 0,
        "lost_peers": 0,
        "unknown_role": 4,
    }


def child(pid: int | None) -> dict[str, Any]:
    state = "ready" if pid else "waiting"
    return {"name": "inference", "role": "inference", "index": None, "pid": pid, "state": state, "restarts": 0}


async def told(worker: TelemetryWorker, *messages: bytes, pid: int | None = 10) -> str:
    worker._update_picture({"type": "cluster", "children": [child(pid)], "draining": False})
    for message in messages:
        await worker.take(message)
    return worker.scrape().render("")[0].decode()


@pytest.fixture
def worker() -> TelemetryWorker:
    return TelemetryWorker(TelemetryBoot("1.2.3", "", -1))


async def test_a_report_becomes_metrics(worker: TelemetryWorker) -> None:
    text = await told(worker, pack_report(10, figures(kv_cache_usage_ratio=0.25, prefix_cache_hits_total=12.0)))
    for line in (
        'plano_inference_calls_total{role="guard",status="ok"} 3.0',
        'plano_inference_calls_total{role="guard",status="expired"} 1.0',
        'plano_inference_compute_seconds_bucket{le="0.001",role="guard"} 0.0',
        'plano_inference_compute_seconds_bucket{le="0.0025",role="guard"} 3.0',
        'plano_inference_waiting_calls{role="guard"} 1.0',
        'plano_inference_running_calls{role="guard"} 2.0',
        'plano_inference_engine_ready{engine="embedded",model="",role="guard"} 1.0',
        'plano_inference_engine_starts_total{role="guard"} 1.0',
        'plano_inference_malformed_frames_total{kind="encoding"} 7.0',
        'plano_inference_malformed_frames_total{kind="unknown_role"} 4.0',
        "plano_inference_refused_peers_total 1.0",
        "plano_inference_peers 2.0",
        'plano_inference_engine_kv_cache_usage_ratio{role="guard"} 0.25',
        'plano_inference_engine_prefix_cache_hits_total{role="guard"} 12.0',
        "plano_bus_malformed_total 0.0",
    ):
        assert line in text.splitlines()


async def test_totals_outlive_the_process_and_gauges_do_not(worker: TelemetryWorker) -> None:
    await told(worker, pack_report(10, figures(ok=3)), pack_report(10, figures(ok=5, steps_total=2.0)))
    text = await told(worker, pid=None)
    assert 'plano_inference_calls_total{role="guard",status="ok"} 5.0' in text
    assert "plano_inference_waiting_calls{" not in text
    assert "plano_inference_engine_ready{" not in text
    text = await told(worker, pack_report(11, figures(ok=1, steps_total=1.0)), pid=11)
    assert 'plano_inference_calls_total{role="guard",status="ok"} 6.0' in text
    assert 'plano_inference_compute_seconds_count{role="guard"} 6.0' in text
    assert 'plano_inference_engine_steps_total{role="guard"} 3.0' in text
    text = await told(worker, pack_report(11, figures(ok=2)), pack_report(12, figures(ok=4)), pid=12)
    assert 'plano_inference_calls_total{role="guard",status="ok"} 11.0' in text
    assert 'plano_inference_waiting_calls{role="guard"} 1.0' in text


async def test_what_prometheus_would_not_take_is_left_out(worker: TelemetryWorker) -> None:
    odd = {"Bad-Name": 1.0, "ready": 5.0, "starts_total": 5.0, "endless": float("inf"), "good": 1.0}
    text = await told(worker, pack_report(10, figures(**odd)))
    assert [line for line in text.splitlines() if "engine_" in line and not line.startswith("#")] == [
        'plano_inference_engine_ready{engine="embedded",model="",role="guard"} 1.0',
        'plano_inference_engine_starts_total{role="guard"} 1.0',
        'plano_inference_engine_good{role="guard"} 1.0',
    ]


def broken(path: tuple[str, ...], value: Any) -> bytes:
    changed: Any = copy.deepcopy(figures())
    place = changed
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return pack_report(10, changed)


@pytest.mark.parametrize(
    "message",
    [
        msgpack.packb([WIRE_VERSION, ["inference"], []]),
        msgpack.packb([WIRE_VERSION, ["inference", 10], []]),
        msgpack.packb([WIRE_VERSION, ["inference", 10, None], []]),
        msgpack.packb([WIRE_VERSION, ["inference", -1, {}], []]),
        msgpack.packb([WIRE_VERSION, ["inference", 10, {}, 5], []]),
        msgpack.packb([WIRE_VERSION, "inference", []]),
        msgpack.packb([WIRE_VERSION, ["inference", 10, {}], 5]),
        msgpack.packb([WIRE_VERSION + 1, ["inference", 10, {}], []]),
        broken(("roles",), 5),
        broken(("roles", "guard"), {}),
        broken(("roles", "guard", "waiting"), -1),
        broken(("roles", "guard", "calls"), {"ok": "many"}),
        broken(("roles", "guard", "compute_s", "counts"), [1]),
        broken(("roles", "guard", "model"), "x" * 1000),
        broken(("peers",), 1.5),
    ],
)
async def test_a_malformed_report_is_counted_and_changes_nothing(worker: TelemetryWorker, message: bytes) -> None:
    before = await told(worker, pack_report(10, figures()))
    after = await told(worker, message)
    assert after == before.replace("plano_bus_malformed_total 0.0", "plano_bus_malformed_total 1.0")
