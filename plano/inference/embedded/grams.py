"""Hashed character n-grams: what names, codes and misspelt words have in common, where meaning says nothing.

Every run of three to five bytes inside a word (its borders count as spaces) is hashed into one of 65,536 buckets and
weighted by how rare the bucket is in ordinary text. Two texts are as near as the cosine of their weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

BUCKETS: Final = 1 << 16
SIZES: Final = (3, 4, 5)
_SPACE: Final = 32
_PRIME: Final = np.uint32(16777619)
_MIX: Final = np.uint32(2654435761)
# What separates words: everything in ASCII that is neither a letter nor a digit. Other scripts' bytes are letters.
_SEPARATORS: Final = bytes(byte if byte >= 128 or chr(byte).isalnum() else _SPACE for byte in range(256))


class Grams(NamedTuple):
    """A text's buckets, in order and without repetition, and their weights (unit length)."""

    buckets: NDArray[np.uint32]
    weights: NDArray[np.float32]


def hash_text(text: str) -> NDArray[np.uint32]:
    """The bucket of each n-gram of a text, repetitions included, in no useful order."""
    raw = b" " + b" ".join(text.lower().encode("utf-8", "replace").translate(_SEPARATORS).split()) + b" "
    data = np.frombuffer(raw, dtype=np.uint8)
    if data.size < SIZES[0]:
        return np.empty(0, dtype=np.uint32)
    letters = data.astype(np.uint32)
    spaces_before = np.zeros(data.size + 1, dtype=np.int32)
    np.cumsum(data == _SPACE, out=spaces_before[1:])
    rolling = letters
    found: list[NDArray[np.uint32]] = []
    for size in range(2, SIZES[-1] + 1):
        if data.size < size:
            break
        rolling = rolling[:-1] * _PRIME + letters[size - 1 :]
        if size in SIZES:
            count = data.size - size + 1
            inside_one_word = spaces_before[size - 1 : size - 1 + count] == spaces_before[1 : 1 + count]
            found.append((rolling * _MIX >> np.uint32(16))[inside_one_word])
    return np.concatenate(found)


class GramWeights:
    """Turns texts into `Grams`. `rarity` is the weight of each bucket, made when the weights were built."""

    def __init__(self, rarity: NDArray[np.float32]) -> None:
        self._rarity = rarity
        self.weigh = lru_cache(maxsize=64)(self._weigh)  # the same turn is often scored more than once

    def _weigh(self, text: str) -> Grams:
        hashes = hash_text(text)
        if not hashes.size:
            return Grams(hashes, np.empty(0, dtype=np.float32))
        hashes.sort()
        first = np.empty(hashes.size, dtype=bool)
        first[0] = True
        np.not_equal(hashes[1:], hashes[:-1], out=first[1:])
        starts = np.flatnonzero(first)
        counts = np.diff(starts, append=hashes.size).astype(np.float32)
        buckets = hashes[starts]
        weights = (1.0 + np.log(counts)) * self._rarity[buckets]
        length = float(np.sqrt(weights @ weights))
        return Grams(buckets, (weights / length if length > 0 else weights).astype(np.float32))


class GramIndex:
    """Texts that queries are compared with: the postings of each bucket."""

    def __init__(self, texts: Sequence[Grams]) -> None:
        self._size = len(texts)
        buckets = np.concatenate([grams.buckets for grams in texts])
        order = np.argsort(buckets, kind="stable")
        sorted_buckets = buckets[order]
        self._texts = np.repeat(np.arange(self._size), [grams.buckets.size for grams in texts])[order]
        self._weights = np.concatenate([grams.weights for grams in texts])[order]
        self._buckets, starts = np.unique(sorted_buckets, return_index=True)
        self._starts = np.append(starts, sorted_buckets.size)

    def score(self, query: Grams) -> NDArray[np.float32]:
        """The cosine of the query with each text."""
        if not query.buckets.size or not self._buckets.size:
            return np.zeros(self._size, dtype=np.float32)
        places = np.searchsorted(self._buckets, query.buckets)
        places[places == self._buckets.size] = 0
        hit = self._buckets[places] == query.buckets
        places = places[hit]
        starts = self._starts[places]
        counts = self._starts[places + 1] - starts
        total = int(counts.sum())
        if not total:
            return np.zeros(self._size, dtype=np.float32)
        ends = np.cumsum(counts)
        posting = np.arange(total) - np.repeat(ends - counts - starts, counts)
        weighted = self._weights[posting] * np.repeat(query.weights[hit], counts)
        return np.bincount(self._texts[posting], weights=weighted, minlength=self._size).astype(np.float32)
