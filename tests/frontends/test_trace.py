"""Request ids and W3C trace context."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plano.frontends.trace import MAX_REQUEST_ID_BYTES, choose_request_id, make_trace

TRACE = b"0af7651916cd43dd8448eb211c80319c"
PARENT = b"b7ad6b7169203331"
GIVEN = b"00-%b-%b-01" % (TRACE, PARENT)
HEX_32 = re.compile(rb"[0-9a-f]{32}")
HEX_16 = re.compile(rb"[0-9a-f]{16}")


def begins_anew(traceparent: bytes | None) -> bool:
    trace_id, span_id, parent_id, flags = make_trace(traceparent)
    assert HEX_32.fullmatch(trace_id)
    assert HEX_16.fullmatch(span_id)
    return trace_id != TRACE and parent_id == b"" and flags == b"01"


def test_a_trace_begins_where_the_client_has_none() -> None:
    assert begins_anew(None)


def test_no_two_requests_share_an_id() -> None:
    traces = [make_trace(None) for _ in range(1_000)]
    assert len({trace[0] for trace in traces}) == len({trace[1] for trace in traces}) == 1_000
    assert not any(trace[0] == b"0" * 32 or trace[1] == b"0" * 16 for trace in traces)


def test_the_clients_trace_goes_on_in_a_span_of_ours() -> None:
    trace_id, span_id, parent_id, flags = make_trace(GIVEN)
    assert (trace_id, parent_id, flags) == (TRACE, PARENT, b"01")
    assert HEX_16.fullmatch(span_id)
    assert span_id != PARENT


def test_the_clients_sampling_decision_is_kept() -> None:
    assert make_trace(GIVEN[:-2] + b"00")[3] == b"00"


def test_later_versions_may_say_more() -> None:
    assert make_trace(b"cc" + GIVEN[2:] + b"-what-comes-later")[0] == TRACE
    assert make_trace(b"cc" + GIVEN[2:])[0] == TRACE


@pytest.mark.parametrize(
    "traceparent",
    [
        b"",
        b"00",
        GIVEN[:-1],
        GIVEN + b"0",
        GIVEN + b"-more",
        GIVEN + b"-",
        b"ff" + GIVEN[2:],
        GIVEN.upper(),
        b" " + GIVEN,
        GIVEN.replace(TRACE, b"0" * 32),
        GIVEN.replace(PARENT, b"0" * 16),
        GIVEN.replace(b"-", b"_"),
        GIVEN.replace(b"0af", b"0xf"),
        b"cc" + GIVEN[2:] + b"0",
        GIVEN + b"\n",
    ],
)
def test_a_malformed_traceparent_begins_a_new_trace(traceparent: bytes) -> None:
    assert begins_anew(traceparent)


@given(st.binary(max_size=60))
def test_no_traceparent_gets_further_than_hex(traceparent: bytes) -> None:
    trace_id, span_id, parent_id, flags = make_trace(traceparent)
    assert HEX_32.fullmatch(trace_id)
    assert HEX_16.fullmatch(span_id)
    assert parent_id == b"" or HEX_16.fullmatch(parent_id)
    assert re.fullmatch(rb"[0-9a-f]{2}", flags)


@pytest.mark.parametrize("given", [b"a", b"req_1-2.3/4", b"x" * MAX_REQUEST_ID_BYTES])
def test_the_clients_request_id_is_kept(given: bytes) -> None:
    assert choose_request_id(given, TRACE) == given


@pytest.mark.parametrize(
    "given", [None, b"", b"a b", b"a\tb", b"a\r\nx: y", b"\xff", b"\x00", b"x" * (MAX_REQUEST_ID_BYTES + 1)]
)
def test_the_trace_id_stands_in_for_an_unfit_request_id(given: bytes | None) -> None:
    assert choose_request_id(given, TRACE) == TRACE
