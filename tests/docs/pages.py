"""The pages a user reads, and the fenced blocks in them."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
PAGES = (
    "README.md",
    "CONTRIBUTING.md",
    "docs/configuration.md",
    "docs/operations.md",
    "docs/inference.md",
    "docs/routing.md",
    "docs/agents.md",
    "docs/filters.md",
    "docs/targets.md",
    "docs/vllm.md",
)

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class Block(NamedTuple):
    """A fenced block: where it stands, its language, its text."""

    page: str
    line: int
    language: str
    text: str

    @property
    def place(self) -> str:
        """`README.md:12`."""
        return f"{self.page}:{self.line}"


def read_page(page: str) -> str:
    """The text of a page, by its path from the root."""
    return (ROOT / page).read_text(encoding="utf-8")


def blocks(language: str, *pages: str) -> list[Block]:
    """The blocks of a language, in order, of these pages (default: all)."""
    found = []
    for page in pages or PAGES:
        text = read_page(page)
        for match in _FENCE.finditer(text):
            line = text.count("\n", 0, match.start()) + 1
            found.append(Block(page, line, match[1], match[2]))
    return [block for block in found if block.language == language]


def commands(block: Block) -> list[str]:
    """The commands of a `sh` block: its lines, joined where they are continued or within quotes."""
    found: list[str] = []
    pending = ""
    for line in block.text.replace("\\\n", " ").splitlines():
        if not pending and (not line.strip() or line.strip().startswith("#")):
            continue
        pending += line if not pending else f"\n{line}"
        try:
            shlex.split(pending)
        except ValueError:
            continue  # a quote is open
        found.append(pending.strip())
        pending = ""
    assert not pending, f"{block.place}: a quote is not closed"
    return found
