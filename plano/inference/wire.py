"""The wire between frontends and inference processes: DEALER to ROUTER, one msgpack frame per message.

    call     [version, CALL, id, role, deadline_ms, traceparent, body]
    cancel   [version, CANCEL, id]
    probe    [version, PROBE, id]
    answer   [version, ANSWER, id, status, queue_us, compute_us, body]
    health   [version, HEALTH, id, {role: [state, engine, model, waiting, running]}]

`id` is an unsigned integer of the caller's choice, unique among its unanswered messages. `deadline_ms` is what is left
of the caller's time when it sends; clocks are never compared. `traceparent` is W3C's header value as bytes, empty when
there is none. `body` is what `plano.inference.calls` packs, or, with any status but OK, a message for the log.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any, Final, NamedTuple

VERSION: Final = 1
MAX_FRAME_BYTES: Final = 8 * 1024 * 1024  # of one message; what is larger is answered with TOO_LARGE
MAX_DEADLINE_MS: Final = 600_000


class Kind(IntEnum):
    CALL = 1
    CANCEL = 2
    PROBE = 3
    ANSWER = 4
    HEALTH = 5


class Status(IntEnum):
    """How a call ended. Numbers are part of the wire: append, never renumber."""

    OK = 0
    BAD_CALL = 1  # malformed, or not understood by its role
    TOO_LARGE = 2
    VERSION = 3  # a wire version this side does not speak
    OVERLOADED = 4  # the role's queue is full
    EXPIRED = 5  # the deadline passed before an answer
    CANCELLED = 6
    UNAVAILABLE = 7  # no engine for the role, not loaded yet, or dead; or no replica can be reached
    FAILED = 8  # the engine tried and could not


class Malformed(Exception):
    """A frame that is not a message. `id` is the caller's if it could be read, so that it gets an answer."""

    def __init__(self, message: str, status: Status = Status.BAD_CALL, id: int | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.id = id


class Call(NamedTuple):
    id: int
    role: str
    deadline_ms: int
    traceparent: bytes
    body: Any


class Cancel(NamedTuple):
    id: int


class Probe(NamedTuple):
    id: int


class Answer(NamedTuple):
    """`queue_us` and `compute_us`: how long the call waited, and how long the engine had it, in microseconds."""

    id: int
    status: Status
    queue_us: int
    compute_us: int
    body: Any


class Health(NamedTuple):
    """`roles` maps a role to its state ("loading", "ready", "failed"), engine, model, waiting and running calls."""

    id: int
    roles: dict[str, tuple[str, str, str, int, int]]
