"""The mock upstream and the load generator of the harness, one run at a time."""

from __future__ import annotations

import json
import resource
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from loadtests.processes import BenchError, own_process, pin, read_tail
from loadtests.rig import Rig

MOCK_PORT = 9100  # the harness has it built in; everything that starts a mock shares it with `hold_bench`
MOCK_START_S = 5.0
SYSTEM_PROMPT = "You are a careful assistant. Answer briefly, cite nothing, and keep to the question. " * 4
QUESTION = "Summarise what a gateway between clients and model providers does, in one paragraph. " * 3


def write_body(path: Path, model: str, *, chunks: int | None = None, interval_us: int = 0) -> Path:
    """Write a chat completion request of about 740 bytes; with `chunks` a streaming one.

    `max_tokens` tells the mock the number of chunks and `seed` the microseconds between them: both are fields that
    every gateway passes on.
    """
    body: dict[str, Any] = {
        "model": model,
        "messages": [{"role": "system", "content": SYSTEM_PROMPT}, {"role": "user", "content": QUESTION}],
        "temperature": 0.2,
        "top_p": 1,
        "max_tokens": 128,
    }
    if chunks is not None:
        body |= {"max_tokens": chunks, "seed": interval_us, "stream": True}
    path.write_text(json.dumps(body, separators=(",", ":")))
    return path


def allow_descriptors(wanted: int) -> None:
    """Raise the soft limit of open files for this process and its children, as far as the hard limit lets it.

    Raises BenchError where that is not far enough.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        if hard != resource.RLIM_INFINITY and hard < wanted:
            raise BenchError(f"{wanted} open files are needed, the limit is {hard} (ulimit -n)")
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


@contextmanager
def run_mock(rig: Rig, cpu: str, port: int = MOCK_PORT) -> Iterator[str]:
    """Run the mock upstream on a loopback port while the block runs; yields its base URL.

    Raises BenchError when the port is taken or the mock does not listen within 5 seconds.
    """
    if _listens(port):
        raise BenchError(f"port {port} is already in use: is another bench, or a mock left over from one, running?")
    log = rig.logs / "mock.log"
    with own_process(pin([rig.program("mock_llm"), "-p", str(port)], cpu), log, grace_s=2.0) as process:
        deadline = time.monotonic() + MOCK_START_S
        while not _listens(port):
            if process.poll() is not None or time.monotonic() > deadline:
                raise BenchError(f"the mock upstream did not start on port {port}:\n{read_tail(log)}")
            time.sleep(0.02)
        yield f"http://127.0.0.1:{port}"


def load_command(
    rig: Rig, cpu: str, mode: str, url: str, body: Path, headers: Sequence[str] = (), **options: object
) -> list[str]:
    """The command line of the load generator; options are its one-letter flags (c, d, w, n, k, r)."""
    command = pin([rig.program("llmload"), "-m", mode, "-u", url, "-b", str(body)], cpu)
    for flag, value in options.items():
        command += [f"-{flag}", str(value)]
    for header in headers:
        command += ["-H", header]
    return command


def run_load(command: Sequence[str], timeout_s: float) -> dict[str, Any]:
    """Run the load generator to its end and return what it measured.

    Raises BenchError when it refuses (anything but loopback) or takes more than `timeout_s` seconds.
    """
    try:
        done = subprocess.run(list(command), capture_output=True, text=True, timeout=timeout_s)
    except subprocess.TimeoutExpired:
        raise BenchError(f"the load generator did not end within {timeout_s:.0f} s") from None
    return read_report(done.stdout, done.stderr)


def read_report(stdout: str, stderr: str) -> dict[str, Any]:
    """The JSON object that the load generator printed. Raises BenchError when there is none."""
    try:
        report = json.loads(stdout)
    except json.JSONDecodeError:
        raise BenchError(f"the load generator failed: {stderr.strip() or stdout.strip() or 'no output'}") from None
    if not isinstance(report, dict):
        raise BenchError("the load generator did not print an object")
    return report


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
