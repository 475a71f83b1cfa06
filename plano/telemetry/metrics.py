"""Request records into numbers: plain dicts keyed by label values, made for a few microseconds per record.

No clock, no socket. `exposition.py` turns a copy of the numbers into the text that Prometheus reads.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Sequence
from typing import Any, Final

from plano.telemetry.names import (
    DURATION_BUCKETS_S,
    FIRST_TOKEN_BUCKETS_S,
    INLINE_ROUTE,
    NO_MODEL,
    NO_ROUTE,
    OTHER,
    OUTPUT_TOKEN_BUCKETS_S,
)

# The places of the fields of a record that are counted.
_LISTENER: Final = 4
_METHOD: Final = 5
_PROVIDER: Final = 8
_MODEL: Final = 9
_STATUS: Final = 10
_ERROR: Final = 11
_STREAMING: Final = 12
_CLIENT_GONE: Final = 13
_DURATION_S: Final = 15
_TTFT_S: Final = 16
_TOKENS_IN: Final = 19
_TOKENS_OUT: Final = 20
_TOKENS_CACHED: Final = 21
_TOKENS_REASONING: Final = 22
_ATTEMPTS: Final = 23
_DROPPED: Final = 24
_JUDGEMENT: Final = 25

_INFINITY: Final = float("inf")
_MAX_DROPPED = 32  # names of one record
_INDEX = re.compile(r"\[\d+\]")
_MAX_VALUES = 200  # distinct values of a label that we name ourselves: error codes, kinds of failure, listeners


class MalformedRecord(ValueError):
    """Not a record: nothing of it was counted."""


class Histogram:
    """Counts by bucket. `counts` has one entry more than `bounds`, for what is above them all."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        """`value` is in the unit of the bounds."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def copy(self) -> Histogram:
        """An independent copy."""
        twin = Histogram(self.bounds)
        twin.counts, twin.total = self.counts.copy(), self.total
        return twin


class ModelSeries:
    """What is counted per (provider, model)."""

    __slots__ = ("cached", "first_token", "input", "output", "output_token", "reasoning", "usage_missing")

    def __init__(self) -> None:
        self.first_token = Histogram(FIRST_TOKEN_BUCKETS_S)
        self.output_token = Histogram(OUTPUT_TOKEN_BUCKETS_S)
        self.input = self.output = self.cached = self.reasoning = 0
        self.usage_missing = 0

    def copy(self) -> ModelSeries:
        """An independent copy."""
        twin = ModelSeries()
        twin.first_token, twin.output_token = self.first_token.copy(), self.output_token.copy()
        twin.input, twin.output, twin.cached, twin.reasoning = self.input, self.output, self.cached, self.reasoning
        twin.usage_missing = self.usage_missing
        return twin


class RequestSeries:
    """What is counted per (listener, provider, model), the labels. `ok` is the label triple of the usual attempt."""

    __slots__ = ("duration", "listener", "model", "ok", "statuses")

    def __init__(self, listener: str, model: ModelSeries, ok: tuple[str, str, str]) -> None:
        self.listener = listener
        self.duration = Histogram(DURATION_BUCKETS_S)
        self.statuses: dict[int, int] = {}
        self.model = model
        self.ok = ok


