"""Errors as clients get them: the shape, the status, and what is kept of an upstream's own words."""

from __future__ import annotations

import json
from typing import Any

import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st

from plano.frontends.errors import GatewayError, error_of, render_error, render_failure
from plano.upstreams.failures import Failure, FailureKind

UPSTREAM_DEATHS = [kind for kind in FailureKind if kind is not FailureKind.STATUS]


def rendered(error: GatewayError) -> dict[str, Any]:
    body = json.loads(render_error(error))
    assert body.keys() == {"error"}
    inner: dict[str, Any] = body["error"]
    return inner


def refused(body: bytes, status: int = 400, retry_after_s: float | None = None) -> Failure:
    return Failure(FailureKind.STATUS, f"status {status}", status=status, retry_after_s=retry_after_s, body=body)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "invalid_request_error"),
        (401, "authentication_error"),
        (403, "permission_error"),
        (404, "invalid_request_error"),
        (413, "invalid_request_error"),
        (429, "rate_limit_error"),
        (500, "server_error"),
        (502, "server_error"),
        (503, "overloaded_error"),
        (504, "timeout_error"),
    ],
)
def test_an_error_has_openais_shape(status: int, kind: str) -> None:
    error = GatewayError(status, "some_code", "What is wrong.", param="model")
    assert rendered(error) == {"message": "What is wrong.", "type": kind, "param": "model", "code": "some_code"}
    assert rendered(GatewayError(status, "some_code", "What is wrong."))["param"] is None


def test_headers_of_an_error() -> None:
    assert GatewayError(400, "c", "m").headers() == b""
    assert GatewayError(503, "c", "m", retry_after_s=0.2).headers() == b"retry-after: 1\r\n"
    assert GatewayError(503, "c", "m", retry_after_s=2.6).headers() == b"retry-after: 3\r\n"
    assert GatewayError(405, "c", "m", allow="GET, POST").headers() == b"allow: GET, POST\r\n"


@pytest.mark.parametrize("kind", UPSTREAM_DEATHS)
def test_every_kind_of_failure_is_a_gateway_error(kind: FailureKind) -> None:
    error, body = render_failure(Failure(kind, "it went away"), "openai")
    assert error.status in (502, 503, 504)
    assert json.loads(body)["error"]["message"] == "The request to openai failed: it went away."
    assert "upstream" not in json.loads(body)["error"]


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        (FailureKind.CONNECT, 502),
        (FailureKind.OVERLOADED, 503),
        (FailureKind.TIMEOUT, 504),
        (FailureKind.DEADLINE, 504),
        (FailureKind.RESET, 502),
        (FailureKind.EMPTY, 502),
    ],
)
def test_what_went_wrong_can_be_told_by_the_status(kind: FailureKind, status: int) -> None:
    assert error_of(Failure(kind, "x"), "openai").status == status


def test_an_error_of_the_clients_shape_passes_unchanged() -> None:
    said = b'{ "error": {"message": "No such model", "type": "x", "code": null, "extra": 1.0} }'
    error, body = render_failure(refused(said, 404), "openai")
    assert body == said
    assert (error.status, error.message) == (404, "No such model")


def test_the_upstreams_wish_to_wait_is_passed_on() -> None:
    error, _ = render_failure(refused(b"", 429, retry_after_s=12.0), "openai")
    assert error.headers() == b"retry-after: 12\r\n"


@pytest.mark.parametrize(
    ("said", "message", "kept"),
    [
        (b'{"error":"nope"}', "nope", {"error": "nope"}),
        (b'{"message":"nope"}', "nope", {"message": "nope"}),
        (b'{"detail":"nope"}', "nope", {"detail": "nope"}),
        (b'{"error":{"msg":"nope"}}', "nope", {"error": {"msg": "nope"}}),
        (b'{"error":{"detail":"nope","message":null}}', "nope", {"error": {"detail": "nope", "message": None}}),
        (b'{"detail":[{"loc":["body"]}]}', None, {"detail": [{"loc": ["body"]}]}),
        (b"<h1>Bad gateway</h1>", None, "<h1>Bad gateway</h1>"),
        (b"\xff\xfe", None, "\ufffd\ufffd"),
        (b"[1]", None, [1]),
        (b"null", None, "null"),
        (b'{"error":7}', None, {"error": 7}),
    ],
)
def test_other_shapes_are_told_in_ours_and_kept(said: bytes, message: str | None, kept: Any) -> None:
    error, body = render_failure(refused(said, 400), "acme")
    inner = json.loads(body)["error"]
    assert inner["message"] == (message or "The provider acme answered with status 400.")
    assert inner["upstream"] == kept
    assert inner["code"] == "upstream_error"
    assert error.status == 400


def test_an_upstream_that_said_nothing() -> None:
    _, body = render_failure(refused(b"", 500), "acme")
    assert "upstream" not in json.loads(body)["error"]


def test_a_long_page_is_cut() -> None:
    _, body = render_failure(refused(b"<" * 100_000, 500), "acme")
    assert len(json.loads(body)["error"]["upstream"]) == 2048


@given(st.binary(max_size=80) | st.text(max_size=80).map(lambda text: json.dumps({"error": text}).encode()))
def test_whatever_an_upstream_says_the_client_can_parse_it(said: bytes) -> None:
    _, body = render_failure(refused(said), "acme")
    assert isinstance(json.loads(body)["error"]["message"], str)


def test_the_official_sdk_reads_the_fields() -> None:
    body = rendered(GatewayError(404, "model_not_found", "No such model.", param="model"))
    error = openai.APIError("x", request=None, body=body)  # type: ignore[arg-type]
    assert (error.code, error.param, error.type) == ("model_not_found", "model", "invalid_request_error")
