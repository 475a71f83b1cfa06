"""Fits `calibration.json` on the development sets: what scores are worth, and when a second look pays.

Half of the HWU sets (those with an even number) and the hand-written cases are used; the sets with an odd number stay
for `loadtests/accuracy.py`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from plano.inference.calls import Route
from plano.inference.embedded.calibration import Calibration, Logistic, Null
from plano.inference.embedded.routing import Background, RouteSet
from plano.inference.embedded.student import Student
from plano.inference.embedded.vectors import StaticVectors
from training.teacher import say

STUDENT_SHARE = 2.0
SECOND_LOOKS = 0.42  # share of requests that may be looked at twice: the median must stay one look
HAND_WEIGHT = 6.0  # of one hand-written case beside one of HWU: there are few of them, and they are what is asked of us


class Case(NamedTuple):
    """A request to a set of routes; `expected` is a place in it, or -1 where none serves."""

    text: str
    expected: int


class Seen(NamedTuple):
    """Deviation, lead and whether the best route was right, of both ways of looking."""

    first: tuple[float, float, bool]
    both: tuple[float, float, bool]
    served: bool
    weight: float


def calibrate(data: Path, folder: Path) -> Calibration:
    """The calibration for the vectors and the student in `folder`."""
    unset = Logistic(0.0, 1.0, 0.0)
    draft = Calibration(unset, unset, STUDENT_SHARE, 0.0, 1.0, 0.5, 0.5)
    vectors, student, background = StaticVectors(folder), Student(folder), Background.read(folder)
    seen: list[Seen] = []
    for routes, cases, weight in development_sets(data):
        prepared = RouteSet(routes, vectors, student, background, draft)
        everything = np.arange(len(routes))
        for text, expected in cases:
            tokens = [vectors.split(text)]
            first = prepared.score_first([text], tokens)
            both = prepared.score_both(first, tokens, everything)
            null = prepared.null_of_both(everything)
            seen.append(
                Seen(
                    _look(first, prepared.null, expected),
                    _look(both, null, expected),
                    expected >= 0,
                    weight,
                )
            )
    weights = np.array([one.weight for one in seen])
    fits: list[Logistic] = []
    probabilities: list[NDArray[np.float64]] = []
    for looks in ([one.first for one in seen], [one.both for one in seen]):
        inputs = np.array([[1.0, deviation, lead] for deviation, lead, _ in looks])
        right = np.array([good for *_, good in looks], dtype=np.float64)
        coefficients = fit_logistic(inputs, right, weights)
        fits.append(Logistic(*(round(float(one), 4) for one in coefficients)))
        probabilities.append(1 / (1 + np.exp(-inputs @ coefficients)))
        say(f"calibration: {fits[-1]}, right {right.mean():.3f}")
    low, high = choose_doubt(probabilities[0])
    doubt = (probabilities[0] > low) & (probabilities[0] < high)
    final = np.where(doubt, probabilities[1], probabilities[0])
    right = np.where(doubt, [one.both[2] for one in seen], [one.first[2] for one in seen])
    served = np.array([one.served for one in seen])
    threshold = choose_threshold(final, right.astype(bool), served, weights)
    say(f"calibration: doubt {low:.3f} to {high:.3f}, {doubt.mean():.2f} looked at twice, threshold {threshold:.3f}")
    clause = round(min(0.9, threshold + 0.1), 3)
    return Calibration(fits[0], fits[1], STUDENT_SHARE, low, high, threshold, clause)


def development_sets(data: Path, even: bool = True) -> Iterator[tuple[list[Route], list[Case], float]]:
    """The HWU sets with an even (or odd) number, and with the even ones the hand-written cases."""
    sets = json.loads((data / "route_sets_dev.json").read_text(encoding="utf-8"))
    rows = [json.loads(line) for line in (data / "routing_dev.jsonl").read_text(encoding="utf-8").splitlines()]
    for name, routes in sets.items():
        by_hand = not name.startswith("hwu")
        if even if by_hand else (int(name.rsplit("_", 1)[1]) % 2 == 0) == even:
            names = [route["name"] for route in routes]
            cases = [
                Case(row["messages"][-1]["content"], names.index(row["expected"][0]) if row["expected"] else -1)
                for row in rows
                if row["route_set"] == name and len(row["expected"]) < 2
            ]
            yield (
                [Route(route["name"], route["description"]) for route in routes],
                cases,
                HAND_WEIGHT if by_hand else 1.0,
            )


def fit_logistic(
    inputs: NDArray[np.float64], right: NDArray[np.float64], weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Weighted logistic regression by Newton's method, with a light ridge."""
    coefficients = np.zeros(inputs.shape[1])
    for _ in range(50):
        probability = 1 / (1 + np.exp(-inputs @ coefficients))
        gradient = inputs.T @ (weights * (right - probability)) - 1e-2 * coefficients
        curvature = (inputs * (weights * probability * (1 - probability))[:, None]).T @ inputs
        step = np.linalg.solve(curvature + 1e-2 * np.eye(len(coefficients)), gradient)
        coefficients += step
        if np.abs(step).max() < 1e-8:
            break
    return coefficients


def choose_doubt(probabilities: NDArray[np.float64]) -> tuple[float, float]:
    """The band of first probabilities that gets a second look: as wide upwards as `SECOND_LOOKS` allows; what is all
    but certainly served by nothing is left alone."""
    low = 0.03
    high = 0.5
    for candidate in np.arange(0.5, 0.99, 0.01):
        if ((probabilities > low) & (probabilities < candidate)).mean() > SECOND_LOOKS:
            break
        high = float(candidate)
    return low, round(high, 3)


def choose_threshold(
    probabilities: NDArray[np.float64],
    right: NDArray[np.bool_],
    served: NDArray[np.bool_],
    weights: NDArray[np.float64],
) -> float:
    """The probability below which no route is named: where most decisions are exact, those for none included. The gain
    is averaged over neighbours, because its single peaks are noise."""
    candidates = np.arange(0.2, 0.7, 0.01)
    exact = [weights @ np.where(probabilities >= one, right, ~served) for one in candidates]
    smooth = np.convolve(np.pad(exact, 4, mode="edge"), np.full(9, 1 / 9), mode="valid")
    return round(float(candidates[int(np.argmax(smooth))]), 3)


def _look(scores: NDArray[np.float32], null: Null, expected: int) -> tuple[float, float, bool]:
    order = np.argsort(scores)
    deviation, lead = null.place(float(scores[order[-1]]), float(scores[order[-2]]))
    return deviation, lead, int(order[-1]) == expected
