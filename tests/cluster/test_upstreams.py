"""Upstreams by name and over TLS, from a whole cluster."""

from __future__ import annotations

import json
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cluster.authority import TRUSTING, Authority
from tests.cluster.conftest import PLAIN, StartCluster
from tests.cluster.load import Answer, Load, ask_once, make_body
from tests.clusters import find_free_port
from tests.providers import DemoProcess

COMPLETION = {
    "id": "c1",
    "object": "chat.completion",
    "created": 1,
    "model": "m",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}],
}


async def test_an_upstream_is_found_by_its_name(start_cluster: StartCluster, demo_provider: DemoProcess) -> None:
    # The name has more than one address on many machines, and the provider listens on one of them.
    cluster = start_cluster(PLAIN, DEMO_URL=f"http://localhost:{demo_provider.port}")
    for _ in range(3):
        assert (await ask_once(cluster.host, cluster.port, make_body("openai/quick"))).status == 200
    assert demo_provider.requests()[-1]["headers"]["host"] == f"localhost:{demo_provider.port}"


async def test_a_name_nobody_knows_and_a_port_nobody_has_are_told(start_cluster: StartCluster) -> None:
    for url in ("http://no-such-host.invalid", f"http://127.0.0.1:{find_free_port()}"):
        cluster = start_cluster(PLAIN, workers=1, DEMO_URL=url)
        answer = await ask_once(cluster.host, cluster.port, make_body("openai/quick"))
        assert answer.status == 502
        assert answer.json()["error"]["code"] == "upstream_connect_error"


async def test_https_upstreams_answer_and_stream(start_cluster: StartCluster, authority: Authority) -> None:
    with DemoProcess.start(*authority.arguments) as provider:
        url = f"https://localhost:{provider.port}"
        cluster = start_cluster(TRUSTING, DEMO_URL=url, CA_PATH=str(authority.ca))
        load = Load(cluster.host, cluster.port)
        load.add_clients(6, "openai/quick", keep_alive=True)
        load.add_clients(6, "openai/demo-chunks-10-5", stream=True, keep_alive=True)
        await load.wait_for_more(100)
        tally = await load.stop()
        assert not tally.others(), tally
        # Connections are kept: twelve clients need no more than about that many.
        assert provider.stats()["connections_opened"] < 40


async def test_a_certificate_of_a_stranger_is_refused(
    start_cluster: StartCluster, authority: Authority, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    stranger = Authority(tmp_path / "other", "localhost")
    with DemoProcess.start(*stranger.arguments) as provider:
        cluster = start_cluster(
            TRUSTING, workers=1, DEMO_URL=f"https://localhost:{provider.port}", CA_PATH=str(authority.ca)
        )
        answer = await ask_once(cluster.host, cluster.port, make_body("openai/quick"))
        assert answer.status == 502
        assert answer.json()["error"]["code"] == "upstream_connect_error"
        assert "certificate" in answer.json()["error"]["message"]
        assert provider.stats()["requests"] == 0


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("keeps_alive", [False, True])
async def test_a_tls_session_is_used_again(
    start_cluster: StartCluster, authority: Authority, version: ssl.TLSVersion, keeps_alive: bool
) -> None:
    with tls_upstream(authority, version, keeps_alive) as (port, resumed):
        cluster = start_cluster(TRUSTING, workers=1, DEMO_URL=f"https://localhost:{port}", CA_PATH=str(authority.ca))
        for _ in range(4):
            answer: Answer = await ask_once(cluster.host, cluster.port, make_body("openai/quick"))
            assert (answer.status, answer.text()) == (200, "Hi")
    assert resumed == [False, True, True, True]


@contextmanager
def tls_upstream(authority: Authority, version: ssl.TLSVersion, keeps_alive: bool) -> Iterator[tuple[int, list[bool]]]:
    """An upstream that answers one request per connection; the list tells for each whether it resumed a session.

    It either says that it closes, or keeps the connection for a moment and closes it then without a word.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = context.maximum_version = version
    context.load_cert_chain(authority.chain, authority.key)
    resumed: list[bool] = []
    body = json.dumps(COMPLETION).encode()
    close = b"" if keeps_alive else b"connection: close\r\n"
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n%bcontent-length: %d\r\n\r\n" % (close, len(body))

    def serve(listening: socket.socket) -> None:
        while True:
            try:
                plain, _ = listening.accept()
            except OSError:
                return  # the test is over
            with context.wrap_socket(plain, server_side=True) as connection:
                resumed.append(bool(connection.session_reused))
                connection.recv(64 * 1024)
                connection.sendall(head + body)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = threading.Thread(target=serve, args=(listening,), daemon=True)
        server.start()
        try:
            yield listening.getsockname()[1], resumed
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            server.join(10)
