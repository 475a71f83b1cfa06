"""Words by what they do: the part of the guard that knows "disregard", "vergiss" and "olvida" for the same thing.

The lexicon is written by hand (`training/data/guard_lexicon.txt`) and stored in the weights file as hashes. A text is
looked at as a sequence of classes: which occur, how often, which follow each other closely and which occur together.
That carries over to words and languages of which no attack was ever seen in training.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

MAX_CLASSES: Final = 32
STEM: Final = 6
"""Letters by which words are told apart."""

MIN_ROLES: Final = 8
"""Features are weighed by the root of how many hold, as n-grams are; fewer than these count as these."""

_NEAR: Final = 8  # words between two members of a pair
_LEVELS: Final = (1, 2, 4)
_PAIRS: Final = len(_LEVELS) * MAX_CLASSES
_TOGETHER: Final = _PAIRS + MAX_CLASSES * MAX_CLASSES
ROLE_SIZE: Final = _TOGETHER + MAX_CLASSES * MAX_CLASSES
_UPPER: Final = np.triu(np.ones((MAX_CLASSES, MAX_CLASSES), bool), 1)


class Lexicon(NamedTuple):
    """Hashes of stems, ascending, and the class of each."""

    stems: NDArray[np.uint64]
    classes: NDArray[np.uint8]


class Roles(NamedTuple):
    """The lexicon's words in a text, in order: where each begins (code point), which word it is, its class."""

    at: NDArray[np.intp]
    place: NDArray[np.intp]
    classes: NDArray[np.int64]


def find_roles(lexicon: Lexicon, stems: NDArray[np.uint64], at: NDArray[np.intp], place: NDArray[np.intp]) -> Roles:
    """Those of the `stems` (ascending by `at`) that the lexicon knows."""
    if not len(lexicon.stems):
        empty = np.empty(0, np.intp)
        return Roles(empty, empty, np.empty(0, np.int64))
    found = np.minimum(np.searchsorted(lexicon.stems, stems), len(lexicon.stems) - 1)
    known = lexicon.stems[found] == stems
    return Roles(at[known], place[known], lexicon.classes[found[known]].astype(np.int64))


def describe_roles(roles: Roles, windows: NDArray[np.intp]) -> list[NDArray[np.int64]]:
    """For each window the features that hold there, as indexes into ROLE_SIZE weights, ascending."""
    features: list[NDArray[np.int64]] = []
    close = np.diff(roles.place) <= _NEAR
    pairs = roles.classes[:-1] * MAX_CLASSES + roles.classes[1:]
    bounds = np.searchsorted(roles.at, windows)
    for first, last in bounds:
        if first == last:
            features.append(np.empty(0, np.int64))
            continue
        counts = np.bincount(roles.classes[first:last], minlength=MAX_CLASSES)
        held = np.zeros(ROLE_SIZE, bool)
        for level, least in enumerate(_LEVELS):
            held[level * MAX_CLASSES : (level + 1) * MAX_CLASSES] = counts >= least
        held[_PAIRS + pairs[first : last - 1][close[first : last - 1]]] = True
        present = counts > 0
        held[_TOGETHER:] = (np.outer(present, present) & _UPPER).reshape(-1)
        features.append(np.flatnonzero(held))
    return features
