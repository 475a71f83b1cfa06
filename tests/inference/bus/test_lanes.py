"""The queue of a role, with a clock of the test's own."""

from __future__ import annotations

from typing import Any

import pytest

from plano.inference.engines.engine import Job
from plano.inference.lanes import DRAINING, FAILED, Lane, Peer, Ticket
from plano.inference.wire import Status
from tests.inference.bus.ends import InstantEngine, ParkedEngine


class Rig:
    """A lane, and what it has answered, as (id, status)."""

    def __init__(self, queue: int = 10, concurrency: int | None = None) -> None:
        self.now_s = 100.0
        self.answers: list[tuple[int, Status]] = []
        self.times: list[tuple[int, int]] = []
        self.bodies: list[Any] = []
        self.wants_dispatch = 0
        self.lane = Lane("guard", queue, concurrency, lambda: self.now_s, self._take_answer, self._take_wish)
        self._peer = Peer(b"caller", self.now_s)

    def offer(self, id: int, timeout_s: float = 10.0) -> Ticket:
        ticket = Ticket(self.lane, self._peer, id, f"body {id}", self.now_s, self.now_s + timeout_s, b"")
        self.lane.offer(ticket)
        return ticket

    def statuses(self) -> dict[int, Status]:
        return dict(self.answers)

    def _take_answer(self, ticket: Ticket, status: Status, queue_us: int, compute_us: int, body: Any) -> None:
        self.answers.append((ticket.id, status))
        self.times.append((queue_us, compute_us))
        self.bodies.append(body)

    def _take_wish(self, lane: Lane) -> None:
        self.wants_dispatch += 1


@pytest.fixture
def engine() -> ParkedEngine:
    return ParkedEngine(concurrency=4)


def test_calls_that_wait_are_handed_over_together_in_their_order(engine: ParkedEngine) -> None:
    rig = Rig()
    rig.lane.open(engine)
    for id in range(1, 4):
        rig.offer(id)
    assert not engine.batches
    rig.lane.dispatch()
    assert [[job.request for job in batch] for batch in engine.batches] == [["body 1", "body 2", "body 3"]]


def test_no_more_run_than_the_engine_wants_and_the_next_follow(engine: ParkedEngine) -> None:
    rig = Rig()
    rig.lane.open(engine)
    for id in range(1, 8):
        rig.offer(id)
    rig.lane.dispatch()
    rig.lane.dispatch()
    assert [len(batch) for batch in engine.batches] == [4]
    wishes = rig.wants_dispatch
    engine.jobs[0].finish({})
    engine.jobs[1].finish({})
    assert rig.wants_dispatch > wishes
    rig.lane.dispatch()
    assert [len(batch) for batch in engine.batches] == [4, 2]


def test_the_configured_concurrency_goes_before_the_engines(engine: ParkedEngine) -> None:
    rig = Rig(concurrency=1)
    rig.lane.open(engine)
    rig.offer(1)
    rig.offer(2)
    rig.lane.dispatch()
    assert len(engine.jobs) == 1


def test_a_full_queue_answers_at_once(engine: ParkedEngine) -> None:
    rig = Rig(queue=2)
    rig.lane.open(engine)
    for id in range(1, 7):  # four run or are about to, two wait
        rig.offer(id)
    assert not rig.answers
    rig.offer(7)
    assert rig.answers == [(7, Status.OVERLOADED)]
    rig.lane.dispatch()
    rig.offer(8)
    assert rig.answers[-1] == (8, Status.OVERLOADED)
    engine.jobs[0].finish({})
    rig.lane.dispatch()
    rig.offer(9)
    assert 9 not in rig.statuses()


def test_what_has_expired_is_never_started(engine: ParkedEngine) -> None:
    rig = Rig()
    rig.lane.open(engine)
    rig.offer(1, timeout_s=0.0)
    rig.offer(2, timeout_s=1.0)
    rig.offer(3, timeout_s=5.0)
    rig.now_s += 2.0
    rig.lane.dispatch()
    assert rig.answers == [(1, Status.EXPIRED), (2, Status.EXPIRED)]
    assert [job.request for job in engine.jobs] == ["body 3"]


