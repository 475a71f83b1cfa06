"""Errors in the chat dialect: what upstreams say, and what clients are told.

Source: OpenAI API reference, "Error codes" and ErrorResponse: {"error": {message, type, param, code}}. Servers of this
dialect also answer {"error": "text"} (Ollama), {"object": "error", "message"} (vLLM), {"message"} (Mistral),
{"detail": ...} (FastAPI), a list of errors (Google) or a text.
"""

from __future__ import annotations

from typing import Any, Final

from plano.dialects.conversation import Json, UpstreamError

_KINDS: Final = {
    400: "invalid_request",
    401: "authentication",
    402: "permission",
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

# By the type or the code of an error that came without a status: in a stream, or with status 200.
_NAMES: Final = {
    "invalid_request_error": "invalid_request",
    "badrequesterror": "invalid_request",
    "context_length_exceeded": "invalid_request",
    "authentication_error": "authentication",
    "invalid_api_key": "authentication",
    "permission_error": "permission",
    "permission_denied": "permission",
    "not_found_error": "not_found",
    "notfounderror": "not_found",
    "model_not_found": "not_found",
    "request_too_large": "too_large",
    "rate_limit_error": "rate_limit",
    "rate_limit_exceeded": "rate_limit",
    "insufficient_quota": "rate_limit",
    "resource_exhausted": "rate_limit",
    "tokens": "rate_limit",
    "requests": "rate_limit",
    "overloaded_error": "overloaded",
    "unavailable": "overloaded",
    "service_unavailable": "overloaded",
    "timeout_error": "timeout",
    "timeout": "timeout",
    "deadline_exceeded": "timeout",
}

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

_MESSAGE_LIMIT: Final = 2_000


def parse_error(body: Any, status: int) -> UpstreamError:
    """An upstream's error. `body` is its parsed JSON or its text, `status` the HTTP status, 0 where there is none.
    Raises nothing, whatever the body is."""
    error = _error_in(body)
    message = _message_in(error)
    code = error.get("code") if type(error) is dict else None
    kind = error.get("type") if type(error) is dict else None
    param = error.get("param") if type(error) is dict else None
    if status < 400 and type(code) is int and 400 <= code < 600:
        status = code
    return UpstreamError(
        _kind_of(status, kind, code),
        message or (f"The upstream answered with status {status}." if status else "The upstream reported an error."),
        status=status if status >= 400 else 0,
        code=str(code) if type(code) is int or (type(code) is str and code) else None,
        param=param if type(param) is str and param else None,
    )


def render_error(error: UpstreamError, request_id: str | None) -> dict[str, Any]:
    """The body of an error answer. OpenAI names the request only in the header `x-request-id`; ours is there too, and
    in the body where a client that logs nothing else will find it."""
    inner: Json = {
        "message": error.message,
        "type": _TYPES.get(error.kind, "server_error"),
        "param": error.param,
        "code": error.code,
    }
    if request_id is not None:
        inner["request_id"] = request_id
    return {"error": inner}


def is_error(chunk: Json) -> bool:
    """Is this object an error instead of an answer or a chunk of one?"""
    return bool(chunk.get("error")) or chunk.get("object") == "error" or chunk.get("type") == "error"


def _error_in(body: Any) -> Any:
    if type(body) is list and body:
        return _error_in(body[0]) if type(body[0]) is dict else body
    if type(body) is dict and body.get("error"):
        error = body["error"]
        if type(error) is str:  # {"error": "text", "code": ...}
            return {**body, "message": error}
        return error
    return body


def _message_in(error: Any) -> str:
    if type(error) is str:
        return error.strip()[:_MESSAGE_LIMIT]
    if type(error) is bytes:
        return error.decode("utf-8", "replace").strip()[:_MESSAGE_LIMIT]
    if type(error) is not dict:
        return ""
    for key in ("message", "detail", "error_description", "msg", "title"):
        found = error.get(key)
        if type(found) is str and found:
            return found[:_MESSAGE_LIMIT]
        if type(found) is list:  # FastAPI: [{"loc": [...], "msg": "..."}]
            messages = [item.get("msg") for item in found if type(item) is dict]
            texts = [text for text in messages if type(text) is str]
            if texts:
                return "; ".join(texts)[:_MESSAGE_LIMIT]
        if type(found) is dict:
            inner = found.get("message")
            if type(inner) is str and inner:
                return inner[:_MESSAGE_LIMIT]
    return ""


def _kind_of(status: int, kind: Any, code: Any) -> str:
    if status in _KINDS:
        return _KINDS[status]
    for name in (code, kind):
        if type(name) is str and name.lower() in _NAMES:
            return _NAMES[name.lower()]
    if 400 <= status < 500:
        return "invalid_request"
    return "server"
