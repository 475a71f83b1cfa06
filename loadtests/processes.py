"""Child processes that never outlive the bench: started pinned, ended whatever happens."""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import psutil

PR_SET_PDEATHSIG = 1  # linux/prctl.h


class BenchError(Exception):
    """The bench cannot go on; the message is one clear paragraph for the person at the terminal."""


_started = time.monotonic()


def say(text: str) -> None:
    """Print one line of progress, with the seconds since the start, to stderr."""
    print(f"[{time.monotonic() - _started:6.1f} s] {text}", file=sys.stderr, flush=True)


def read_tail(path: Path, lines: int = 12) -> str:
    """The last lines of a log, or a note that there are none."""
    text = path.read_text(errors="replace").splitlines() if path.exists() else []
    return "\n".join(f"    {line}" for line in text[-lines:]) or "    (no output)"


def pin(command: Sequence[str], cpu: str) -> list[str]:
    """The command bound to the cores of `cpu` (a `taskset -c` list); unbound where taskset does not exist."""
    taskset = shutil.which("taskset")
    return [taskset, "-c", cpu, *command] if taskset else list(command)


def choose_cores() -> tuple[str, str]:
    """(core of mock and load, core of the gateway): two different ones where the machine has them."""
    allowed = sorted(os.sched_getaffinity(0))
    return str(allowed[0]), str(allowed[min(1, len(allowed) - 1)])


def raise_on_sigterm() -> None:
    """Turn SIGTERM into SystemExit, so that every `finally` of the bench runs; a second one is ignored."""

    def handle_sigterm(_signal: int, _frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise SystemExit(143)

    signal.signal(signal.SIGTERM, handle_sigterm)


def _end_with_parent() -> Callable[[], None]:
    # Loaded before the fork: the child must not take the import lock between fork and exec.
    libc = ctypes.CDLL(None, use_errno=True)

    def ask_kernel() -> None:
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)

    return ask_kernel


def end_tree(process: subprocess.Popen[bytes], grace_s: float) -> None:
    """Ask a process to end (SIGTERM), then kill it and every descendant it had after `grace_s` seconds."""
    try:
        descendants = psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        descendants = []
    if process.poll() is None:
        process.terminate()
    try:
        process.wait(grace_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    _, alive = psutil.wait_procs(descendants, timeout=1.0)
    for orphan in alive:
        try:
            orphan.kill()
        except psutil.NoSuchProcess:
            continue


@contextmanager
def own_process(
    command: Sequence[str],
    log: Path,
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    grace_s: float = 10.0,
    echo: bool = False,
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command while the block runs and end its whole process tree afterwards.

    Its output goes to the file `log` (to our own stdout with `echo`). It gets a session of its own, so that Ctrl-C
    reaches only the bench, which then ends it in good order, and SIGTERM should the bench itself be killed.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as sink:
        process = subprocess.Popen(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=None if echo else sink,
            stderr=None if echo else sink,
            env=dict(env) if env is not None else None,
            cwd=cwd,
            start_new_session=True,
            preexec_fn=_end_with_parent(),
        )
        try:
            yield process
        finally:
            end_tree(process, grace_s)


def measure_cpu_s(pids: Sequence[int]) -> float:
    """CPU seconds (user and system) that these processes and their descendants have used so far."""
    total = 0.0
    for pid in pids:
        try:
            root = psutil.Process(pid)
            family = [root, *root.children(recursive=True)]
        except psutil.NoSuchProcess:
            continue
        for process in family:
            try:
                times = process.cpu_times()
            except psutil.NoSuchProcess:
                continue
            total += times.user + times.system
    return total
