"""What a command prints: styled on a terminal, plain lines into a pipe or file."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console


class Terminal:
    """Standard output. Rich is only imported where there is a terminal to use it on."""

    def __init__(self) -> None:
        self.is_interactive = sys.stdout.isatty()
        self._console: Console | None = None
        if self.is_interactive:
            from rich.console import Console

            self._console = Console(highlight=False, soft_wrap=True)

    def line(self, text: str = "", style: str = "") -> None:
        """One line (or several). `style` is rich's and only seen on a terminal."""
        self.write(text + "\n", style)

    def write(self, text: str, style: str = "") -> None:
        """Text as it is, at once: also half a line."""
        if self._console is not None:
            self._console.print(text, style=style or None, end="", markup=False)
        else:
            sys.stdout.write(text)
        sys.stdout.flush()

    def replace_line(self, text: str) -> None:
        """Text in place of what the current line shows; for terminals only."""
        if self._console is not None:
            # Not through rich, which would take the control characters out. The cursor goes back, so that a log line
            # which comes between begins where a line begins.
            self._console.file.write(f"\r\x1b[K{text[: self._console.width - 1]}\r")
            self._console.file.flush()

    def heading(self, text: str) -> None:
        """A line that begins something."""
        self.line(text, "bold")

    def pairs(self, rows: Iterable[tuple[str, str]], indent: int = 2) -> None:
        """Aligned "label  value" lines; a row with an empty label continues the one before it."""
        rows = list(rows)
        width = max((len(label) for label, _ in rows), default=0)
        for label, value in rows:
            self.write(" " * indent + label.ljust(width) + "  ", "cyan")
            self.line(value)

    def table(self, header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> None:
        """Columns as wide as their widest cell."""
        cells = [header, *rows]
        widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
        for number, row in enumerate(cells):
            text = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            self.line(text, "bold" if number == 0 else "")


def stop_hint(run_dir: Path) -> str:
    """How what runs from this folder is stopped."""
    elsewhere = "" if run_dir == Path("~/.plano/run").expanduser() else f" --run-dir {shlex.quote(str(run_dir))}"
    return f"Ctrl-C, or plano-cluster stop{elsewhere}"
