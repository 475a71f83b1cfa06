"""Processes that die or hang while the cluster is busy."""

from __future__ import annotations

import asyncio
import os
import re
import signal

import psutil

from tests.cluster.conftest import Metrics, StartCluster, client_ports, frontend_pids, listening_inodes
from tests.cluster.load import BROKEN, CLOSED, LOST, Connection, Load, ask_once, connected, expected_text, make_body
from tests.clusters import ClusterProcess

CLIENTS = 12
STREAMS = 24
LONG_STREAM = "openai/demo-chunks-60-25"  # a second and a half


def is_ready_again(cluster: ClusterProcess, child: str, old_pid: int) -> bool:
    """Whether another process has taken this child's place."""
    described = cluster.children()[child]
    return described["state"] == "ready" and described["pid"] != old_pid


async def test_a_killed_frontend_loses_only_what_it_was_serving(start_cluster: StartCluster) -> None:
    cluster = start_cluster(workers=2)
    victim, survivor = frontend_pids(cluster)
    sockets = listening_inodes(victim, cluster.port)
    streams = [await Connection.open(cluster.host, cluster.port) for _ in range(STREAMS)]
    for stream in streams:
        await stream.send(make_body(LONG_STREAM, stream=True))
        await stream.read_head()
    doomed = client_ports(victim, cluster.port)
    load = Load(cluster.host, cluster.port)
    load.add_clients(CLIENTS, "openai/quick")
    load.add_clients(CLIENTS, "openai/quick", keep_alive=True)
    await load.wait_for_more(100)

    os.kill(victim, signal.SIGKILL)
    await load.wait_for_more(100)  # the other one serves on
    await asyncio.to_thread(cluster.wait_until, lambda: is_ready_again(cluster, "frontend 0", victim))
    await load.wait_for_more(200)
    tally = await load.stop()

    # New connections are never refused: they wait in the accept queue, which outlives the process.
    assert not tally.others(LOST, BROKEN, CLOSED), tally
    # Each client had at most one request under way.
    assert 0 < sum(tally.others().values()) <= 2 * CLIENTS, tally
    for stream in streams:
        try:
            text = await read_rest(stream)
        except (asyncio.IncompleteReadError, OSError):
            assert stream.local_port in doomed  # cut, so that no client takes half a stream for a whole one
        else:
            assert stream.local_port not in doomed
            assert text == expected_text(LONG_STREAM, "")
        stream.close()
    successor, same_survivor = frontend_pids(cluster)
    assert same_survivor == survivor
    assert listening_inodes(successor, cluster.port) == sockets
    (back_after_s,) = re.findall(r"frontend 0 is back as pid \d+ after ([\d.]+) s", cluster.log)
    assert float(back_after_s) < 3.0  # within one on a machine that has nothing else to do
    assert 'plano_child_restarts_total{child="frontend 0"} 1.0' in cluster.metrics()
    assert 'plano_child_restarts_total{child="frontend 1"} 0.0' in cluster.metrics()


async def read_rest(connection: Connection) -> str:
    """The text of a stream whose head was read. Raises where it breaks off."""
    body = b""
    while chunk := await connection.read_chunk():
        body += chunk
    assert body.endswith(b"data: [DONE]\n\n")
    return "".join(re.findall(r'"content":"([^"]*)"', body.decode()))


async def test_a_killed_telemetry_worker_is_nothing_to_clients(start_cluster: StartCluster) -> None:
    cluster = start_cluster(workers=2)
    telemetry = cluster.children()["telemetry"]["pid"]
    load = Load(cluster.host, cluster.port)
    load.add_clients(8, "openai/quick")
    load.add_clients(4, "openai/demo-chunks-10-10", stream=True, keep_alive=True)
    await load.wait_for_more(50)
    os.kill(telemetry, signal.SIGKILL)
    await load.wait_for_more(100)
    await asyncio.to_thread(cluster.wait_until, lambda: is_ready_again(cluster, "telemetry", telemetry))
    counted_from = load.tally.ok
    await load.wait_for_more(100)
    tally = await load.stop()
    assert not tally.others(), tally
    wanted = tally.ok - counted_from
    await asyncio.to_thread(
        cluster.wait_until, lambda: Metrics(cluster).sum("plano_requests_total", status="200") >= wanted
    )
    metrics = Metrics(cluster)
    assert metrics.sum("plano_child_restarts_total", child="telemetry") == 1
    assert metrics.sum("plano_bus_malformed_total") == 0
    await asyncio.to_thread(
        cluster.wait_until, lambda: Metrics(cluster).sum("plano_client_connections", listener="egress") == 0
    )


async def test_a_frontend_that_hangs_is_replaced_and_its_queue_is_served(start_cluster: StartCluster) -> None:
    cluster = start_cluster(workers=2)
    stuck = frontend_pids(cluster)[0]
    os.kill(stuck, signal.SIGSTOP)
    # The kernel goes on to hand the stuck one its share; those clients wait for its successor and get their answers.
    waiting = [asyncio.create_task(ask_once(cluster.host, cluster.port, make_body("openai/quick"))) for _ in range(32)]
    done, pending = await asyncio.wait(waiting, timeout=2)
    assert done
    assert pending
    await asyncio.to_thread(cluster.wait_until, lambda: is_ready_again(cluster, "frontend 0", stuck))
    assert not psutil.pid_exists(stuck)
    answers = await asyncio.gather(*waiting)
    assert [answer.status for answer in answers] == [200] * 32
    assert 'plano_child_restarts_total{child="frontend 0"} 1.0' in cluster.metrics()


async def test_a_frontend_that_is_killed_again_and_again_comes_back(start_cluster: StartCluster) -> None:
    cluster = start_cluster(workers=1)
    for _ in range(2):
        (pid,) = frontend_pids(cluster)
        os.kill(pid, signal.SIGKILL)
        async with connected(cluster.host, cluster.port) as connection:  # accepted by nobody yet, and not refused
            assert (await connection.ask(make_body("openai/quick"))).status == 200
    await asyncio.to_thread(
        cluster.wait_until, lambda: 'plano_child_restarts_total{child="frontend 0"} 2.0' in cluster.metrics()
    )
