"""The background: requests about nothing in particular, against which each set of routes is calibrated."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np

from plano.inference.embedded.student import Student
from plano.inference.embedded.vectors import StaticVectors
from training.texts import read_corpus

SIZE = 256
SEED = 4
LONGEST = 120


def write_background(data: Path, folder: Path) -> None:
    """`background.npz`: sentences drawn from the corpus and the student's vectors of them, one byte a number."""
    sentences = [text for text in read_corpus(data) if 12 <= len(text) < LONGEST and "\n" not in text]
    texts = random.Random(SEED).sample(sentences, SIZE)
    vectors = StaticVectors(folder)
    embedded = Student(folder).embed([vectors.split(text) for text in texts])
    np.savez_compressed(
        folder / "background.npz",
        texts=np.array("\n".join(texts)),
        vectors=np.clip(np.rint(embedded * 127), -127, 127).astype(np.int8),
    )
