from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from plano.inference.embedded.student import MAX_TOKENS, Student
from plano.inference.embedded.vectors import (
    MAX_CHARS,
    WEIGHTS,
    StaticVectors,
    TextRanker,
    WeightsError,
    bound_text,
    shared_vectors,
)


@pytest.fixture(scope="module")
def student() -> Student:
    return Student()


def test_texts_of_one_meaning_are_near() -> None:
    doctor, physician, pasta = shared_vectors().embed(
        ["book an appointment with a doctor", "arrange to see a physician", "how long to boil pasta"]
    )
    assert doctor @ physician > 0.5 > doctor @ pasta


def test_vectors_have_unit_length_and_nothing_has_none() -> None:
    lengths = np.linalg.norm(shared_vectors().embed(["hello", "a longer text with more words", ""]), axis=1)
    assert lengths.tolist() == pytest.approx([1.0, 1.0, 0.0], abs=1e-5)
    assert shared_vectors().embed([]).shape == (0, shared_vectors().dimensions)


def test_a_long_text_is_cut_in_the_middle() -> None:
    cut = bound_text("a" * MAX_CHARS + "b" * MAX_CHARS)
    assert len(cut) == MAX_CHARS + 1
    assert cut[0] == "a"
    assert cut[-1] == "b"


def test_a_ranker_puts_the_nearest_text_first_and_remembers_sets() -> None:
    ranker = TextRanker()
    tools = ("weather: current weather of a city", "stock price: price of a share", "send mail: sends an e-mail")
    scores = ranker.rank("will it rain in oslo", tools)
    assert scores.index(max(scores)) == 0
    assert ranker.rank("will it rain in oslo", list(tools)) == scores
    assert ranker.rank("anything", ()) == []


def test_the_student_knows_one_meaning_from_another(student: Student) -> None:
    vectors = shared_vectors()
    one, same, other = student.embed(
        [vectors.split(text) for text in ("cancel my subscription", "i want to end my membership", "bake a cake")]
    )
    assert one @ same > 0.4 > one @ other


def test_a_text_has_one_vector_alone_and_in_company(student: Student) -> None:
    vectors = shared_vectors()
    tokens = [vectors.split(text) for text in ("hello", "a much longer text that needs more room than the first")]
    together = student.embed(tokens)
    alone = np.concatenate([student.embed([one]) for one in tokens])
    assert np.abs(together - alone).max() < 1e-5


def test_the_student_takes_any_number_of_tokens(student: Student) -> None:
    tokens = shared_vectors().split("word " * 400)
    assert len(tokens) > MAX_TOKENS
    assert np.linalg.norm(student.embed([tokens, []]), axis=1).tolist() == pytest.approx([1.0, 1.0], abs=1e-5)
    assert student.embed([]).shape == (0, student.dimensions)


@pytest.mark.parametrize("name", ["static.npz", "vocab.txt"])
def test_missing_vectors_are_named(tmp_path: Path, name: str) -> None:
    for file in ("static.npz", "vocab.txt"):
        if file != name:
            shutil.copy(WEIGHTS / file, tmp_path / file)
    with pytest.raises(WeightsError, match=str(tmp_path)):
        StaticVectors(tmp_path)


def test_vectors_of_another_vocabulary_are_refused(tmp_path: Path) -> None:
    shutil.copy(WEIGHTS / "static.npz", tmp_path / "static.npz")
    (tmp_path / "vocab.txt").write_text("[UNK]\n[CLS]\nhello\n")
    with pytest.raises(WeightsError, match="another vocabulary"):
        StaticVectors(tmp_path)


def test_a_broken_student_is_named(tmp_path: Path) -> None:
    (tmp_path / "student.npz").write_bytes(b"no archive")
    with pytest.raises(WeightsError, match=r"student\.npz"):
        Student(tmp_path)
