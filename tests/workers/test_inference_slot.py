"""The inference process beside frontends, as the supervisor treats it; its work is done by roles of these tests."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import psutil

from tests.workers.supervised import SupervisedCluster, fetch


def test_frontends_are_told_where_the_inference_process_beside_them_is(tmp_path: Path) -> None:
    with SupervisedCluster(tmp_path, inference="infer") as cluster:
        titles = sorted(" ".join(process.cmdline()).strip() for process in cluster.child_processes())
        assert titles == ["plano: frontend 0", "plano: frontend 1", "plano: inference", "plano: telemetry"]
        children = cluster.children()
        address = f"ipc://{cluster.info['ipc_dir']}/inference"
        assert children["inference"]["info"] == {"address": address, "proven": False}
        assert children["frontend 0"]["info"]["inference"] == [address]
        assert cluster.info["inference"] == []
        assert 'plano_children_up{role="inference"} 1.0' in cluster.admin("/metrics")[1]


def test_a_killed_inference_process_comes_back_and_the_cluster_stays_ready(tmp_path: Path) -> None:
    with SupervisedCluster(tmp_path, workers=1, inference="infer") as cluster:
        before = cluster.children()["inference"]["pid"]
        os.kill(before, signal.SIGKILL)
        assert fetch(cluster.port, "/pid")[0] == 200
        cluster.until(lambda: cluster.children()["inference"]["info"].get("proven") is True, "another one is ready")
        after = cluster.children()
        assert after["inference"]["restarts"] == 1
        assert after["frontend 0"]["restarts"] == 0
        assert cluster.admin("/readyz")[0] == 200
        assert 'plano_child_restarts_total{child="inference"} 1.0' in cluster.admin("/metrics")[1]


def test_the_cluster_waits_for_what_loads_and_says_so(tmp_path: Path) -> None:
    with SupervisedCluster(tmp_path, workers=1, inference="load_slowly") as cluster:
        assert cluster.children()["inference"]["restarts"] == 0
        assert cluster.children()["inference"]["info"]["roles"] == {"guard": {"state": "ready"}}
        assert "awaited: inference {'roles': {'guard': {'state': 'loading'}}}" in cluster.log


def test_one_that_hangs_while_it_loads_is_replaced(tmp_path: Path) -> None:
    policy = {"ping_interval_s": 0.1, "inference_hang_timeout_s": 2.0}
    with SupervisedCluster(tmp_path, workers=1, inference="hang_while_loading", policy=policy) as cluster:
        assert cluster.children()["inference"]["restarts"] == 1
        assert "inference" in cluster.log
        assert "has not answered for" in cluster.log


def test_what_it_refuses_at_the_start_ends_the_start_at_once(tmp_path: Path) -> None:
    cluster = SupervisedCluster(tmp_path, workers=1, inference="refuse")
    cluster.start()
    try:
        assert cluster.wait() == 1
        last = cluster.log[cluster.log.rindex("error: ") :].strip()
        assert last == "error: inference cannot start: inference.guard: engine 'vllm' needs a model"
        assert not (cluster.run_dir / "cluster.json").exists()
    finally:
        cluster.close()


def test_what_it_refuses_later_leaves_the_cluster_up_and_degraded(tmp_path: Path) -> None:
    with SupervisedCluster(tmp_path, workers=1, inference="refuse_later") as cluster:
        os.kill(cluster.children()["inference"]["pid"], signal.SIGKILL)
        cluster.until(lambda: cluster.children()["inference"]["restarts"] >= 3, "it is tried again")
        cluster.until(lambda: "degraded" in cluster.admin("/readyz")[1], "what is missing is told")
        status, body = cluster.admin("/readyz")
        assert status == 200
        assert json.loads(body)["degraded"][0]["child"] == "inference"
        assert "the GPU is gone; starting it again in" in cluster.log
        assert fetch(cluster.port, "/pid")[0] == 200


def test_it_ends_after_the_frontends_and_before_telemetry(tmp_path: Path) -> None:
    with SupervisedCluster(tmp_path, workers=1, inference="infer") as cluster:
        processes = {" ".join(process.cmdline()).strip(): process for process in cluster.child_processes()}
        names = ("plano: frontend 0", "plano: inference", "plano: telemetry")
        ended: list[str] = []
        cluster.terminate()
        deadline = time.monotonic() + 20
        while len(ended) < 3 and time.monotonic() < deadline:
            # The last first: whatever is seen to be gone, those after it were looked at before.
            alive = {name: is_alive(processes[name]) for name in reversed(names)}
            ended += [name for name in names if not alive[name] and name not in ended]
            assert ended == list(names[: len(ended)])
        assert cluster.wait() == 0
        assert ended == list(names)


def is_alive(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
