"""The background: requests about everything, against which each set of routes is calibrated.

They are ours (`data/routes.txt`), two from each route. A set of routes may well serve a few of them; `Null` is made of
quantiles, which do not mind.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np

from plano.inference.embedded.student import Student
from plano.inference.embedded.vectors import StaticVectors
from training.texts import read_routes

PER_ROUTE: Final = 2


def write_background(folder: Path) -> None:
    """`background.npz`: the requests and the student's vectors of them, one byte a number."""
    texts = [request for route in read_routes() for request in route.requests[:PER_ROUTE]]
    vectors = StaticVectors(folder)
    embedded = Student(folder).embed([vectors.split(text) for text in texts])
    np.savez_compressed(
        folder / "background.npz",
        texts=np.array("\n".join(texts)),
        vectors=np.clip(np.rint(embedded * 127), -127, 127).astype(np.int8),
    )
