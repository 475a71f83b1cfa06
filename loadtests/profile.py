"""Where a frontend's time goes: py-spy over a running frontend under the load of the bench.

python loadtests/profile.py --seconds 5 --load chat
python loadtests/profile.py --load stream --native
python loadtests/profile.py --pid 4711 --url http://127.0.0.1:12000/v1/chat/completions
"""

from __future__ import annotations

import sys
from pathlib import Path

if not __package__:  # run as a script: this very file must not hide the standard library's `profile`
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

import argparse
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import psutil

from loadtests.gateway import run_gateway
from loadtests.load import MOCK_PORT, allow_descriptors, load_command, read_report, run_mock, write_body
from loadtests.processes import BenchError, choose_cores, own_process, pin, raise_on_sigterm, say
from loadtests.rig import Rig, find_rig, hold_bench, prepare_harness, prepare_python

WARM_UP_S = 1.0
PY_SPY_START_S = 30.0  # it reads the symbols of the interpreter and of every library first
CHUNKS, INTERVAL_US, STREAMS, CONNECTIONS = 200, 10_000, 100, 32
DESCRIPTORS = 4096


@dataclass(frozen=True, slots=True)
class Cost:
    """CPU microseconds of the frontend per request or chunk, in its own code and in system calls."""

    user_us: float
    kernel_us: float

    @property
    def total_us(self) -> float:
        return self.user_us + self.kernel_us

    def render(self, unit: str) -> str:
        """One line for the terminal."""
        kernel = 100 * self.kernel_us / self.total_us if self.total_us else 0.0
        return f"{self.total_us:.1f} us of CPU per {unit}, {kernel:.0f} % of it in the kernel"


@dataclass(frozen=True, slots=True)
class Profile:
    """Samples per function: on top of the stack (`own`), anywhere in it (`inclusive`). Idle time is not sampled."""

    samples: int
    own: Counter[str]
    inclusive: Counter[str]

    @classmethod
    def parse(cls, folded: str) -> Profile:
        """From py-spy's raw format: one line per stack, `frame;frame;frame COUNT`, outermost first.

        Raises BenchError on a line that is not one.
        """
        own: Counter[str] = Counter()
        inclusive: Counter[str] = Counter()
        total = 0
        for line in folded.splitlines():
            stack, space, count = line.rpartition(" ")
            if not space or not count.isdigit():
                raise BenchError(f"not a line of a raw py-spy profile: {line[:80]!r}")
            # A frame that changed while it was read has no name.
            frames, samples = [frame or "(unreadable)" for frame in stack.split(";")], int(count)
            total += samples
            own[frames[-1]] += samples
            for frame in set(frames):  # a recursive function counts once per stack
                inclusive[frame] += samples
        return cls(total, own, inclusive)

    def render(self, cost: Cost, unit: str, top: int) -> str:
        """The two tables; the shares divide the cost of a request or chunk."""
        parts = [f"{self.samples:,} samples; {cost.render(unit)}"]
        unit_us = cost.total_us
        for title, counts in (("own time", self.own), ("with everything it calls", self.inclusive)):
            parts += ["", f"{title:>8}", f"{'share':>8} {'us/' + unit:>10}  function"]
            for function, count in counts.most_common(top):
                share = count / max(1, self.samples)
                parts.append(f"{100 * share:7.1f}% {share * unit_us:10.2f}  {function[:100]}")
        return "\n".join(parts)


