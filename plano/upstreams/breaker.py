"""A circuit breaker: an upstream that fails again and again is left alone for a while. Pure; clock and dice are given.

Closed, it counts consecutive failures. At the threshold it opens: the upstream is passed over, for a time that doubles
with every failed probe. When the time is over one attempt is let through as a probe (half-open). Any success closes it.
Whoever walks the candidates decides what to do when nothing else is left: an open circuit is advice, not a wall.
"""

from __future__ import annotations

from typing import Final

from plano.config.plan import RetryPlan
from plano.upstreams.failures import Failure, FailureKind

# An open time is drawn from this share of itself to the whole, so that frontends do not all probe at the same instant.
SHORTEST_SHARE: Final = 0.75

# Failures of the upstream, or of the way to it, whatever the request was. An error in a 200 and an empty answer are not
# among them: one client's odd request must not close a provider to all others.
_FAULTS: Final = frozenset(
    {FailureKind.CONNECT, FailureKind.TIMEOUT, FailureKind.DEADLINE, FailureKind.RESET, FailureKind.PROTOCOL}
)


class Breaker:
    """See the module. Times are monotonic seconds.

    `open_until_s` is 0.0 when closed, else when the next probe may go. `failures` are the consecutive ones. Both are
    read for every attempt, hence plain attributes: nothing needs to be called while all is well.
    """

    __slots__ = ("_longest_s", "_next_s", "_open_s", "_probing", "_threshold", "failures", "open_until_s")

    def __init__(self, plan: RetryPlan) -> None:
        self._threshold = plan.breaker_failures
        self._open_s = plan.breaker_open_s
        self._longest_s = plan.breaker_max_open_s
        self._next_s = plan.breaker_open_s
        self._probing = False
        self.failures = 0
        self.open_until_s = 0.0

    def refuses(self, now_s: float) -> bool:
        """Is the upstream to be passed over now? Changes nothing."""
        return self.open_until_s > now_s

    def admit(self, now_s: float) -> bool:
        """May an attempt be made now? When the open time is over the first who asks is the probe; the others are
        refused for a while longer, so that a probe whose client leaves only costs time."""
        if self.open_until_s == 0.0:
            return True
        if self.open_until_s > now_s:
            return False
        self._probing = True
        self.open_until_s = now_s + self._open_s
        return True

    def succeed(self) -> bool:
        """The upstream is well. True when this closes the circuit."""
        was_open = self.open_until_s != 0.0
        self.failures = 0
        self.open_until_s = 0.0
        self._probing = False
        self._next_s = self._open_s
        return was_open

    def fail(self, now_s: float, dice: float) -> float:
        """The upstream is not well. The seconds for which this opens the circuit (anew), 0.0 if it does not.

        `dice` is uniform in [0, 1). What was on its way when the circuit opened says nothing new.
        """
        self.failures += 1
        is_open = self.open_until_s != 0.0
        if self._threshold == 0 or (not is_open and self.failures < self._threshold) or (is_open and not self._probing):
            return 0.0
        self._probing = False
        wait_s = self._next_s * (SHORTEST_SHARE + (1.0 - SHORTEST_SHARE) * dice)
        self._next_s = min(self._longest_s, self._next_s * 2.0)
        self.open_until_s = now_s + wait_s
        return wait_s


def is_fault(failure: Failure) -> bool:
    """Does this failure count against the upstream? A 429 does not: an upstream that says when to come back is well."""
    if failure.kind is FailureKind.STATUS:
        return failure.status >= 500
    return failure.kind in _FAULTS


def is_answer(failure: Failure) -> bool:
    """Does this failure show that the upstream is well? A refused request does, for somebody has read it."""
    return failure.kind is FailureKind.STATUS and failure.status < 500
