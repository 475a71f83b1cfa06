"""The retry safety rule, and what a failure says."""

from __future__ import annotations

import pytest

from plano.config.plan import RETRYABLE_STATUSES
from plano.upstreams.failures import Failure, FailureKind


@pytest.mark.parametrize("kind", FailureKind)
def test_only_statuses_and_the_deadline_can_be_final(kind: FailureKind) -> None:
    failure = Failure(kind, "x", status=400)
    assert failure.may_retry(RETRYABLE_STATUSES) is (kind not in (FailureKind.STATUS, FailureKind.DEADLINE))


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504, 529])
def test_statuses_of_trouble_by_default(status: int) -> None:
    assert Failure(FailureKind.STATUS, "x", status=status).may_retry(RETRYABLE_STATUSES)


def test_a_failure_is_shown_without_the_upstreams_words() -> None:
    shown = repr(Failure(FailureKind.STATUS, "status 401", status=401, body=b"the key sk-1 is wrong"))
    assert shown == "Failure(status, status=401, 'status 401')"
