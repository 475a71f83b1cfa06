"""Four-bit numbers: how the weights of the embedded models are stored.

A matrix is cut into groups of `GROUP` along its last axis; each group has one float16 scale, and each number is an
integer from -7 to 7, kept with 8 added in half a byte, the even ones in the low half.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

GROUP: Final = 32
_LIMIT: Final = 7
_ZERO: Final = 8


class Packed(NamedTuple):
    """`nibbles` is [rows, columns / 2] of uint8, `scales` [rows, columns / group] of float16."""

    nibbles: NDArray[np.uint8]
    scales: NDArray[np.float16]


def pack(matrix: NDArray[np.float32], group: int = GROUP) -> Packed:
    """Quantise a matrix whose columns are a multiple of `group` (and even). The scale of each group is the one of a few
    that leaves the least squared error. Raises ValueError for another shape."""
    rows, columns = matrix.shape
    if columns % group or columns % 2:
        raise ValueError(f"{columns} columns do not divide into groups of {group}")
    groups = matrix.reshape(rows, columns // group, group).astype(np.float32)
    peak = np.abs(groups).max(axis=2, keepdims=True)
    best_scale = np.zeros_like(peak)
    best_error = np.full_like(peak, np.inf)
    for shrink in (1.0, 0.95, 0.9, 0.85, 0.8, 0.75):
        scale = np.maximum(peak * (shrink / _LIMIT), 1e-7).astype(np.float16).astype(np.float32)
        scale = np.where(scale == 0, np.float32(6e-8), scale)
        rounded = np.clip(np.rint(groups / scale), -_LIMIT, _LIMIT) * scale
        error = ((groups - rounded) ** 2).sum(axis=2, keepdims=True)
        better = error < best_error
        best_error = np.where(better, error, best_error)
        best_scale = np.where(better, scale, best_scale)
    whole = np.clip(np.rint(groups / best_scale), -_LIMIT, _LIMIT).astype(np.int16) + _ZERO
    flat = whole.reshape(rows, columns).astype(np.uint8)
    return Packed(flat[:, 0::2] | (flat[:, 1::2] << 4), best_scale[:, :, 0].astype(np.float16))


def unpack_rows(packed: Packed) -> NDArray[np.float32]:
    """The matrix, or those of its rows that were taken out of both parts."""
    nibbles, scales = packed
    rows, half = nibbles.shape
    whole = np.empty((rows, half * 2), dtype=np.float32)
    whole[:, 0::2] = nibbles & 15
    whole[:, 1::2] = nibbles >> 4
    whole -= _ZERO
    if not rows:
        return whole
    grouped = whole.reshape(rows, scales.shape[1], -1)
    grouped *= scales[:, :, None].astype(np.float32)
    return whole
