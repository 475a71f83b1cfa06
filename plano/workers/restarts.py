"""When a child that died is started again. Pure: no clocks, no processes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple


@dataclass(frozen=True, slots=True)
class SupervisionPolicy:
    """The times of supervision, all in seconds.

    A child is pinged every `ping_interval_s` and killed when it has been silent for `hang_timeout_s`. It is also killed
    when it has not said a word `first_word_timeout_s` after its start, or is not ready after `start_timeout_s` (None:
    it may take as long as it answers pings). A death within `short_life_s` of the start counts as one in a row.

    An inference process may load a large model for minutes, in libraries that hold the interpreter for seconds.
    """

    ping_interval_s: float = 1.0
    hang_timeout_s: float = 10.0
    inference_hang_timeout_s: float = 30.0
    first_word_timeout_s: float = 30.0
    start_timeout_s: float | None = 30.0
    short_life_s: float = 10.0
    backoff_first_s: float = 0.25
    backoff_max_s: float = 5.0
    start_attempts: int = 3
    kill_grace_s: float = 2.0
    inference_drain_s: float = 5.0
    telemetry_drain_s: float = 5.0

    def for_inference(self) -> SupervisionPolicy:
        """The policy of an inference process."""
        return replace(self, hang_timeout_s=self.inference_hang_timeout_s, start_timeout_s=None)


class Signs(NamedTuple):
    """What is known of a running child, in seconds: its age, and for how long it has said nothing. `has_spoken`: it has
    ever said anything."""

    age_s: float
    silent_s: float
    has_spoken: bool
    is_ready: bool


def find_reason_to_kill(policy: SupervisionPolicy, signs: Signs) -> str | None:
    """What is wrong with a child that is to be killed for it; None when all is well."""
    if signs.has_spoken and signs.silent_s > policy.hang_timeout_s:
        return f"has not answered for {signs.silent_s:.0f} s"
    limits_s = (policy.start_timeout_s, None if signs.has_spoken else policy.first_word_timeout_s)
    if not signs.is_ready and any(limit_s is not None and signs.age_s > limit_s for limit_s in limits_s):
        return f"is not ready after {signs.age_s:.0f} s"
    return None


class RestartBackoff:
    """The delays of one child's restarts: none the first time, then doubling while it keeps dying young."""

    def __init__(self, policy: SupervisionPolicy) -> None:
        self._policy = policy
        self._deaths_in_a_row = 0

    def delay_after(self, lifetime_s: float) -> float:
        """Seconds to wait before the next start, given how long the child has lived."""
        if lifetime_s >= self._policy.short_life_s:
            self._deaths_in_a_row = 0
        self._deaths_in_a_row += 1
        if self._deaths_in_a_row == 1:
            return 0.0
        delay: float = self._policy.backoff_first_s * 2 ** min(self._deaths_in_a_row - 2, 16)
        return min(delay, self._policy.backoff_max_s)
