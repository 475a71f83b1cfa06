"""The circuit breaker as transcripts: what happens when, and whether the upstream may be called then."""

from __future__ import annotations

import pytest

from plano.config.plan import RetryPlan
from plano.upstreams.breaker import SHORTEST_SHARE, Breaker, is_answer, is_fault
from plano.upstreams.failures import Failure, FailureKind

LATE = 0.999_999  # the dice that leave an open time as it is, nearly


def make_breaker(failures: int = 3, open_s: float = 10.0, max_open_s: float = 60.0) -> Breaker:
    return Breaker(RetryPlan(breaker_failures=failures, breaker_open_s=open_s, breaker_max_open_s=max_open_s))


def open_breaker(now_s: float = 100.0) -> Breaker:
    """A breaker that three failures have opened at `now_s` for 10 s."""
    breaker = make_breaker()
    for _ in range(3):
        breaker.fail(now_s, LATE)
    return breaker


def test_failures_below_the_threshold_change_nothing() -> None:
    breaker = make_breaker(failures=3)
    assert [breaker.fail(100.0, LATE), breaker.fail(100.0, LATE)] == [0.0, 0.0]
    assert breaker.admit(100.0)
    assert not breaker.refuses(100.0)


def test_the_threshold_opens_the_circuit_for_its_time() -> None:
    breaker = make_breaker(failures=2)
    breaker.fail(100.0, LATE)
    assert breaker.fail(101.0, LATE) == pytest.approx(10.0, abs=0.01)
    assert not breaker.admit(101.0)
    assert not breaker.admit(110.9)
    assert breaker.refuses(110.9)
    assert not breaker.refuses(111.0)


def test_only_failures_in_a_row_count() -> None:
    breaker = make_breaker(failures=3)
    for _ in range(5):
        breaker.fail(100.0, LATE)
        breaker.fail(100.0, LATE)
        assert not breaker.succeed()
    assert breaker.admit(100.0)


def test_one_probe_goes_when_the_time_is_over() -> None:
    breaker = open_breaker(100.0)
    assert [breaker.admit(110.0), breaker.admit(110.0), breaker.admit(115.0)] == [True, False, False]


def test_a_probe_that_succeeds_closes_the_circuit() -> None:
    breaker = open_breaker(100.0)
    assert breaker.admit(110.0)
    assert breaker.succeed()
    assert [breaker.admit(110.1), breaker.admit(110.1)] == [True, True]
    assert not breaker.succeed()  # it says so once


def test_a_probe_nobody_heard_of_again_is_followed_by_another() -> None:
    breaker = open_breaker(100.0)
    assert breaker.admit(110.0)  # its client leaves
    assert not breaker.admit(119.9)
    assert breaker.admit(120.0)


def test_every_failed_probe_doubles_the_time_up_to_the_cap() -> None:
    breaker = make_breaker(failures=1, open_s=10.0, max_open_s=60.0)
    now_s, waits = 100.0, [breaker.fail(100.0, LATE)]
    for _ in range(5):
        now_s += waits[-1]
        assert breaker.admit(now_s)
        waits.append(breaker.fail(now_s, LATE))
    assert waits == pytest.approx([10, 20, 40, 60, 60, 60], abs=0.01)
    assert breaker.admit(now_s + waits[-1])
    breaker.succeed()
    assert breaker.fail(now_s, LATE) == pytest.approx(10.0, abs=0.01)  # a success forgets it all


def test_attempts_that_were_on_their_way_do_not_prolong_it() -> None:
    breaker = open_breaker(100.0)
    assert [breaker.fail(104.0, LATE), breaker.fail(109.0, LATE)] == [0.0, 0.0]
    assert breaker.admit(110.0)


def test_a_success_from_before_the_opening_closes_it() -> None:
    breaker = open_breaker(100.0)
    assert breaker.succeed()
    assert breaker.admit(101.0)


@pytest.mark.parametrize(("dice", "share"), [(0.0, SHORTEST_SHARE), (0.5, (1 + SHORTEST_SHARE) / 2), (LATE, 1.0)])
def test_the_time_is_drawn_at_random(dice: float, share: float) -> None:
    assert make_breaker(failures=1).fail(100.0, dice) == pytest.approx(10.0 * share, abs=0.01)


def test_a_threshold_of_none_never_opens() -> None:
    breaker = make_breaker(failures=0)
    assert not any(breaker.fail(100.0, LATE) for _ in range(1_000))
    assert breaker.admit(100.0)


@pytest.mark.parametrize(
    ("failure", "fault", "answer"),
    [
        (Failure(FailureKind.CONNECT, "refused"), True, False),
        (Failure(FailureKind.TIMEOUT, "slow"), True, False),
        (Failure(FailureKind.RESET, "cut"), True, False),
        (Failure(FailureKind.PROTOCOL, "no HTTP"), True, False),
        (Failure(FailureKind.STATUS, "", status=500), True, False),
        (Failure(FailureKind.STATUS, "", status=503), True, False),
        (Failure(FailureKind.STATUS, "", status=529), True, False),
        (Failure(FailureKind.STATUS, "", status=429), False, True),
        (Failure(FailureKind.STATUS, "", status=408), False, True),
        (Failure(FailureKind.STATUS, "", status=400), False, True),
        (Failure(FailureKind.EMPTY, "nothing"), False, False),
        (Failure(FailureKind.ERROR_EVENT, "error in a 200"), False, False),
        (Failure(FailureKind.OVERLOADED, "our own bound"), False, False),
        (Failure(FailureKind.CIRCUIT_OPEN, "not called"), False, False),
    ],
)
def test_what_speaks_against_an_upstream_and_what_for_it(failure: Failure, fault: bool, answer: bool) -> None:
    assert (is_fault(failure), is_answer(failure)) == (fault, answer)
