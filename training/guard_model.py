"""The guard's fit: logistic regression over hashed n-grams and shape bins, the best window standing for its text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.optimize
import scipy.sparse
from numpy.typing import NDArray

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
    place_windows,
)

CHARS, WORDS = 1 << CHAR_BITS, 1 << WORD_BITS
WIDTH = CHARS + WORDS + SHAPE_SIZE
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Settings:
    """What may be tuned, on the development folds only."""

    char_scale: float = 1.0
    word_scale: float = 1.0
    shape_scale: float = 0.25
    l2: float = 1e-5
    windows: int = 6
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


def lay_out(texts: Sequence[str], surprise: Floats, settings: Settings) -> Design:
    """One row per window."""
    columns: list[NDArray[np.int32]] = []
    values: list[Floats] = []
    lengths: list[int] = []
    text_of: list[int] = []
    for number, text in enumerate(texts):
        grams = hash_grams(encode(text), surprise)
        windows = place_windows(grams.size)
        if len(windows) > settings.windows:
            windows = windows[np.linspace(0, len(windows) - 1, settings.windows).astype(int)]
        shapes = describe_shape(grams, windows)
        for (first, last), shape in zip(windows, shapes, strict=True):
            chars = [grams.chars[i][first : max(first, last - 2 - i)] for i in settings.char_orders]
            spans = [slice(*np.searchsorted(grams.word_at[i], (first, last))) for i in settings.word_orders]
            words = [grams.words[i][span] for i, span in zip(settings.word_orders, spans, strict=True)]
            char, word = np.concatenate(chars), np.concatenate(words)
            columns += [char, word + CHARS, shape.astype(np.int32) + CHARS + WORDS]
            values += [
                np.full(len(char), settings.char_scale / max(len(char), 1) ** 0.5, np.float32),
                np.full(len(word), settings.word_scale / max(len(word), 1) ** 0.5, np.float32),
                np.full(len(shape), settings.shape_scale, np.float32),
            ]
            lengths.append(len(char) + len(word) + len(shape))
            text_of.append(number)
    matrix = scipy.sparse.csr_matrix(
        (np.concatenate(values), np.concatenate(columns), np.concatenate(([0], np.cumsum(lengths)))),
        shape=(len(lengths), WIDTH),
    )
    matrix.sum_duplicates()
    return Design(matrix, np.array(text_of))


def fit(
    rows: scipy.sparse.csr_matrix, labels: NDArray[np.bool_], weights: NDArray[np.float64], l2: float,
    start: NDArray[np.float64] | None = None, rounds: int = 60,
) -> NDArray[np.float64]:
    """Weights and, last, the intercept of a weighted logistic regression (L-BFGS)."""
    sign = np.where(labels, 1.0, -1.0)
    weights = weights / weights.sum()
    columns = rows.T

    def loss(point: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        margin = sign * (rows @ point[:-1].astype(np.float32) + point[-1])
        pull = -sign * weights / (1 + np.exp(np.minimum(margin, 60)))
        value = float(weights @ np.logaddexp(0, -margin)) + 0.5 * l2 * float(point[:-1] @ point[:-1])
        gradient = np.append(columns @ pull.astype(np.float32), pull.sum())
        gradient[:-1] += l2 * point[:-1]
        return value, gradient

    start = np.zeros(rows.shape[1] + 1) if start is None else start
    result = scipy.optimize.minimize(
        loss, start, jac=True, method="L-BFGS-B", options={"maxiter": rounds, "maxcor": 8, "ftol": 1e-7}
    )
    return np.asarray(result.x)


def take_best(design: Design, scores: NDArray[np.float64], texts: int) -> NDArray[np.float64]:
    """Each text's score: that of its most suspicious window."""
    best = np.full(texts, -np.inf)
    np.maximum.at(best, design.text_of, scores)
    return best
