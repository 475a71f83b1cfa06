"""What the telemetry worker knows of the processes of the cluster: from the supervisor, and from the frontends."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from plano.telemetry.record import FrontendState

SILENT_AFTER_S = 15.0


@dataclass(slots=True)
class _Reported:
    """The last state of a frontend and when it came. `dropped_before` counts the frontends that had its index."""

    state: FrontendState
    seen: float
    dropped_before: int


class ClusterPicture:
    """Children as the supervisor describes them, and the frontends' own numbers.

    Times are monotonic seconds, given by the caller.
    """

    def __init__(self) -> None:
        self.children: list[dict[str, Any]] = []
        self.is_draining = False
        self._reported: dict[int, _Reported] = {}
        self._pids: dict[int, int | None] = {}

    def update(self, children: list[dict[str, Any]], is_draining: bool) -> None:
        """The supervisor's newest picture. Numbers of a frontend process that is no more are no longer shown."""
        self.children = children
        self.is_draining = is_draining
        self._pids = {child["index"]: child["pid"] for child in children if child["role"] == "frontend"}

    def report(self, fields: Any, now: float) -> None:
        """A frontend's state, off the wire. Raises ValueError or TypeError when it is none."""
        state = FrontendState(*fields)
        _check_state(state)
        before = self._reported.get(state.frontend)
        dropped_before = 0
        if before is not None:
            dropped_before = before.dropped_before
            if before.state.pid != state.pid:
                dropped_before += before.state.dropped_records_total
        self._reported[state.frontend] = _Reported(state, now, dropped_before)

    def live_frontends(self, now: float) -> list[FrontendState]:
        """The frontends whose numbers still stand, in order.

        A frontend only reports what changes, so silence says nothing while the supervisor vouches for its process.
        """
        return [
            reported.state for index, reported in sorted(self._reported.items()) if self._stands(index, reported, now)
        ]

    def _stands(self, index: int, reported: _Reported, now: float) -> bool:
        if index in self._pids:
            return self._pids[index] == reported.state.pid
        return now - reported.seen <= SILENT_AFTER_S

    def dropped_records(self) -> dict[int, int]:
        """Records dropped by frontend index, over all processes that had it."""
        return {
            index: reported.dropped_before + reported.state.dropped_records_total
            for index, reported in sorted(self._reported.items())
        }

    def not_ready(self) -> list[dict[str, Any]]:
        """What the cluster cannot take requests without, now, and why: its frontends; without any, inference. Beside
        frontends inference is waited for only once, for they serve without it when it is lost."""
        alone = not any(child["role"] == "frontend" for child in self.children)
        return [
            {"child": child["name"], "state": child["state"]}
            for child in self.children
            if child["state"] != "ready"
            and (
                child["role"] == "frontend"
                or (child["role"] == "inference" and (alone or not child.get("proven", False)))
            )
        ]

    def degraded(self) -> list[dict[str, Any]]:
        """What requests are served without, now: children, and models of an inference process that have failed."""
        lost = [
            {"child": child["name"], "state": child["state"]}
            for child in self.children
            if child["role"] == "inference" and child["state"] != "ready"
        ]
        for child in self.children:
            if child["role"] == "inference" and child["state"] == "ready":
                roles = child.get("info", {}).get("roles", {})
                lost += [
                    {"child": f"{child['name']} ({name})", "state": role["state"]}
                    for name, role in roles.items()
                    if role["state"] != "ready"
                ]
        return lost

    def is_ready(self) -> bool:
        """Whether everything that `not_ready` speaks of is there and the cluster means to go on."""
        return bool(self.children) and not self.is_draining and not self.not_ready()


def _check_state(state: FrontendState) -> None:
    counts = (state.frontend, state.pid, state.dropped_records_total)
    if not all(type(count) is int and count >= 0 for count in counts):
        raise ValueError("frontend, pid and dropped_records_total are counts")
    for gauge in (state.in_flight, state.connections):
        if not all(isinstance(listener, str) and isinstance(value, int) for listener, value in gauge.items()):
            raise ValueError("a gauge is a map of listener to number")
    if not isinstance(state.loop_lag_s, (int, float)):
        raise TypeError("loop_lag_s is seconds")
    if not all(isinstance(provider, str) and isinstance(model, str) for provider, model in state.open_circuits):
        raise TypeError("an open circuit is a provider and a model")
    for listener, (ends_unix_s, refused) in state.certificates.items():
        if not (isinstance(listener, str) and isinstance(ends_unix_s, (int, float)) and isinstance(refused, bool)):
            raise TypeError("a certificate is a listener, a time and whether newer files were refused")
