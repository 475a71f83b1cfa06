"""How sure a constrained answer is, by the probabilities of its tokens."""

from __future__ import annotations

import math

import pytest

from plano.inference.engines.vllm.confidence import Position, confidence_of


def position(text: str, probability: float, **others: float) -> Position:
    return Position(text, math.log(probability), tuple((name, math.log(share)) for name, share in others.items()))


def test_an_answer_without_alternatives_is_certain() -> None:
    assert confidence_of([position("code", 1.0), position('"]}', 1.0)]) == pytest.approx(1.0)


def test_every_fork_multiplies() -> None:
    assert confidence_of([position("code", 0.8, chat=0.2), position('"]}', 0.5, **{'", "': 0.5})]) == pytest.approx(0.4)


def test_another_spelling_of_the_same_answer_is_no_doubt() -> None:
    spelt = [position("bil", 0.5, billing=0.3, b=0.1, code=0.1), position("ling", 1.0), position('"]}', 1.0)]
    assert confidence_of(spelt) == pytest.approx(0.9)


def test_what_the_likeliest_tokens_leave_out_is_shared_out() -> None:
    assert confidence_of([position("code", 0.6, chat=0.2)]) == pytest.approx(0.75)


def test_impossible_tokens_and_parts_of_characters_do_no_harm() -> None:
    parts = [Position("", 0.0, (("x", -math.inf),)), Position("é", 0.0, (("", -math.inf),))]
    assert confidence_of(parts) == pytest.approx(1.0)
    assert confidence_of([]) == 1.0
