"""Which attempt comes next: retry, failover or the end. Pure functions; the clock and the dice are given.

The life of the attempts of one request: every candidate is tried up to its `RetryPlan.attempts` times, with backoff and
jitter between tries, then the next candidate takes over at once. All attempts share the request's deadline, and all
requests of a frontend share a retry budget, so that an upstream in trouble is not buried under retries.
"""

from __future__ import annotations

import re
from datetime import UTC
from email.utils import parsedate_to_datetime
from enum import Enum
from typing import NamedTuple

from plano.config.plan import RetryPlan
from plano.upstreams.failures import Failure

_SECONDS = re.compile(r"[0-9]+(\.[0-9]*)?|\.[0-9]+", re.ASCII)


class Step(Enum):
    RETRY = "retry"  # the same candidate again, after `delay_s`
    FAILOVER = "failover"  # the next candidate, now
    GIVE_UP = "give_up"


class Decision(NamedTuple):
    step: Step
    delay_s: float = 0.0


GIVE_UP = Decision(Step.GIVE_UP)
FAILOVER = Decision(Step.FAILOVER)


class RetryBudget:
    """Bounds retries of one frontend to a share of its requests (the idea of Finagle and Envoy's retry budgets).

    Every request deposits `ratio`, every retry withdraws one; `floor_per_s` keeps retries possible at low traffic. The
    balance is capped so that a quiet hour does not save up a storm. Failover is not charged: it burdens another
    upstream, and each candidate is tried in turn only once.
    """

    __slots__ = ("_balance", "_cap", "_floor_per_s", "_ratio", "_updated_s")

    def __init__(self, *, ratio: float = 0.2, floor_per_s: float = 10.0, cap: float = 100.0) -> None:
        self._ratio = ratio
        self._floor_per_s = floor_per_s
        self._cap = cap
        self._balance = cap
        self._updated_s = 0.0

    def deposit(self) -> None:
        balance = self._balance + self._ratio
        self._balance = balance if balance < self._cap else self._cap

    def withdraw(self, now_s: float) -> bool:
        """True when a retry is granted at monotonic time `now_s`."""
        earned = (now_s - self._updated_s) * self._floor_per_s
        self._updated_s = now_s
        self._balance = min(self._cap, self._balance + earned)
        if self._balance < 1.0:
            return False
        self._balance -= 1.0
        return True


def backoff_s(plan: RetryPlan, tries: int, dice: float) -> float:
    """Seconds to wait after `tries` tries of a candidate: exponential with "equal jitter", half fixed, half random.

    `dice` is uniform in [0, 1).
    """
    ceiling = min(plan.backoff_max_s, plan.backoff_base_s * 2.0 ** (tries - 1))
    return float(ceiling * (0.5 + 0.5 * dice))


def decide_next(
    failure: Failure,
    plan: RetryPlan,
    *,
    tries: int,
    candidates_left: int,
    remaining_s: float,
    budget: RetryBudget,
    now_s: float,
    dice: float,
) -> Decision:
    """What follows a failed attempt that relayed nothing.

    `tries`: attempts made with this candidate so far; `candidates_left`: those after it; `remaining_s`: until the
    request's deadline. A `Retry-After` up to `retry_after_max_s` is honoured as the minimum wait; a longer one means
    that this candidate will not help in time.
    """
    if not failure.may_retry(plan.statuses) or remaining_s <= 0.0:
        return GIVE_UP
    otherwise = FAILOVER if candidates_left > 0 else GIVE_UP
    if tries >= plan.attempts:
        return otherwise
    delay_s = backoff_s(plan, tries, dice)
    if failure.retry_after_s is not None:
        if failure.retry_after_s > plan.retry_after_max_s:
            return otherwise
        delay_s = max(delay_s, failure.retry_after_s)
    if delay_s >= remaining_s or not budget.withdraw(now_s):
        return otherwise
    return Decision(Step.RETRY, delay_s)


def parse_retry_after(value: bytes, now_unix_s: float) -> float | None:
    """Seconds of a `Retry-After` header (RFC 9110, 10.2.3: delta-seconds or an HTTP date); None if it makes no sense.

    Fractions are accepted, because providers send them.
    """
    text = value.decode("latin-1").strip()
    if _SECONDS.fullmatch(text):
        seconds = float(text)
        return seconds if seconds < float("inf") else None
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    if date.tzinfo is None:  # an HTTP date is in GMT whether it says so or not
        date = date.replace(tzinfo=UTC)
    return max(0.0, date.timestamp() - now_unix_s)
