"""Static token vectors: the first and fastest look at what a text means.

Each token of the vocabulary has one vector; a text is their sum, brought to unit length. The vectors were fitted so
that this sum lies where a sentence encoder puts the whole text (see `weights/MODEL_CARD.md`).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Final
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers

from plano.inference.embedded.grams import GramIndex, GramWeights
from plano.inference.embedded.packing import Packed, unpack_rows

WEIGHTS: Final = Path(__file__).parent / "weights"
GRAM_SHARE: Final = 0.6  # weight of the n-grams' cosine beside the vectors' (measured, see the model card)
MAX_CHARS: Final = 2_000  # of a text, half from its beginning and half from its end
_UNKNOWN: Final = "[UNK]"


class WeightsError(Exception):
    """Weights that are missing or that do not fit this code. The message names the file."""


def make_tokenizer(vocabulary: Path) -> Tokenizer:
    """The teacher's tokenizer (lower-casing word pieces) from its vocabulary, one token per line."""
    tokens = vocabulary.read_text(encoding="utf-8").splitlines()
    tokenizer = Tokenizer(
        models.WordPiece({token: place for place, token in enumerate(tokens)}, unk_token=_UNKNOWN)  # type: ignore[call-arg, unused-ignore]
    )
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    return tokenizer


def bound_text(text: str, limit: int = MAX_CHARS) -> str:
    """A text of at most `limit` characters: what is said first and last says what is wanted."""
    if len(text) <= limit:
        return text
    half = limit // 2
    return f"{text[:half]} {text[-half:]}"


class StaticVectors:
    """Loads `static.npz` and `vocab.txt` of a folder. Raises WeightsError."""

    def __init__(self, folder: Path = WEIGHTS) -> None:
        path = folder / "static.npz"
        try:
            self.tokenizer = make_tokenizer(folder / "vocab.txt")
            with np.load(path, allow_pickle=False) as stored:
                self._table = Packed(stored["nibbles"], stored["scales"])
                rarity = stored["rarity"].astype(np.float32) * np.float32(stored["rarity_step"])
        except (OSError, KeyError, ValueError, BadZipFile) as error:
            raise WeightsError(f"{path}: {error}") from error
        if self._table.nibbles.shape[0] != self.tokenizer.get_vocab_size():
            raise WeightsError(f"{path}: has another vocabulary than {folder / 'vocab.txt'}")
        self.dimensions = self._table.nibbles.shape[1] * 2
        self.grams = GramWeights(rarity)

    def split(self, text: str) -> list[int]:
        """The tokens of a text, at most `MAX_CHARS` characters of it."""
        text = bound_text(text)
        if not text.isascii():  # lone surrogates, which JSON can write, are no text for the tokenizer
            text = text.encode("utf-8", "replace").decode()
        return self.tokenizer.encode(text, add_special_tokens=False).ids

    def embed_tokens(self, tokens: Sequence[int]) -> NDArray[np.float32]:
        """The vector of a text, of unit length; zeros for one without tokens."""
        if not tokens:
            return np.zeros(self.dimensions, dtype=np.float32)
        rows = np.asarray(tokens)
        total: NDArray[np.float32] = unpack_rows(Packed(self._table.nibbles[rows], self._table.scales[rows])).sum(
            axis=0
        )
        length = float(np.sqrt(total @ total))
        return total / np.float32(length) if length > 0 else total

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """The vectors of texts, one row each."""
        if not texts:
            return np.zeros((0, self.dimensions), dtype=np.float32)
        return np.stack([self.embed_tokens(self.split(text)) for text in texts])


class TextSet:
    """Texts that queries are ranked against, prepared once."""

    def __init__(self, vectors: StaticVectors, texts: Sequence[str]) -> None:
        self._vectors = vectors
        self._matrix = np.ascontiguousarray(vectors.embed(texts))
        self._index = GramIndex([vectors.grams.weigh(bound_text(text)) for text in texts])

    def score(self, query: str, tokens: Sequence[int] | None = None) -> NDArray[np.float32]:
        """How near each text is to `query`: from about -0.3 to 1.6; higher is nearer."""
        vector = self._vectors.embed_tokens(self._vectors.split(query) if tokens is None else tokens)
        grams = self._vectors.grams.weigh(bound_text(query))
        scores: NDArray[np.float32] = self._matrix @ vector
        scores += np.float32(GRAM_SHARE) * self._index.score(grams)
        return scores


class TextRanker:
    """Says how near texts are to a query in meaning. Sets of texts seen before are not prepared again."""

    def __init__(self, vectors: StaticVectors | None = None, remembered: int = 64) -> None:
        self._vectors = vectors or shared_vectors()
        self._prepare = lru_cache(maxsize=remembered)(self._make_set)

    def rank(self, query: str, texts: Sequence[str]) -> list[float]:
        """One score per text, in their order; a higher one is nearer, and all scores of one ranker compare."""
        if not texts:
            return []
        return [float(score) for score in self._prepare(tuple(texts)).score(query)]

    def _make_set(self, texts: tuple[str, ...]) -> TextSet:
        return TextSet(self._vectors, texts)


@lru_cache(maxsize=1)
def shared_vectors() -> StaticVectors:
    """The shipped vectors, loaded once for all roles of a process. Raises WeightsError."""
    return StaticVectors()
