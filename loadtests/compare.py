"""Plano beside Envoy, nginx, LiteLLM and the prototypes, in one run on one machine (`make bench`).

Sets up what is missing, starts our cluster with everything on, runs the harness of the shared bench over it and its
peers, and prints the ratios that matter. It always ends what it started.

    python loadtests/compare.py --quick
    python loadtests/compare.py --write docs/performance.md
    python loadtests/compare.py --report ~/.cache/plano-bench/results/compare-....json
"""

from __future__ import annotations

import sys
from pathlib import Path

if not __package__:  # run as a script: this folder holds a `profile.py` that must not hide the standard one
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

import argparse
import json
import os
import shlex
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import psutil

from loadtests.foreign import ForeignLoad
from loadtests.gateway import Gateway, measure_roles, run_gateway
from loadtests.load import MOCK_PORT, allow_descriptors
from loadtests.machine import describe_machine, list_versions
from loadtests.performance import Comparison, check_page, render, write_page
from loadtests.processes import BenchError, choose_cores, own_process, raise_on_sigterm, say
from loadtests.rig import Rig, find_rig, hold_bench, prepare_contenders, prepare_harness, search_path

ALL_TESTS = "sat,lat30,lat40,burst,paced,light"
QUICK_TESTS = "sat,lat30,paced,light"
DESCRIPTORS = 8192
# Start-up, warm-up and the end of each contender, on top of its measurements; LiteLLM alone takes up to 90 s to start.
OVERHEAD_S = 300.0
# The harness ends the mock before its contenders and gives each of those 8 s to end.
MOCK_GONE_S = 60.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one comparison. Returns the exit code: 0, 1 when the bench failed (or, with --check, a target was missed)."""
    options = parse(arguments)
    raise_on_sigterm()
    try:
        document = read_document(options.report) if options.report else measure(options)
        comparison = Comparison.read(document)
        section = render(comparison)
        print(section)
        if options.write:
            write_page(options.write, section)
            say(f"wrote {options.write}")
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("bench: interrupted, everything it started has ended", file=sys.stderr)
        return 130
    return judge_run(comparison) if options.check else 0


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line, with the defaults of a quick or a full run filled in."""
    parser = argparse.ArgumentParser(description="Compare Plano with its peers on this machine, over loopback.")
    parser.add_argument("--contenders", help="comma-separated peers; default envoy,nginx,litellm,p2f_features,p3_raw")
    parser.add_argument("--without-plano", action="store_true", help="measure the contenders alone")
    parser.add_argument("--quick", action="store_true", help="one short repetition against Envoy: about a minute")
    parser.add_argument("--reps", type=int, help="repetitions (default 3, quick 1)")
    parser.add_argument("--seconds", type=float, help="length of one measurement (default 3, quick 1.5)")
    parser.add_argument("--tests", help=f"comma-separated tests of the harness (default {ALL_TESTS})")
    parser.add_argument("--write", type=Path, metavar="PAGE", help="put the result into this page, between its markers")
    parser.add_argument("--out", type=Path, help="where the raw results go (default: results/ of BENCH_ENV)")
    parser.add_argument("--report", type=Path, metavar="JSON", help="measure nothing, print the report of an old run")
    parser.add_argument("--check", action="store_true", help="exit 1 when a target is missed or not measured")
    options = parser.parse_args(arguments)
    quick = options.quick
    if options.contenders is None:
        options.contenders = "envoy" if quick else "envoy,nginx,litellm,p2f_features,p3_raw"
    options.contenders = [name for name in options.contenders.split(",") if name]
    options.reps = options.reps or (1 if quick else 3)
    options.seconds = options.seconds or (1.5 if quick else 3.0)
    options.tests = options.tests or (QUICK_TESTS if quick else ALL_TESTS)
    options.command = shlex.join(
        ["python", "loadtests/compare.py", *(sys.argv[1:] if arguments is None else arguments)]
    )
    return options


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Run the harness over our cluster and the contenders; returns its results with our own figures added.

    Raises BenchError when something cannot be installed, built, started or measured.
    """
    if options.write:
        check_page(options.write)
    if options.without_plano and not options.contenders:
        raise BenchError("nothing to measure: name --contenders, or leave --without-plano out")
    rig = find_rig()
    allow_descriptors(DESCRIPTORS)
    out = options.out or rig.results / f"compare-{time.strftime('%Y%m%d-%H%M%S')}.json"
    out = out.expanduser().resolve()
    out.parent.mkdir(parents=True, exist_ok=True)
    load_cpu, gateway_cpu = choose_cores()
    ours: dict[str, Any] = {"command": options.command, "idle_frontend_mib": None, "cpu_shares": {}}
    gateway: Gateway | None = None
    with ExitStack() as stack:
        stack.enter_context(hold_bench(rig))
        prepare_harness(rig)
        contenders = prepare_contenders(rig, options.contenders)
        command = harness_command(rig, options, contenders, load_cpu, gateway_cpu, out)
        if not options.without_plano:
            say(f"starting plano-cluster with one frontend on core {gateway_cpu}")
            log = rig.logs / "plano.log"
            gateway = stack.enter_context(run_gateway(f"http://127.0.0.1:{MOCK_PORT}", gateway_cpu, log))
            ours["idle_frontend_mib"] = round(gateway.idle_frontend_mib, 1)
            say(f"ready at {gateway.url}, idle frontend {gateway.idle_frontend_mib:.1f} MiB, log {log}")
            command += ["--target", f"plano={gateway.url},pid={gateway.pid}"]
        foreign = stack.enter_context(ForeignLoad())
        limit_s = estimate_s(options, len(contenders) + 2)
        say(f"measuring {', '.join(contenders)}: {options.reps} x {options.tests} (at most {limit_s / 60:.0f} min)")
        before = measure_roles(gateway.pid) if gateway else {}
        run_harness(rig, command, limit_s)
        if gateway:
            ours["cpu_shares"] = share(before, measure_roles(gateway.pid))
    ours |= {
        "foreign": foreign.summarise(),
        "machine": describe_machine(),
        "versions": list_versions(rig, contenders),
    }
    document = read_results(out) | {"plano": ours}
    out.write_text(json.dumps(document))
    say(f"raw results: {out}")
    return document


def harness_command(
    rig: Rig, options: argparse.Namespace, contenders: Sequence[str], load_cpu: str, gateway_cpu: str, out: Path
) -> list[str]:
    """The command line of run_bench.py."""
    return [
        *(str(rig.python), "-u", str(rig.harness / "run_bench.py"), "--contenders", ",".join(contenders)),
        *("--reps", str(options.reps), "--dur", str(options.seconds), "--tests", options.tests),
        *("--load-cpu", load_cpu, "--gw-cpu", gateway_cpu, "--out", str(out)),
    ]


def run_harness(rig: Rig, command: Sequence[str], limit_s: float) -> None:
    """Run the harness to its end; ended with all its contenders when it is not done after `limit_s` seconds."""
    env = {**os.environ, "BENCH_ENV": str(rig.root), "PATH": search_path()}
    # Its own last act takes up to 8 s per contender, so it gets time for that before it is killed.
    with own_process(command, rig.logs / "harness.log", env=env, grace_s=60.0, echo=True) as harness:
        deadline = time.monotonic() + limit_s
        mock_seen_at: float | None = None
        while harness.poll() is None:
            now = time.monotonic()
            if now > deadline:
                raise BenchError(f"the harness did not end within {limit_s:.0f} s")
            if has_mock(harness.pid):
                mock_seen_at = now
            elif mock_seen_at is not None and now - mock_seen_at > MOCK_GONE_S:
                raise BenchError("the mock upstream is gone: did someone kill every mock_llm on this machine?")
            time.sleep(0.5)
        if harness.returncode != 0:
            raise BenchError(f"the harness ended with status {harness.returncode}; its logs are in {rig.harness}/run")


def share(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    """What part of the CPU used between two looks each role took; empty when none was used."""
    used = {role: seconds - before.get(role, 0.0) for role, seconds in after.items()}
    total = sum(used.values())
    return {role: round(seconds / total, 3) for role, seconds in used.items()} if total > 0 else {}


def has_mock(harness: int) -> bool:
    """Whether the mock upstream is still among the children of the harness, which itself would not notice."""
    try:
        return any(
            child.name() == "mock_llm" and child.status() != psutil.STATUS_ZOMBIE
            for child in psutil.Process(harness).children()
        )
    except psutil.NoSuchProcess:
        return False  # it has just ended; the next look at its status says how


def estimate_s(options: argparse.Namespace, targets: int) -> float:
    """An upper bound of a run's length in seconds: every measurement repeated once for noise, and overhead."""
    one = float(options.seconds) + 20.0  # the load generator gives streams that are under way up to 15 s more
    measurements = int(options.reps) * targets * len(options.tests.split(","))
    return OVERHEAD_S + targets * 30.0 + 2 * measurements * one


def read_results(path: Path) -> dict[str, Any]:
    """The JSON document of a run. Raises BenchError when it cannot be read."""
    try:
        document = json.loads(path.read_text())
    except (OSError, json.JSONDecodeError) as error:
        raise BenchError(f"no results in {path}: {error}") from error
    if not isinstance(document, dict) or "results" not in document:
        raise BenchError(f"no results in {path}: it is not a document of the bench")
    return document


def read_document(path: Path) -> dict[str, Any]:
    """The document of an earlier comparison. Raises BenchError when compare.py did not write it."""
    document = read_results(path)
    if "plano" not in document:
        raise BenchError(f"{path} is a result of the bare harness: it does not say on what machine it was taken")
    return document


def judge_run(comparison: Comparison) -> int:
    """0 when every target is met and no request of ours failed, else 1."""
    judgements = comparison.judgements()
    failed = [row.name for row in comparison.figures() if row.name == "plano" and row.errors]
    return 0 if judgements and all(one.met for one in judgements) and not failed else 1


if __name__ == "__main__":
    sys.exit(main())
