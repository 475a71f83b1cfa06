"""The request record: all the telemetry a frontend pays for.

A frontend makes one tuple per request and sends batches of them over ZeroMQ (PUSH) as one msgpack message; the
telemetry worker (PULL) turns them into metrics, spans and access lines. `Record` names the fields of the tuple, in
wire order. Adding a field: append it here, fill it in `frontends/exchange.py`, use it in a sink.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

WIRE_VERSION = 2


class Attempt(NamedTuple):
    """One call of an upstream. `status` is 0 when no response head came; `error` is "" on success, else one of the
    error kinds of `plano/upstreams/failures.py` (connect, timeout, status, ...)."""

    provider: str
    model: str
    status: int
    error: str
    duration_s: float


class Judgement(NamedTuple):
    """What the task-specific models said about a request.

    `routes` are the chosen ones in order, `confidence` theirs. `routed`: there were routes to choose from;
    `configured`: they are the config's, not the request's own. `jailbreak_probability` is None when the guard was not
    asked or gave no answer; `flagged`: it found the prompt suspicious; `blocked`: the prompt was stopped. `degraded`
    names the roles that gave no answer.
    """

    routes: tuple[str, ...]
    configured: bool
    routed: bool
    confidence: float | None
    jailbreak_probability: float | None
    flagged: bool
    blocked: bool
    degraded: tuple[str, ...]


class Record(NamedTuple):
    """One request, whatever happened to it. What came over HTTP is bytes: decoding is left to the sinks that need text.

    `attempts` is empty when the first attempt succeeded (the common case, spelled by `provider`, `model`, `status`).
    `ttft_s` is the time from the first byte of the request to the first content sent to the client, or None when
    nothing was relayed. `tokens_*` are None when the upstream did not report usage. `error` is "" or the error code
    the client saw. `client_gone`: the client left before the answer was complete. `dropped` names the client's fields
    that the upstream's dialect could not express. `judgement` is None when no task-specific model was asked.
    """

    request_id: bytes
    trace_id: bytes
    parent_span_id: bytes
    span_id: bytes
    listener: str
    method: bytes
    path: bytes
    requested_model: str
    provider: str
    model: str
    status: int
    error: str
    streaming: bool
    client_gone: bool
    started_unix_s: float
    duration_s: float
    ttft_s: float | None
    bytes_in: int
    bytes_out: int
    tokens_in: int | None
    tokens_out: int | None
    tokens_cached: int | None
    tokens_reasoning: int | None
    attempts: tuple[Attempt, ...]
    dropped: tuple[str, ...] = ()
    judgement: Judgement | None = None


class InferenceView(NamedTuple):
    """The inference processes as a frontend sees them. `addresses` are those it was given (0: it asks none), `replicas`
    what they stand for, `alive` those of them that answer. Totals from its start: calls `moved` to a second replica,
    answers that came too `late`, replies that were no messages (`faults`), names that could not be looked up."""

    addresses: int
    replicas: int
    alive: int
    moved: int
    late: int
    faults: int
    lookup_failures: int


class FrontendState(NamedTuple):
    """What a frontend says about itself with every batch. Totals count from its start; `in_flight` and `connections`
    are by listener. `open_circuits` are provider and model of the entries that are passed over. `certificates`, by
    listener: the Unix time at which the one in use ends, and whether newer files had to be refused. `inference` is
    None while it is not known."""

    frontend: int
    pid: int
    in_flight: dict[str, int]
    connections: dict[str, int]
    dropped_records_total: int
    loop_lag_s: float
    open_circuits: Sequence[tuple[str, str]] = ()
    certificates: Mapping[str, tuple[float, bool]] = {}
    inference: InferenceView | None = None


class Batch(NamedTuple):
    """One message on the bus. `records` hold `Record` tuples (as lists after msgpack)."""

    version: int
    state: FrontendState
    records: list[Any]