def test_a_cancelled_call_leaves_the_queue_and_makes_room(engine: ParkedEngine) -> None:
    rig = Rig(queue=1, concurrency=1)
    rig.lane.open(engine)
    rig.offer(1)
    rig.lane.dispatch()
    waiting = rig.offer(2)
    waiting.cancel(Status.CANCELLED)
    rig.offer(3)
    assert rig.answers == [(2, Status.CANCELLED)]
    engine.jobs[0].finish({})
    rig.lane.dispatch()
    assert [job.request for job in engine.jobs] == ["body 1", "body 3"]


def test_a_cancelled_job_is_cancelled_in_the_engine_once(engine: ParkedEngine) -> None:
    rig = Rig()
    rig.lane.open(engine)
    ticket = rig.offer(1)
    rig.lane.dispatch()
    ticket.cancel(Status.CANCELLED)
    ticket.cancel(Status.EXPIRED)
    ticket.finish({"too": "late"})
    assert engine.cancelled == [ticket]
    assert rig.answers == [(1, Status.CANCELLED)]


def test_times_are_told_in_microseconds(engine: ParkedEngine) -> None:
    rig = Rig()
    rig.lane.open(engine)
    rig.offer(1)
    rig.now_s += 0.5
    rig.lane.dispatch()
    rig.now_s += 0.25
    engine.jobs[0].finish({})
    assert rig.times == [(500_000, 250_000)]
    figures = rig.lane.figures()
    assert figures["queue_s"]["sum_s"] == pytest.approx(0.5)
    assert figures["compute_s"]["sum_s"] == pytest.approx(0.25)
    assert sum(figures["compute_s"]["counts"]) == 1
    assert figures["calls"] == {"ok": 1}


def test_without_an_engine_there_is_no_service_and_the_reason_is_told(engine: ParkedEngine) -> None:
    rig = Rig()
    rig.offer(1)
    rig.lane.set_state(FAILED, "out of memory")
    rig.offer(2)
    assert rig.statuses() == {1: Status.UNAVAILABLE, 2: Status.UNAVAILABLE}
    assert rig.bodies == ["guard: loading", "guard: failed (out of memory)"]


def test_an_engine_that_closes_fails_what_waits_and_what_runs(engine: ParkedEngine) -> None:
    rig = Rig(concurrency=1)
    rig.lane.open(engine)
    rig.offer(1)
    rig.lane.dispatch()
    rig.offer(2)
    rig.lane.close("the core has died")
    assert rig.statuses() == {1: Status.UNAVAILABLE, 2: Status.UNAVAILABLE}
    assert not rig.lane.waiting
    assert not rig.lane.running
    rig.lane.dispatch()
    engine.jobs[0].finish({})
    assert len(rig.answers) == 2


def test_an_engine_that_raises_fails_its_jobs_only(caplog: pytest.LogCaptureFixture) -> None:
    class Raising(InstantEngine):
        def submit(self, jobs: Any) -> None:
            jobs[0].finish({})
            raise RuntimeError("a bug")

    rig = Rig()
    rig.lane.open(Raising())
    rig.offer(1)
    rig.offer(2)
    rig.lane.dispatch()
    assert rig.statuses() == {1: Status.OK, 2: Status.FAILED}
    assert not rig.lane.running
    assert "a bug" in caplog.text


def test_draining_is_for_good(engine: ParkedEngine) -> None:
    rig = Rig()
    rig.lane.open(engine)
    rig.offer(1)
    rig.lane.set_state(DRAINING)
    rig.lane.open(engine)
    rig.offer(2)
    rig.lane.dispatch()
    assert rig.statuses() == {2: Status.UNAVAILABLE}
    assert [job.request for job in engine.jobs] == ["body 1"]


def test_a_job_ends_once() -> None:
    ended: list[Status] = []
    job = Job({}, 0.0, b"", lambda job, status, body: ended.append(status))
    job.finish({})
    job.fail(Status.FAILED, "")
    job.cancel(Status.CANCELLED)
    assert ended == [Status.OK]
