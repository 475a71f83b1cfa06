"""Streams at scale: slow readers cost no memory, and hundreds side by side lose nothing."""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from loadtests.load import write_body
from loadtests.streams import StreamReport
from tests.cluster.authority import TRUSTING, Authority
from tests.cluster.conftest import StartCluster, frontend_pids, resident_mib
from tests.cluster.load import Connection, expected_text, make_body
from tests.clusters import ClusterProcess, find_free_port
from tests.providers import DemoProcess

STREAMS = 512
BIG_MIB = 48
MAX_GROWTH_MIB = 8.0
HARNESS = Path(__file__).parents[3] / "shared" / "bench"
MOCKED = """
version: v0.4.0
listeners:
  - {type: model, name: egress, address: 127.0.0.1, port: {port}}
model_providers:
  - {model: openai/mock, base_url: $MOCK_URL, access_key: k}
"""


async def test_a_client_that_does_not_read_costs_no_memory(
    start_cluster: StartCluster, demo_provider: DemoProcess
) -> None:
    await stall_a_stream(start_cluster(workers=1), demo_provider)


async def test_nor_does_it_when_the_upstream_speaks_tls(start_cluster: StartCluster, authority: Authority) -> None:
    with DemoProcess.start(*authority.arguments) as provider:
        url = f"https://localhost:{provider.port}"
        await stall_a_stream(start_cluster(TRUSTING, 1, DEMO_URL=url, CA_PATH=str(authority.ca)), provider)


async def stall_a_stream(cluster: ClusterProcess, provider: DemoProcess) -> None:
    """Ask for a huge stream and do not read it; then read it after all."""
    (frontend,) = frontend_pids(cluster)
    model = f"demo-big-{BIG_MIB * 1024}"
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
        client.settimeout(30)
        client.connect((cluster.host, cluster.port))
        before = resident_mib(frontend)
        payload = json.dumps(make_body(f"openai/{model}", stream=True)).encode()
        head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: {len(payload)}\r\n\r\n".encode()
        client.sendall(head + payload)
        sent = await asyncio.to_thread(wait_until_stalled, provider, model)
        assert sent * 4096 < 24 * 2**20, "the provider could send on: nobody held it back"
        grown = resident_mib(frontend) - before
        assert grown < MAX_GROWTH_MIB
        # And when it reads at last, everything is there.
        body = await asyncio.to_thread(read_to_last_chunk, client)
    assert body.count(b'"content":"the quick') == BIG_MIB * 256
    assert body.endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n")
    assert resident_mib(frontend) - before < 2 * MAX_GROWTH_MIB
    assert provider.wait_for_request(model, completed=True)["chunks"] == BIG_MIB * 256


def wait_until_stalled(provider: DemoProcess, model: str) -> int:
    """The chunks the provider has sent when it cannot send any more."""
    provider.wait_for_request(model)
    last, same = -1, 0
    while same < 5:  # a provider that can send does some thousand chunks between two looks
        (entry,) = provider.requests(model)
        same = same + 1 if entry["chunks"] == last else 0
        last = entry["chunks"]
        time.sleep(0.1)
    return last


def read_to_last_chunk(client: socket.socket) -> bytes:
    """The rest of a chunked answer."""
    body = bytearray()
    while not body.endswith(b"\r\n0\r\n\r\n"):
        piece = client.recv(1 << 20)
        assert piece, "the answer broke off"
        body += piece
    return bytes(body)


async def test_512_streams_through_one_frontend_arrive_whole(start_cluster: StartCluster) -> None:
    cluster = start_cluster(workers=1)
    # Five chunks a second each: what a provider in Python can do on a core it shares with everything else.
    model = "openai/demo-chunks-10-200"

    async def read_stream() -> tuple[str, int]:
        connection = await Connection.open(cluster.host, cluster.port)
        answer = await connection.ask(make_body(model, stream=True))
        connection.close()
        assert answer.status == 200
        assert answer.events()[-1] == "[DONE]"
        return answer.text(), len(answer.events())

    results = await asyncio.wait_for(asyncio.gather(*(read_stream() for _ in range(STREAMS))), 60)
    assert set(results) == {(expected_text(model, ""), 10 + len(("role", "finish", "[DONE]")))}


@pytest.mark.skipif(not (HARNESS.exists() and shutil.which("gcc")), reason="needs ../shared/bench and gcc")
async def test_512_streams_paced_at_20_ms_lose_no_chunk(start_cluster: StartCluster, tmp_path: Path) -> None:
    interval_us, chunks = 20_000, 100
    body = write_body(tmp_path / "body.json", "openai/mock", chunks=chunks, interval_us=interval_us)
    with mock_provider(tmp_path) as (url, llmload):
        cluster = start_cluster(MOCKED, workers=1, MOCK_URL=url)
        command = [llmload, "-m", "stream", "-u", f"{cluster.url}/v1/chat/completions", "-b", body]
        command += ["-c", str(STREAMS), "-n", str(STREAMS), "-k", str(chunks), "-d", "30"]
        done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=90)
    report = StreamReport.read(json.loads(done.stdout), STREAMS, interval_us, None)
    assert report.whole, report.render()
    assert report.chunks == STREAMS * chunks
    # Sanity only, for the machine is shared: the bench measures this. A relay that held chunks back would be far off.
    assert report.late_us["p50"] < interval_us, report.render()


@contextmanager
def mock_provider(folder: Path) -> Iterator[tuple[str, Path]]:
    """The bench's provider in C, which can pace tens of thousands of chunks a second: its URL, and the load generator
    beside it."""
    for program in ("mock_llm", "llmload"):
        source = HARNESS / f"{program}.c"
        subprocess.run(["gcc", "-O2", "-w", "-o", folder / program, source], check=True, capture_output=True)
    port = find_free_port()
    with subprocess.Popen([folder / "mock_llm", "-p", str(port)], stdout=subprocess.DEVNULL) as mock:
        try:
            while not listens(port):
                assert mock.poll() is None
                time.sleep(0.01)
            yield f"http://127.0.0.1:{port}/v1", folder / "llmload"
        finally:
            mock.kill()


def listens(port: int) -> bool:
    """Whether anybody listens on a port of 127.0.0.1."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
