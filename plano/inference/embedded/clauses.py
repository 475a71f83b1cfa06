"""The parts of a request that may each want something else: "track my order and start a return" are two."""

from __future__ import annotations

import re
from typing import Final

MAX_CLAUSES: Final = 8
MIN_WORDS: Final = 2
_BLANKS: Final = re.compile(r"[^\S\n]+")  # the patterns below would look at long runs again and again
_SENTENCE: Final = re.compile(r"(?<=[.!?;])\s+|\n+")
# A conjunction parts two requests only if what follows can stand alone; whether it does is for the routes to say.
_JOINT: Final = re.compile(
    r"\s*[,;]?\s+(?:and\s+then|and\s+also|and\s+after\s+that|and|then|also|plus|as\s+well\s+as|but\s+first|afterwards)\s+|\s*[,;:]\s+",
    re.IGNORECASE,
)


def split_clauses(text: str) -> tuple[str, ...]:
    """The clauses of a text in order, at least one; pieces too short to ask for anything stay with what precedes."""
    pieces: list[str] = []
    for sentence in _SENTENCE.split(_BLANKS.sub(" ", text)):
        start = 0
        for joint in _JOINT.finditer(sentence):
            left, right = sentence[start : joint.start()].strip(), sentence[joint.end() :].strip()
            if len(left.split()) >= MIN_WORDS and len(right.split()) >= MIN_WORDS:
                pieces.append(left)
                start = joint.end()
        rest = sentence[start:].strip()
        if rest and pieces and len(rest.split()) < MIN_WORDS:
            pieces[-1] = f"{pieces[-1]} {rest}"
        elif rest:
            pieces.append(rest)
    if len(pieces) > MAX_CLAUSES:  # a long text is no list of errands: what stands at its ends is what is asked
        half = MAX_CLAUSES // 2
        pieces = [*pieces[:half], *pieces[-half:]]
    return tuple(pieces) or (text.strip(),)
