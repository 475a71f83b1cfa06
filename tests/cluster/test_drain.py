"""SIGTERM under load: what was accepted is answered, to the last byte."""

from __future__ import annotations

import asyncio
import multiprocessing
import signal
import socket
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.queues import Queue

from tests.cluster.conftest import StartCluster
from tests.cluster.load import LOST, OK, REFUSED, Connection, Load, expected_text, make_body
from tests.clusters import ClusterProcess
from tests.providers import DemoProcess

HAMMERS = 3
WARM_UP = 200
HEALTH = b"GET /healthz HTTP/1.1\r\nhost: test\r\n\r\n"


async def test_a_drain_loses_nothing(start_cluster: StartCluster, demo_provider: DemoProcess) -> None:
    cluster = start_cluster(workers=2)
    load = Load(cluster.host, cluster.port, ends_when_refused=True)
    load.add_clients(8, "openai/quick")
    load.add_clients(8, "openai/quick", keep_alive=True)
    load.add_clients(8, "openai/demo-chunks-20-15", stream=True)
    load.add_clients(8, "openai/demo-chunks-20-15", stream=True, keep_alive=True)
    await load.wait_for_more(300)
    cluster.terminate()
    tally = await load.join()
    assert not tally.others(REFUSED), tally
    assert tally.outcomes[REFUSED] == 32  # each client once, at the end
    assert await asyncio.to_thread(cluster.wait) == 0
    totals = demo_provider.stats()
    assert (totals["requests"], totals["completed"], totals["disconnects"]) == (tally.ok, tally.ok, 0)


async def test_long_streams_end_before_the_cluster_does(start_cluster: StartCluster) -> None:
    cluster = start_cluster(workers=2)
    model = "openai/demo-chunks-40-50"  # two seconds, of which most come after the signal
    streams = [await Connection.open(cluster.host, cluster.port) for _ in range(16)]
    for stream in streams:
        await stream.send(make_body(model, stream=True))
        assert (await stream.read_head())[0] == 200
    cluster.terminate()
    for stream in streams:
        body = b""
        while chunk := await stream.read_chunk():
            body += chunk
        assert body.endswith(b"data: [DONE]\n\n")
        assert body.count(b"data: ") == 40 + len(("role", "finish", "[DONE]"))
    assert await asyncio.to_thread(cluster.wait) == 0


async def test_a_kept_connection_is_told_to_close_and_answered(start_cluster: StartCluster) -> None:
    cluster = start_cluster(workers=1)
    idle = await Connection.open(cluster.host, cluster.port)
    assert "connection" not in (await idle.ask(make_body("openai/quick"))).headers
    cluster.terminate()
    await asyncio.to_thread(cluster.wait_until, lambda: is_refusing(cluster))
    answer = await idle.ask(make_body("openai/quick", "one more"))
    assert answer.headers["connection"] == "close"
    assert answer.text() == expected_text("quick", "one more")
    assert await asyncio.to_thread(cluster.wait) == 0


async def test_a_connection_whose_stream_has_just_ended_is_kept_for_a_moment(start_cluster: StartCluster) -> None:
    cluster = start_cluster(workers=1)
    kept = await Connection.open(cluster.host, cluster.port)
    await kept.send(make_body("openai/demo-chunks-40-50", stream=True))
    assert "connection" not in (await kept.read_head())[1]  # so the client may send another request on it
    cluster.terminate()
    while await kept.read_chunk():
        pass
    # Two seconds after the signal. Now the client thinks about it for longer than a drain looks away.
    await asyncio.sleep(0.3)
    answer = await kept.ask(make_body("openai/quick", "one more"))
    assert answer.headers["connection"] == "close"
    assert answer.text() == expected_text("quick", "one more")
    assert await asyncio.to_thread(cluster.wait) == 0


async def test_what_outlasts_the_deadline_is_cut(start_cluster: StartCluster, demo_provider: DemoProcess) -> None:
    cluster = start_cluster(workers=1, PLANO_DRAIN_TIMEOUT_S="1")
    stuck = await Connection.open(cluster.host, cluster.port)
    await stuck.send(make_body("openai/demo-hang"))
    await asyncio.to_thread(demo_provider.wait_for_request, "demo-hang")
    cluster.terminate()
    began = time.monotonic()
    assert await asyncio.to_thread(cluster.wait) == 0
    assert time.monotonic() - began < 5
    await asyncio.to_thread(demo_provider.wait_for_request, "demo-hang", disconnected=True)
    stuck.close()


async def test_a_second_signal_ends_it_at_once(start_cluster: StartCluster, demo_provider: DemoProcess) -> None:
    cluster = start_cluster(workers=1)
    stuck = await Connection.open(cluster.host, cluster.port)
    await stuck.send(make_body("openai/demo-hang"))
    await asyncio.to_thread(demo_provider.wait_for_request, "demo-hang")
    cluster.terminate()
    await asyncio.to_thread(cluster.wait_until, lambda: "draining" in cluster.log)
    cluster.process.send_signal(signal.SIGINT)
    assert await asyncio.to_thread(cluster.wait) == 1
    stuck.close()


def test_connections_made_in_the_instant_of_closing_are_served(start_cluster: StartCluster) -> None:
    """A flood of new connections, so that the sockets close in the middle of handshakes."""
    cluster = start_cluster(workers=2)
    with hammering(cluster) as results:
        for _ in range(HAMMERS):  # the flood has to be at full height
            assert results.get(timeout=20)[OK] == WARM_UP
        cluster.terminate()
        outcomes = sum((results.get(timeout=20) for _ in range(HAMMERS)), Counter())
    assert outcomes[OK] > HAMMERS * WARM_UP
    assert outcomes == {OK: outcomes[OK], REFUSED: HAMMERS}
    assert cluster.wait() == 0


def is_refusing(cluster: ClusterProcess) -> bool:
    """Whether nobody listens any more."""
    with socket.socket() as probe:
        probe.settimeout(3)
        return probe.connect_ex((cluster.host, cluster.port)) != 0


def hammer(host: str, port: int, results: Queue[Counter[str]]) -> None:
    """Health checks, each on a connection of its own, until one is refused. What became of them so far is put on the
    queue when `WARM_UP` went well, and of all at the end."""
    outcomes: Counter[str] = Counter()
    while not outcomes[REFUSED]:
        with socket.socket() as client:
            client.settimeout(10)
            try:
                client.connect((host, port))
            except ConnectionRefusedError:
                outcomes[REFUSED] += 1
                continue
            except OSError as error:
                outcomes[f"connect: {error}"] += 1
                break
            try:
                client.sendall(HEALTH)
                outcomes[OK if client.recv(4096).startswith(b"HTTP/1.1 200") else LOST] += 1
            except OSError:
                outcomes[LOST] += 1
        if outcomes[OK] == WARM_UP:
            results.put(outcomes.copy())
    results.put(outcomes)


@contextmanager
def hammering(cluster: ClusterProcess) -> Iterator[Queue[Counter[str]]]:
    """Processes that hammer the cluster; each puts its outcomes on the queue when it has ended."""
    spawning = multiprocessing.get_context("spawn")
    results: Queue[Counter[str]] = spawning.Queue()
    hammers = [spawning.Process(target=hammer, args=(cluster.host, cluster.port, results)) for _ in range(HAMMERS)]
    for process in hammers:
        process.start()
    try:
        yield results
    finally:
        for process in hammers:
            process.join(10)
            process.kill()
