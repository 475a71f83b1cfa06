"""The engine of one role as the server sees it, and the jobs it is handed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

from plano.inference.wire import Status

Json = dict[str, Any]


class EngineError(Exception):
    """An engine that cannot be made, does not start, or is no longer there. The message says what to do about it; it
    is shown to the operator."""


class Job:
    """One call under way in the server. The engine ends it with exactly one of `finish` and `fail`; a second one, or
    one after `cancel`, does nothing.

    `request` is the body as it came over the wire (see `plano.inference.calls`). `deadline_s` is in monotonic seconds.
    An engine that can stop working on a job sets `on_cancel`; it is called at most once, when the caller has cancelled
    or the deadline has passed. All of this happens on the event loop's thread.
    """

    __slots__ = ("_done", "deadline_s", "ended", "on_cancel", "request", "traceparent")

    def __init__(
        self,
        request: Any,
        deadline_s: float,
        traceparent: bytes,
        done: Callable[[Job, Status, Any], None],
    ) -> None:
        self.request = request
        self.deadline_s = deadline_s
        self.traceparent = traceparent
        self.ended = False
        self.on_cancel: Callable[[], None] | None = None
        self._done = done

    def finish(self, body: Json) -> None:
        """The answer of the role: the `pack` of a Decision, Verdict or FunctionAnswer."""
        self._end(Status.OK, body)

    def fail(self, status: Status, message: str) -> None:
        """No answer. `message` is safe to log."""
        self._end(status, message)

    def cancel(self, status: Status) -> None:
        """The server's side: nobody waits for the answer any more."""
        if self.ended:
            return
        self._end(status, "")
        if self.on_cancel is not None:
            self.on_cancel()

    def _end(self, status: Status, body: Any) -> None:
        if not self.ended:
            self.ended = True
            self._done(self, status, body)


class Engine(ABC):
    """Does the work of one role.

    `concurrency` is how many jobs it wants at once; the server keeps the others in the role's queue and hands over what
    waits together. `name` and `model` are for people (`/cluster`, metrics, logs).
    """

    name: str = ""
    model: str = ""
    concurrency: int = 64

    @abstractmethod
    async def start(self) -> None:
        """Load, and warm up every path that a job can take. Raises EngineError."""

    @abstractmethod
    def submit(self, jobs: Sequence[Job]) -> None:
        """Take these jobs; never blocks longer than a millisecond, never raises for what is in them."""

    async def close(self) -> None:
        """Stop, and free everything. Jobs still under way fail with `Status.UNAVAILABLE`."""
        return

    def check(self) -> str | None:
        """Why the engine can no longer work, None while it can. Asked for once a second; the server then fails what
        waits, closes the engine and starts a new one."""
        return None

    def metrics(self) -> dict[str, float]:
        """The engine's own figures, by a name in snake case with its unit (`kv_cache_usage_ratio`,
        `prefix_cache_hits_total`). Those ending in `_total` are counters."""
        return {}
