"""The retry policy of an upstream, made into its plan."""

from __future__ import annotations

from dataclasses import replace

from plano.config.names import ModelNames
from plano.config.plan import RetryPlan
from plano.config.schema.providers import CircuitBreaker, RetryPolicy


def compile_retry(policy: RetryPolicy | None, inherited: RetryPlan, names: ModelNames | None = None) -> RetryPlan:
    """The retry plan of one upstream: what its policy says, the rest as `inherited`. Without `names` it falls back on
    nobody (agents)."""
    if policy is None:
        return inherited
    base_s, max_s = inherited.backoff_base_s, inherited.backoff_max_s
    if policy.backoff is not None:
        # Only one of the two may have been given: the other then makes room for it.
        base_s = policy.backoff.base or min(base_s, policy.backoff.max or base_s)
        max_s = policy.backoff.max or max(max_s, base_s)
    breaker = policy.circuit_breaker or CircuitBreaker()
    open_s, longest_s = inherited.breaker_open_s, inherited.breaker_max_open_s
    open_s = breaker.open_for or min(open_s, breaker.max_open_for or open_s)
    longest_s = breaker.max_open_for or max(longest_s, open_s)
    changes: dict[str, object] = {
        "attempts": policy.attempts,
        "statuses": None if policy.on_statuses is None else frozenset(policy.on_statuses),
        "backoff_base_s": base_s,
        "backoff_max_s": max_s,
        "retry_after_max_s": policy.retry_after_max,
        "per_try_timeout_s": policy.per_try_timeout,
        "first_token_timeout_s": policy.first_token_timeout,
        "idle_timeout_s": policy.idle_timeout,
        "breaker_failures": breaker.failures,
        "breaker_open_s": open_s,
        "breaker_max_open_s": longest_s,
        "fallback_models": ()
        if names is None
        else tuple(dict.fromkeys(map(names.canonical, policy.fallback_models or ()))),
    }
    return replace(inherited, **{key: value for key, value in changes.items() if value is not None})  # type: ignore[arg-type]
