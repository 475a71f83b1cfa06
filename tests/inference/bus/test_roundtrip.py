"""The benchmark of the wire runs, and its echo sends the product's bytes."""

from __future__ import annotations

from loadtests import inference_roundtrip


def test_the_benchmark_measures_both() -> None:
    medians = inference_roundtrip.compare("guard", seconds=0.05, repetitions=1)
    assert set(medians) == {"product", "echo"}
    for figures in medians.values():
        assert 0 < figures["p50_us"] <= figures["p99_us"]
        assert figures["calls_per_s"] > 100
