"""From scores to probabilities.

The height of a score says little by itself: long descriptions score lower than short ones, and some routes are near to
everything. What a score is worth is found by asking each set of routes a few hundred stored requests that few of them
serve (the background): `Null` is how those come out. A logistic function of how far a request stands
out from them, and of its lead over the second route, fitted on development data, gives the probability.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, Final, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from plano.inference.embedded.vectors import WEIGHTS, WeightsError

MIN_SPREAD: Final = 1e-3
MAX_LEAD: Final = 2.0
_EXPONENT_LIMIT: Final = 50.0


class Null(NamedTuple):
    """Median of the best score of background requests with one set of routes, and how far the upper ones lie from it
    (what a standard deviation is for a normal distribution)."""

    mean: float
    spread: float

    @classmethod
    def measure(cls, scores: NDArray[np.float32]) -> Self:
        """`scores` is [requests, routes]."""
        middle, high = np.quantile(scores.max(axis=1), (0.5, 0.8413))
        return cls(float(middle), max(float(high - middle), MIN_SPREAD))

    def place(self, best: float, second: float | None) -> tuple[float, float]:
        """How far the best score stands out from the background, and its lead over the second (at most `MAX_LEAD`),
        both in standard deviations. To lead routes that have less to do with the request than anything has is no lead.
        """
        deviation = (best - self.mean) / self.spread
        rival = self.mean if second is None else max(second, self.mean)
        return deviation, min((best - rival) / self.spread, MAX_LEAD)


class Logistic(NamedTuple):
    """P(the best route is the right one) = 1 / (1 + exp(-(bias + deviation * z + lead * margin)))."""

    bias: float
    deviation: float
    lead: float

    def probability(self, best: float, second: float | None, null: Null) -> float:
        """Of the best score, given the second one (None: there is only one route) and the set's null."""
        deviation, lead = null.place(best, second)
        exponent = self.bias + self.deviation * deviation + self.lead * lead
        return 1.0 / (1.0 + math.exp(-max(-_EXPONENT_LIMIT, min(_EXPONENT_LIMIT, exponent))))


class Calibration(NamedTuple):
    """What was fitted on the development data (`training/calibrate.py`).

    `first` judges the static vectors and n-grams alone, `both` their sum with the student's cosine, which has weight
    `student_share`. A request whose first probability lies between `unsure_from` and `unsure_to` is looked at twice.
    Below `threshold` no route is named; a clause of several names its route from `clause_threshold` on.
    """

    first: Logistic
    both: Logistic
    student_share: float
    unsure_from: float
    unsure_to: float
    threshold: float
    clause_threshold: float

    @classmethod
    def read(cls, path: Path = WEIGHTS / "calibration.json") -> Self:
        """Raises WeightsError."""
        try:
            stored: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            first, both = (Logistic(**stored.pop(name)) for name in ("first", "both"))
            return cls(first, both, **stored)
        except (OSError, TypeError, ValueError, KeyError) as error:
            raise WeightsError(f"{path}: {error}") from error

    def write(self, path: Path) -> None:
        stored = {**self._asdict(), "first": self.first._asdict(), "both": self.both._asdict()}
        path.write_text(json.dumps(stored, indent=2) + "\n", encoding="utf-8")
