"""The provider as a process: what it prints, and how it ends."""

from __future__ import annotations

import json
import signal
import socket
import ssl
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
import trustme

from tests.demo.wire import chat_body, exchange
from tests.providers import DemoProcess

COMMAND = [sys.executable, "-m", "plano.demo.provider"]
END_TIMEOUT_S = 20.0


def start(*arguments: str) -> tuple[subprocess.Popen[bytes], str]:
    process = subprocess.Popen([*COMMAND, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    return process, json.loads(process.stdout.readline())["url"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_one_line_is_printed_and_a_signal_ends_it(number: signal.Signals) -> None:
    process, url = start()
    with process:
        with urllib.request.urlopen(f"{url}/healthz") as answer:
            assert answer.status == 200
        process.send_signal(number)
        rest, _ = process.communicate(timeout=END_TIMEOUT_S)
    assert (process.returncode, rest) == (0, b"")


def test_a_request_in_flight_does_not_keep_it_from_ending(demo_provider: DemoProcess) -> None:
    with socket.create_connection((demo_provider.host, demo_provider.port)) as client:
        body = b'{"model": "demo-hang", "messages": [{"role": "user", "content": "Hi"}]}'
        client.sendall(
            b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body
        )
        demo_provider.wait_for_request("demo-hang")
        demo_provider.close()
    assert demo_provider._process.returncode == 0


def test_the_end_of_stdin_ends_it_when_asked_to() -> None:
    process, _ = start("--exit-with-parent")
    with process:
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(END_TIMEOUT_S) == 0


def test_faults_fixed_at_the_start_stay() -> None:
    with DemoProcess.start("--fault", "gpt-4o=fail-503-after-3") as provider:
        for _ in range(2):
            request = urllib.request.Request(
                f"{provider.url}/v1/chat/completions",
                json.dumps({"model": "gpt-4o", "messages": [{"role": "user", "content": "Hi"}]}).encode(),
            )
            with pytest.raises(urllib.error.HTTPError) as caught:
                urllib.request.urlopen(request)
            assert (caught.value.code, caught.value.headers["Retry-After"]) == (503, "3")


@pytest.mark.parametrize("arguments", [("--fault", "gpt-4o=no-such"), ("--fault", "gpt-4o"), ("--host", "192.0.2.1")])
def test_what_cannot_be_started_says_so(arguments: tuple[str, ...]) -> None:
    ended = subprocess.run([*COMMAND, *arguments], capture_output=True, timeout=END_TIMEOUT_S)
    assert ended.returncode != 0
    assert ended.stdout == b""
    assert b"Error" in ended.stderr


def test_tls_is_served(tmp_path: Path) -> None:
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    certificate.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    certificate.private_key_pem.write_to_path(tmp_path / "key.pem")
    context = ssl.create_default_context()
    authority.configure_trust(context)
    with DemoProcess.start("--tls-cert", f"{tmp_path}/cert.pem", "--tls-key", f"{tmp_path}/key.pem") as provider:
        assert provider.url.startswith("https://")
        with urllib.request.urlopen(f"{provider.url}/v1/models", context=context) as answer:
            assert json.load(answer)["object"] == "list"
        assert provider.stats()["requests"] == 1


@pytest.mark.parametrize(("fault", "ending"), [("cut-2", "closed"), ("reset-2", "reset")])
async def test_connections_break_off_under_uvloop_too(demo_provider: DemoProcess, fault: str, ending: str) -> None:
    answer = await exchange(demo_provider.url, chat_body(f"demo-{fault}", True))
    assert (answer.ending, answer.complete) == (ending, False)
    assert answer.body.count(b"\n\n") == 3


def test_a_slow_reader_holds_the_provider_back(demo_provider: DemoProcess) -> None:
    model = "demo-big-200000"
    body = json.dumps(chat_body(model, True)).encode()
    with socket.create_connection((demo_provider.host, demo_provider.port)) as client:
        client.sendall(
            b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body
        )
        assert client.recv(10).startswith(b"HTTP/1.1 2")
        before, now = -1, 0
        while now != before:
            time.sleep(0.05)
            before, now = now, demo_provider.wait_for_request(model)["chunks"]
    # What is under way is bounded by the sockets' buffers, far from the 50,000 chunks of 4 KiB there are.
    assert 0 < now < 5000


async def test_clients_that_leave_in_the_middle_make_no_noise(demo_provider: DemoProcess) -> None:
    for model in ("demo-big-9000", "demo-hang", "demo-slow-5000", "demo-chunks-500-20"):
        await exchange(demo_provider.url, chat_body(model, True), silence_s=0.01, read_bytes=1)
        demo_provider.wait_for_request(model, completed=False, disconnected=True)
    assert demo_provider.errors() == ""
