"""What the guard sees of a text: hashed character and word n-grams, known words, and figures about its shape.
Pure numpy.

Everything is laid out by position, so that the sums over any window of the text are differences of running totals: a
long text costs one pass, however many windows are looked at. The training script uses the same code, so what was
learned is what is asked for. Changing anything here makes the shipped weights worthless: build them again.
"""

from __future__ import annotations

import unicodedata
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from plano.inference.embedded.guard_lexicon import STEM, Lexicon, Roles, find_roles

Codes = NDArray[np.uint32]
Index = NDArray[np.int32]

CHAR_BITS: Final = 18
WORD_BITS: Final = 18
MAX_CODES: Final = 16_384  # code points per pass: the length of the power tables

WINDOW: Final = 300
STRIDE: Final = 150

CHAR_ORDERS: Final = (3, 4, 5)
WORD_ORDERS: Final = ("one", "two", "three", "gap")

_SPACE, _LETTER, _DIGIT, _MARK, _SIGN = range(5)
_PLANE: Final = 0x10000
_RANDOM_ODD: Final = np.uint64(0x9E3779B97F4A7C15)
_CHAR_BASE: Final = np.uint64(0xD6E8FEB86659FD93)
_WORD_SEEDS: Final = tuple(
    np.uint64(seed) for seed in (0xA0761D6478BD642F, 0xE7037ED1A0B428DB, 0x8EBC6AF09C88C6E3, 0x589965CC75374CC3)
)

LM_SYMBOLS: Final = 32  # a..z, digit, space, four kinds of marks
LM_SIZE: Final = LM_SYMBOLS**3
_STRETCH: Final = 24  # code points over which gibberish is noticed
_GIBBERISH: Final = (4.6, 5.6)  # nats per character, from "odd" to "noise"


def _classify() -> tuple[NDArray[np.uint8], NDArray[np.uint16], NDArray[np.uint8]]:
    """Per code point of the basic plane: its class, its lower case, its symbol in the character model."""
    classes = np.full(_PLANE, _LETTER, np.uint8)
    lower = np.arange(_PLANE, dtype=np.uint32).astype(np.uint16)
    symbols = np.full(_PLANE, 31, np.uint8)
    for code in range(_PLANE):
        char = chr(code)
        kind = unicodedata.category(char)[0]
        if char.isspace() or kind == "Z":
            classes[code] = _SPACE
        elif kind == "N":
            classes[code] = _DIGIT
        elif kind in "PSC":
            classes[code] = _MARK
        small = char.lower()
        if len(small) == 1 and ord(small) < _PLANE:
            lower[code] = ord(small)
    for first, last in ((0x2E80, 0x2FDF), (0x3040, 0x30FF), (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF)):
        classes[first : last + 1] = np.where(classes[first : last + 1] == _LETTER, _SIGN, classes[first : last + 1])
    symbols[ord("a") : ord("z") + 1] = np.arange(26)
    for char in "0123456789":
        symbols[ord(char)] = 26
    symbols[ord(" ")] = 27
    for char in ".,;:!?'-\"":
        symbols[ord(char)] = 28
    for char in "()[]{}<>":
        symbols[ord(char)] = 29
    for char in "#$%&*+/=@\\^_`|~":
        symbols[ord(char)] = 30
    return classes, lower, symbols


_CLASSES, _LOWER, _SYMBOLS = _classify()


def _powers(base: int) -> NDArray[np.uint64]:
    out = np.empty(MAX_CODES + 2, np.uint64)
    value = 1
    for i in range(len(out)):
        out[i] = value
        value = value * base % 2**64
    return out


_POWERS: Final = _powers(int(_RANDOM_ODD))
_INVERSES: Final = _powers(pow(int(_RANDOM_ODD), -1, 2**64))

SHAPES: Final = (
    "length",
    "upper",
    "digits",
    "marks",
    "foreign",
    "lines",
    "noise",
    "odd",
    "gibberish",
    "word_length",
    "single",
    "glued",
    "humps",
    "spaces",
)
_EDGES: Final = np.array(
    [
        [20, 40, 60, 90, 140, 220, 350],
        [0.001, 0.02, 0.04, 0.07, 0.12, 0.25, 0.5],
        [0.001, 0.01, 0.02, 0.04, 0.08, 0.15, 0.3],
        [0.005, 0.02, 0.035, 0.05, 0.08, 0.12, 0.2],
        [0.001, 0.01, 0.05, 0.1, 0.25, 0.5, 0.8],
        [0.001, 0.003, 0.006, 0.012, 0.025, 0.05, 0.1],
        [2.0, 2.2, 2.4, 2.6, 2.9, 3.3, 4.0],
        [0.001, 0.02, 0.05, 0.1, 0.2, 0.35, 0.6],
        [0.001, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4],
        [3.0, 3.6, 4.0, 4.4, 4.8, 5.4, 6.5],
        [0.01, 0.03, 0.06, 0.1, 0.15, 0.25, 0.5],
        [0.001, 0.005, 0.01, 0.02, 0.04, 0.08, 0.16],
        [0.0005, 0.002, 0.005, 0.01, 0.02, 0.04, 0.08],
        [0.02, 0.08, 0.12, 0.15, 0.17, 0.19, 0.22],
    ]
)
SHAPE_BINS: Final = _EDGES.shape[1] + 1
SHAPE_SIZE: Final = len(SHAPES) * SHAPE_BINS


