"""Endpoints behind TLS, and the headers of a call."""

from __future__ import annotations

import ssl
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trustme

from plano.config.plan import TargetCallPlan, TargetPlan
from plano.functions.endpoints import Endpoints, render_headers
from plano.functions.visits import Caller, Placed, TargetFailed, Visit
from plano.upstreams.failures import FailureKind
from tests.upstreams.origin import Origin, answer_ok

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def ca_path(authority: trustme.CA, tmp_path: Path) -> str:
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return str(path)


@pytest.fixture
async def origin(authority: trustme.CA) -> AsyncIterator[Origin]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    async with Origin(answer_ok, tls=context) as origin:
        yield origin


def visit_to(origin: Origin) -> Visit:
    call = TargetCallPlan("api", f"https://127.0.0.1:{origin.port}", "/")
    return Visit(TargetPlan("t", "", call=call), "call_1", {}, Placed("/"))


async def visit(endpoints: Endpoints, one: Visit) -> str:
    try:
        (result,) = await endpoints.visit([one], Caller("r", TRACE, time.monotonic() + 10.0))
    finally:
        await endpoints.close()
    return result.text


async def test_an_endpoint_of_a_known_authority_is_called(origin: Origin, ca_path: str) -> None:
    one = visit_to(origin)
    assert one.target.call is not None
    assert await visit(Endpoints([one.target.call], ca_path), one) == "ok"


async def test_an_endpoint_of_an_unknown_authority_is_not(origin: Origin) -> None:
    one = visit_to(origin)
    assert one.target.call is not None
    with pytest.raises(TargetFailed, match="certificate") as caught:
        await visit(Endpoints([one.target.call], None), one)
    assert caught.value.kind is FailureKind.CONNECT


def test_a_broken_authority_is_found_at_the_start(tmp_path: Path) -> None:
    path = tmp_path / "ca.pem"
    path.write_text("nonsense")
    with pytest.raises(ssl.SSLError):
        Endpoints([TargetCallPlan("api", "https://api", "/")], str(path))
    Endpoints([TargetCallPlan("api", "http://api", "/")], str(path))  # nobody reads it


def test_headers_of_the_config_replace_ours_whatever_their_case() -> None:
    headers = (("Content-TYPE", "application/cbor"), ("Host", "b"), ("TraceParent", "x"), ("X-Key", "k"))
    call = TargetCallPlan("api", "http://api", "/", host="a", headers=headers)
    assert render_headers(call, Caller("r", TRACE, 0.0), "POST") == {
        "accept": "application/json",
        "accept-encoding": "identity",
        "user-agent": "plano",
        "x-request-id": "r",
        "traceparent": "x",
        "content-type": "application/cbor",
        "host": "b",
        "x-key": "k",
    }
