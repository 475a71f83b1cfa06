"""Every error a client can get from the gateway, made in one place, in the shape the client's SDK parses.

Shapes: OpenAI API reference, "Error codes": `{"error": {"message", "type", "param", "code"}}`; Anthropic API reference,
"Errors": `{"type": "error", "error": {"type", "message"}}`. What an upstream said is kept: unchanged when it is already
of the client's shape, else under `error.upstream`.
"""

from __future__ import annotations

from typing import Any

import orjson

from plano.agents.filters import FilterRefused
from plano.functions.visits import TargetFailed
from plano.routing.models import UNSPECIFIED
from plano.upstreams.failures import Failure, FailureKind

# How much of an unknown model's name is shown and recorded; a client can make it as long as a body.
MAX_SHOWN_MODEL = 256
# How much of a filter's refusal is repeated in the message; all of it is under `upstream`.
MAX_SHOWN_REFUSAL = 1_024

_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "invalid_request_error",
    408: "timeout_error",
    429: "rate_limit_error",
    499: "client_closed_request",
    503: "overloaded_error",
    504: "timeout_error",
}

_MESSAGES_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
    529: "overloaded_error",
}

# What a failed attempt is to the client: status, code. (A status of the upstream is passed on as it is.)
_FAILURES: dict[FailureKind, tuple[int, str]] = {
    FailureKind.CONNECT: (502, "upstream_connect_error"),
    FailureKind.OVERLOADED: (503, "upstream_overloaded"),
    FailureKind.CIRCUIT_OPEN: (503, "upstream_circuit_open"),
    FailureKind.TIMEOUT: (504, "upstream_timeout"),
    FailureKind.IDLE: (504, "upstream_idle_timeout"),
    FailureKind.RESET: (502, "upstream_reset"),
    FailureKind.PROTOCOL: (502, "upstream_protocol_error"),
    FailureKind.EMPTY: (502, "upstream_empty_answer"),
    FailureKind.ERROR_EVENT: (502, "upstream_error"),
    FailureKind.DEADLINE: (504, "deadline_exceeded"),
}


