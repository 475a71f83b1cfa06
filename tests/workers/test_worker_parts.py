"""The parts of supervision without processes: frames, back-off, sockets, the run folder, log lines."""

from __future__ import annotations

import json
import logging
import socket
import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plano.config.plan import ListenerPlan, TlsPlan
from plano.workers.boot import ChildBoot
from plano.workers.children import describe_exit
from plano.workers.failures import StartError
from plano.workers.frames import FrameDecoder, FrameError, encode_boot, encode_message, read_boot
from plano.workers.logs import JsonFormatter, TextFormatter
from plano.workers.restarts import RestartBackoff, Signs, SupervisionPolicy, find_reason_to_kill
from plano.workers.rundir import ClusterInfo, RunDir
from plano.workers.sockets import bind_admin, bind_listeners, close_listeners

INFO = ClusterInfo(
    pid=1, version="1", started=0.0, config=None, workers=1, admin="http://127.0.0.1:1", ipc_dir="/nowhere"
)


@given(st.lists(st.integers(min_value=1, max_value=40), max_size=20))
def test_messages_survive_any_cut_of_the_stream(cuts: list[int]) -> None:
    sent = [{"type": "ping", "sent": 1.5}, {"type": "cluster", "children": [{"pid": 7}] * 5}, {"type": "drain"}]
    stream = b"".join(encode_message(message) for message in sent)
    decoder = FrameDecoder()
    received = []
    for cut in cuts:
        received += decoder.feed(stream[:cut])
        stream = stream[cut:]
    received += decoder.feed(stream)
    assert received == sent


@pytest.mark.parametrize(
    "data",
    [
        b"\xff\xff\xff\xff",
        b"\0\0\0\x01\xc1",
        b"\0\0\0\x01\x05",
        b"\0\0\0\x01\x80",
        b"\0\0\0\x03\x81\x01\x01",
        b"\0\0\x20\0" + b"\x91" * 0x2000,
    ],
    ids=["huge", "no", "int", "map", "key", "deep"],
)
def test_what_is_no_message_is_refused(data: bytes) -> None:
    with pytest.raises(FrameError):
        FrameDecoder().feed(data)


def test_the_boot_frame_is_read_and_nothing_after_it() -> None:
    boot = ChildBoot("module:role", "frontend 0", "plano: frontend 0", {"anything": 1})
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.sendall(encode_boot(boot) + b"rest")
        assert read_boot(theirs) == boot
        assert theirs.recv(10) == b"rest"
        ours.close()
        with pytest.raises(FrameError, match="went away"):
            read_boot(theirs)


def test_the_first_restart_is_immediate_and_early_deaths_wait_ever_longer() -> None:
    backoff = RestartBackoff(SupervisionPolicy(short_life_s=10.0, backoff_first_s=0.5, backoff_max_s=5.0))
    assert [backoff.delay_after(1.0) for _ in range(7)] == [0.0, 0.5, 1.0, 2.0, 4.0, 5.0, 5.0]
    assert backoff.delay_after(10.0) == 0.0
    assert backoff.delay_after(1.0) == 0.5
    assert max(backoff.delay_after(0.0) for _ in range(5_000)) == 5.0


@pytest.mark.parametrize(
    ("signs", "frontend", "inference"),
    [
        (Signs(age_s=29, silent_s=29, has_spoken=False, is_ready=False), None, None),
        (Signs(age_s=31, silent_s=31, has_spoken=False, is_ready=False), "is not ready", "is not ready"),
        (Signs(age_s=31, silent_s=1, has_spoken=True, is_ready=False), "is not ready", None),
        (Signs(age_s=900, silent_s=1, has_spoken=True, is_ready=False), "is not ready", None),
        (Signs(age_s=15, silent_s=11, has_spoken=True, is_ready=False), "has not answered", None),
        (Signs(age_s=900, silent_s=31, has_spoken=True, is_ready=False), "has not answered", "has not answered"),
        (Signs(age_s=900, silent_s=9, has_spoken=True, is_ready=True), None, None),
        (Signs(age_s=900, silent_s=11, has_spoken=True, is_ready=True), "has not answered", None),
    ],
)
def test_who_is_killed_for_being_slow(signs: Signs, frontend: str | None, inference: str | None) -> None:
    policy = SupervisionPolicy()
    for expected, found in (
        (frontend, find_reason_to_kill(policy, signs)),
        (inference, find_reason_to_kill(policy.for_inference(), signs)),
    ):
        assert (found is None) == (expected is None)
        assert (expected or "") in (found or "")


@pytest.mark.parametrize(
    ("status", "words"), [(1, "exit status 1"), (-9, "killed by SIGKILL"), (-99, "killed by signal 99")]
)
def test_exits_are_described(status: int, words: str) -> None:
    assert describe_exit(status) == words


