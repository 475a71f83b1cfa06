from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from plano.inference.embedded.calibration import Calibration, Logistic, Null
from plano.inference.embedded.vectors import WeightsError

NULL = Null(0.3, 0.1)
LOGISTIC = Logistic(-1.0, 0.5, 1.0)


def test_probability_grows_with_the_score_and_with_the_lead() -> None:
    assert LOGISTIC.probability(0.8, 0.4, NULL) > LOGISTIC.probability(0.6, 0.4, NULL)
    assert LOGISTIC.probability(0.8, 0.65, NULL) > LOGISTIC.probability(0.8, 0.75, NULL)


def test_a_lone_route_is_measured_against_the_background() -> None:
    assert LOGISTIC.probability(0.6, None, NULL) == LOGISTIC.probability(0.6, NULL.mean, NULL)


def test_to_lead_routes_that_are_further_off_than_the_background_is_no_lead() -> None:
    assert LOGISTIC.probability(0.4, -0.9, NULL) == LOGISTIC.probability(0.4, 0.1, NULL)
    assert LOGISTIC.probability(0.2, -0.9, NULL) < LOGISTIC.probability(0.4, 0.3, NULL)


def test_far_out_scores_do_not_overflow() -> None:
    assert LOGISTIC.probability(1e9, None, NULL) == pytest.approx(1.0)
    assert LOGISTIC.probability(-1e9, None, NULL) == pytest.approx(0.0)


def test_the_null_is_of_the_best_scores_and_minds_no_few_that_are_served() -> None:
    best = np.random.default_rng(0).normal(0.4, 0.1, 2_000).astype(np.float32)
    scores = np.stack([best, best - 1], axis=1)
    scores[:100] += 5.0
    null = Null.measure(scores)
    assert null.mean == pytest.approx(0.4, abs=0.02)
    assert null.spread == pytest.approx(0.1, abs=0.03)


def test_equal_scores_have_a_spread_to_divide_by() -> None:
    assert Null.measure(np.zeros((3, 2), dtype=np.float32)).spread > 0


def test_a_calibration_is_read_as_it_was_written(tmp_path: Path) -> None:
    calibration = Calibration(LOGISTIC, Logistic(0.0, 1.0, 2.0), 2.0, 0.1, 0.9, 0.5, 0.6)
    calibration.write(tmp_path / "calibration.json")
    assert Calibration.read(tmp_path / "calibration.json") == calibration


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"first": {"bias": 1}, "both": {}}'])
def test_a_broken_file_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "calibration.json"
    path.write_text(text)
    with pytest.raises(WeightsError, match=r"calibration\.json"):
        Calibration.read(path)
