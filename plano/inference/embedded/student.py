"""A three-layer transformer in numpy: the second, closer look at what a short text means.

BERT's architecture (post-layer-norm, GELU, learned positions), taught by the sentence encoder that taught the static
vectors; weights of four bits, widened when loaded. A prompt takes a few milliseconds on one core, and is therefore
looked at only when the first look leaves a doubt.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from plano.inference.embedded.packing import Packed, unpack_rows
from plano.inference.embedded.vectors import WEIGHTS, WeightsError

MAX_TOKENS: Final = 48  # of one text, without the two special ones: half from its beginning, half from its end
HEADS: Final = 12
_EPSILON: Final = np.float32(1e-12)
_MASKED: Final = np.float32(-1e9)
Matrix = NDArray[np.float32]


class _Layer(NamedTuple):
    """Matrices are stored for `rows @ matrix`, column-major: twice as fast for few rows."""

    attend: Matrix
    attend_bias: Matrix
    merge: Matrix
    merge_bias: Matrix
    merge_scale: Matrix
    merge_shift: Matrix
    widen: Matrix
    widen_bias: Matrix
    narrow: Matrix
    narrow_bias: Matrix
    narrow_scale: Matrix
    narrow_shift: Matrix


class Student:
    """Loads `student.npz` of a folder. Raises WeightsError."""

    def __init__(self, folder: Path = WEIGHTS) -> None:
        path = folder / "student.npz"
        try:
            with np.load(path, allow_pickle=False) as stored:
                self._words = Packed(stored["words.nibbles"], stored["words.scales"])
                small = {name: stored[name].astype(np.float32) for name in stored.files if stored[name].dtype == "f2"}
                self._positions = small["positions"]
                self._shift = small["embedding_shift"]
                self._scale = small["embedding_scale"]
                self._begin, self._end = (int(token) for token in stored["special"])
                self._layers = [_read_layer(stored, small, number) for number in range(int(stored["layers"]))]
        except (OSError, KeyError, ValueError, BadZipFile) as error:
            raise WeightsError(f"{path}: {error}") from error
        self.dimensions = self._positions.shape[1]

    def embed(self, texts: Sequence[Sequence[int]]) -> Matrix:
        """The unit vectors of texts given as tokens (as `StaticVectors.split` makes them), one row each."""
        out = np.empty((len(texts), self.dimensions), dtype=np.float32)
        for start in range(0, len(texts), 16):
            out[start : start + 16] = self._embed_batch(texts[start : start + 16])
        return out

    def _embed_batch(self, texts: Sequence[Sequence[int]]) -> Matrix:
        rows = [[self._begin, *_bound(tokens), self._end] for tokens in texts]
        longest = max(map(len, rows))
        tokens = np.zeros((len(rows), longest), dtype=np.intp)
        there = np.zeros((len(rows), longest), dtype=np.float32)
        for number, row in enumerate(rows):
            tokens[number, : len(row)] = row
            there[number, : len(row)] = 1.0
        flat = tokens.reshape(-1)
        words = unpack_rows(Packed(self._words.nibbles[flat], self._words.scales[flat]))
        words = words.reshape(len(rows), longest, -1) + self._positions[:longest]
        state = _normalise(words.reshape(len(flat), -1), self._scale, self._shift)
        mask = None if len(rows) == 1 else ((1.0 - there) * _MASKED)[:, None, None, :]
        for layer in self._layers:
            state = _run_layer(layer, state, len(rows), longest, mask)
        totals = (state.reshape(len(rows), longest, -1) * there[:, :, None]).sum(axis=1)
        lengths = np.sqrt((totals * totals).sum(axis=1, keepdims=True))
        vectors: Matrix = totals / np.maximum(lengths, _EPSILON)
        return vectors


def _bound(tokens: Sequence[int]) -> Sequence[int]:
    if len(tokens) <= MAX_TOKENS:
        return tokens
    half = MAX_TOKENS // 2
    return [*tokens[:half], *tokens[-half:]]


def _read_layer(stored: "np.lib.npyio.NpzFile", small: dict[str, Matrix], number: int) -> _Layer:  # noqa: UP037
    def matrix(name: str) -> Matrix:
        packed = Packed(stored[f"{number}.{name}.nibbles"], stored[f"{number}.{name}.scales"])
        return unpack_rows(packed).T  # stored [out, in]: its transpose is column-major without a copy

    fields = {
        name: matrix(name) if name in ("attend", "merge", "widen", "narrow") else small[f"{number}.{name}"]
        for name in _Layer._fields
    }
    return _Layer(**fields)


def _run_layer(layer: _Layer, state: Matrix, texts: int, longest: int, mask: Matrix | None) -> Matrix:
    width = state.shape[1]
    size = width // HEADS
    mixed = (state @ layer.attend + layer.attend_bias).reshape(texts, longest, 3, HEADS, size)
    query, key, value = mixed.transpose(2, 0, 3, 1, 4)
    scores = (query @ key.transpose(0, 1, 3, 2)) * np.float32(size**-0.5)
    if mask is not None:
        scores += mask
    scores -= scores.max(axis=-1, keepdims=True)
    np.exp(scores, out=scores)
    scores /= scores.sum(axis=-1, keepdims=True)
    context = (scores @ value).transpose(0, 2, 1, 3).reshape(texts * longest, width)
    state = _normalise(context @ layer.merge + layer.merge_bias + state, layer.merge_scale, layer.merge_shift)
    inner = _gelu(state @ layer.widen + layer.widen_bias)
    return _normalise(inner @ layer.narrow + layer.narrow_bias + state, layer.narrow_scale, layer.narrow_shift)


def _normalise(rows: Matrix, scale: Matrix, shift: Matrix) -> Matrix:
    centred = rows - rows.mean(axis=1, keepdims=True)
    spread = np.sqrt((centred * centred).mean(axis=1, keepdims=True) + _EPSILON)
    normal: Matrix = centred / spread * scale + shift
    return normal


def _gelu(rows: Matrix) -> Matrix:
    """GELU by its tanh form (Hendrycks and Gimpel 2016), which differs from the exact one by less than 0.001."""
    cubed = rows * rows
    cubed *= np.float32(0.044715)
    cubed += np.float32(1.0)
    cubed *= rows
    cubed *= np.float32(0.7978845608)
    np.tanh(cubed, out=cubed)
    cubed += np.float32(1.0)
    cubed *= rows
    cubed *= np.float32(0.5)
    return cubed
