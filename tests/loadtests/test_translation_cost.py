"""The benchmark of translation runs, and its streams come out whole (what they cost is not a test's business)."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[2] / "loadtests" / "translation_cost.py"


def test_it_measures_both_ways_and_says_the_ratio() -> None:
    command = [sys.executable, str(SCRIPT), "--streams", "9", "--events", "20"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert result.returncode in (0, 1), result.stderr
    figures = re.findall(
        r"^(relayed unchanged|chat to messages|translating adds) +(\d+\.\d\d) us an event", result.stdout, re.M
    )
    assert [name for name, _ in figures] == ["relayed unchanged", "chat to messages", "translating adds"]
    same, other, added = (float(figure) for _, figure in figures)
    assert 0 < same < other
    assert abs(other - same - added) < 0.02
