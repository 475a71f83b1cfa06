"""Many concurrent paced streams through one frontend: no chunk lost, none out of order, how late they come.

By default starts the mock and a cluster with one frontend; with --url it loads any gateway on loopback that routes the
model to a mock_llm (`--mock-port 0`: that mock is already running). Exit code 1 when a chunk was lost or out of order,
a stream ended without its end marker, or a request failed.

    python loadtests/streams.py
    python loadtests/streams.py --url http://127.0.0.1:12000/v1/chat/completions --pid 4711
"""

from __future__ import annotations

import sys
from pathlib import Path

if not __package__:  # run as a script: this folder holds a `profile.py` that must not hide the standard one
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

import argparse
import os
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from loadtests.foreign import ForeignLoad
from loadtests.gateway import run_gateway
from loadtests.load import MOCK_PORT, allow_descriptors, load_command, run_load, run_mock, write_body
from loadtests.processes import BenchError, choose_cores, measure_cpu_s, raise_on_sigterm, say
from loadtests.rig import Rig, find_rig, hold_bench, prepare_harness

SPARE_DESCRIPTORS = 256
SPARE_TIME_S = 60.0


@dataclass(frozen=True, slots=True)
class StreamReport:
    """What became of the streams. Lateness is from the mock's write to the client's read, in microseconds."""

    asked: int
    complete: int
    failed: int
    unfinished: int
    out_of_order: int
    wrong_count: int
    without_end: int
    first_error: str
    chunks: int
    chunks_s: float
    ttft_us: Mapping[str, float]
    late_us: Mapping[str, float]
    interval_us: int
    cpu_s: float | None

    @classmethod
    def read(cls, report: Mapping[str, Any], asked: int, interval_us: int, cpu_s: float | None) -> StreamReport:
        """From the JSON object of the load generator."""
        return cls(
            asked=asked,
            complete=report["ok"],
            failed=report["errors"],
            unfinished=report["unfinished"],
            out_of_order=report["bad_order"],
            wrong_count=report["wrong_count"],
            without_end=report["no_done"],
            first_error=report["first_error"],
            chunks=report["chunks"],
            chunks_s=report["chunks_s"],
            ttft_us=report["ttft_us"],
            late_us=report["chunk_lat_us"],
            interval_us=interval_us,
            cpu_s=cpu_s,
        )

    @property
    def whole(self) -> bool:
        """Whether every stream arrived complete, in order and with its end."""
        flaws = self.failed + self.unfinished + self.out_of_order + self.wrong_count + self.without_end
        return self.complete == self.asked and flaws == 0

    @property
    def late(self) -> bool:
        """Whether any chunk came after its successor was due."""
        return self.interval_us > 0 and self.late_us["max"] > self.interval_us

    def render(self) -> str:
        """The report for the terminal."""
        late, ttft = self.late_us, self.ttft_us
        lines = [
            f"streams   {self.complete} of {self.asked} whole; {self.failed} failed, {self.unfinished} unfinished,"
            f" {self.out_of_order} out of order, {self.wrong_count} with chunks lost or doubled,"
            f" {self.without_end} without end",
            f"chunks    {self.chunks:,} ({self.chunks_s:,.0f}/s)",
            f"lateness  p50 {late['p50']:.0f}  p99 {late['p99']:.0f}  p99.9 {late['p999']:.0f}"
            f"  max {late['max']:.0f} us"
            + (f"  ({'LATE: ' if self.late else ''}a chunk is due each {self.interval_us} us)"),
            f"ttft      p50 {ttft['p50']:.0f}  p99 {ttft['p99']:.0f} us",
        ]
        if self.cpu_s is not None:
            lines.append(f"cpu       {self.cpu_s:.2f} s, {1e6 * self.cpu_s / max(1, self.chunks):.1f} us/chunk")
        if self.first_error:
            lines.append(f"error     {self.first_error}")
        lines.append("verdict   " + ("every chunk arrived once and in order" if self.whole else "STREAMS WERE BROKEN"))
        return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the streams. Returns the exit code: 0 when all were whole, 1 when not or when the bench failed."""
    options = parse(arguments)
    raise_on_sigterm()
    try:
        report = stream(options)
    except BenchError as error:
        print(f"streams: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("streams: interrupted", file=sys.stderr)
        return 130
    print(report.render())
    return 0 if report.whole and not (options.fail_late and report.late) else 1


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Concurrent paced streams through one frontend.")
    parser.add_argument("--url", help="chat completions URL on loopback; default: start a cluster with one frontend")
    parser.add_argument("--model", default="bench-model", help="model to ask for (default bench-model)")
    parser.add_argument(
        "--header", action="append", default=[], metavar="'NAME: VALUE'", help="request header; may repeat"
    )
    parser.add_argument("--pid", type=int, action="append", default=[], help="process tree whose CPU is counted")
    parser.add_argument("--mock-port", type=int, default=MOCK_PORT, help="port of the mock to start; 0 starts none")
    parser.add_argument("--streams", type=int, default=512, help="concurrent streams (default 512)")
    parser.add_argument("--rounds", type=int, default=2, help="streams per connection, one after another (default 2)")
    parser.add_argument("--chunks", type=int, default=200, help="chunks per stream (default 200)")
    parser.add_argument("--interval-ms", type=float, default=20.0, help="time between chunks of a stream (default 20)")
    parser.add_argument(
        "--fail-late", action="store_true", help="exit 1 also when a chunk came after its successor was due"
    )
    parser.add_argument("--direct", action="store_true", help="load the mock itself: what this machine can do at best")
    return parser.parse_args(arguments)


def stream(options: argparse.Namespace) -> StreamReport:
    """Start what is wanted, run the streams, end what was started.

    Raises BenchError when something does not start or the load generator cannot run.
    """
    rig = find_rig()
    allow_descriptors(2 * options.streams + SPARE_DESCRIPTORS)
    load_cpu, gateway_cpu = choose_cores()
    with ExitStack() as stack:
        stack.enter_context(hold_bench(rig))
        prepare_harness(rig)
        mock = f"http://127.0.0.1:{options.mock_port}"
        if options.mock_port:
            mock = stack.enter_context(run_mock(rig, load_cpu, options.mock_port))
        url, pids = options.url, list(options.pid)
        if options.direct:
            url = f"{mock}/v1/chat/completions"
        elif url is None:
            gateway = stack.enter_context(run_gateway(mock, gateway_cpu, rig.logs / "plano-streams.log"))
            url, pids = gateway.url, [gateway.pid]
        foreign = stack.enter_context(ForeignLoad([os.getpid(), *pids]))
        report = run_streams(rig, options, url, pids, load_cpu)
    others = foreign.summarise()
    say(f"foreign load while it ran: mean {others['mean']:.2f}, max {others['max']:.2f} cores")
    return report


def run_streams(rig: Rig, options: argparse.Namespace, url: str, pids: Sequence[int], cpu: str) -> StreamReport:
    """The streams themselves: `streams` at a time, `streams * rounds` in all."""
    interval_us, total = round(1000 * options.interval_ms), options.streams * options.rounds
    length_s = options.rounds * options.chunks * interval_us / 1e6
    say(
        f"{options.streams} streams x {options.rounds}, {options.chunks} chunks each {interval_us} us: {length_s:.0f} s"
    )
    with tempfile.TemporaryDirectory(prefix="plano-streams-") as folder:
        body = write_body(Path(folder) / "body.json", options.model, chunks=options.chunks, interval_us=interval_us)
        flags = {"c": options.streams, "n": total, "k": options.chunks, "d": length_s}
        before = measure_cpu_s(pids)
        report = run_load(
            load_command(rig, cpu, "stream", url, body, options.header, **flags), length_s + 2 * SPARE_TIME_S
        )
        cpu_s = measure_cpu_s(pids) - before if pids else None
    return StreamReport.read(report, total, interval_us, cpu_s)


if __name__ == "__main__":
    sys.exit(main())