def listener(port: int = 0, address: str = "127.0.0.1", name: str = "egress") -> ListenerPlan:
    return ListenerPlan(name=name, type="model", address=address, port=port)


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "localhost"])
def test_every_frontend_gets_its_own_socket_on_the_same_port(address: str) -> None:
    (bound,) = bind_listeners([listener(address=address)], frontends=3)
    ports = {sock.getsockname()[1] for sock in bound.sockets}
    assert ports == {bound.address.port}
    assert len({sock.fileno() for sock in bound.sockets}) == 3
    for sock in bound.sockets:
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT)
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    assert bound.url == f"http://{'[::1]' if address == '::1' else '127.0.0.1'}:{bound.address.port}"
    close_listeners([bound])


def test_the_url_of_a_listener_with_tls_says_so() -> None:
    plan = replace(listener(), tls=TlsPlan("chain.pem", "key.pem"))
    (bound,) = bind_listeners([plan], frontends=1)
    assert bound.url == f"https://127.0.0.1:{bound.address.port}"
    close_listeners([bound])


def test_a_wildcard_address_is_shown_as_loopback() -> None:
    (bound,) = bind_listeners([listener(address="0.0.0.0")], frontends=1)
    assert bound.url == f"http://127.0.0.1:{bound.address.port}"
    close_listeners([bound])


def test_a_port_shared_by_another_process_is_refused_and_nothing_stays_open() -> None:
    with socket.create_server(("127.0.0.1", 0), reuse_port=True) as other:
        port = other.getsockname()[1]
        with pytest.raises(StartError, match=rf"listener 'second': 127\.0\.0\.1:{port} is in use.*change its port"):
            bind_listeners([listener(), listener(port, name="second")], frontends=2)


def test_an_address_of_another_machine_is_explained() -> None:
    with pytest.raises(StartError, match="not an address of this machine"):
        bind_admin("192.0.2.1", 0)


def test_an_unknown_host_is_explained() -> None:
    with pytest.raises(StartError, match="cannot be resolved"):
        bind_admin("no such host", 0)


def test_the_run_folder_is_private_and_held_until_released(tmp_path: Path) -> None:
    place = RunDir(tmp_path / "deep" / "run")
    assert not place.is_held()
    place.acquire()
    assert stat.S_IMODE(place.path.stat().st_mode) == 0o700
    place.publish(INFO)
    ipc_dir = place.make_ipc_dir()
    assert len(str(ipc_dir / "a-socket-with-a-long-name")) <= 107
    other = RunDir(place.path)
    assert other.is_held()
    assert other.read() == INFO
    with pytest.raises(StartError, match=r"pid 1.*plano-cluster stop"):
        other.acquire()
    place.release()
    place.release()
    assert not other.is_held()
    assert other.read() is None
    assert not ipc_dir.exists()


def test_a_folder_that_cannot_be_made_is_explained(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StartError, match="--run-dir"):
        RunDir(tmp_path / "file" / "run").acquire()


def test_leftovers_of_others_are_not_touched(tmp_path: Path) -> None:
    precious = tmp_path / "plano-precious"
    precious.mkdir()
    place = RunDir(tmp_path / "run")
    place.acquire()
    place.publish(ClusterInfo(**{**{f: getattr(INFO, f) for f in INFO.__slots__}, "ipc_dir": str(precious)}))
    place._lock = None  # as if it had been killed; the descriptor is closed with the process
    other = RunDir(tmp_path / "run")
    other._remove_leftovers()
    assert precious.is_dir()


@pytest.mark.parametrize("content", ["", "[]", "{", '{"pid": 1}', '{"unknown": 1}'])
def test_a_damaged_description_is_none(tmp_path: Path, content: str) -> None:
    (tmp_path / "cluster.json").write_text(content, encoding="utf-8")
    assert RunDir(tmp_path).read() is None


def test_log_lines_are_text_or_json() -> None:
    record = logging.LogRecord("plano.x", logging.WARNING, "", 0, "frontend %d ended", (3,), None)
    record.created = 0.25
    assert TextFormatter("supervisor").format(record) == (
        "1970-01-01T00:00:00.250Z WARNING supervisor: frontend 3 ended"
    )
    assert json.loads(JsonFormatter("supervisor").format(record)) == {
        "time": "1970-01-01T00:00:00.250Z",
        "level": "warning",
        "process": "supervisor",
        "logger": "plano.x",
        "message": "frontend 3 ended",
    }


def test_the_frontend_imports_nothing_heavy() -> None:
    program = "import sys, plano.workers.child, plano.frontends.process; print(*sys.modules)"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert not {"pydantic", "yaml", "aiohttp", "click", "rich", "prometheus_client"} & set(result.stdout.split())
