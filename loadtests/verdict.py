"""The numbers that matter, computed from the results of the harness. Pure: results in, figures and judgements out."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

QUIET_CORES = 0.1  # foreign CPU plus steal below which a sample counts as quiet; the harness draws the line there too

# The targets of design section 8, everything switched on.
MAX_REQUEST_RATIO = 0.67
MAX_CHUNK_RATIO = 0.85
MAX_ADDED_TTFT_US = 120.0
MIN_LITELLM_RATIO = 150.0
MAX_IDLE_FRONTEND_MIB = 60.0

Sample = Mapping[str, Any]
Results = Mapping[str, Mapping[str, Sequence[Any]]]


@dataclass(frozen=True, slots=True)
class Figures:
    """One contender: medians over its quiet samples (all samples where none was quiet). None: not measured.

    Times are microseconds. `added_*` is the latency above the mock's own at the same rate, at 30 % of the contender's
    own saturation. `ttft_us` is the time to first token with ten slow streams, `added_ttft_us` what is left of it
    without the mock's own.
    """

    name: str
    requests_s: float | None
    cpu_us_request: float | None
    added_p50_us: float | None
    added_p99_us: float | None
    cpu_us_chunk: float | None
    chunk_p50_us: float | None
    chunk_p99_us: float | None
    ttft_us: float | None
    added_ttft_us: float | None
    rss_idle_mib: float | None
    rss_end_mib: float | None
    errors: int
    samples: int
    noisy: int
    worst_noise: float


@dataclass(frozen=True, slots=True)
class Judgement:
    """One target: what was measured, beside what, and whether it is met (None: could not be measured)."""

    measure: str
    ours: str
    theirs: str
    value: str
    target: str
    met: bool | None


def summarise(name: str, results: Results) -> Figures:
    """The figures of one contender."""
    tests = results[name]
    samples = [sample for test in tests.values() for sample in test if isinstance(sample, dict)]
    noise = [_noise(sample) for sample in samples]
    ttft = _middle(tests, "light", lambda sample: sample["ttft_us"]["p50"])
    direct = _middle(results.get("direct", {}), "light", lambda sample: sample["ttft_us"]["p50"])
    return Figures(
        name=name,
        requests_s=_middle(tests, "sat", lambda sample: sample["rps"]),
        cpu_us_request=_middle(tests, "sat", lambda sample: sample["cpu_us_per"]),
        added_p50_us=_middle(tests, "lat30", lambda sample: sample["added_p50"]),
        added_p99_us=_middle(tests, "lat30", lambda sample: sample["added_p99"]),
        cpu_us_chunk=_middle(tests, "paced", lambda sample: sample["cpu_us_per"]),
        chunk_p50_us=_middle(tests, "paced", lambda sample: sample["chunk_lat_us"]["p50"]),
        chunk_p99_us=_middle(tests, "paced", lambda sample: sample["chunk_lat_us"]["p99"]),
        ttft_us=ttft,
        added_ttft_us=ttft - direct if ttft is not None and direct is not None else None,
        rss_idle_mib=_median(tests.get("rss_idle", ())),
        rss_end_mib=_median(tests.get("rss", ())),
        errors=sum(sample["errors"] for sample in samples),
        samples=len(samples),
        noisy=sum(level >= QUIET_CORES for level in noise),
        worst_noise=max(noise, default=0.0),
    )


def compare_paired(
    ours: Sequence[Sample], theirs: Sequence[Sample], read: Callable[[Sample], float]
) -> tuple[float, float] | None:
    """Least and greatest ratio of ours to theirs within one repetition: what is left of noise after pairing.

    None with fewer than two repetitions.
    """
    ratios = [read(a) / read(b) for a, b in zip(ours, theirs, strict=False) if read(a) and read(b)]
    return (min(ratios), max(ratios)) if len(ratios) > 1 else None


def judge(results: Results, idle_frontend_mib: float | None, name: str = "plano") -> list[Judgement]:
    """Every target of design section 8 against what was measured in this run."""
    ours = summarise(name, results)
    envoy = summarise("envoy", results) if "envoy" in results else None
    litellm = summarise("litellm", results) if "litellm" in results else None
    return [
        _judge_ratio(
            "CPU us/request",
            ours.cpu_us_request,
            envoy.cpu_us_request if envoy else None,
            MAX_REQUEST_RATIO,
            _spread(results, name, "sat"),
        ),
        _judge_ratio(
            "CPU us/chunk, 100 paced streams",
            ours.cpu_us_chunk,
            envoy.cpu_us_chunk if envoy else None,
            MAX_CHUNK_RATIO,
            _spread(results, name, "paced"),
        ),
        _judge_not_above("added p50, us", ours.added_p50_us, envoy.added_p50_us if envoy else None),
        _judge_not_above("added p99, us", ours.added_p99_us, envoy.added_p99_us if envoy else None),
        _judge_limit(
            "added time to first token, us",
            ours.added_ttft_us,
            envoy.added_ttft_us if envoy else None,
            MAX_ADDED_TTFT_US,
        ),
        _judge_multiple("requests/s", ours.requests_s, litellm.requests_s if litellm else None, MIN_LITELLM_RATIO),
        _judge_limit("RSS of an idle frontend, MiB", idle_frontend_mib, None, MAX_IDLE_FRONTEND_MIB),
    ]


def _judge_ratio(
    measure: str, ours: float | None, theirs: float | None, limit: float, spread: tuple[float, float] | None
) -> Judgement:
    ratio = ours / theirs if ours is not None and theirs else None
    value = f"{ratio:.2f}" if ratio is not None else "-"
    if ratio is not None and spread is not None:
        value += f" ({spread[0]:.2f} to {spread[1]:.2f})"
    met = ratio <= limit if ratio is not None else None
    return Judgement(measure, show(ours, 1), f"Envoy {show(theirs, 1)}", value, f"at most {limit}", met)


def _judge_not_above(measure: str, ours: float | None, theirs: float | None) -> Judgement:
    difference = ours - theirs if ours is not None and theirs is not None else None
    met = difference <= 0 if difference is not None else None
    value = f"{difference:+.0f}" if difference is not None else "-"
    return Judgement(measure, show(ours), f"Envoy {show(theirs)}", value, "not above Envoy's", met)


def _judge_limit(measure: str, ours: float | None, theirs: float | None, limit: float) -> Judgement:
    met = ours <= limit if ours is not None else None
    peer = f"Envoy {show(theirs)}" if theirs is not None else ""
    return Judgement(measure, show(ours), peer, show(ours), f"at most {limit:.0f}", met)


def _judge_multiple(measure: str, ours: float | None, theirs: float | None, least: float) -> Judgement:
    multiple = ours / theirs if ours is not None and theirs else None
    met = multiple >= least if multiple is not None else None
    value = f"{multiple:.0f}x" if multiple is not None else "-"
    return Judgement(measure, show(ours), f"LiteLLM {show(theirs)}", value, f"at least {least:.0f}x", met)


def show(value: float | None, digits: int = 0) -> str:
    """A number for a table, `-` when it was not measured."""
    return "-" if value is None else f"{value:,.{digits}f}"


def _spread(results: Results, name: str, test: str) -> tuple[float, float] | None:
    theirs = results.get("envoy", {}).get(test, ())
    return compare_paired(results[name].get(test, ()), theirs, lambda sample: float(sample["cpu_us_per"] or 0.0))


def _noise(sample: Sample) -> float:
    return float(sample["foreign"]) + float(sample["steal"])


def _middle(tests: Mapping[str, Sequence[Any]], test: str, read: Callable[[Sample], Any]) -> float | None:
    samples: Sequence[Sample] = tests.get(test, ())
    quiet = [sample for sample in samples if _noise(sample) < QUIET_CORES]
    return _median([read(sample) for sample in quiet or samples])


def _median(values: Sequence[Any]) -> float | None:
    numbers = [float(value) for value in values if value is not None and not math.isnan(value)]
    return statistics.median(numbers) if numbers else None
