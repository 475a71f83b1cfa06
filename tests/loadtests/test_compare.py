"""The comparison: which numbers count, when a target is met, and what the page keeps."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from loadtests.compare import estimate_s, parse, share
from loadtests.performance import BEGIN, END, Comparison, check_page, render, write_page
from loadtests.processes import BenchError
from loadtests.rig import REPOSITORY, Rig, prepare_contenders
from loadtests.verdict import Judgement, judge, summarise

Tests = dict[str, list[Any]]


def sample(**fields: Any) -> dict[str, Any]:
    return {"errors": 0, "foreign": 0.0, "steal": 0.0, **fields}


def chats(*cpu_us: float, rps: float = 20_000.0, foreign: float = 0.0) -> list[dict[str, Any]]:
    return [sample(mode="closed", cpu_us_per=value, rps=rps, foreign=foreign) for value in cpu_us]


def contender(
    request_us: float = 40.0,
    chunk_us: float = 25.0,
    rps: float = 20_000.0,
    added: tuple[float, float] = (200.0, 900.0),
    ttft_us: float = 250.0,
) -> Tests:
    late = {"p50": 100.0, "p99": 400.0}
    return {
        "sat": chats(request_us, rps=rps),
        "lat30": [sample(mode="open", added_p50=added[0], added_p99=added[1], cpu_us_per=90.0)],
        "paced": [sample(mode="stream", cpu_us_per=chunk_us, chunk_lat_us=late, ttft_us={"p50": 300.0})],
        "light": [sample(mode="stream", cpu_us_per=60.0, chunk_lat_us=late, ttft_us={"p50": ttft_us})],
        "rss_idle": [64.0],
        "rss": [70.0],
    }


def run_that_meets_every_target() -> dict[str, Tests]:
    return {
        "direct": contender(0.0, 0.0, rps=200_000.0, ttft_us=20.0),
        "plano": contender(26.0, 21.0, rps=36_000.0, added=(120.0, 300.0), ttft_us=130.0),
        "envoy": contender(40.0, 25.0, rps=23_000.0),
        "litellm": contender(9_000.0, 800.0, rps=110.0),
    }


def judged(results: dict[str, Tests], measure: str, idle_mib: float | None = 48.0) -> Judgement:
    return next(one for one in judge(results, idle_mib) if one.measure.startswith(measure))


def test_a_run_within_every_target_meets_them_all() -> None:
    assert [one.met for one in judge(run_that_meets_every_target(), 48.0)] == [True] * 7


@pytest.mark.parametrize(
    ("change", "measure"),
    [
        ({"request_us": 27.2}, "CPU us/request"),  # 0.68 of Envoy's 40
        ({"chunk_us": 21.5}, "CPU us/chunk"),  # 0.86 of Envoy's 25
        ({"added": (201.0, 300.0)}, "added p50"),
        ({"added": (120.0, 901.0)}, "added p99"),
        ({"ttft_us": 141.0}, "added time to first token"),  # 121 above the mock's 20
        ({"rps": 16_000.0}, "requests/s"),  # 145 times LiteLLM's 110
    ],
)
def test_each_target_is_missed_on_its_own(change: dict[str, Any], measure: str) -> None:
    good: dict[str, Any] = {
        "request_us": 26.0,
        "chunk_us": 21.0,
        "rps": 36_000.0,
        "added": (120.0, 300.0),
        "ttft_us": 130.0,
    }
    results = run_that_meets_every_target() | {"plano": contender(**(good | change))}
    missed = [one.measure for one in judge(results, 48.0) if one.met is False]
    assert len(missed) == 1
    assert missed[0].startswith(measure)


def test_a_frontend_above_sixty_mib_misses_its_target() -> None:
    assert judged(run_that_meets_every_target(), "RSS", idle_mib=60.5).met is False


def test_without_envoy_its_targets_are_not_measured_rather_than_met() -> None:
    results = run_that_meets_every_target()
    del results["envoy"]
    for measure in ("CPU us/request", "CPU us/chunk", "added p50", "added p99"):
        assert judged(results, measure).met is None


def test_noisy_samples_do_not_count_where_quiet_ones_exist() -> None:
    tests = contender() | {"sat": [*chats(40.0, 42.0), *chats(900.0, foreign=0.5)]}
    figures = summarise("envoy", {"envoy": tests})
    assert figures.cpu_us_request == 41.0
    assert figures.noisy == 1
    assert figures.worst_noise == 0.5


def test_noisy_samples_count_when_there_are_no_others() -> None:
    tests = contender() | {"sat": chats(50.0, 60.0, foreign=0.4)}
    assert summarise("envoy", {"envoy": tests}).cpu_us_request == 55.0


def test_the_spread_pairs_the_repetitions() -> None:
    results = run_that_meets_every_target()
    results["plano"]["sat"] = chats(20.0, 40.0, 30.0)
    results["envoy"]["sat"] = chats(40.0, 50.0, 50.0)
    assert judged(results, "CPU us/request").value == "0.60 (0.50 to 0.80)"


def test_failed_requests_are_counted() -> None:
    results = run_that_meets_every_target()
    results["plano"]["sat"][0]["errors"] = 3
    assert summarise("plano", results).errors == 3


def document(results: dict[str, Tests]) -> dict[str, Any]:
    return {
        "when": "2026-01-02 03:04:05",
        "args": {"reps": 3},
        "results": results,
        "plano": {
            "command": "python loadtests/compare.py --quick",
            "machine": {"cores": "2", "cpu": "Some CPU", "memory": "8.0 GiB", "kernel": "Linux 6", "python": "3.11.7"},
            "versions": {"plano-cluster": "0.1.0", "envoy": "1.40.0"},
            "foreign": {"mean": 0.02, "p90": 0.05, "max": 0.31},
            "idle_frontend_mib": 48.0,
            "cpu_shares": {"supervisor": 0.001, "telemetry": 0.124, "frontend": 0.875},
        },
    }


def test_the_section_says_what_was_run_where_and_beside_whom() -> None:
    section = render(Comparison.read(document(run_that_meets_every_target())))
    for fact in (
        "loadtests/compare.py --quick",
        "Some CPU",
        "envoy 1.40.0",
        "max 0.31",
        "telemetry 12.4 %",
        "0.65",
        "0 of 16",
    ):
        assert fact in section


def test_contenders_alone_make_a_table_without_targets() -> None:
    results = run_that_meets_every_target()
    del results["plano"]
    comparison = Comparison.read(document(results))
    assert comparison.judgements() == []
    assert "| envoy |" in render(comparison)


def test_a_missing_page_is_made_with_the_section_in_it(tmp_path: Path) -> None:
    page = tmp_path / "docs" / "performance.md"
    write_page(page, "| table |")
    text = page.read_text()
    assert text.startswith("# Performance")
    assert f"{BEGIN}\n| table |\n{END}" in text
    assert "Not measured yet" not in text


def test_a_second_run_replaces_the_first_and_keeps_what_people_wrote(tmp_path: Path) -> None:
    page = tmp_path / "performance.md"
    page.write_text(f"# Ours\n\nbefore\n\n{BEGIN}\nold\n{END}\n\nafter\n")
    write_page(page, "new")
    assert page.read_text() == f"# Ours\n\nbefore\n\n{BEGIN}\nnew\n{END}\n\nafter\n"


@pytest.mark.parametrize("text", ["# no markers\n", f"{BEGIN}\nno end\n", f"{BEGIN}{END}{BEGIN}{END}"])
def test_a_page_without_one_pair_of_markers_is_refused_and_left_alone(tmp_path: Path, text: str) -> None:
    page = tmp_path / "performance.md"
    page.write_text(text)
    with pytest.raises(BenchError, match="must hold"):
        check_page(page)
    with pytest.raises(BenchError, match="must hold"):
        write_page(page, "new")
    assert page.read_text() == text


def run_script(*arguments: str) -> subprocess.CompletedProcess[str]:
    script = REPOSITORY / "loadtests" / "compare.py"
    return subprocess.run([sys.executable, str(script), *arguments], capture_output=True, text=True, timeout=60)


def test_the_report_of_an_old_run_is_written_and_passes_the_check(tmp_path: Path) -> None:
    results, page = tmp_path / "run.json", tmp_path / "performance.md"
    results.write_text(json.dumps(document(run_that_meets_every_target())))
    done = run_script("--report", str(results), "--write", str(page), "--check")
    assert done.returncode == 0, done.stderr
    assert "| CPU us/request | 26.0 | Envoy 40.0 | 0.65" in done.stdout
    assert done.stdout.strip() in page.read_text()


@pytest.mark.parametrize("flaw", ["missed", "errors", "unmeasured"])
def test_the_check_fails_on_a_miss_a_failed_request_or_a_gap(tmp_path: Path, flaw: str) -> None:
    runs = run_that_meets_every_target()
    if flaw == "missed":
        runs["plano"]["sat"] = chats(39.0, rps=36_000.0)
    elif flaw == "errors":
        runs["plano"]["paced"][0]["errors"] = 1
    else:
        del runs["litellm"]
    results = tmp_path / "run.json"
    results.write_text(json.dumps(document(runs)))
    assert run_script("--report", str(results), "--check").returncode == 1
    assert run_script("--report", str(results)).returncode == 0


def test_a_report_that_is_none_is_one_clear_line(tmp_path: Path) -> None:
    results = tmp_path / "run.json"
    results.write_text("{}")
    done = run_script("--report", str(results))
    assert done.returncode == 1
    assert done.stderr.startswith("bench: no results in")
    assert "Traceback" not in done.stderr


def test_an_unknown_contender_is_refused_before_anything_is_installed(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="unknown contender envoi; known are envoy"):
        prepare_contenders(Rig(tmp_path / "bench"), ["envoi"])
    assert not (tmp_path / "bench").exists()


def test_a_quick_run_is_short_and_a_full_one_has_every_test() -> None:
    quick, full = parse(["--quick"]), parse([])
    assert (quick.reps, quick.contenders) == (1, ["envoy"])
    assert full.tests == "sat,lat30,lat40,burst,paced,light"
    assert estimate_s(quick, 3) < estimate_s(full, 7)


def test_the_cpu_of_a_run_is_shared_among_the_roles() -> None:
    assert share({"frontend": 1.0, "telemetry": 0.5}, {"frontend": 4.0, "telemetry": 1.5}) == {
        "frontend": 0.75,
        "telemetry": 0.25,
    }
    assert share({"frontend": 1.0}, {"frontend": 1.0}) == {}
