from __future__ import annotations

import numpy as np
import pytest

from plano.inference.embedded.packing import Packed, pack, unpack_rows


def test_a_matrix_comes_back_within_a_fifteenth_of_its_range() -> None:
    matrix = np.random.default_rng(0).standard_normal((40, 64)).astype(np.float32)
    back = unpack_rows(pack(matrix))
    assert np.abs(back - matrix).max() < np.abs(matrix).max() / 7
    assert np.corrcoef(back.ravel(), matrix.ravel())[0, 1] > 0.99


def test_four_bit_numbers_come_back_as_they_are() -> None:
    matrix = np.tile(np.arange(-7, 9, dtype=np.float32).clip(-7, 7), (3, 2))
    assert np.array_equal(unpack_rows(pack(matrix)), matrix)


def test_rows_can_be_taken_out() -> None:
    matrix = np.random.default_rng(1).standard_normal((10, 32)).astype(np.float32)
    packed = pack(matrix)
    taken = unpack_rows(Packed(packed.nibbles[[7, 2]], packed.scales[[7, 2]]))
    assert np.array_equal(taken, unpack_rows(packed)[[7, 2]])


def test_zeros_stay_zeros() -> None:
    assert not unpack_rows(pack(np.zeros((2, 32), dtype=np.float32))).any()


def test_columns_must_divide_into_groups() -> None:
    with pytest.raises(ValueError, match="groups of 32"):
        pack(np.zeros((2, 40), dtype=np.float32))