class GatewayError(Exception):
    """An error answer: HTTP status, dialect-neutral code, message for a person, the field at fault (`param`).

    `retry_after_s` becomes a `Retry-After` header; `close` ends the connection after the answer; `upstream` is what
    the upstream said (any JSON value, or a text).
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        param: str | None = None,
        retry_after_s: float | None = None,
        allow: str | None = None,
        close: bool = False,
        upstream: Any = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.param = param
        self.retry_after_s = retry_after_s
        self.allow = allow
        self.close = close
        self.upstream = upstream

    def headers(self) -> bytes:
        """Extra header lines of the answer."""
        lines = b""
        if self.retry_after_s is not None:
            lines += b"retry-after: %d\r\n" % max(1, round(self.retry_after_s))
        if self.allow is not None:
            lines += b"allow: %b\r\n" % self.allow.encode("latin-1")
        return lines


def render_error(error: GatewayError, dialect: str = "chat") -> bytes:
    """The JSON body of `error` for a client of `dialect`."""
    if dialect == "messages":
        kind = _MESSAGES_TYPES.get(error.status, "invalid_request_error" if error.status < 500 else "api_error")
        inner: dict[str, Any] = {"type": kind, "message": error.message, "code": error.code}
        if error.param is not None:
            inner["param"] = error.param
    else:
        kind = _TYPES.get(error.status, "invalid_request_error" if error.status < 500 else "server_error")
        inner = {"message": error.message, "type": kind, "param": error.param, "code": error.code}
    if error.upstream is not None:
        inner["upstream"] = error.upstream
    return orjson.dumps({"type": "error", "error": inner} if dialect == "messages" else {"error": inner})


def explain_agent_failure(agent_id: str, failure: Failure) -> GatewayError:
    """The answer when an agent has failed: its own status and words, and which agent it was."""
    error = error_of(failure, f"agent {agent_id}")
    message = f"The agent {agent_id} failed: {error.message}"
    return GatewayError(
        error.status, "agent_failed", message, retry_after_s=error.retry_after_s, upstream=error.upstream
    )


def explain_target_failure(failed: TargetFailed) -> GatewayError:
    """The answer when the endpoint of a prompt target has failed: its own status where that is an error, and its own
    words (spec 6.2)."""
    status = failed.status if 400 <= failed.status <= 599 else 504 if failed.kind is FailureKind.TIMEOUT else 502
    message = f"The prompt target {failed.target} failed. Its endpoint {failed.endpoint} was called: {failed.reason}."
    if failed.body:
        message += f" It said: {failed.body[:MAX_SHOWN_REFUSAL]}"
    upstream = {
        "target": failed.target,
        "host": failed.endpoint,
        "path": failed.path,
        "status": failed.status,
        "body": failed.body,
    }
    return GatewayError(status, "target_failed", message, retry_after_s=failed.retry_after_s, upstream=upstream)


def explain_refusal(refused: FilterRefused) -> GatewayError:
    """The answer to a request that a filter has stopped: its status, and its own words."""
    message = f"The filter {refused.filter_id} refused this request: {refused.said[:MAX_SHOWN_REFUSAL]}"
    upstream = {"agent": refused.filter_id, "status": refused.status, "agent_response": refused.said}
    return GatewayError(refused.status, "filter_refused", message, upstream=upstream)


def explain_unresolved(model: str | None) -> GatewayError:
    """The answer for a model name that leads nowhere."""
    if model is None or model in UNSPECIFIED:
        message = "The request names no model and no provider is marked `default: true`."
        return GatewayError(400, "model_missing", message, param="model")
    message = f"The model '{model[:MAX_SHOWN_MODEL]}' is not configured. GET /v1/models lists those that are."
    return GatewayError(404, "model_not_found", message, param="model")


def error_of(failure: Failure, provider: str) -> GatewayError:
    """The answer for a request whose last attempt, at `provider`, ended in `failure`."""
    if failure.kind is FailureKind.STATUS:
        return GatewayError(
            failure.status,
            "upstream_error",
            _message_of(failure.body) or f"The provider {provider} answered with status {failure.status}.",
            retry_after_s=failure.retry_after_s,
            upstream=_content_of(failure.body),
        )
    status, code = _FAILURES[failure.kind]
    message = f"The request to {provider} failed: {failure.message}."
    return GatewayError(status, code, message, upstream=_content_of(failure.body))


def render_failure(failure: Failure, provider: str, dialect: str = "chat") -> tuple[GatewayError, bytes]:
    """Like `error_of`, with the body: an upstream's own error passes unchanged when it has the client's shape."""
    error = error_of(failure, provider)
    if failure.kind is FailureKind.STATUS and _is_error_shape(failure.body, dialect):
        return error, failure.body
    return error, render_error(error, dialect)


def _parse(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return None


def _is_error_shape(body: bytes, dialect: str) -> bool:
    parsed = _parse(body)
    error = parsed.get("error") if isinstance(parsed, dict) else None
    # Google's errors look like OpenAI's, but for their type.
    if not isinstance(error, dict) or not isinstance(error.get("message"), str) or "type" not in error:
        return False
    return bool(parsed.get("type") == "error") == (dialect == "messages")


def _message_of(body: bytes) -> str | None:
    """The message of an error body in one of the shapes providers use."""
    parsed = _parse(body)
    if not isinstance(parsed, dict):
        return None
    inner = parsed.get("error", parsed)
    if isinstance(inner, str):
        return inner
    if isinstance(inner, dict):
        for key in ("message", "detail", "msg"):
            if isinstance(inner.get(key), str):
                return str(inner[key])
    return None


def _content_of(body: bytes) -> Any:
    if not body:
        return None
    parsed = _parse(body)
    return parsed if parsed is not None else body[:2048].decode("utf-8", "replace")
