"""The unlabelled text from which the encoders learn what the teacher thinks of words in company, and our own routes.

Most of it is made here: frames of our own filled with words, and clippings of the corpus in `shared/data/tlm-train`.
Sources named in `exclude` are left out altogether, so that what is measured on them is measured on unseen text.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from training.frames import DESCRIPTIONS, OBJECTS, QUESTIONS, VERBS

MADE: Final = 500_000
SEED: Final = 1
HELD_OUT_SOURCES: Final = ("hwu",)  # what the development sets are made of
ROUTES: Final = Path(__file__).parent / "data" / "routes.txt"
_NUMBERS: Final = (2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 15, 20, 30, 50, 100, 2026)


class OwnRoute(NamedTuple):
    """A route of our own, its domain, and requests that belong to it."""

    domain: str
    name: str
    description: str
    requests: tuple[str, ...]


def read_corpus(data: Path, exclude: Collection[str] = HELD_OUT_SOURCES) -> list[str]:
    """The sentences of `distill_corpus.jsonl`, in its order."""
    rows = map(json.loads, (data / "distill_corpus.jsonl").read_text(encoding="utf-8").splitlines())
    return [row["t"] for row in rows if row["s"] not in exclude]


def read_routes(path: Path = ROUTES) -> list[OwnRoute]:
    """The routes of `data/routes.txt` (its first lines say how it is written)."""
    routes: list[OwnRoute] = []
    domain = ""
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("== "):
            domain = line[3:].strip()
        elif line.strip() and not line.startswith("#"):
            name, description, requests = line.split(" | ")
            routes.append(OwnRoute(domain, name, description, tuple(part.strip() for part in requests.split(" ; "))))
    return routes


def make_texts(sentences: Sequence[str], vocabulary: Sequence[str], count: int = MADE, seed: int = SEED) -> list[str]:
    """The sentences and about `count` texts made of them, of frames and of words; sorted, without repetition."""
    maker = _Maker(sentences, vocabulary, seed)
    texts = [*sentences, *(maker.make() for _ in range(count))]
    return sorted({text.strip() for text in texts if text.strip()})


class _Maker:
    def __init__(self, sentences: Sequence[str], vocabulary: Sequence[str], seed: int) -> None:
        self._random = random.Random(seed)
        self._sentences = sentences
        self._vocabulary = [word for word in vocabulary if re.fullmatch("[a-z]{3,}", word)]
        self._met = [word for sentence in sentences for word in re.findall("[a-z']{3,}", sentence.lower())]

    def make(self) -> str:
        kind = self._random.random()
        if kind < 0.35:
            return self._fill(self._random.choice(QUESTIONS))
        if kind < 0.5:
            return self._fill(self._random.choice(DESCRIPTIONS))
        if kind < 0.58:
            return " ".join(self._word() for _ in range(self._random.randint(1, 4)))
        if kind < 0.85:
            return self._clip()
        if kind < 0.95:
            return self._disturb()
        first = self._random.choice(self._sentences).split()[:10]
        second = self._random.choice(self._sentences).split()[:10]
        return " ".join(first) + self._random.choice([" and ", " and then ", ", ", ". ", ": "]) + " ".join(second)

    def _word(self) -> str:
        """Words of the vocabulary, so that every token is met, and words as often as the corpus has them."""
        return self._random.choice(self._vocabulary if self._random.random() < 0.6 else self._met)

    def _clip(self) -> str:
        words = self._random.choice(self._sentences).split()
        length = self._random.randint(2, 14)
        start = self._random.randint(0, max(0, len(words) - length))
        return " ".join(words[start : start + length])

    def _disturb(self) -> str:
        words = self._random.choice(self._sentences).split()[:24]
        for _ in range(self._random.randint(1, 3)):
            words[self._random.randrange(len(words))] = self._word()
        return " ".join(words)

    def _object(self) -> str:
        if self._random.random() < 0.7:
            return self._random.choice(OBJECTS)
        return self._random.choice(["the ", "my ", "a ", ""]) + self._word()

    def _verb(self) -> str:
        return self._random.choice(VERBS) if self._random.random() < 0.8 else self._word()

    def _fill(self, frame: str) -> str:
        for _ in range(3):  # objects hold places of their own
            frame = re.sub(r"\{o\}", lambda _: self._object(), frame)
            frame = re.sub(r"\{v\}", lambda _: self._verb(), frame)
            frame = re.sub(r"\{w\}", lambda _: self._word(), frame)
            frame = re.sub(r"\{n\}", lambda _: str(self._random.choice(_NUMBERS)), frame)
        return frame