def main(arguments: Sequence[str] | None = None) -> int:
    """Profile one frontend. Returns the exit code: 0, or 1 when something did not start or could not be sampled."""
    options = parse(arguments)
    raise_on_sigterm()
    try:
        profile, cost = measure(options)
    except BenchError as error:
        print(f"profile: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("profile: interrupted", file=sys.stderr)
        return 130
    print(profile.render(cost, unit_of(options.load), options.top))
    return 0


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Profile a frontend under load with py-spy.")
    parser.add_argument("--load", choices=("chat", "stream"), default="chat", help="requests, or 100 paced streams")
    parser.add_argument("--seconds", type=int, default=5, help="length of the profile (default 5)")
    parser.add_argument("--rate", type=int, default=500, help="samples per second (default 500)")
    parser.add_argument(
        "--native",
        action="store_true",
        help="see into C extensions; stops the process for each sample, which favours system calls",
    )
    parser.add_argument("--top", type=int, default=25, help="functions per table (default 25)")
    parser.add_argument("--url", help="load this chat completions URL instead of a cluster of our own")
    parser.add_argument("--pid", type=int, help="the frontend to profile; needs --url")
    parser.add_argument("--model", default="bench-model", help="model to ask for (default bench-model)")
    parser.add_argument("--raw", type=Path, help="keep the raw profile in this file (for a flame graph)")
    options = parser.parse_args(arguments)
    if (options.url is None) != (options.pid is None):
        parser.error("--url and --pid go together")
    return options


def unit_of(load: str) -> str:
    """What the CPU is divided by under this load."""
    return "request" if load == "chat" else "chunk"


def measure(options: argparse.Namespace) -> tuple[Profile, Cost]:
    """Start what is wanted, put it under load, sample it; returns the profile and what a request or chunk costs."""
    rig = find_rig()
    allow_descriptors(DESCRIPTORS)
    load_cpu, gateway_cpu = choose_cores()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="plano-profile-")))
        stack.enter_context(hold_bench(rig))
        prepare_harness(rig)
        prepare_python(rig)
        mock = stack.enter_context(run_mock(rig, load_cpu, MOCK_PORT))
        url, pid = options.url, options.pid
        if url is None:
            gateway = stack.enter_context(run_gateway(mock, gateway_cpu, rig.logs / "plano-profile.log"))
            url, pid = gateway.url, gateway.frontends[0]
        raw = options.raw or folder / "profile.raw"
        cost = load_and_sample(rig, options, url, pid, load_cpu, folder, raw)
        return Profile.parse(raw.read_text()), cost


def load_and_sample(
    rig: Rig, options: argparse.Namespace, url: str, pid: int, cpu: str, folder: Path, raw: Path
) -> Cost:
    """Sample the frontend into `raw` while the load generator runs; returns what a request or chunk costs it.

    Raises BenchError when either of them fails or a request did.
    """
    load_s = options.seconds + WARM_UP_S
    if options.load == "chat":
        body = write_body(folder / "body.json", options.model)
        command = load_command(rig, cpu, "closed", url, body, c=CONNECTIONS, d=load_s)
    else:
        body = write_body(folder / "body.json", options.model, chunks=CHUNKS, interval_us=INTERVAL_US)
        command = load_command(rig, cpu, "stream", url, body, c=STREAMS, k=CHUNKS, d=load_s)
    say(f"load: {' '.join(command)}")
    log = folder / "load.json"
    try:
        frontend = psutil.Process(pid)
    except psutil.NoSuchProcess:
        raise BenchError(f"there is no process {pid}") from None
    before = frontend.cpu_times()
    with own_process(command, log, grace_s=2.0) as load:
        time.sleep(WARM_UP_S)
        sample(rig, options, pid, cpu, raw)
        try:
            load.wait(load_s + PY_SPY_START_S)
        except subprocess.TimeoutExpired:
            raise BenchError("the load generator did not end") from None
    after = frontend.cpu_times()
    report = read_report(log.read_text(), "")
    if report["errors"] or report["unfinished"]:
        raise BenchError(f"{report['errors']} requests failed: {report['first_error'] or 'some did not end'}")
    units = report["ok"] if options.load == "chat" else report["chunks"]
    if not units:
        raise BenchError("the load generator got no answer")
    return Cost(1e6 * (after.user - before.user) / units, 1e6 * (after.system - before.system) / units)


def sample(rig: Rig, options: argparse.Namespace, pid: int, cpu: str, raw: Path) -> None:
    """Run py-spy on a process for the asked time. Raises BenchError with its words when it cannot.

    Without `native` the process is read while it runs: one stopped for each sample is seen in system calls twice as
    often as it is there, and a few torn samples (counted by py-spy as errors) are the smaller evil.
    """
    command = [str(rig.py_spy), "record", "--format", "raw", "--function", "--output", str(raw)]
    command += ["--duration", str(options.seconds), "--rate", str(options.rate), "--pid", str(pid)]
    command += ["--native"] if options.native else ["--nonblocking"]
    try:
        done = subprocess.run(
            pin(command, cpu), capture_output=True, text=True, timeout=options.seconds + PY_SPY_START_S
        )
    except subprocess.TimeoutExpired:
        raise BenchError("py-spy did not end") from None
    if done.returncode != 0 or not raw.exists():
        raise BenchError(f"py-spy failed (it needs the right to trace process {pid}): {done.stderr.strip()}")


if __name__ == "__main__":
    sys.exit(main())
