"""The embedded guard: is a text an attempt to lift a model's rules? A first layer, in well under a millisecond.

Logistic regression over hashed character and word n-grams, the roles of known words and the shape of the text; the
most suspicious window of the most suspicious text decides. `weights/GUARD_CARD.md` says what it was trained on, how
well it works and what it is not.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import exp, sqrt
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from plano.inference.calls import Verdict
from plano.inference.embedded.guard_lexicon import MIN_ROLES, ROLE_SIZE, Lexicon, describe_roles
from plano.inference.embedded.guard_ngrams import (
    CHAR_BITS,
    CHAR_ORDERS,
    LM_SIZE,
    SHAPE_SIZE,
    WINDOW,
    WORD_BITS,
    Grams,
    describe_shape,
    encode,
    hash_grams,
    measure_surprise,
    place_windows,
)
from plano.inference.embedded.guard_views import clean, reveal

WEIGHTS: Final = Path(__file__).parent / "weights" / "guard.npz"
MAX_CHARS: Final = 200_000
"""Characters of a text that are looked at: of a longer one the first and the last half of as many."""

_PIECE: Final = 12_000
SURPRISE_STEP: Final = 12 / 255  # nats per step of the stored character model


class GuardWeightsError(Exception):
    """The weights file is not one of this version's guard. The message names the file."""


class EmbeddedGuard:
    """Judges texts. Safe to use from several threads.

    Raises GuardWeightsError when the weights do not fit this code, OSError when they cannot be read.
    """

    def __init__(self, weights: Path | None = None) -> None:
        path = weights or WEIGHTS
        with np.load(path, allow_pickle=False) as stored:
            try:
                self._chars: NDArray[np.int8] = stored["chars"]
                self._words: NDArray[np.int8] = stored["words"]
                self._shape: NDArray[np.float32] = stored["shape"]
                self._surprise = stored["surprise"].astype(np.float32) * np.float32(SURPRISE_STEP)
                self._roles: NDArray[np.float32] = stored["roles"]
                self._lexicon = Lexicon(stored["stems"], stored["classes"])
                scales: NDArray[np.float64] = stored["scales"]
            except KeyError as error:
                raise GuardWeightsError(f"{path}: {error}") from error
        tables = (self._chars, self._words, self._shape, self._roles, self._surprise, scales)
        if [table.size for table in tables] != [1 << CHAR_BITS, 1 << WORD_BITS, SHAPE_SIZE, ROLE_SIZE, LM_SIZE, 6]:
            raise GuardWeightsError(f"{path}: made for another version of the guard")
        self._char_scale, self._word_scale, self._intercept, self.block, self.flag, self._slope = map(float, scales)

    def judge(self, texts: Sequence[str]) -> Verdict:
        """The verdict on the most suspicious of `texts`. A probability of 0.5 is the shipped blocking threshold (about
        one harmless text in a thousand), `flagged` the lower one (about one in a hundred), or a text so long that its
        middle was not read."""
        score = max((self.score(text) for text in texts), default=-np.inf)
        lean = max(-60.0, min(60.0, (score - self.block) * self._slope))
        unread = any(len(text) > MAX_CHARS for text in texts)
        return Verdict(1 / (1 + exp(-lean)), bool(score >= self.flag) or unread)

    def score(self, text: str) -> float:
        """Log odds, before calibration: the highest over the windows of the text and of its hidden readings."""
        if len(text) > MAX_CHARS:
            half = MAX_CHARS // 2
            text = f"{text[:half]}\n{text[-half:]}"
        text = clean(text)
        if not text.strip():
            return -np.inf
        best = self._score_pieces(text)
        for reading in reveal(text, self._measure):
            best = max(best, self._score_pieces(clean(reading)))
        return best

    def _score_pieces(self, text: str) -> float:
        step = _PIECE - WINDOW
        starts = range(0, max(len(text) - WINDOW, 1), step)
        return max(self._score_piece(text[start : start + _PIECE]) for start in starts)

    def _score_piece(self, piece: str) -> float:
        grams = hash_grams(encode(piece), self._surprise, self._lexicon)
        windows = place_windows(grams.size)
        scores = self._shape[describe_shape(grams, windows)].sum(axis=1) + self._intercept
        scores += [
            self._roles[held].sum() / sqrt(max(len(held), MIN_ROLES)) for held in describe_roles(grams.roles, windows)
        ]
        if len(windows) == 1:
            scores += self._sum_whole(grams)
        else:
            scores += self._sum_windows(grams, windows)
        return float(scores.max())

    def _sum_whole(self, grams: Grams) -> float:
        chars = np.concatenate(grams.chars)
        words = np.concatenate(grams.words)
        char = int(self._chars[chars].sum(dtype=np.int64)) * self._char_scale / sqrt(max(len(chars), 1))
        word = int(self._words[words].sum(dtype=np.int64)) * self._word_scale / sqrt(max(len(words), 1))
        return char + word

    def _sum_windows(self, grams: Grams, windows: NDArray[np.intp]) -> NDArray[np.float64]:
        first, last = windows[:, 0], windows[:, 1]
        char, char_count = np.zeros(len(windows)), np.zeros(len(windows))
        for index, order in zip(grams.chars, CHAR_ORDERS, strict=True):
            totals = np.concatenate((np.zeros(1, np.int64), np.cumsum(self._chars[index], dtype=np.int64)))
            end = np.maximum(last - order + 1, first)
            char += totals[end] - totals[first]
            char_count += end - first
        word, word_count = np.zeros(len(windows)), np.zeros(len(windows))
        for index, at in zip(grams.words, grams.word_at, strict=True):
            totals = np.concatenate((np.zeros(1, np.int64), np.cumsum(self._words[index], dtype=np.int64)))
            begin, end = np.searchsorted(at, first), np.searchsorted(at, last)
            word += totals[end] - totals[begin]
            word_count += end - begin
        char *= self._char_scale / np.sqrt(np.maximum(char_count, 1))
        word *= self._word_scale / np.sqrt(np.maximum(word_count, 1))
        return np.asarray(char + word)

    def _measure(self, text: str) -> float:
        return measure_surprise(text, self._surprise)
