"""What is wrong with a configuration, said so that it can be put right: file, line, path, message, hint.

No problem ever repeats a secret. Keys, connection strings, header values, and whatever came from the environment stay
out of messages.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass

Path = tuple[str | int, ...]
"""Where a value stands in a file: keys and list positions from the top."""

_PLAIN_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong, or with a warning, odd. `line` counts from 1; `path` is empty for the file itself."""

    file: str
    line: int | None
    path: str
    message: str
    hint: str | None = None

    def __str__(self) -> str:
        place = self.file if self.line is None else f"{self.file}:{self.line}"
        where = f"{place}: {self.path}" if self.path else place
        hint = f" (hint: {self.hint})" if self.hint else ""
        return f"{where}: {self.message}{hint}"


class ConfigError(Exception):
    """The configuration cannot be used. `problems` holds at least one reason, in the order of the file."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems: tuple[Problem, ...] = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))

    def __reduce__(self) -> tuple[type[ConfigError], tuple[tuple[Problem, ...]]]:
        return type(self), (self.problems,)


def render_path(path: Path) -> str:
    """`("model_providers", 0, "base_url")` as `model_providers[0].base_url`; keys with odd characters are quoted."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        elif _PLAIN_KEY.fullmatch(step):
            text += f".{step}" if text else step
        else:
            text += f'["{_shorten(step)}"]'
    return text


def suggest(word: str, words: Iterable[str]) -> str | None:
    """A hint naming the word that was probably meant, or None when nothing comes close."""
    by_lower = {candidate.lower(): candidate for candidate in words}
    close = difflib.get_close_matches(_shorten(word).lower(), by_lower, n=1, cutoff=0.6)
    return f"did you mean `{by_lower[close[0]]}`?" if close else None


def _shorten(text: str) -> str:
    printable = "".join(character if character.isprintable() else "?" for character in text)
    return printable if len(printable) <= 80 else printable[:77] + "..."
