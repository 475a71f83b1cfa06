"""What is asked of endpoints and what comes of it, as values."""

from __future__ import annotations

from typing import Any, NamedTuple

from plano.config.plan import TargetPlan
from plano.upstreams.failures import FailureKind

Json = dict[str, Any]

MAX_SHOWN_BODY_CHARS = 2_048


class BadArguments(Exception):
    """Arguments that cannot be put into a call. The message is safe to show a client."""


class TargetFailed(Exception):
    """The endpoint of a target gave no answer that can be used. `reason` is safe to show a client.

    `status` is the endpoint's, 0 when none came; `body` what it said, bounded. `duration_s` is that of the last try.
    """

    def __init__(
        self,
        visit: Visit,
        kind: FailureKind,
        reason: str,
        *,
        status: int = 0,
        body: str = "",
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(f"{visit.target.name}: {reason}")
        self.target = visit.target.name
        self.endpoint = visit.target.call.name if visit.target.call is not None else ""
        self.path = visit.target.call.path if visit.target.call is not None else ""
        self.kind = kind
        self.reason = reason
        self.status = status
        self.body = body[:MAX_SHOWN_BODY_CHARS]
        self.retry_after_s = retry_after_s
        self.duration_s = 0.0


class Placed(NamedTuple):
    """A call's arguments in their places. `path` is encoded, begins with a slash and carries the query; `body` is JSON,
    None for a GET."""

    path: str
    body: bytes | None = None


class Visit(NamedTuple):
    """One call that is to be made. `id` is that of the tool call as the client sees it; `placed` is None for a target
    without an endpoint, which is nothing but a system prompt."""

    target: TargetPlan
    id: str
    arguments: Json
    placed: Placed | None


class Result(NamedTuple):
    """What came of a visit: the endpoint's answer as text, "" for a target without an endpoint."""

    visit: Visit
    text: str
    status: int
    duration_s: float


class Caller(NamedTuple):
    """On whose behalf endpoints are called. `deadline_s` is monotonic."""

    request_id: str
    traceparent: str
    deadline_s: float
