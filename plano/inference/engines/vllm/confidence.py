"""How sure a model was of a constrained answer, from the log probabilities of its tokens.

vLLM masks what the grammar forbids before it takes the probabilities, so those of one position add up to 1 over the
tokens that were allowed there. The product over all positions is the probability of this answer among all allowed
ones, spelt in exactly these tokens. The same text can be spelt in others (`b`+`illing` for `billing`), which is not
doubt: a position counts as sure all tokens that lead on in the same text. A token that would have led to another answer
too, a prefix that two names share, is counted for this one; the position where they part tells them apart.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple


class Position(NamedTuple):
    """One token of an answer: its text and log probability, and the texts and log probabilities of the likeliest other
    tokens. The text of the end of the answer, and of a part of a character, is ""."""

    text: str
    logprob: float
    others: tuple[tuple[str, float], ...]


def confidence_of(positions: Sequence[Position]) -> float:
    """The probability (0 to 1) of an answer, as above. Tokens less likely than `others` are neglected: with ten of
    them that is a fraction of a percent."""
    ahead = "".join(position.text for position in positions)
    total = 0.0
    for position in positions:
        agreeing = whole = math.exp(position.logprob)
        for text, logprob in position.others:
            probability = math.exp(logprob)
            whole += probability
            if text and ahead.startswith(text):
                agreeing += probability
        if agreeing > 0.0:
            total += math.log(agreeing / whole)
        ahead = ahead[len(position.text) :]
    return min(1.0, math.exp(total))


def positions_of(token_ids: Sequence[int], logprobs: Sequence[dict[int, object]]) -> list[Position]:
    """The positions of a vLLM completion (its `token_ids` and `logprobs`)."""
    positions: list[Position] = []
    for token_id, options in zip(token_ids, logprobs, strict=True):
        chosen = options[token_id]
        others = tuple(
            (_text(option), _logprob(option)) for other_id, option in options.items() if other_id != token_id
        )
        positions.append(Position(_text(chosen), _logprob(chosen), others))
    return positions


def _text(option: object) -> str:
    text = getattr(option, "decoded_token", None)
    return text if isinstance(text, str) and "\ufffd" not in text else ""


def _logprob(option: object) -> float:
    return float(getattr(option, "logprob", -math.inf))
