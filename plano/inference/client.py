"""The frontends' side of the wire: one DEALER per replica, power of two choices, deadlines, cancel.

No task and no future per call: `done` is called once, on the event loop, with the outcome.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from plano.config.plan import CurvePlan
from plano.inference.wire import Status

Json = dict[str, Any]


class Outcome(NamedTuple):
    """How a call ended. `body` is what the role's `unpack` reads (OK only), `message` says why there is none."""

    status: Status
    body: Any
    message: str
    queue_us: int
    compute_us: int


class PendingCall:
    """A call under way."""

    def cancel(self) -> None:
        """Nobody waits any more: `done` will not be called, and the server is told to stop working on it."""
        raise NotImplementedError


class InferenceClient:
    """Calls the roles of one or more replicas."""

    def __init__(self, addresses: tuple[str, ...], curve: CurvePlan | None = None) -> None:
        raise NotImplementedError

    def start(self) -> None:
        """Connect, and begin to watch the replicas. Needs a running loop."""

    async def close(self) -> None:
        """End what is under way (UNAVAILABLE) and close the sockets."""

    def call(
        self, role: str, body: Json, timeout_s: float, traceparent: bytes, done: Callable[[Outcome], None]
    ) -> PendingCall:
        """Ask a role. `done` is never called from within `call`, and at the latest after `timeout_s` (EXPIRED)."""
        raise NotImplementedError
