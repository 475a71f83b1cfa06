"""What a server and a client of the wire say about themselves: plain data, for metrics and for people."""

from __future__ import annotations

from bisect import bisect_left
from typing import NamedTuple, TypedDict

BUCKETS_S: tuple[float, ...] = (
    0.0001,
    0.00025,
    0.0005,
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
)


class HistogramFigures(TypedDict):
    """`counts` has one more entry than `bounds_s` (those above the last); not cumulative."""

    bounds_s: list[float]
    counts: list[int]
    sum_s: float


class RoleFigures(TypedDict):
    """One role of a server. `state`: loading, ready, failed or draining; `cause` says why it is not ready.

    `calls` counts the answers by status in lower case ("ok", "overloaded", ...). `queue_s` and `compute_s` have only
    the calls that an engine has answered. `starts` counts the engines made, `engine_metrics` is `Engine.metrics()`.
    """

    state: str
    cause: str
    engine: str
    model: str
    waiting: int
    running: int
    concurrency: int
    starts: int
    state_s: float  # seconds since the state began
    calls: dict[str, int]
    queue_s: HistogramFigures
    compute_s: HistogramFigures
    engine_metrics: dict[str, float]


class ServerFigures(TypedDict):
    """`faults` counts the frames that were no messages, by `wire.Fault`; `refused_peers` those whose keys are wrong;
    `undelivered` answers that a caller did not take; `lost_peers` callers that vanished with calls under way;
    `unknown_role` calls of a role that nobody serves here."""

    roles: dict[str, RoleFigures]
    peers: int
    faults: dict[str, int]
    refused_peers: int
    undelivered: int
    lost_peers: int
    unknown_role: int


class ReplicaFigures(NamedTuple):
    """One replica as a client sees it. `others` are calls of other clients, as of its last health. `roles` maps a role
    to its state; `cause` says why it is not alive."""

    address: str
    alive: bool
    outstanding: int
    others: int
    roles: dict[str, str]
    cause: str


class ClientFigures(NamedTuple):
    """`ready`: how many live replicas serve a role. `outcomes` counts by (role, status in lower case). `moved` calls
    went to a second replica, `late` answers came when nobody waited, `faults` were no messages at all."""

    replicas: tuple[ReplicaFigures, ...]
    alive: int
    outstanding: int
    ready: dict[str, int]
    outcomes: dict[tuple[str, str], int]
    moved: int
    late: int
    faults: int
    lookup_failures: int


class Histogram:
    """Seconds, counted in `BUCKETS_S`."""

    __slots__ = ("counts", "sum_s")

    def __init__(self) -> None:
        self.counts = [0] * (len(BUCKETS_S) + 1)
        self.sum_s = 0.0

    def add(self, value_s: float) -> None:
        self.counts[bisect_left(BUCKETS_S, value_s)] += 1
        self.sum_s += value_s

    def figures(self) -> HistogramFigures:
        return {"bounds_s": list(BUCKETS_S), "counts": list(self.counts), "sum_s": self.sum_s}
