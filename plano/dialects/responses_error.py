"""Errors of the responses dialect. Source: OpenAI API reference, "Error codes" (ErrorResponse), "Streaming events"
(`error`, `response.failed`); the shapes of other servers of this dialect after what they send (`detail`: FastAPI)."""

from __future__ import annotations

from typing import Any, Final

from plano.dialects.conversation import Json, UpstreamError

_STATUS_KINDS: Final = {
    400: "invalid_request",
    401: "authentication",
    403: "permission",
    404: "not_found",
    408: "timeout",
    413: "too_large",
    422: "invalid_request",
    429: "rate_limit",
    503: "overloaded",
    504: "timeout",
    529: "overloaded",
}
_CODE_KINDS: Final = {
    "rate_limit_exceeded": "rate_limit",
    "insufficient_quota": "rate_limit",
    "server_is_overloaded": "overloaded",
    "slow_down": "overloaded",
    "server_error": "server",
    "vector_store_timeout": "timeout",
    "invalid_api_key": "authentication",
    "model_not_found": "not_found",
}
_TYPE_KINDS: Final = {
    "invalid_request_error": "invalid_request",
    "authentication_error": "authentication",
    "permission_error": "permission",
    "not_found_error": "not_found",
    "rate_limit_error": "rate_limit",
    "insufficient_quota": "rate_limit",
    "tokens": "rate_limit",
    "requests": "rate_limit",
    "overloaded_error": "overloaded",
    "service_unavailable_error": "overloaded",
    "timeout_error": "timeout",
    "server_error": "server",
    "internal_error": "server",
}
# Prefixes of the codes that say that something is wrong with the request (ResponseErrorCode and its kin).
_REQUEST_CODES: Final = ("invalid_", "image_", "context_length", "unsupported_", "empty_image", "failed_to_download")

_TYPES: Final = {
    "invalid_request": "invalid_request_error",
    "authentication": "authentication_error",
    "permission": "permission_error",
    "not_found": "invalid_request_error",
    "too_large": "invalid_request_error",
    "rate_limit": "rate_limit_error",
    "overloaded": "overloaded_error",
    "timeout": "timeout_error",
    "server": "server_error",
}


def parse_error(body: Any, status: int) -> UpstreamError:
    """What an upstream's error says: `body` is the parsed body of an error answer (or the data of an error event), of
    whatever type it is; `status` its HTTP status, 0 when there was none."""
    error = body.get("error") if type(body) is dict else None
    inner: Json = {}
    message = ""
    if type(error) is dict:
        inner = error
    elif type(body) is dict:
        inner = body
    if type(error) is str:
        message = error
    elif type(body) is str:
        message = body
    for name in ("message", "detail", "msg"):
        said = inner.get(name)
        if not message and type(said) is str:
            message = said
    code, param = inner.get("code"), inner.get("param")
    named = code if type(code) is str and code else None
    return UpstreamError(
        _kind_of(named, inner.get("type"), status),
        message or (f"The upstream answered with status {status}." if status else "The upstream reported an error."),
        status,
        named,
        param if type(param) is str else None,
    )


def _kind_of(code: str | None, kind: Any, status: int) -> str:
    found = _STATUS_KINDS.get(status)
    if found is not None:
        return found
    if status >= 500:
        return "server"
    if status >= 400:
        return "invalid_request"
    if code is not None:
        found = _CODE_KINDS.get(code)
        if found is None and code.startswith(_REQUEST_CODES):
            found = "invalid_request"
    if found is None and type(kind) is str:
        found = _TYPE_KINDS.get(kind)
    return found or "server"


def render_error(error: UpstreamError, request_id: str | None) -> Json:
    """The body of an error answer. The id of the request has its place in a header (`x-request-id`), not here."""
    return {
        "error": {
            "message": error.message,
            "type": _TYPES.get(error.kind, "server_error"),
            "param": error.param,
            "code": error.code,
        }
    }
