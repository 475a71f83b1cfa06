"""What an inference process says of itself, every second, over the bus; and the sums that are kept of it.

report   [WIRE_VERSION, ["inference", pid, figures], []]      figures: `plano.inference.figures.ServerFigures`

A batch (`telemetry.record.Batch`) without records, whose state is that of another process.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from plano.telemetry.metrics import Histogram
from plano.telemetry.record import WIRE_VERSION

REPORT: Final = "inference"

_MAX_ROLES = 16
_MAX_ENGINE_METRICS = 200  # of one role
_METRIC_NAME = re.compile(r"[a-z][a-z0-9_]{0,99}")
_OUR_NAMES = ("ready", "starts_total")  # after `plano_inference_engine_`

Labels = tuple[str, ...]


def pack_report(pid: int, figures: Mapping[str, Any]) -> bytes:
    """The message of an inference process to the telemetry worker."""
    packed: bytes = msgspec.msgpack.encode((WIRE_VERSION, (REPORT, pid, figures), ()), enc_hook=float)
    return packed


class RoleGauges:
    """What is true of a role now. `state` is loading, ready, failed or draining."""

    __slots__ = ("engine", "engine_gauges", "model", "running", "state", "waiting")

    def __init__(self, figures: Mapping[str, Any]) -> None:
        self.state = _text(figures["state"])
        self.engine = _text(figures["engine"])
        self.model = _text(figures["model"])
        self.waiting = _count(figures["waiting"])
        self.running = _count(figures["running"])
        self.engine_gauges = {
            name: value for name, value in _engine_metrics(figures).items() if not name.endswith("_total")
        }


class InferenceNumbers:
    """The newest report of the inference process, and totals over all processes that had its place.

    `counters` maps the field of a report to values by labels; `engine_counters` the name of an engine's counter,
    without `_total`, to values by role.
    """

    def __init__(self) -> None:
        self.pid: int | None = None
        self.roles: dict[str, RoleGauges] = {}
        self.peers = 0
        self.counters: dict[str, dict[Labels, float]] = {}
        self.engine_counters: dict[str, dict[Labels, float]] = {}
        self.queue: dict[str, Histogram] = {}
        self.compute: dict[str, Histogram] = {}
        self._before: InferenceNumbers | None = None

    def report(self, pid: Any, figures: Any) -> None:
        """Takes a report off the wire. Raises ValueError, TypeError or KeyError when it is none; then nothing has
        changed."""
        fresh = InferenceNumbers()
        fresh.pid = _count(pid)
        fresh._read(figures)
        # A process that follows another counts from 0: what its predecessors counted is kept.
        before = self._before if self.pid in (None, fresh.pid) else self.copy()
        if before is not None:
            fresh._add(before)
            before._before = None
        fresh._before = before
        for name in self.__dict__:
            setattr(self, name, getattr(fresh, name))

    def copy(self) -> InferenceNumbers:
        """A copy that no later report changes."""
        twin = InferenceNumbers()
        twin.__dict__.update(self.__dict__)  # a report makes everything anew and changes nothing in place
        return twin

    def _read(self, figures: Any) -> None:
        roles = figures["roles"]
        if len(roles) > _MAX_ROLES:
            raise ValueError(f"{len(roles)} roles")
        calls: dict[Labels, float] = {}
        starts: dict[Labels, float] = {}
        for role, one in roles.items():
            self.roles[_text(role)] = RoleGauges(one)
            calls |= {(role, _text(status)): _count(n) for status, n in one["calls"].items()}
            starts[(role,)] = _count(one["starts"])
            self.queue[role] = _histogram(one["queue_s"])
            self.compute[role] = _histogram(one["compute_s"])
            for name, value in _engine_metrics(one).items():
                if name.endswith("_total"):
                    self.engine_counters.setdefault(name.removesuffix("_total"), {})[(role,)] = value
        malformed: dict[Labels, float] = {(_text(kind),): _count(n) for kind, n in figures["faults"].items()}
        malformed[("unknown_role",)] = _count(figures["unknown_role"])
        self.counters = {"calls": calls, "starts": starts, "malformed": malformed}
        for name in ("refused_peers", "lost_peers", "undelivered"):
            self.counters[name] = {(): _count(figures[name])}
        self.peers = _count(figures["peers"])

    def _add(self, other: InferenceNumbers) -> None:
        for mine, theirs in ((self.counters, other.counters), (self.engine_counters, other.engine_counters)):
            for name, values in theirs.items():
                totals = mine.setdefault(name, {})
                for labels, value in values.items():
                    totals[labels] = totals.get(labels, 0) + value
        for ours, others in ((self.queue, other.queue), (self.compute, other.compute)):
            for role, histogram in others.items():
                if role not in ours:
                    ours[role] = histogram
                elif ours[role].bounds == histogram.bounds:
                    ours[role].counts = [a + b for a, b in zip(ours[role].counts, histogram.counts, strict=True)]
                    ours[role].total += histogram.total


def _engine_metrics(figures: Mapping[str, Any]) -> dict[str, float]:
    found: dict[str, float] = {}
    for name, value in figures["engine_metrics"].items():
        # An engine's libraries name these: what Prometheus would not take is left out.
        taken = name in _OUR_NAMES or not _METRIC_NAME.fullmatch(name)
        if not taken and isinstance(value, int | float) and math.isfinite(value):
            found[name] = float(value)
        if len(found) >= _MAX_ENGINE_METRICS:
            break
    return found


def _histogram(figures: Mapping[str, Any]) -> Histogram:
    bounds = tuple(float(bound) for bound in figures["bounds_s"])
    counts = [_count(count) for count in figures["counts"]]
    if len(counts) != len(bounds) + 1 or list(bounds) != sorted(set(bounds)):
        raise ValueError("not a histogram")
    histogram = Histogram(bounds)
    histogram.counts = counts
    histogram.total = float(figures["sum_s"])
    return histogram


def _count(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise ValueError("a count is a whole number, 0 or more")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str) or len(value) > 500:
        raise ValueError("a name is a string")
    return value