class Grams(NamedTuple):
    """The n-grams of a text: hashed, each with the code point it begins at (ascending within an order)."""

    size: int
    chars: tuple[Index, ...]
    words: tuple[Index, ...]
    word_at: tuple[NDArray[np.intp], ...]
    roles: Roles
    counts: NDArray[np.float64]
    """Running totals (size + 1 rows) of the figures that the shape is made of."""


def encode(text: str) -> Codes:
    """The code points of `text`, white space runs as one space, a space before and after; at most MAX_CODES."""
    codes = np.frombuffer(text[: MAX_CODES * 2].encode("utf-32-le", "surrogatepass"), np.uint32)
    space = _CLASSES[np.minimum(codes, _PLANE - 1)] == _SPACE
    space[codes == 10] = True
    kept = codes[~(space & np.concatenate(([False], space[:-1])))] if len(codes) else codes
    out = np.empty(min(len(kept), MAX_CODES - 2) + 2, np.uint32)
    out[0] = out[-1] = 32
    out[1:-1] = kept[: MAX_CODES - 2]
    return out


def character_symbols(codes: Codes) -> NDArray[np.int32]:
    """What the character model sees: 0 to LM_SYMBOLS - 1 for each code point."""
    low_plane = np.minimum(codes, _PLANE - 1)
    symbols: NDArray[np.int32] = _SYMBOLS[_LOWER[low_plane]].astype(np.int32)
    symbols[_CLASSES[low_plane] == _SPACE] = 27
    return symbols


def hash_stem(word: str) -> int:
    """The hash by which the lexicon knows a word (or a pair of signs): of its first STEM code points in lower case."""
    plain = [ord(char) if not char.isdigit() else 48 for char in word.lower()[:STEM]]
    return sum(code * pow(int(_RANDOM_ODD), place, 2**64) for place, code in enumerate(plain)) % 2**64


def measure_surprise(text: str, surprise: NDArray[np.float32]) -> float:
    """Nats per character of `text` under the character model; about 2 for English, 3 and more for gibberish."""
    symbols = character_symbols(encode(text))
    return float(surprise[(symbols[:-2] * LM_SYMBOLS + symbols[1:-1]) * LM_SYMBOLS + symbols[2:]].mean())


def hash_grams(codes: Codes, surprise: NDArray[np.float32], lexicon: Lexicon) -> Grams:
    """The n-grams and running totals of `codes` (from `encode`). `surprise`: the character model, nats per trigram."""
    low_plane = np.minimum(codes, _PLANE - 1)
    classes = _CLASSES[low_plane]
    lower = _LOWER[low_plane]
    digit = classes == _DIGIT
    space = classes == _SPACE
    plain = np.where(digit, np.uint64(48), np.where(space, np.uint64(32), lower.astype(np.uint64)))
    size = len(codes)

    chars: list[Index] = []
    rolling = plain
    for order in range(2, CHAR_ORDERS[-1] + 1):
        if size < order:
            chars.append(np.empty(0, np.int32))
            continue
        rolling = rolling[:-1] * _CHAR_BASE + plain[order - 1 :]
        if order in CHAR_ORDERS:
            chars.append(_bucket(rolling, CHAR_BITS))

    inside = (classes == _LETTER) | digit
    sign = classes == _SIGN
    before = np.concatenate(([False], inside[:-1]))
    starts = np.flatnonzero((inside & ~before) | sign)
    after = np.concatenate((inside[1:], [False]))
    ends = np.flatnonzero((inside & ~after) | sign) + 1
    totals = np.concatenate((np.zeros(1, np.uint64), np.cumsum(plain * _POWERS[:size])))
    word = (totals[ends] - totals[starts]) * _INVERSES[starts]
    words, word_at = _hash_words(word, starts)
    # A sign is no word by itself: Chinese and Japanese are looked up by pairs of signs.
    paired = sign[starts] & (np.append(sign[1:], False)[starts])
    stem_ends = np.where(paired, starts + 2, np.minimum(ends, starts + STEM))
    stems = (totals[stem_ends] - totals[starts]) * _INVERSES[starts]
    roles = find_roles(lexicon, stems, starts, np.arange(len(starts)))
    return Grams(size, tuple(chars), words, word_at, roles, _count(codes, classes, lower, starts, ends, surprise))


