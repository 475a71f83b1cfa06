"""What can go wrong with an attempt, and whether another attempt may follow.

A failure knows its source (the upstream, or the way to it) and its kind; the retry safety rule is written once, in
`Failure.may_retry`. A failure becomes an answer for the client in `plano/frontends/errors.py`.
"""

from __future__ import annotations

from enum import StrEnum


class FailureKind(StrEnum):
    """Why an attempt ended without an answer that may be relayed. The value is a label of metrics and records."""

    CONNECT = "connect"  # no connection: DNS, refused, unreachable, TLS, connect time-out
    OVERLOADED = "overloaded"  # our own bound on connections to this upstream
    CIRCUIT_OPEN = "circuit_open"  # not called: it has failed too often of late
    TIMEOUT = "timeout"  # per-try or first-token time-out
    IDLE = "idle"  # the stream stood still for too long
    RESET = "reset"  # the connection ended before the answer was complete
    STATUS = "status"  # an HTTP error status
    PROTOCOL = "protocol"  # not HTTP, not JSON, not an event stream
    EMPTY = "empty"  # a 200 without content
    ERROR_EVENT = "error_event"  # an error object inside a 200
    DEADLINE = "deadline"  # the request's own deadline, all attempts included


class Failure:
    """One failed attempt.

    `status` is the HTTP status of the upstream, 0 when there was no head (or it was a 200 that hid an error).
    `retry_after_s` is the upstream's wish, None when it had none. `body` is what the upstream said (bounded).
    `message` is ours and safe to show a client: it names no key and no internal address.
    """

    __slots__ = ("body", "kind", "message", "retry_after_s", "status")

    def __init__(
        self,
        kind: FailureKind,
        message: str,
        *,
        status: int = 0,
        retry_after_s: float | None = None,
        body: bytes = b"",
    ) -> None:
        self.kind = kind
        self.message = message
        self.status = status
        self.retry_after_s = retry_after_s
        self.body = body

    def __repr__(self) -> str:
        return f"Failure({self.kind.value}, status={self.status}, {self.message!r})"

    def may_retry(self, statuses: frozenset[int]) -> bool:
        """The retry safety rule: may the same request be sent again, here or to another candidate?

        Only asked before the first byte of content was relayed; after it nothing is ever sent twice. An error status
        is final unless the provider's `on_statuses` lists it (a 400 stays a 400 wherever it is sent). The deadline is
        shared by all attempts, so once it has passed no attempt follows.
        """
        if self.kind is FailureKind.STATUS:
            return self.status in statuses
        return self.kind is not FailureKind.DEADLINE
