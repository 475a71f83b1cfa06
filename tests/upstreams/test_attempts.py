"""Retry, failover or the end: every row of the decision, the budget, the pauses, `Retry-After`."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plano.config.plan import RETRYABLE_STATUSES, RetryPlan
from plano.upstreams.attempts import (
    Decision,
    RetryBudget,
    Step,
    backoff_s,
    decide_next,
    parse_retry_after,
)
from plano.upstreams.failures import Failure, FailureKind

PLAN = RetryPlan(attempts=3, backoff_base_s=1.0, backoff_max_s=8.0, retry_after_max_s=10.0)
NOT_FINAL = [kind for kind in FailureKind if kind not in (FailureKind.STATUS, FailureKind.DEADLINE)]


def failed(kind: FailureKind = FailureKind.RESET, *, status: int = 0, retry_after_s: float | None = None) -> Failure:
    return Failure(kind, "it failed", status=status, retry_after_s=retry_after_s)


def empty_budget() -> RetryBudget:
    budget = RetryBudget(cap=0.0)
    assert not budget.withdraw(0.0)
    return budget


def decide(
    failure: Failure,
    *,
    plan: RetryPlan = PLAN,
    tries: int = 1,
    left: int = 1,
    remaining_s: float = 100.0,
    budget: RetryBudget | None = None,
    dice: float = 1.0,
) -> Decision:
    return decide_next(
        failure,
        plan,
        tries=tries,
        candidates_left=left,
        remaining_s=remaining_s,
        budget=budget or RetryBudget(),
        now_s=1000.0,
        dice=dice,
    )


# -- what may be tried again


@pytest.mark.parametrize("kind", NOT_FINAL)
def test_every_failure_without_an_answer_is_tried_again(kind: FailureKind) -> None:
    assert decide(failed(kind)).step is Step.RETRY


@pytest.mark.parametrize("status", sorted(RETRYABLE_STATUSES))
def test_statuses_of_trouble_are_tried_again(status: int) -> None:
    assert decide(failed(FailureKind.STATUS, status=status)).step is Step.RETRY


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 413, 422, 501, 505])
def test_other_statuses_are_final_whatever_candidates_are_left(status: int) -> None:
    assert decide(failed(FailureKind.STATUS, status=status)) == Decision(Step.GIVE_UP)


def test_the_statuses_are_the_providers_choice() -> None:
    plan = RetryPlan(attempts=2, statuses=frozenset({404}))
    assert decide(failed(FailureKind.STATUS, status=404), plan=plan).step is Step.RETRY
    assert decide(failed(FailureKind.STATUS, status=503), plan=plan).step is Step.GIVE_UP


def test_nothing_follows_the_deadline() -> None:
    assert decide(failed(FailureKind.DEADLINE)).step is Step.GIVE_UP
    assert decide(failed(), remaining_s=0.0).step is Step.GIVE_UP
    assert decide(failed(), remaining_s=-1.0).step is Step.GIVE_UP


# -- retry, failover, the end


@pytest.mark.parametrize(
    ("tries", "left", "step"),
    [
        (1, 0, Step.RETRY),
        (1, 2, Step.RETRY),
        (2, 0, Step.RETRY),
        (2, 2, Step.RETRY),
        (3, 2, Step.FAILOVER),
        (3, 1, Step.FAILOVER),
        (3, 0, Step.GIVE_UP),
    ],
)
def test_tries_are_used_up_before_the_next_candidate(tries: int, left: int, step: Step) -> None:
    assert decide(failed(), tries=tries, left=left).step is step


@pytest.mark.parametrize(("left", "step"), [(1, Step.FAILOVER), (0, Step.GIVE_UP)])
def test_where_a_retry_makes_no_sense_the_next_candidate_takes_over(left: int, step: Step) -> None:
    long_wait = failed(FailureKind.STATUS, status=429, retry_after_s=10.1)
    assert decide(long_wait, left=left) == Decision(step)
    assert decide(failed(), left=left, budget=empty_budget()) == Decision(step)
    assert decide(failed(), left=left, remaining_s=0.9, dice=1.0) == Decision(step)
    assert decide(failed(retry_after_s=5.0), left=left, remaining_s=5.0) == Decision(step)


def test_failover_is_not_charged() -> None:
    budget = RetryBudget(ratio=0.0, floor_per_s=0.0, cap=1.0)
    for _ in range(10):
        assert decide(failed(), tries=3, budget=budget).step is Step.FAILOVER
        assert decide(failed(retry_after_s=11.0), budget=budget).step is Step.FAILOVER
    assert decide(failed(), budget=budget).step is Step.RETRY
    assert decide(failed(), budget=budget).step is Step.FAILOVER


def test_retry_after_is_the_shortest_wait() -> None:
    assert decide(failed(retry_after_s=10.0)) == Decision(Step.RETRY, 10.0)
    assert decide(failed(retry_after_s=0.1)).delay_s == pytest.approx(1.0)
    assert decide(failed(retry_after_s=0.0)).delay_s == pytest.approx(1.0)


@given(
    st.builds(
        RetryPlan,
        attempts=st.integers(1, 100),
        backoff_base_s=st.floats(0.001, 60),
        backoff_max_s=st.floats(0.001, 60),
        retry_after_max_s=st.floats(0, 60),
    ),
    st.sampled_from(NOT_FINAL),
    st.none() | st.floats(0, 100),
    st.integers(1, 100),
    st.integers(0, 3),
    st.floats(0.001, 300),
    st.floats(0, 1, exclude_max=True),
)
def test_a_retry_always_fits(
    plan: RetryPlan,
    kind: FailureKind,
    retry_after_s: float | None,
    tries: int,
    left: int,
    remaining_s: float,
    dice: float,
) -> None:
    failure = failed(kind, retry_after_s=retry_after_s)
    decision = decide(failure, plan=plan, tries=tries, left=left, remaining_s=remaining_s, dice=dice)
    if decision.step is Step.RETRY:
        assert tries < plan.attempts
        assert (retry_after_s or 0.0) <= decision.delay_s < remaining_s
        assert decision.delay_s <= max(plan.backoff_max_s, plan.retry_after_max_s)
    else:
        assert decision.step is (Step.FAILOVER if left else Step.GIVE_UP)


# -- the pause


@pytest.mark.parametrize(("tries", "ceiling_s"), [(1, 1.0), (2, 2.0), (3, 4.0), (4, 8.0), (5, 8.0), (99, 8.0)])
def test_the_pause_doubles_up_to_its_bound_and_half_of_it_is_chance(tries: int, ceiling_s: float) -> None:
    assert backoff_s(PLAN, tries, 0.0) == pytest.approx(ceiling_s / 2)
    assert backoff_s(PLAN, tries, 0.5) == pytest.approx(ceiling_s * 0.75)
    assert backoff_s(PLAN, tries, 0.999999) == pytest.approx(ceiling_s, rel=1e-3)


# -- the budget


def test_at_low_traffic_retries_are_granted_by_the_second() -> None:
    budget = RetryBudget(ratio=0.2, floor_per_s=10.0, cap=100.0)
    assert [budget.withdraw(5.0) for _ in range(101)] == [True] * 100 + [False]
    assert [budget.withdraw(5.5) for _ in range(6)] == [True] * 5 + [False]


def test_under_load_retries_are_a_share_of_the_requests() -> None:
    budget = RetryBudget(ratio=0.25, floor_per_s=0.0, cap=10.0)
    assert sum(budget.withdraw(0.0) for _ in range(50)) == 10
    for _ in range(20):
        budget.deposit()
    assert sum(budget.withdraw(0.0) for _ in range(50)) == 5


def test_a_quiet_hour_saves_nothing_up() -> None:
    budget = RetryBudget(floor_per_s=10.0, cap=100.0)
    for _ in range(10_000):
        budget.deposit()
    assert sum(budget.withdraw(3600.0) for _ in range(500)) == 100


# -- Retry-After

NOW_S = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (b"0", 0.0),
        (b"7", 7.0),
        (b" 7 ", 7.0),
        (b"1.5", 1.5),
        (b".5", 0.5),
        (b"86400", 86400.0),
        (b"Sun, 01 Mar 2026 12:00:30 GMT", 30.0),
        (b"Sun, 01 Mar 2026 12:00:30 -0000", 30.0),
        (b"Sun, 01 Mar 2026 13:00:30 +0100", 30.0),
        (b"Sunday, 01-Mar-26 12:00:30 GMT", 30.0),
        (b"Sun Mar  1 12:00:30 2026", 30.0),
        (b"Sun, 01 Mar 2026 11:59:00 GMT", 0.0),
        (b"", None),
        (b"-1", None),
        (b"soon", None),
        (b"nan", None),
        (b"inf", None),
        (b"1e9", None),
        (b"1_0", None),
        (b"1,5", None),
        (b"0x10", None),
        (b"\xb2", None),
        (b"9" * 400, None),
        (b"Sun, 99 Mar 2026 12:00:30 GMT", None),
        (b"Sun, 01 Mar 99999999999999999999 12:00:30 GMT", None),
        (b"Sun, 01 Mar 2026 12:00:30 +9999", None),
        (b"Sun, 01 Mar 2026 12:00:30 +99999999999999999999", None),
    ],
)
def test_retry_after(value: bytes, seconds: float | None) -> None:
    assert parse_retry_after(value, NOW_S) == seconds


def test_a_date_without_a_zone_is_gmt_wherever_this_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setenv("TZ", "JST-9")
        time.tzset()
        assert parse_retry_after(b"Sun Mar  1 12:00:30 2026", NOW_S) == 30.0
        assert parse_retry_after(b"Sun, 01 Mar 2026 12:00:30 -0000", NOW_S) == 30.0
    time.tzset()


@given(st.datetimes(datetime(1990, 1, 1), datetime(2200, 1, 1)))
def test_any_http_date_is_a_wait_from_now(moment: datetime) -> None:
    at = moment.replace(tzinfo=UTC, microsecond=0)
    parsed = parse_retry_after(format_datetime(at, usegmt=True).encode(), NOW_S)
    assert parsed == max(0.0, at.timestamp() - NOW_S)


@given(st.binary(max_size=60) | st.text("0123456789 :-+.,JanFebMarGMTSun", max_size=40).map(str.encode))
def test_no_retry_after_is_more_than_senseless(value: bytes) -> None:
    seconds = parse_retry_after(value, NOW_S)
    assert seconds is None or 0.0 <= seconds < float("inf")
