from __future__ import annotations

import hashlib

from plano.inference.embedded.vectors import WEIGHTS

MAX_BYTES = 15 * 1024 * 1024  # of everything that ships


def test_the_weights_are_the_ones_that_were_measured() -> None:
    for line in (WEIGHTS / "sha256.txt").read_text().splitlines():
        digest, name = line.split("  ")
        assert hashlib.sha256((WEIGHTS / name).read_bytes()).hexdigest() == digest, name


def test_every_file_of_the_orchestrator_has_a_checksum() -> None:
    named = {line.split("  ")[1] for line in (WEIGHTS / "sha256.txt").read_text().splitlines()}
    assert named == {"background.npz", "calibration.json", "static.npz", "student.npz", "vocab.txt"}


def test_all_weights_together_are_small() -> None:
    assert sum(path.stat().st_size for path in WEIGHTS.iterdir()) <= MAX_BYTES
