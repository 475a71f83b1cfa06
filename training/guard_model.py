"""The guard's fit: logistic regression over hashed n-grams and shape bins, the best window standing for its text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numba
import numpy as np
import scipy.sparse
from numpy.typing import NDArray

from plano.inference.embedded.guard_lexicon import MAX_CLASSES, MIN_ROLES, ROLE_SIZE, STEM, Lexicon, describe_roles
from plano.inference.embedded.guard_ngrams import (
    CHAR_BITS,
    LM_SIZE,
    LM_SYMBOLS,
    SHAPE_SIZE,
    WORD_BITS,
    character_symbols,
    describe_shape,
    encode,
    hash_grams,
    hash_stem,
    measure_surprise,
    place_windows,
)
from plano.inference.embedded.guard_views import clean, reveal

CHARS, WORDS = 1 << CHAR_BITS, 1 << WORD_BITS
WIDTH = CHARS + WORDS + SHAPE_SIZE + ROLE_SIZE
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Settings:
    """What may be tuned, on the development folds only."""

    char_scale: float = 1.0
    word_scale: float = 1.0
    shape_scale: float = 0.25
    role_scale: float = 1.0
    strength: float = 6.0
    windows: int = 10
    family_power: float = 1.0
    benign_weight: float = 2.0
    passes: int = 1
    slack: float = 0.3
    slope: float = 0.8
    rounds: int = 10
    word_orders: tuple[int, ...] = (0, 1, 2, 3)
    char_orders: tuple[int, ...] = (0, 1, 2)


@dataclass
class Design:
    """The windows of many texts as rows; `text_of` says which text a row is of."""

    rows: scipy.sparse.csr_matrix
    text_of: NDArray[np.int64]


def fit_characters(texts: Sequence[str]) -> Floats:
    """The surprise of each trigram of symbols, nats, by Witten-Bell-like interpolation with the bigram."""
    three = np.zeros(LM_SIZE)
    for text in texts:
        symbols = character_symbols(encode(text))
        if len(symbols) >= 3:
            np.add.at(three, (symbols[:-2] * LM_SYMBOLS + symbols[1:-1]) * LM_SYMBOLS + symbols[2:], 1)
    cube = three.reshape(LM_SYMBOLS, LM_SYMBOLS, LM_SYMBOLS)
    pair = cube.sum(axis=0)
    single = (pair.sum(axis=0) + 1) / (pair.sum() + LM_SYMBOLS)
    pair = (pair + 5 * single) / (pair.sum(axis=1, keepdims=True) + 5)
    cube = (cube + 5 * pair[None]) / (cube.sum(axis=2, keepdims=True) + 5)
    return np.minimum(-np.log(cube), 12).astype(np.float32).reshape(-1)


def read_lexicon(path: Path) -> Lexicon:
    """The hand-written lexicon. Raises ValueError for more than MAX_CLASSES classes."""
    classes: dict[str, int] = {}
    known: dict[int, int] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("["):
            continue
        name, _, words = line[1:].partition("]")
        number = classes.setdefault(name, len(classes))
        for word in words.split():
            endings = ("", "s", "ed", "ing", "er") if len(word) < STEM and word.isascii() else ("",)
            for ending in endings:
                known.setdefault(hash_stem(word + ending), number)
    if len(classes) > MAX_CLASSES:
        raise ValueError(f"{path}: more than {MAX_CLASSES} classes")
    stems = sorted(known)
    return Lexicon(np.array(stems, np.uint64), np.array([known[stem] for stem in stems], np.uint8))


def read_views(text: str, surprise: Floats) -> list[str]:
    """The text as the guard reads it: cleaned, and its hidden readings."""
    text = clean(text)
    return [
        text,
        *(clean(reading) for reading in reveal(text, lambda candidate: measure_surprise(candidate, surprise))),
    ]


def lay_out(texts: Sequence[str], surprise: Floats, lexicon: Lexicon, settings: Settings) -> Design:
    """One row per window."""
    columns: list[NDArray[np.int32]] = []
    values: list[Floats] = []
    lengths: list[int] = []
    text_of: list[int] = []
    readings = ((number, reading) for number, text in enumerate(texts) for reading in read_views(text, surprise))
    for number, text in readings:
        grams = hash_grams(encode(text), surprise, lexicon)
        windows = place_windows(grams.size)
        if len(windows) > settings.windows:
            windows = windows[np.linspace(0, len(windows) - 1, settings.windows).astype(int)]
        shapes = describe_shape(grams, windows)
        roles = describe_roles(grams.roles, windows)
        for (first, last), shape, role in zip(windows, shapes, roles, strict=True):
            chars = [grams.chars[i][first : max(first, last - 2 - i)] for i in settings.char_orders]
            spans = [slice(*np.searchsorted(grams.word_at[i], (first, last))) for i in settings.word_orders]
            words = [grams.words[i][span] for i, span in zip(settings.word_orders, spans, strict=True)]
            char, word = np.concatenate(chars), np.concatenate(words)
            columns += [char, word + CHARS, shape.astype(np.int32) + CHARS + WORDS]
            columns.append(role.astype(np.int32) + CHARS + WORDS + SHAPE_SIZE)
            values += [
                np.full(len(char), settings.char_scale / max(len(char), 1) ** 0.5, np.float32),
                np.full(len(word), settings.word_scale / max(len(word), 1) ** 0.5, np.float32),
                np.full(len(shape), settings.shape_scale, np.float32),
                np.full(len(role), settings.role_scale / max(len(role), MIN_ROLES) ** 0.5, np.float32),
            ]
            lengths.append(len(char) + len(word) + len(shape) + len(role))
            text_of.append(number)
    matrix = scipy.sparse.csr_matrix(
        (np.concatenate(values), np.concatenate(columns), np.concatenate(([0], np.cumsum(lengths)))),
        shape=(len(lengths), WIDTH),
    )
    matrix.sum_duplicates()
    return Design(matrix, np.array(text_of))


def fit(
    rows: scipy.sparse.csr_matrix, labels: NDArray[np.bool_], weights: NDArray[np.float64], settings: Settings
) -> NDArray[np.float64]:
    """Weights and, last, the intercept: L2-regularised logistic regression by dual coordinate ascent (Yu, Huang and
    Lin, Machine Learning 85, 2011), seconds where a quasi-Newton method takes minutes. Deterministic."""
    budget = weights * (settings.strength * len(weights) / weights.sum())
    sign = np.where(labels, 1.0, -1.0)
    order = np.random.default_rng(7)
    used = np.flatnonzero(budget > 0)
    point = np.zeros(rows.shape[1] + 1)
    dual = np.where(budget > 0, 0.01 * budget, 0.0)
    _start(rows.indptr, rows.indices, rows.data, sign, dual, point)
    squares = np.asarray(rows.multiply(rows).sum(axis=1)).ravel().astype(np.float64) + BIAS * BIAS
    for _ in range(settings.rounds):
        _ascend(rows.indptr, rows.indices, rows.data, sign, budget, squares, dual, point, order.permutation(used))
    point[-1] *= BIAS
    return point


BIAS = 0.3


@numba.njit(cache=True)
def _start(indptr, indices, data, sign, dual, point):  # type: ignore[no-untyped-def]
    for i in range(len(sign)):
        if dual[i] > 0:
            step = dual[i] * sign[i]
            for k in range(indptr[i], indptr[i + 1]):
                point[indices[k]] += step * data[k]
            point[-1] += step * BIAS


@numba.njit(cache=True)
def _ascend(indptr, indices, data, sign, budget, squares, dual, point, order):  # type: ignore[no-untyped-def]
    for i in order:
        margin = point[-1] * BIAS
        for k in range(indptr[i], indptr[i + 1]):
            margin += point[indices[k]] * data[k]
        margin *= sign[i]
        # One variable: minimise a log a + (c - a) log(c - a) + q/2 (a - a0)^2 + margin (a - a0), 0 < a < c, by Newton.
        c, old, q = budget[i], dual[i], squares[i]
        a = old
        for _ in range(8):
            slope = np.log(a / (c - a)) + q * (a - old) + margin
            curve = c / (a * (c - a)) + q
            step = slope / curve
            new = a - step
            if new <= 0:
                new = a * 0.1
            elif new >= c:
                new = c - (c - a) * 0.1
            done = abs(new - a) < 1e-4 * c
            a = new
            if done:
                break
        a = min(max(a, 1e-8 * c), c * (1 - 1e-8))
        dual[i] = a
        move = (a - old) * sign[i]
        if move != 0.0:
            for k in range(indptr[i], indptr[i + 1]):
                point[indices[k]] += move * data[k]
            point[-1] += move * BIAS


def take_best(design: Design, scores: NDArray[np.float64], texts: int) -> NDArray[np.float64]:
    """Each text's score: that of its most suspicious window."""
    best = np.full(texts, -np.inf)
    np.maximum.at(best, design.text_of, scores)
    return best
