from __future__ import annotations

import numpy as np
import pytest

from plano.inference.embedded.grams import BUCKETS, GramIndex, GramWeights, hash_text


@pytest.fixture
def weights() -> GramWeights:
    return GramWeights(np.ones(BUCKETS, dtype=np.float32))


def test_grams_do_not_reach_across_words() -> None:
    assert sorted(hash_text("ab cd")) == sorted([*hash_text("ab"), *hash_text("cd")])


def test_case_and_punctuation_do_not_count() -> None:
    assert sorted(hash_text("Hello, World!")) == sorted(hash_text("hello world"))


def test_a_word_of_four_letters_has_nine_grams() -> None:
    assert len(hash_text("word")) == 4 + 3 + 2  # of " word ", by threes, fours and fives


@pytest.mark.parametrize("text", ["", " ", "!?", "a"])
def test_texts_without_grams_are_near_to_nothing(weights: GramWeights, text: str) -> None:
    index = GramIndex([weights.weigh("hello world"), weights.weigh("")])
    assert index.score(weights.weigh(text)).tolist() == [0.0, 0.0]


def test_a_text_is_nearest_to_itself_then_to_what_is_misspelt(weights: GramWeights) -> None:
    index = GramIndex([weights.weigh(text) for text in ("kubernetes cluster", "kubernets cluser", "pasta recipe")])
    itself, misspelt, other = index.score(weights.weigh("kubernetes cluster"))
    assert itself == pytest.approx(1.0, abs=1e-5)
    assert 0.4 < misspelt < 0.9
    assert other < 0.2


def test_scores_are_cosines_of_all_grams(weights: GramWeights) -> None:
    def dense(text: str) -> np.ndarray:
        grams = weights.weigh(text)
        vector = np.zeros(BUCKETS, dtype=np.float32)
        vector[grams.buckets] = grams.weights
        return vector

    texts = ["book a table", "book a flight to rome", "ein Tisch für zwei", "表を予約する"]
    scores = GramIndex([weights.weigh(text) for text in texts]).score(weights.weigh("book two tables für rome"))
    expected = [float(dense(text) @ dense("book two tables für rome")) for text in texts]
    assert scores.tolist() == pytest.approx(expected, abs=1e-5)


def test_rare_grams_weigh_more() -> None:
    rarity = np.ones(BUCKETS, dtype=np.float32)
    rarity[hash_text("the")] = 0.01
    weights = GramWeights(rarity)
    the, fox = GramIndex([weights.weigh("the"), weights.weigh("fox")]).score(weights.weigh("the fox"))
    assert fox > 10 * the
