"""Sentence frames of our own: the shapes in which people ask for things, to be filled with words (`data/frames.txt`).

The teacher says what the result means; frames only have to make it meet many words in the company of question words,
verbs and route-like phrases.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

_FILE: Final = Path(__file__).parent / "data" / "frames.txt"


def _read(section: str) -> tuple[str, ...]:
    lines = iter(_FILE.read_text(encoding="utf-8").splitlines())
    next(line for line in lines if line.startswith(f"== {section}"))
    found: list[str] = []
    for line in lines:
        if line.startswith("== "):
            break
        found.append(line)
    return tuple(found)


QUESTIONS: Final = _read("questions")
DESCRIPTIONS: Final = _read("descriptions")
OBJECTS: Final = _read("objects")
VERBS: Final = _read("verbs")
