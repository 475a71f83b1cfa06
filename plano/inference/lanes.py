"""A role in the server: a bounded queue in front of its engine. No I/O, and no clock but the one it is given."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Final

from plano.inference.engines.engine import Engine, Job
from plano.inference.figures import Histogram, RoleFigures
from plano.inference.wire import RoleHealth, Status

log = logging.getLogger(__name__)

LOADING: Final = "loading"
READY: Final = "ready"
FAILED: Final = "failed"
DRAINING: Final = "draining"


class Peer:
    """A caller: `identity` is the ROUTER's name for it, `calls` what it waits for, `heard_s` (monotonic seconds) when
    it last said anything. `gone`: nothing can be sent to it any more."""

    __slots__ = ("calls", "gone", "heard_s", "identity")

    def __init__(self, identity: bytes, heard_s: float) -> None:
        self.identity = identity
        self.heard_s = heard_s
        self.calls: dict[int, Ticket] = {}
        self.gone = False


class Ticket(Job):
    """A call in the server: the engine's job, and whom the answer is for. Times are monotonic seconds; `started_s` is
    0.0 while it waits. `slot` is the deadline wheel's."""

    __slots__ = ("id", "lane", "peer", "received_s", "slot", "started_s")

    def __init__(
        self,
        lane: Lane,
        peer: Peer,
        id: int,
        request: Any,
        received_s: float,
        deadline_s: float,
        traceparent: bytes,
    ) -> None:
        # Job's own attributes, without the call to its __init__: this is made for every call.
        self.request = request
        self.deadline_s = deadline_s
        self.traceparent = traceparent
        self.ended = False
        self.on_cancel = None
        self._done = lane.take_end
        self.lane = lane
        self.peer = peer
        self.id = id
        self.received_s = received_s
        self.started_s = 0.0
        self.slot = 0


class Lane:
    """The calls of one role, in the order in which they came.

    `answer` is told of each ticket's end, with the microseconds it waited and was worked on; `dispatch_soon` asks for
    a `dispatch` later in this turn of the event loop, so that calls that can start together are handed over together;
    `state_changed` is told whenever `state` is another.
    """

    def __init__(
        self,
        role: str,
        queue: int,
        concurrency: int | None,
        clock: Callable[[], float],
        answer: Callable[[Ticket, Status, int, int, Any], None],
        dispatch_soon: Callable[[Lane], None],
        state_changed: Callable[[], None] | None = None,
    ) -> None:
        self.role = role
        self.waiting: OrderedDict[Ticket, None] = OrderedDict()
        self.running: dict[Ticket, None] = {}
        self.state = LOADING
        self.cause = ""
        self.state_since_s = clock()
        self.engine: Engine | None = None
        self.engine_name = ""
        self.engine_model = ""
        self.starts = 0
        self.due = False  # a dispatch is under way to it; the server's
        self.take_end = self._take_end  # one bound method for all tickets
        self._queue = queue
        self._configured_concurrency = concurrency
        self._concurrency = 0
        self._clock = clock
        self._answer = answer
        self._dispatch_soon = dispatch_soon
        self._state_changed = state_changed
        self._counts = [0] * len(Status)  # by status; a list, as an enum's hash is slow
        self._queue_s = Histogram()
        self._compute_s = Histogram()

    def set_state(self, state: str, cause: str = "") -> None:
        if self.state == DRAINING:  # for good
            return
        changed = self.state != state
        if changed:
            self.state_since_s = self._clock()
        self.state = state
        self.cause = cause
        if changed and self._state_changed is not None:
            self._state_changed()

    def open(self, engine: Engine) -> None:
        """The engine has started: calls may come."""
        self.engine = engine
        self.engine_name = engine.name
        self.engine_model = engine.model
        self._concurrency = max(1, self._configured_concurrency or engine.concurrency)
        self.set_state(READY)
        self._dispatch_soon(self)

    def close(self, cause: str) -> None:
        """The engine is no more: what waits or runs has failed."""
        self.engine = None
        self._concurrency = 0
        message = f"{self.role}: {cause}"
        for ticket in [*self.waiting, *self.running]:
            ticket.fail(Status.UNAVAILABLE, message)

    def offer(self, ticket: Ticket) -> None:
        """Queue a call, or answer at once why not."""
        if self.state != READY:
            ticket.fail(Status.UNAVAILABLE, self._why_not_ready())
        elif ticket.deadline_s <= ticket.received_s:
            ticket.fail(Status.EXPIRED, "no time was left when the call came")
        elif len(self.waiting) + len(self.running) >= self._queue + self._concurrency:
            ticket.fail(Status.OVERLOADED, f"{self.role}: {self._queue} calls wait already")
        else:
            self.waiting[ticket] = None

    def dispatch(self) -> None:
        """Hand the engine what it has room for, all at once."""
        engine = self.engine
        free = self._concurrency - len(self.running)
        if engine is None or free <= 0 or not self.waiting:
            return
        now_s = self._clock()
        tickets: list[Ticket] = []
        while self.waiting and len(tickets) < free:
            ticket, _ = self.waiting.popitem(last=False)
            if ticket.deadline_s <= now_s:
                ticket.fail(Status.EXPIRED, "the deadline passed in the queue")
                continue
            ticket.started_s = now_s
            self.running[ticket] = None
            tickets.append(ticket)
        if not tickets:
            return
        try:
            engine.submit(tickets)
        except Exception:  # an engine at fault must not end the process for the other roles
            log.exception("%s: the engine %s raised in submit", self.role, engine.name)
            for ticket in tickets:
                ticket.fail(Status.FAILED, f"{self.role}: the engine failed")

    def health(self) -> RoleHealth:
        return (self.state, self.engine_name, self.engine_model, len(self.waiting), len(self.running))

    def figures(self) -> RoleFigures:
        return {
            "state": self.state,
            "cause": self.cause,
            "engine": self.engine_name,
            "model": self.engine_model,
            "waiting": len(self.waiting),
            "running": len(self.running),
            "concurrency": self._concurrency,
            "starts": self.starts,
            "state_s": self._clock() - self.state_since_s,
            "calls": {status.name.lower(): count for status, count in zip(Status, self._counts, strict=True) if count},
            "queue_s": self._queue_s.figures(),
            "compute_s": self._compute_s.figures(),
            "engine_metrics": self._engine_metrics(),
        }

    def _engine_metrics(self) -> dict[str, float]:
        if self.engine is None:
            return {}
        try:
            return self.engine.metrics()
        except Exception:
            log.exception("%s: the engine %s raised in metrics", self.role, self.engine.name)
            return {}

    def _why_not_ready(self) -> str:
        return f"{self.role}: {self.state}" + (f" ({self.cause})" if self.cause else "")

    def _take_end(self, job: Job, status: Status, body: Any) -> None:
        assert isinstance(job, Ticket)
        ticket = job
        self._counts[status] += 1
        started_s = ticket.started_s
        if started_s == 0.0:
            self.waiting.pop(ticket, None)
            queue_us, compute_us = int((self._clock() - ticket.received_s) * 1e6), 0
        else:
            was_full = len(self.running) >= self._concurrency
            self.running.pop(ticket, None)
            queue_s = started_s - ticket.received_s
            compute_s = self._clock() - started_s
            queue_us, compute_us = int(queue_s * 1e6), int(compute_s * 1e6)
            if status is Status.OK:
                self._queue_s.add(queue_s)
                self._compute_s.add(compute_s)
            if was_full and self.waiting:
                self._dispatch_soon(self)
        self._answer(ticket, status, queue_us, compute_us, body)
