"""What a call of the inference tier costs without an engine: client and server of the wire, with an engine that answers
at once, beside a bare pyzmq DEALER/ROUTER echo of the same bytes.

    python loadtests/inference_roundtrip.py [--seconds 2] [--repetitions 5] [--role guard|orchestrator] [--json]

Each side is a process of its own, over `ipc://`. The bare echo is the simplest that is fast: blocking `recv` and `send`
in a loop on both sides, with frames packed beforehand. Product and echo alternate; the medians of the repetitions are
shown. CPU is per call, I/O threads included. Exit code 1 when a target is missed. Wants a quiet machine.
"""

from __future__ import annotations

import sys
from pathlib import Path

if not __package__:  # run as a script: the folder above is where `loadtests` is found, and `profile` is not
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

import argparse
import asyncio
import gc
import json
import multiprocessing as mp
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.connection import Connection
from typing import Any

import psutil
import uvloop
import zmq

from loadtests.performance import check_page, write_page
from plano.inference.client import InferenceClient, Outcome
from plano.inference.engines.engine import Engine, Job
from plano.inference.server import EngineSlot, InferenceServer
from plano.inference.wire import Status, pack_answer, pack_call

MARKERS = (
    "<!-- roundtrip:begin (written by `loadtests/inference_roundtrip.py`, do not edit by hand) -->",
    "<!-- roundtrip:end -->",
)
MOST_TIMES_P50 = 1.3
LEAST_SHARE_OF_RATE = 0.6
OUTSTANDING = 64
WARM_UP = 500
TRACEPARENT = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

BODIES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "guard": (
        {"texts": ["Please summarise the minutes of our meeting on Tuesday. " * 13]},
        {"probability": 0.0132, "flagged": False},
    ),
    "orchestrator": (
        {
            "turns": [["user", "How do I sort a list of people by age in Python? " * 2]],
            "routes": [[f"task {n}", "writing new functions and scripts from a description"] for n in range(10)],
            "multiple": False,
        },
        {"routes": ["task 3"], "confidence": 0.93},
    ),
}


class InstantEngine(Engine):
    """Has the answer before it is asked."""

    name = "instant"

    def __init__(self, answer: dict[str, Any]) -> None:
        self._answer = answer

    async def start(self) -> None:
        return

    def submit(self, jobs: Sequence[Job]) -> None:
        for job in jobs:
            job.finish(self._answer)


def serve_product(address: str, role: str, ready: Connection) -> None:
    async def serve() -> None:
        server = InferenceServer({role: EngineSlot(lambda: InstantEngine(BODIES[role][1]))}, (address,))
        await server.start()
        await server.loaded()
        gc.freeze()
        ready.send(True)
        await asyncio.Event().wait()

    uvloop.run(serve())


def serve_echo(address: str, role: str, ready: Connection) -> None:
    answer = pack_answer(1_000_000, Status.OK, 35, 2, BODIES[role][1])
    socket = zmq.Context().socket(zmq.ROUTER)
    socket.bind(address)
    ready.send(True)
    while True:
        identity = socket.recv()
        socket.recv()
        socket.send(identity, zmq.SNDMORE)
        socket.send(answer)


def call_product(address: str, role: str, seconds: float, result: Connection) -> None:
    uvloop.run(_call_product(address, role, seconds, result))


async def _call_product(address: str, role: str, seconds: float, result: Connection) -> None:
    client = InferenceClient((address,))
    client.start()
    body = BODIES[role][0]
    finished = asyncio.get_running_loop().create_future()
    latencies: list[float] = []
    left = WARM_UP
    end_s = begun_s = 0.0

    def call() -> None:
        nonlocal begun_s
        begun_s = time.perf_counter()
        client.call(role, body, 2.0, TRACEPARENT, take)

    def take(outcome: Outcome) -> None:
        nonlocal left
        now_s = time.perf_counter()
        assert outcome.status is Status.OK, outcome
        latencies.append(now_s - begun_s)
        left -= 1
        if left > 0 or now_s < end_s:
            call()
        else:
            finished.set_result(None)

    call()
    await finished
    gc.freeze()
    latencies.clear()
    finished = asyncio.get_running_loop().create_future()
    end_s = time.perf_counter() + seconds
    call()
    await finished

    count = outstanding = 0
    finished = asyncio.get_running_loop().create_future()

    def take_many(outcome: Outcome) -> None:
        nonlocal count, outstanding
        assert outcome.status is Status.OK, outcome
        count += 1
        if time.perf_counter() < end_s:
            client.call(role, body, 2.0, TRACEPARENT, take_many)
            return
        outstanding -= 1
        if outstanding == 0:
            finished.set_result(None)

    result.send("many")
    result.recv()
    begun_s = time.perf_counter()
    end_s = begun_s + seconds
    outstanding = OUTSTANDING
    for _ in range(OUTSTANDING):
        client.call(role, body, 2.0, TRACEPARENT, take_many)
    await finished
    result.send((latencies, count, time.perf_counter() - begun_s))
    result.recv()
    await client.close()


