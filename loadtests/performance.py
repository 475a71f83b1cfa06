"""docs/performance.md: the tables of a comparison as Markdown, put between two marker comments of the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loadtests.processes import BenchError
from loadtests.verdict import Figures, Judgement, judge, show, summarise

BEGIN = "<!-- bench:begin (written by `make bench`, do not edit by hand) -->"
END = "<!-- bench:end -->"

SKELETON = f"""\
# Performance

What one core of Plano costs, measured beside its peers in one run on one machine over loopback. Absolute numbers do
not travel between machines; ratios of one run do.

## The latest comparison

{BEGIN}
Not measured yet: run `make bench`.
{END}

## What is measured

One frontend is bound to one core; the mock upstream and the load generator share the other. Requests weigh 740 bytes,
answers 1 KB. Plano runs with everything that exists switched on: alias and provider lookup, retry policy, fallback
model, all time-outs, request ids and trace context, usage scan, and a record of every request sent to the telemetry
worker. The peers proxy plainly. CPU is that of the whole process tree: for Plano the supervisor, the frontend and the
telemetry worker.

| Column | Meaning |
|---|---|
| CPU us/request | CPU time of the process tree per request, 32 connections as fast as they go. It survives other load |
| requests/s | the same test; one core |
| added p50, p99 | latency above the mock's own at the same rate, open loop, at 30 % of the contender's own saturation |
| CPU us/chunk | 100 streams of 200 chunks, one chunk each 10 ms (10,000 chunks/s) |
| chunk p50, p99 | time from the mock's write to the client's read of a chunk, the same test |
| added TTFT | time to first token above the mock's own, ten slow streams |
| RSS | resident memory of the process tree, idle and after the run |

## Repeat it

    make bench                                            # everything, about 15 minutes, writes this page
    .venv/bin/python loadtests/compare.py --quick         # two minutes, Envoy only, prints the table
    .venv/bin/python loadtests/streams.py                 # 512 concurrent streams: no chunk lost, none late
    .venv/bin/python loadtests/profile.py --load chat     # where a frontend's time goes
"""


@dataclass(frozen=True, slots=True)
class Comparison:
    """One run: the results of the harness and what is needed to judge and to repeat it."""

    results: Mapping[str, Mapping[str, Sequence[Any]]]
    when: str
    command: str
    machine: Mapping[str, str]
    versions: Mapping[str, str]
    foreign: Mapping[str, float]
    repetitions: int
    idle_frontend_mib: float | None
    cpu_shares: Mapping[str, float]

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> Comparison:
        """From the JSON document that `compare.py` writes."""
        ours = document["plano"]
        return cls(
            results=document["results"],
            when=document["when"],
            command=ours["command"],
            machine=ours["machine"],
            versions=ours["versions"],
            foreign=ours["foreign"],
            repetitions=document["args"]["reps"],
            idle_frontend_mib=ours["idle_frontend_mib"],
            cpu_shares=ours.get("cpu_shares", {}),
        )

    def judgements(self) -> list[Judgement]:
        """Every target against this run; empty when Plano itself took no part."""
        return judge(self.results, self.idle_frontend_mib) if "plano" in self.results else []

    def figures(self) -> list[Figures]:
        """One row per contender, ours first, then the cheapest first; the mock itself last."""
        rows = [summarise(name, self.results) for name in self.results]
        last = float("inf")
        return sorted(rows, key=lambda row: (row.name == "direct", row.name != "plano", row.cpu_us_request or last))


def render(comparison: Comparison) -> str:
    """The whole section in Markdown: targets, table, command, machine, foreign load."""
    parts = []
    judgements = comparison.judgements()
    if judgements:
        parts.append(render_judgements(judgements))
    parts.append(render_figures(comparison.figures()))
    parts.append(render_provenance(comparison))
    return "\n\n".join(parts)


def render_judgements(judgements: Sequence[Judgement]) -> str:
    """The table of targets."""
    lines = ["| Measure | Plano | Beside | Result | Target | Met |", "|---|--:|--:|--:|---|---|"]
    for one in judgements:
        met = {True: "yes", False: "**no**", None: "not measured"}[one.met]
        lines.append(f"| {one.measure} | {one.ours} | {one.theirs} | {one.value} | {one.target} | {met} |")
    return "\n".join(lines)


def render_figures(rows: Sequence[Figures]) -> str:
    """The table of contenders."""
    head = "| Gateway | CPU us/request | requests/s | added p50 / p99 us | CPU us/chunk | chunk p50 / p99 us |"
    lines = [head + " added TTFT us | RSS idle / end MiB | errors |", "|---|" + "--:|" * 8]
    for row in rows:
        name = {"plano": "**Plano**", "direct": "the mock itself"}.get(row.name, row.name)
        lines.append(
            f"| {name} | {show(row.cpu_us_request, 1)} | {show(row.requests_s)}"
            f" | {show(row.added_p50_us)} / {show(row.added_p99_us)} | {show(row.cpu_us_chunk, 1)}"
            f" | {show(row.chunk_p50_us)} / {show(row.chunk_p99_us)} | {show(row.added_ttft_us)}"
            f" | {show(row.rss_idle_mib)} / {show(row.rss_end_mib)} | {row.errors} |"
        )
    return "\n".join(lines)


def render_provenance(comparison: Comparison) -> str:
    """When, with what command and versions, on what machine, and who else was using it."""
    machine, foreign = comparison.machine, comparison.foreign
    rows = comparison.figures()
    samples, noisy = sum(row.samples for row in rows), sum(row.noisy for row in rows)
    versions = ", ".join(f"{name} {version}" for name, version in comparison.versions.items())
    shares = ", ".join(f"{role} {100 * part:.1f} %" for role, part in comparison.cpu_shares.items())
    return "\n".join(
        [
            f"Measured {comparison.when}, medians of {comparison.repetitions} repetitions. Command:",
            "",
            f"    {comparison.command}",
            "",
            f"Machine: {machine['cores']} cores, {machine['cpu']}, {machine['memory']}, {machine['kernel']},"
            f" Python {machine['python']}. Versions: {versions}.",
            *(["", f"Plano's CPU over the whole run: {shares}."] if shares else []),
            "",
            f"Foreign load while it ran (cores taken by other processes): mean {foreign['mean']:.2f},"
            f" p90 {foreign['p90']:.2f}, max {foreign['max']:.2f}. Samples the harness called noisy (foreign CPU plus"
            f" steal of 0.1 cores or more): {noisy} of {samples}, worst"
            f" {max((row.worst_noise for row in rows), default=0.0):.2f}.",
        ]
    )


def check_page(page: Path, markers: tuple[str, str] = (BEGIN, END)) -> None:
    """See that the page can take a result, before minutes are spent on one. Raises BenchError."""
    if page.exists():
        _split(page.read_text(), page, markers)


def write_page(page: Path, section: str, markers: tuple[str, str] = (BEGIN, END)) -> None:
    """Put a section between the markers of the page, making the page where there is none.

    Raises BenchError when an existing page has not exactly one pair of markers; it is then left as it was.
    """
    before, after = _split(page.read_text() if page.exists() else SKELETON, page, markers)
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(f"{before}{markers[0]}\n{section.strip()}\n{markers[1]}{after}")


def _split(text: str, page: Path, markers: tuple[str, str]) -> tuple[str, str]:
    begins, ends = markers
    before, begin, rest = text.partition(begins)
    _, end, after = rest.partition(ends)
    if not begin or not end or begins in after or ends in after:
        raise BenchError(f"{page} must hold one line `{begins}` and below it one line `{ends}`")
    return before, after