def _bucket(hashes: NDArray[np.uint64], bits: int) -> Index:
    mixed = hashes ^ (hashes >> np.uint64(29))
    return ((mixed * _RANDOM_ODD) >> np.uint64(64 - bits)).astype(np.int32)


def _hash_words(
    word: NDArray[np.uint64], starts: NDArray[np.intp]
) -> tuple[tuple[Index, ...], tuple[NDArray[np.intp], ...]]:
    one, two, three, gap = _WORD_SEEDS
    pair = (word[:-1] * one) ^ (word[1:] * two)
    triple = (pair[:-1] * three) ^ word[2:] * one
    skip = ((word[:-2] * gap) ^ (word[2:] * two)) + gap
    hashes = (word * three, pair + two, triple + three, skip)
    ats = (starts, starts[: len(pair)], starts[: len(triple)], starts[: len(skip)])
    return tuple(_bucket(h, WORD_BITS) for h in hashes), ats


def _count(
    codes: Codes,
    classes: NDArray[np.uint8],
    lower: NDArray[np.uint16],
    starts: NDArray[np.intp],
    ends: NDArray[np.intp],
    surprise: NDArray[np.float32],
) -> NDArray[np.float64]:
    size = len(codes)
    columns = np.zeros((size + 1, 13), np.float64)
    rows = columns[1:]
    mark = classes == _MARK
    upper = lower != np.minimum(codes, _PLANE - 1)
    rows[:, 0] = upper
    rows[:, 1] = classes == _DIGIT
    rows[:, 2] = mark
    rows[:, 3] = codes > 127
    rows[:, 4] = codes == 10
    symbols = character_symbols(codes)
    if size >= 3:
        nats = surprise[(symbols[:-2] * LM_SYMBOLS + symbols[1:-1]) * LM_SYMBOLS + symbols[2:]]
        rows[: size - 2, 5] = nats
        run = np.concatenate((np.zeros(1), np.cumsum(nats)))
        width = min(_STRETCH, len(nats))
        mean = (run[width:] - run[:-width]) / width
        rows[: len(mean), 6] = mean > _GIBBERISH[0]
        rows[: len(mean), 7] = mean > _GIBBERISH[1]
    rows[starts, 8] = 1
    length = ends - starts
    rows[starts, 9] = length
    rows[starts, 10] = length == 1
    # A mark with letters on both sides, a capital after a small letter: rare in prose, common in noise and in code.
    rows[1:-1, 11] = mark[1:-1] & (classes[:-2] == _LETTER) & (classes[2:] == _LETTER)
    rows[1:, 12] = upper[1:] & ~upper[:-1] & (classes[:-1] == _LETTER)
    np.cumsum(columns, axis=0, out=columns)
    return columns


def place_windows(size: int) -> NDArray[np.intp]:
    """First and last (exclusive) code point of each window: the whole of a short text, else WINDOW every STRIDE."""
    if size <= WINDOW + STRIDE // 2:
        return np.array([[0, size]], np.intp)
    starts = np.arange(0, size - WINDOW + STRIDE, STRIDE, dtype=np.intp)
    starts[-1] = size - WINDOW
    return np.stack((starts, starts + WINDOW), axis=1)


def describe_shape(grams: Grams, windows: NDArray[np.intp]) -> NDArray[np.int64]:
    """For each window the bin of each figure of SHAPES, as an index into SHAPE_SIZE weights."""
    first, last = windows[:, 0], windows[:, 1]
    sums = grams.counts[last] - grams.counts[first]
    length = np.maximum(last - first, 1).astype(np.float64)
    words = np.maximum(sums[:, 8], 1)
    letters = np.maximum(sums[:, 9], 1)
    figures = np.stack(
        (
            length,
            sums[:, 0] / letters,
            sums[:, 1] / length,
            sums[:, 2] / length,
            sums[:, 3] / length,
            sums[:, 4] / length,
            sums[:, 5] / length,
            sums[:, 6] / length,
            sums[:, 7] / length,
            sums[:, 9] / words,
            sums[:, 10] / words,
            sums[:, 11] / length,
            sums[:, 12] / length,
            words / length,
        ),
        axis=1,
    )
    bins = (figures[:, :, None] >= _EDGES[None]).sum(axis=2)
    return np.asarray(bins + np.arange(len(SHAPES)) * SHAPE_BINS, np.int64)
