"""The benchmark of filters runs, and its requests come back whole (what they cost is not a test's business)."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from loadtests.filters import MARKERS, FilterReport
from loadtests.performance import write_page
from loadtests.processes import BenchError

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("kind", ["stateless", "sse"])
def test_it_measures_three_ways_and_counts_handshakes(kind: str) -> None:
    command = [sys.executable, "loadtests/filters.py", "--requests", "10", "--kind", kind, "--json"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=100, cwd=ROOT)
    assert result.returncode in (0, 1), result.stderr
    report = json.loads(result.stdout)
    assert report["ms"].keys() == {"plain", "http", "mcp"}
    assert 0 < report["ms"]["plain"]["p50"] < report["ms"]["mcp"]["p50"]
    assert report["handshakes"] == 1


def make_report(http: float, mcp: float, handshakes: int = 1) -> FilterReport:
    ms = {
        way: {"p50": 0.5 + added, "p99": 9.0, "min": 0.1} for way, added in (("plain", 0), ("http", http), ("mcp", mcp))
    }
    machine = {"cores": "2", "cpu": "c", "kernel": "k", "python": "p"}
    return FilterReport("stateless", 1000, ms, handshakes, machine, {"mean": 0.0, "p90": 0.0, "max": 0.0})


@pytest.mark.parametrize(
    ("report", "met"),
    [
        (make_report(0.9, 2.4), True),
        (make_report(1.1, 2.4), False),
        (make_report(0.9, 2.6), False),
        (make_report(0.9, 2.4, handshakes=2), False),
    ],
)
def test_targets_are_judged(report: FilterReport, met: bool) -> None:
    assert report.met is met
    assert ("**no**" in report.render()) is not met


def test_the_table_goes_between_its_own_markers(tmp_path: Path) -> None:
    page = tmp_path / "performance.md"
    page.write_text((ROOT / "docs" / "performance.md").read_text())
    write_page(page, "| new |", MARKERS)
    before, _, rest = page.read_text().partition(MARKERS[0])
    inside, _, after = rest.partition(MARKERS[1])
    assert inside == "\n| new |\n"
    assert "bench:begin" in before
    assert "What is measured" in after
    page.write_text("no markers")
    with pytest.raises(BenchError):
        write_page(page, "| new |", MARKERS)