class RequestMetrics:
    """The totals of every request that any frontend reported since this process began.

    At most `max_model_pairs` distinct (provider, model) pairs become labels; later ones are counted under the model
    "other". A request without a model is counted under "none".
    """

    def __init__(self, max_model_pairs: int = 1_000) -> None:
        self.requests: dict[tuple[str, str, str], RequestSeries] = {}
        self.models: dict[tuple[str, str], ModelSeries] = {}
        self.attempts: dict[tuple[str, str, str], int] = {}
        self.retries: dict[tuple[str, str, str], int] = {}
        self.failovers: dict[tuple[str, str, str], int] = {}
        self.disconnects: dict[str, int] = {}
        self.errors: dict[tuple[str, str], int] = {}
        self.dropped: dict[tuple[str, str], int] = {}
        self.routed: dict[tuple[str, str], int] = {}
        self.verdicts: dict[tuple[str, str], int] = {}
        self.degraded: dict[tuple[str, str], int] = {}
        self._max_model_pairs = max_model_pairs
        self._values: dict[str, set[str]] = {}

    def add(self, record: Any) -> None:
        """Counts one record (the fields of `Record`, as they came off the wire).

        Raises MalformedRecord and counts nothing when it is none. Everything is checked before the first number
        moves.
        """
        try:
            fields: tuple[Any, ...] = record
            # By their places, as most are not needed here; what a newer frontend appended is not looked at.
            listener, provider, model = fields[_LISTENER], fields[_PROVIDER], fields[_MODEL]
            status, error = fields[_STATUS], fields[_ERROR]
            streaming: bool = fields[_STREAMING]
            client_gone: bool = fields[_CLIENT_GONE]
            duration_s: float = fields[_DURATION_S]
            ttft_s: float | None = fields[_TTFT_S]
            tokens_in: int | None = fields[_TOKENS_IN]
            tokens_out: int | None = fields[_TOKENS_OUT]
            tokens_cached: int | None = fields[_TOKENS_CACHED]
            tokens_reasoning: int | None = fields[_TOKENS_REASONING]
            attempts, dropped, judgement = fields[_ATTEMPTS], fields[_DROPPED], fields[_JUDGEMENT]
            series = self.requests.get((listener, provider, model))
            if series is None:
                series = self._new_series(listener, provider, model)
            statuses = series.statuses
            if status not in statuses:
                _check_status(status)
            numbers = series.model
            per_token_s = None
            if not (
                0.0 <= duration_s < _INFINITY
                and (ttft_s is None or 0.0 <= ttft_s < _INFINITY)
                and (tokens_in is None or tokens_in >= 0)
                and (tokens_out is None or tokens_out >= 0)
                and (tokens_cached is None or tokens_cached >= 0)
                and (tokens_reasoning is None or tokens_reasoning >= 0)
            ):
                raise MalformedRecord("a number is out of range")
            if error:
                error = self._bounded("code", error)
            if dropped:
                # `tools[3].strict` is the same loss as `tools[0].strict`
                dropped = [self._bounded("field", _INDEX.sub("[]", name)) for name in dropped[:_MAX_DROPPED]]
            if judgement is not None:
                judgement = self._label_judgement(*judgement)
            if attempts:
                attempts = [self._attempt(*attempt) for attempt in attempts]
            if streaming and tokens_out is not None and tokens_out > 1 and ttft_s is not None and duration_s >= ttft_s:
                per_token_s = (duration_s - ttft_s) / (tokens_out - 1)
        except (TypeError, ValueError, LookupError, OverflowError) as problem:
            raise MalformedRecord(str(problem)) from problem

        statuses[status] = statuses.get(status, 0) + 1
        series.duration.observe(duration_s)
        if streaming and ttft_s is not None:
            numbers.first_token.observe(ttft_s)
            if per_token_s is not None:
                numbers.output_token.observe(per_token_s)
        if tokens_in is not None or tokens_out is not None:
            numbers.input += tokens_in or 0
            numbers.output += tokens_out or 0
            numbers.cached += tokens_cached or 0
            numbers.reasoning += tokens_reasoning or 0
        elif 200 <= status < 300 and provider and fields[_METHOD] == b"POST" and not (client_gone or error):
            numbers.usage_missing += 1
        if attempts:
            self._count_attempts(attempts)
        elif provider:
            self.attempts[series.ok] = self.attempts.get(series.ok, 0) + 1
        listener = series.listener
        if client_gone:
            self.disconnects[listener] = self.disconnects.get(listener, 0) + 1
        if dropped:
            for name in dropped:
                key = (series.ok[0], name)
                self.dropped[key] = self.dropped.get(key, 0) + 1
        if judgement is not None:
            self._count_judgement(listener, *judgement)
        if error:
            self.errors[listener, error] = self.errors.get((listener, error), 0) + 1

    def copy(self) -> RequestMetrics:
        """An independent copy, to be rendered elsewhere while this one goes on counting."""
        twin = RequestMetrics(self._max_model_pairs)
        twin.models = {pair: series.copy() for pair, series in self.models.items()}
        for key, series in self.requests.items():
            twin.requests[key] = copied = RequestSeries(key[0], twin.models[key[1:]], series.ok)
            copied.duration, copied.statuses = series.duration.copy(), series.statuses.copy()
        twin.attempts, twin.retries, twin.failovers = self.attempts.copy(), self.retries.copy(), self.failovers.copy()
        twin.dropped = self.dropped.copy()
        twin.routed, twin.verdicts, twin.degraded = self.routed.copy(), self.verdicts.copy(), self.degraded.copy()
        twin.disconnects, twin.errors = self.disconnects.copy(), self.errors.copy()
        return twin

    def _new_series(self, listener: Any, provider: Any, model: Any) -> RequestSeries:
        if not (isinstance(listener, str) and isinstance(provider, str) and isinstance(model, str)):
            raise MalformedRecord("listener, provider and model are strings")
        labels = self._model_labels(provider, model)
        listener = self._bounded("listener", listener)
        key = (listener, *labels)
        series = self.requests.get(key)
        if series is None:
            numbers = self.models.setdefault(labels, ModelSeries())
            series = self.requests[key] = RequestSeries(listener, numbers, (*labels, "ok"))
        return series

    def _model_labels(self, provider: str, model: str) -> tuple[str, str]:
        """The labels of a model, which become known by this; (provider, "other") when there are too many already."""
        pair = (provider or NO_MODEL, model or NO_MODEL)
        if pair in self.models:
            return pair
        if len(self.models) >= self._max_model_pairs:
            pair = (self._bounded("provider", pair[0]), OTHER)
        self.models.setdefault(pair, ModelSeries())
        return pair

    def _bounded(self, label: str, value: Any) -> str:
        """`value`, or "other" when this label has had its share of distinct values."""
        if not isinstance(value, str):
            raise MalformedRecord(f"{label} is a string")
        known = self._values.setdefault(label, set())
        if value in known:
            return value
        if len(known) >= _MAX_VALUES:
            return OTHER
        known.add(value)
        return value

    def _attempt(self, provider: Any, model: Any, status: Any, error: Any, _duration_s: Any) -> tuple[str, str, str]:
        """(provider, model, outcome) of an attempt as labels."""
        if not (isinstance(provider, str) and isinstance(model, str)):
            raise MalformedRecord("provider and model of an attempt are strings")
        outcome = error or "ok"
        if error == "status":
            _check_status(status)
            outcome = f"status_{status}"
        return (*self._model_labels(provider, model), self._bounded("outcome", outcome))

    def _label_judgement(
        self,
        routes: Sequence[Any],
        configured: Any,
        routed: Any,
        _confidence: Any,
        probability: Any,
        flagged: Any,
        blocked: Any,
        degraded: Sequence[Any],
    ) -> tuple[list[str], str | None, list[str]]:
        """(routes, verdict, degraded roles) as labels. The names of a request's own routes are anybody's: no labels."""
        chosen = []
        degraded = [self._bounded("role", role) for role in degraded]
        if routes:
            chosen = [self._bounded("route", name) for name in routes] if configured else [INLINE_ROUTE]
        elif routed and "orchestrator" not in degraded and "function" not in degraded:
            chosen = [NO_ROUTE]
        verdict = None
        if probability is not None:
            verdict = "blocked" if blocked else "flagged" if flagged else "passed"
        return chosen, verdict, degraded

    def _count_judgement(self, listener: str, routes: list[str], verdict: str | None, degraded: list[str]) -> None:
        for route in routes:
            self.routed[listener, route] = self.routed.get((listener, route), 0) + 1
        if verdict is not None:
            self.verdicts[listener, verdict] = self.verdicts.get((listener, verdict), 0) + 1
        for role in degraded:
            self.degraded[listener, role] = self.degraded.get((listener, role), 0) + 1

    def _count_attempts(self, attempts: list[tuple[str, str, str]]) -> None:
        """Counts attempts in the order they were made: one that follows another that failed is a retry or a failover.
        After one that went well comes the next step: an agent's turn, the model that words a target's answer."""
        previous: tuple[str, str, str] | None = None
        for attempt in attempts:
            self.attempts[attempt] = self.attempts.get(attempt, 0) + 1
            if previous is not None and previous[2] != "ok":
                if previous[:2] == attempt[:2]:
                    self.retries[previous] = self.retries.get(previous, 0) + 1
                else:
                    move = (previous[0], attempt[0], previous[2])
                    self.failovers[move] = self.failovers.get(move, 0) + 1
            previous = attempt


def _check_status(status: Any) -> None:
    if type(status) is not int or not 0 <= status <= 999:
        raise MalformedRecord("status is an HTTP status or 0")
