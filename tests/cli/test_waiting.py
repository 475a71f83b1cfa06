"""What is shown while models load."""

from __future__ import annotations

import io
import sys
from typing import Any

import pytest

from plano.cli.terminal import Terminal
from plano.cli.waiting import Waiting, describe


def loading(waited_s: float, *ready: str) -> dict[str, Any]:
    roles = {
        "orchestrator": {"state": "loading", "engine": "vllm", "model": "katanemo/Plano-Orchestrator-4B", "error": ""},
        "guard": {"state": "loading", "engine": "embedded", "model": "", "error": ""},
    }
    for name in ready:
        roles[name]["state"] = "ready"
    return {"name": "inference", "state": "starting", "info": {"roles": roles}, "waited_s": waited_s}


def test_what_loads_is_named() -> None:
    assert describe(loading(0)) == "inference: loading orchestrator katanemo/Plano-Orchestrator-4B, guard embedded"
    assert describe(loading(0, "orchestrator")) == "inference: loading guard embedded"
    assert describe({"name": "frontend 1", "state": "starting", "info": {}}) == "frontend 1: starting"


def test_a_log_gets_a_line_when_something_changes_and_now_and_then(capsys: pytest.CaptureFixture[str]) -> None:
    waiting = Waiting(Terminal())
    for waited_s in range(40):
        waiting.show([loading(float(waited_s), *(["guard"] if waited_s >= 5 else []))])
    waiting.end()
    assert capsys.readouterr().out.splitlines() == [
        "inference: loading orchestrator katanemo/Plano-Orchestrator-4B, guard embedded (2 s)",
        "inference: loading orchestrator katanemo/Plano-Orchestrator-4B (5 s)",
        "inference: loading orchestrator katanemo/Plano-Orchestrator-4B (35 s)",
    ]


def test_a_quick_start_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    waiting = Waiting(Terminal())
    waiting.show([loading(1.0), {"name": "frontend 0", "state": "starting", "info": {}, "waited_s": 3.0}])
    waiting.end()
    assert capsys.readouterr().out == ""


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_has_one_line_that_changes_and_then_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Screen()
    monkeypatch.setattr(sys, "stdout", screen)
    waiting = Waiting(Terminal())
    for waited_s in (1.0, 2.0, 3.0):
        waiting.show([loading(waited_s, "orchestrator")])
    waiting.end()
    assert screen.getvalue() == (
        "\r\x1b[Kinference: loading guard embedded (2 s)\r\r\x1b[Kinference: loading guard embedded (3 s)\r\r\x1b[K\r"
    )
