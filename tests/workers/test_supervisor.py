"""Supervision with real processes."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import stat
import time
from pathlib import Path

import msgpack
import psutil
import pytest
import zmq

from plano.telemetry.record import WIRE_VERSION, Batch, FrontendState
from tests.workers.supervised import SupervisedCluster, fetch


def test_children_carry_telling_titles_and_the_cluster_describes_itself(tmp_path: Path) -> None:
    with SupervisedCluster(tmp_path) as cluster:
        titles = sorted(" ".join(process.cmdline()).strip() for process in cluster.child_processes())
        assert titles == ["plano: frontend 0", "plano: frontend 1", "plano: telemetry"]
        children = cluster.children()
        assert {name: child["state"] for name, child in children.items()} == dict.fromkeys(
            ("telemetry", "frontend 0", "frontend 1"), "ready"
        )
        assert children["frontend 0"]["info"] == {"listeners": ["egress"], "inference": ["ipc:///nowhere"]}
        assert cluster.admin("/readyz")[0] == 200
        assert stat.S_IMODE(cluster.run_dir.stat().st_mode) == 0o700
        assert stat.S_IMODE(Path(cluster.info["ipc_dir"]).stat().st_mode) == 0o700


def test_connections_spread_over_all_frontends(tmp_path: Path) -> None:
    with SupervisedCluster(tmp_path) as cluster:
        answered_by = {fetch(cluster.port, "/pid")[1] for _ in range(64)}
        assert answered_by == {str(cluster.children()[f"frontend {index}"]["pid"]) for index in (0, 1)}


def test_a_killed_frontend_is_back_on_the_same_socket_and_no_connection_is_refused(tmp_path: Path) -> None:
    with SupervisedCluster(tmp_path, workers=1) as cluster:
        before = cluster.children()["frontend 0"]["pid"]
        os.kill(before, signal.SIGKILL)
        # Nobody accepts now: these wait in the queue that the supervisor keeps open.
        started = time.monotonic()
        pids = {fetch(cluster.port, "/pid")[1] for _ in range(3)}
        assert str(before) not in pids
        assert time.monotonic() - started < 5.0
        cluster.until(lambda: cluster.children()["frontend 0"]["state"] == "ready", "ready again")
        after = cluster.children()["frontend 0"]
        assert after["restarts"] == 1
        assert pids == {str(after["pid"])}
        assert 'plano_child_restarts_total{child="frontend 0"} 1.0' in cluster.admin("/metrics")[1]


def test_a_stuck_frontend_is_replaced(tmp_path: Path) -> None:
    policy = {"ping_interval_s": 0.1, "hang_timeout_s": 1.0}
    with SupervisedCluster(tmp_path, workers=1, policy=policy) as cluster:
        with socket.create_connection(("127.0.0.1", cluster.port)) as client:
            client.sendall(b"GET /stuck HTTP/1.1\r\n\r\n")
            cluster.until(lambda: cluster.children()["frontend 0"]["restarts"] == 1, "the stuck frontend is replaced")
        assert fetch(cluster.port, "/pid")[0] == 200
        assert "has not answered for" in cluster.log


def test_the_telemetry_worker_comes_back_and_the_frontends_go_on(tmp_path: Path) -> None:
    with SupervisedCluster(tmp_path) as cluster:
        before = cluster.children()
        os.kill(before["telemetry"]["pid"], signal.SIGKILL)
        assert fetch(cluster.port, "/pid")[0] == 200
        cluster.until(lambda: cluster.children()["telemetry"]["restarts"] == 1, "telemetry is back")
        after = cluster.children()
        assert [after[f"frontend {i}"]["pid"] for i in (0, 1)] == [before[f"frontend {i}"]["pid"] for i in (0, 1)]
        cluster.until(lambda: cluster.admin("/readyz")[0] == 200, "ready")


def test_a_frontend_that_cannot_start_ends_the_start_with_its_last_words(tmp_path: Path) -> None:
    cluster = SupervisedCluster(tmp_path, role="die_at_start", workers=1)
    cluster.start()
    try:
        assert cluster.wait() == 1
        last = cluster.log[cluster.log.rindex("error: ") :]
        assert "frontend 0 does not start: exit status 1, 3 times in a row" in last
        assert "the moon is in the wrong phase" in last
        assert not (cluster.run_dir / "cluster.json").exists()
    finally:
        cluster.close()


def test_sigterm_lets_requests_finish_and_leaves_nothing_behind(tmp_path: Path) -> None:
    with SupervisedCluster(tmp_path) as cluster:
        processes = cluster.child_processes()
        client = http.client.HTTPConnection("127.0.0.1", cluster.port, timeout=10)
        client.request("GET", "/slow")
        answer = client.getresponse()  # the head; the body is still to come
        cluster.terminate()
        assert answer.read()
        client.close()
        assert cluster.wait() == 0
        assert not any(process.is_running() for process in processes)
        assert not (cluster.run_dir / "cluster.json").exists()
        assert not Path(cluster.info["ipc_dir"]).exists()
        with pytest.raises(ConnectionRefusedError):
            fetch(cluster.port, "/pid")


def test_a_frontend_that_does_not_drain_is_killed_at_the_deadline(tmp_path: Path) -> None:
    policy = {"kill_grace_s": 0.1}
    with SupervisedCluster(tmp_path, "never_finish", workers=1, drain_timeout_s=0.3, policy=policy) as cluster:
        cluster.terminate()
        assert cluster.wait() == 0
        assert "did not finish within" in cluster.log


def test_a_second_signal_ends_the_drain_at_once(tmp_path: Path) -> None:
    with SupervisedCluster(tmp_path, "never_finish", workers=1, drain_timeout_s=60.0) as cluster:
        cluster.terminate()
        cluster.until(lambda: "draining" in cluster.log, "the drain has begun")
        processes = cluster.child_processes()
        cluster.process.send_signal(signal.SIGINT)
        assert cluster.wait(10.0) == 1
        assert not any(process.is_running() for process in processes)


def test_readyz_says_that_the_cluster_drains(tmp_path: Path) -> None:
    with SupervisedCluster(tmp_path, "never_finish", workers=1, drain_timeout_s=60.0) as cluster:
        cluster.terminate()
        cluster.until(lambda: cluster.admin("/readyz")[0] == 503, "not ready while draining")
        body = json.loads(cluster.admin("/readyz")[1])
        assert body["status"] == "draining"
        assert body["not_ready"] == [{"child": "frontend 0", "state": "draining"}]


def test_children_do_not_outlive_a_killed_supervisor(tmp_path: Path) -> None:
    with SupervisedCluster(tmp_path) as cluster:
        processes = cluster.child_processes()
        cluster.process.kill()
        _, alive = psutil.wait_procs(processes, timeout=10.0)
        assert not alive


def test_the_next_cluster_clears_what_a_killed_one_left(tmp_path: Path) -> None:
    with SupervisedCluster(tmp_path) as cluster:
        cluster.process.kill()
        cluster.process.wait()
        left = Path(cluster.info["ipc_dir"])
        assert left.exists()
    with SupervisedCluster(tmp_path):
        assert not left.exists()


def test_a_second_cluster_in_the_same_run_dir_is_refused(tmp_path: Path) -> None:
    with SupervisedCluster(tmp_path) as cluster:
        (tmp_path / "second").mkdir()
        second = SupervisedCluster(tmp_path / "second", run_dir=str(cluster.run_dir))
        second.start()
        try:
            assert second.wait() == 1
            assert f"pid {cluster.process.pid}" in second.log
            assert "plano-cluster stop" in second.log
        finally:
            second.close()
        assert fetch(cluster.port, "/pid")[0] == 200


@pytest.mark.parametrize("taken", ["listener", "admin"])
def test_a_port_in_use_is_named(tmp_path: Path, taken: str) -> None:
    with socket.create_server(("127.0.0.1", 0), reuse_port=True) as other:
        port = other.getsockname()[1]
        options = {"admin_port": port} if taken == "admin" else {"listeners": [["egress", "127.0.0.1", port]]}
        cluster = SupervisedCluster(tmp_path, **options)
        cluster.start()
        try:
            assert cluster.wait() == 1
            what = "the admin port" if taken == "admin" else "listener 'egress'"
            assert f"{what}: 127.0.0.1:{port} is in use" in cluster.log
        finally:
            cluster.close()


def test_frontends_import_nothing_heavy_and_stay_small(tmp_path: Path) -> None:
    with SupervisedCluster(tmp_path, "list_modules", workers=1) as cluster:
        info = cluster.children()["frontend 0"]["info"]
        assert not {"pydantic", "yaml", "aiohttp", "click", "rich", "prometheus_client"} & set(info["modules"])
        assert info["rss_kib"] < 60 * 1024


def test_malformed_messages_are_counted_and_good_ones_after_them_too(tmp_path: Path) -> None:
    with SupervisedCluster(tmp_path, workers=1) as cluster, zmq.Context() as context:
        with context.socket(zmq.PUSH) as bus:
            bus.connect(f"ipc://{cluster.info['ipc_dir']}/telemetry")
            state = FrontendState(0, cluster.children()["frontend 0"]["pid"], {"egress": 3}, {"egress": 5}, 7, 0.002)
            for message in (
                b"\xc1garbage",
                msgpack.packb({"not": "a batch"}),
                msgpack.packb([WIRE_VERSION + 1, state, []]),
                msgpack.packb(Batch(WIRE_VERSION, state, [["half", "a", "record"]])),
            ):
                bus.send(message)
            cluster.until(lambda: "plano_bus_malformed_total 4.0" in cluster.admin("/metrics")[1], "all are counted")
        metrics = cluster.admin("/metrics")[1]
        assert 'plano_in_flight_requests{listener="egress"} 3.0' in metrics
        assert 'plano_dropped_records_total{frontend="0"} 7.0' in metrics
        assert cluster.children()["telemetry"]["restarts"] == 0
