"""Where connections go: over all frontends, and to the right cluster."""

from __future__ import annotations

import json
import resource
import urllib.request
from contextlib import AsyncExitStack

import psutil

from tests.cluster.conftest import PLAIN, StartCluster, client_ports, frontend_pids, listening_inodes, resident_mib
from tests.cluster.load import Connection, Load, ask_once, connected, make_body
from tests.clusters import ClusterProcess
from tests.providers import DemoProcess

CONNECTIONS = 160
FRONTENDS = 4
MAX_IDLE_MIB = 60.0


async def test_connections_are_spread_over_all_frontends(start_cluster: StartCluster) -> None:
    cluster = start_cluster(workers=FRONTENDS)
    async with AsyncExitStack() as stack:
        ours: set[int] = set()
        for _ in range(CONNECTIONS):
            connection: Connection = await stack.enter_async_context(connected(cluster.host, cluster.port))
            await connection.send({}, "/nowhere")
            assert (await connection.read_answer()).status == 404  # so the connection has been accepted
            ours.add(connection.local_port)
        shares = [client_ports(pid, cluster.port) & ours for pid in frontend_pids(cluster)]
        assert sum(len(share) for share in shares) == CONNECTIONS
        assert set().union(*shares) == ours
        # Fair dice give each about 40; that one gets less than 12 happens less than once in a million runs.
        assert min(len(share) for share in shares) >= 12, [len(share) for share in shares]
        wanted = f'plano_client_connections{{listener="egress"}} {float(CONNECTIONS)}'
        cluster.wait_until(lambda: wanted in cluster.metrics())


def test_each_frontend_listens_on_a_socket_of_its_own(start_cluster: StartCluster) -> None:
    cluster = start_cluster(workers=3)
    held = [listening_inodes(pid, cluster.port) for pid in frontend_pids(cluster)]
    assert [len(inodes) for inodes in held] == [1, 1, 1]
    assert len(set().union(*held)) == 3
    assert listening_inodes(cluster.pid, cluster.port) == set().union(*held)  # the supervisor keeps them open


def test_an_idle_frontend_is_small(start_cluster: StartCluster) -> None:
    cluster = start_cluster(workers=2)
    sizes = [resident_mib(pid) for pid in frontend_pids(cluster)]
    assert max(sizes) <= MAX_IDLE_MIB, sizes


def test_a_frontend_may_open_as_many_files_as_the_system_lets_it(start_cluster: StartCluster) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))  # 1024 is usual, and only enough for 500 requests
    try:
        cluster = start_cluster(workers=1)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    (frontend,) = frontend_pids(cluster)
    assert psutil.Process(frontend).rlimit(psutil.RLIMIT_NOFILE) == (hard, hard)


async def test_clusters_side_by_side_do_not_meet(start_cluster: StartCluster) -> None:
    first = start_cluster(workers=1)
    with DemoProcess.start() as provider, ClusterProcess(PLAIN, {"DEMO_URL": provider.url}, workers=1) as second:
        assert first.run_dir != second.run_dir
        load = Load(first.host, first.port)
        load.add_clients(4, "openai/of-the-first", keep_alive=True)
        await load.wait_for_more(50)
        answer = await ask_once(second.host, second.port, make_body("openai/of-the-second"))
        assert answer.status == 200
        second.terminate()
        assert second.wait() == 0
        await load.wait_for_more(50)  # the other one's end is nothing to this one
        tally = await load.stop()
        assert not tally.others(), tally
        assert {entry["model"] for entry in provider.requests()} == {"of-the-second"}
    with urllib.request.urlopen(f"{first.admin_url}/cluster") as response:
        assert json.load(response)["ready"] is True
