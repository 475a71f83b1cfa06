"""What a user sees while a cluster is starting: which model is being loaded, and for how long already."""

from __future__ import annotations

from typing import Any

from plano.cli.terminal import Terminal

# What is ready before is not worth a line.
PATIENCE_WITH_MODELS_S = 2.0
PATIENCE_S = 10.0
REPEAT_S = 30.0  # in a log; a terminal has one line that changes


class Waiting:
    """Shows the children that are not ready yet."""

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal
        self._shown = ""
        self._shown_after_s = 0.0

    def show(self, children: list[dict[str, Any]]) -> None:
        """`children` as /cluster describes them, and for each `waited_s`, the seconds since it was started."""
        late = [
            child
            for child in children
            if child["waited_s"] >= (PATIENCE_WITH_MODELS_S if _list_loading(child) else PATIENCE_S)
        ]
        if not late:
            return
        waited_s = max(child["waited_s"] for child in late)
        text = "; ".join(describe(child) for child in late)
        if self._terminal.is_interactive:
            self._terminal.replace_line(f"{text} ({waited_s:.0f} s)")
        elif text != self._shown or waited_s - self._shown_after_s >= REPEAT_S:
            self._terminal.line(f"{text} ({waited_s:.0f} s)")
            self._shown_after_s = waited_s
        self._shown = text

    def end(self) -> None:
        """Nothing is waited for any more."""
        if self._shown and self._terminal.is_interactive:
            self._terminal.replace_line("")
        self._shown = ""


def describe(child: dict[str, Any]) -> str:
    """`inference: loading orchestrator katanemo/Plano-Orchestrator-4B`, or `frontend 0: starting`."""
    loading = _list_loading(child)
    return f"{child['name']}: loading {', '.join(loading)}" if loading else f"{child['name']}: {child['state']}"


def _list_loading(child: dict[str, Any]) -> list[str]:
    roles = child.get("info", {}).get("roles", {})
    return [
        " ".join(part for part in (name, role["model"] or role["engine"]) if part)
        for name, role in roles.items()
        if role["state"] == "loading"
    ]
