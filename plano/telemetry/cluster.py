"""What the telemetry worker knows of the processes of the cluster: from the supervisor, and from the frontends."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from plano.telemetry.record import FrontendState, InferenceView

SILENT_AFTER_S = 15.0
INFERENCE_TOTALS = ("moved", "late", "faults", "lookup_failures")


@dataclass(slots=True)
class _Reported:
    """The last state of a frontend and when it came. `dropped_before` and `inference_before` are the totals of the
    processes that had its index."""

    state: FrontendState
    seen: float
    dropped_before: int
    inference_before: dict[str, int]


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
        state = _read_state(fields)
        before = self._reported.get(state.frontend)
        dropped_before = 0
        inference_before = dict.fromkeys(INFERENCE_TOTALS, 0)
        if before is not None:
            dropped_before = before.dropped_before
            inference_before = before.inference_before
            if before.state.pid != state.pid:
                dropped_before += before.state.dropped_records_total
                inference_before = _add_totals(inference_before, before.state.inference)
        self._reported[state.frontend] = _Reported(state, now, dropped_before, inference_before)

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

    def inference_totals(self) -> dict[str, dict[int, int]]:
        """The totals of `InferenceView` by name and frontend index, over all processes that had it."""
        totals: dict[str, dict[int, int]] = {name: {} for name in INFERENCE_TOTALS}
        for index, reported in sorted(self._reported.items()):
            for name, total in _add_totals(reported.inference_before, reported.state.inference).items():
                totals[name][index] = total
        return totals

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
        """What requests are served without, now: children, models of an inference process that have failed, and
        inference processes, wherever they run, when none of them answers a frontend."""
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
        cut_off = self._cut_off()
        if cut_off and not lost:  # else it is told already why
            lost.append({"child": "inference", "state": "unreachable", "frontends": cut_off})
        return lost

    def _cut_off(self) -> list[int]:
        """The living frontends that no inference process answers."""
        return [
            index
            for index, reported in sorted(self._reported.items())
            if self._pids.get(index) == reported.state.pid
            and reported.state.inference is not None
            and reported.state.inference.addresses
            and not reported.state.inference.alive
        ]

    def is_ready(self) -> bool:
        """Whether everything that `not_ready` speaks of is there and the cluster means to go on."""
        return bool(self.children) and not self.is_draining and not self.not_ready()


def _add_totals(before: dict[str, int], view: InferenceView | None) -> dict[str, int]:
    return before if view is None else {name: total + getattr(view, name) for name, total in before.items()}


def _read_state(fields: Any) -> FrontendState:
    """Fields that are not known here are those of a newer frontend. Raises ValueError or TypeError."""
    state = FrontendState(*fields[: len(FrontendState._fields)])
    _check_state(state)
    if state.inference is None:
        return state
    view = InferenceView(*state.inference[: len(InferenceView._fields)])
    if not all(type(count) is int and count >= 0 for count in view):
        raise ValueError("what a frontend says of inference are counts")
    return state._replace(inference=view)


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
