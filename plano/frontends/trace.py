"""Request ids and W3C trace context (https://www.w3.org/TR/trace-context/): taken from the client or made."""

from __future__ import annotations

import random
import re
from typing import NamedTuple

MAX_REQUEST_ID_BYTES = 128

_TRACEPARENT = re.compile(rb"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?")
_REQUEST_ID = re.compile(rb"[\x21-\x7e]{1,%d}" % MAX_REQUEST_ID_BYTES)


class Trace(NamedTuple):
    """Hex ids; `span_id` is this gateway's span, `parent_id` the client's (empty when the trace begins here)."""

    trace_id: bytes
    span_id: bytes
    parent_id: bytes
    flags: bytes


def make_trace(traceparent: bytes | None) -> Trace:
    """Continue the client's trace, or begin one (sampled). A malformed `traceparent` begins a new trace."""
    if traceparent is not None:
        match = _TRACEPARENT.fullmatch(traceparent)
        if match is not None:
            return Trace(match[1], b"%016x" % (random.getrandbits(64) | 1), match[2], match[3])
    ids = b"%048x" % (random.getrandbits(192) | 1 << 64 | 1)  # neither id may be zero
    return Trace(ids[:32], ids[32:], b"", b"01")


def choose_request_id(given: bytes | None, trace: Trace) -> bytes:
    """The client's `x-request-id` if it is fit for a header and a log line, else the trace id."""
    if given is not None and _REQUEST_ID.fullmatch(given) is not None:
        return given
    return trace.trace_id
