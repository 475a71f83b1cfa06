"""Fixtures: a scripted upstream, real frontends, raw clients, and the records frontends send."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from plano.config.plan import ClusterPlan
from tests.frontends.client import Client
from tests.frontends.plans import NO_RETRY, make_plan, make_provider, make_wildcard
from tests.frontends.process import FrontendProcess
from tests.frontends.records import RecordSocket
from tests.frontends.upstream import Upstream

Connect = Callable[..., Awaitable[Client]]
Serve = Callable[[ClusterPlan], FrontendProcess]


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    """An upstream that does what the test scripts."""
    scripted = await Upstream().start()
    yield scripted
    await scripted.close()


@pytest.fixture
async def second_upstream() -> AsyncIterator[Upstream]:
    """Another one, to fail over to."""
    scripted = await Upstream().start()
    yield scripted
    await scripted.close()


@pytest.fixture
def records(tmp_path: Path) -> Iterator[RecordSocket]:
    """Where the frontends of this test send their records."""
    socket = RecordSocket(f"ipc://{tmp_path}/records")
    yield socket
    socket.close()


@pytest.fixture
def serve(records: RecordSocket) -> Iterator[Serve]:
    """Starts frontends; they end with the test."""
    running: list[FrontendProcess] = []

    def start(plan: ClusterPlan) -> FrontendProcess:
        running.append(FrontendProcess(plan, records.address))
        return running[-1]

    yield start
    for frontend in running:
        frontend.end()


@pytest.fixture
def frontend(serve: Serve, upstream: Upstream) -> FrontendProcess:
    """A frontend with one provider, `test/one` (the default), and a wildcard `wild/*`, without retries."""
    return serve(
        make_plan(
            make_provider(upstream.port, default=True, retry=NO_RETRY),
            make_wildcard(upstream.port),
            aliases={"fast": "test/one"},
        )
    )


@pytest.fixture
def connect() -> Iterator[Connect]:
    """Opens raw connections to a frontend; they close with the test."""
    opened: list[Client] = []

    async def open_connection(frontend: FrontendProcess, *, receive_buffer_bytes: int | None = None) -> Client:
        opened.append(await Client.connect(frontend.port, receive_buffer_bytes=receive_buffer_bytes))
        return opened[-1]

    yield open_connection
    for client in opened:
        client.close()


@pytest.fixture
async def client(connect: Connect, frontend: FrontendProcess) -> Client:
    """A raw connection to `frontend`."""
    return await connect(frontend)


@pytest.fixture
def refusing_port() -> Iterator[int]:
    """A port that refuses connections: bound, so that nobody else gets it, and not listening."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock.getsockname()[1]


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port that does not answer: its backlog is full, so the kernel drops what comes."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen(0)
        waiting = []
        for _ in range(4):
            peer = socket.socket()
            peer.setblocking(False)
            peer.connect_ex(sock.getsockname())
            waiting.append(peer)
        yield sock.getsockname()[1]
        for peer in waiting:
            peer.close()
