"""Request ids and W3C trace context (https://www.w3.org/TR/trace-context/): taken from the client or made."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

MAX_REQUEST_ID_BYTES = 128

# Version 00 ends after the flags, later ones may go on; there is no version ff.
_TRACEPARENT = re.compile(
    rb"(?!ff|00-.{53})[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?"
)
_REQUEST_ID = re.compile(rb"[\x21-\x7e]{1,%d}" % MAX_REQUEST_ID_BYTES)

# Trace id, span id, parent's span id (empty when the trace begins here), flags; lower-case hex.
Trace = tuple[bytes, bytes, bytes, bytes]


def _make_traces() -> Iterator[Trace]:
    """New, sampled traces. Randomness is drawn for a hundred at a time."""
    while True:
        ids = os.urandom(24 * 100).hex().encode()
        for place in range(0, len(ids), 48):
            # a leading 1: neither id may be all zeros, and 60 random bits are enough for a span
            yield ids[place : place + 32], b"1" + ids[place + 33 : place + 48], b"", b"01"


_traces = _make_traces()


def make_trace(traceparent: bytes | None) -> Trace:
    """Continue the client's trace, or begin one (sampled). A malformed `traceparent` begins a new trace."""
    trace = next(_traces)
    if traceparent is not None:
        match = _TRACEPARENT.fullmatch(traceparent)
        if match is not None:
            return match[1], trace[1], match[2], match[3]
    return trace


def choose_request_id(given: bytes | None, trace_id: bytes) -> bytes:
    """The client's `x-request-id` if it is fit for a header and a log line, else the trace id."""
    if given is not None and _REQUEST_ID.fullmatch(given) is not None:
        return given
    return trace_id
