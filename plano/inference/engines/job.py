"""What an engine is handed. Apart from the engine, because this is compiled and engines are not."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from plano.inference.wire import Status

Json = dict[str, Any]

log = logging.getLogger(__name__)


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
            try:
                self.on_cancel()
            except Exception:  # the calls that end with this one are others'
                log.exception("an engine raised while a call was cancelled")

    def _end(self, status: Status, body: Any) -> None:
        if not self.ended:
            self.ended = True
            self._done(self, status, body)