def call_echo(address: str, role: str, seconds: float, result: Connection) -> None:
    frame = pack_call(1_000_000, role, 2_000, TRACEPARENT, BODIES[role][0])
    socket = zmq.Context().socket(zmq.DEALER)
    socket.connect(address)
    for _ in range(WARM_UP):
        socket.send(frame)
        socket.recv()
    latencies: list[float] = []
    end_s = time.perf_counter() + seconds
    now_s = 0.0
    while now_s < end_s:
        begun_s = time.perf_counter()
        socket.send(frame)
        socket.recv()
        now_s = time.perf_counter()
        latencies.append(now_s - begun_s)
    result.send("many")
    result.recv()
    count = 0
    begun_s = time.perf_counter()
    end_s = begun_s + seconds
    for _ in range(OUTSTANDING):
        socket.send(frame)
    while time.perf_counter() < end_s:
        socket.recv()
        socket.send(frame)
        count += 1
    result.send((latencies, count, time.perf_counter() - begun_s))
    result.recv()
    socket.close(linger=0)


def measure(
    serve: Callable[[str, str, Connection], None],
    call: Callable[[str, str, float, Connection], None],
    role: str,
    seconds: float,
) -> dict[str, float]:
    """One repetition in two fresh processes."""
    spawn = mp.get_context("spawn")
    with tempfile.TemporaryDirectory(prefix="plano-bus-") as folder:
        address = f"ipc://{Path(folder) / 'wire'}"
        ready, ready_there = spawn.Pipe()
        result, result_there = spawn.Pipe()
        server = spawn.Process(target=serve, args=(address, role, ready_there), daemon=True)
        client = spawn.Process(target=call, args=(address, role, seconds, result_there), daemon=True)
        server.start()
        try:
            ready.recv()
            client.start()
            result.recv()
            before = cpu_s(server, client)
            result.send(None)
            latencies, count, wall_s = result.recv()
            spent = cpu_s(server, client)
            result.send(None)
            client.join(10)
        finally:
            server.kill()
            server.join()
            if client.pid is not None:
                client.kill()
                client.join()
    latencies.sort()
    return {
        "p50_us": latencies[len(latencies) // 2] * 1e6,
        "p99_us": latencies[int(len(latencies) * 0.99)] * 1e6,
        "calls_per_s": count / wall_s,
        "server_cpu_us": (spent[0] - before[0]) / count * 1e6,
        "client_cpu_us": (spent[1] - before[1]) / count * 1e6,
    }


def cpu_s(*processes: Any) -> list[float]:
    """CPU seconds of each process so far, user and system, all threads."""
    times = [psutil.Process(process.pid).cpu_times() for process in processes]
    return [each.user + each.system for each in times]


def compare(role: str, seconds: float, repetitions: int) -> dict[str, dict[str, float]]:
    """Medians over repetitions that alternate."""
    found: dict[str, list[dict[str, float]]] = {"product": [], "echo": []}
    for _ in range(repetitions):
        found["echo"].append(measure(serve_echo, call_echo, role, seconds))
        found["product"].append(measure(serve_product, call_product, role, seconds))
    return {
        name: {figure: statistics.median(run[figure] for run in runs) for figure in runs[0]}
        for name, runs in found.items()
    }


def render(role: str, medians: Mapping[str, Mapping[str, float]], times_p50: float, share_of_rate: float) -> str:
    """The table, and how it stands to the targets."""
    lines = [
        f"| {role} | p50 us | p99 us | calls/s at {OUTSTANDING} | server CPU us | client CPU us |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    for name, title in (("echo", "bare pyzmq echo"), ("product", "inference client and server")):
        figures = medians[name]
        lines.append(
            f"| {title} | {figures['p50_us']:.0f} | {figures['p99_us']:.0f} | {figures['calls_per_s']:,.0f}"
            f" | {figures['server_cpu_us']:.1f} | {figures['client_cpu_us']:.1f} |"
        )
    return "\n".join(lines) + (
        f"\n\np50 {times_p50:.2f} times the echo's (target at most {MOST_TIMES_P50}); calls per second "
        f"{share_of_rate:.2f} of it (target at least {LEAST_SHARE_OF_RATE})"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each measurement (default 2)")
    parser.add_argument("--repetitions", type=int, default=5, help="of both, alternating (default 5)")
    parser.add_argument("--role", choices=sorted(BODIES), default="guard", help="whose bodies are sent")
    parser.add_argument("--json", action="store_true", help="print the numbers as JSON")
    parser.add_argument("--write", type=Path, metavar="PAGE", help="put the table into this page, between its markers")
    options = parser.parse_args()
    if options.write is not None:
        check_page(options.write, MARKERS)
    medians = compare(options.role, options.seconds, options.repetitions)
    times_p50 = medians["product"]["p50_us"] / medians["echo"]["p50_us"]
    share_of_rate = medians["product"]["calls_per_s"] / medians["echo"]["calls_per_s"]
    table = render(options.role, medians, times_p50, share_of_rate)
    if options.json:
        print(json.dumps({"role": options.role, **medians, "times_p50": times_p50, "share_of_rate": share_of_rate}))
    else:
        print(table)
    if options.write is not None:
        command = f"    python loadtests/inference_roundtrip.py --seconds {options.seconds:g} --role {options.role}"
        write_page(options.write, f"{table}\n\n{command} --repetitions {options.repetitions}", MARKERS)
    return 0 if times_p50 <= MOST_TIMES_P50 and share_of_rate >= LEAST_SHARE_OF_RATE else 1


if __name__ == "__main__":
    sys.exit(main())
