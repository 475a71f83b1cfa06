"""Errors of the responses dialect: those of all of OpenAI's API, and the codes that only answers of this dialect have.

Source: OpenAI API reference, "Error codes" (ErrorResponse), "Streaming events" (`error`, `response.failed`), "The
response object" (ResponseErrorCode).
"""

from __future__ import annotations

from typing import Any, Final

from plano.dialects.chat import errors as chat_errors
from plano.dialects.chat.errors import render_error
from plano.dialects.conversation import UpstreamError

__all__ = ["parse_error", "render_error"]

_KINDS: Final = {
    "server_is_overloaded": "overloaded",
    "slow_down": "overloaded",
    "vector_store_timeout": "timeout",
    "bio_policy": "invalid_request",
    "data_residency_mismatch": "invalid_request",
    "failed_to_download_image": "invalid_request",
}
# How the codes begin that say that something is wrong with the request.
_REQUEST_CODES: Final = ("invalid_", "image_", "empty_image", "unsupported_", "context_length")


def parse_error(body: Any, status: int) -> UpstreamError:
    """An upstream's error: `body` is the parsed body of an error answer, the data of an error event, or a failed
    response; `status` its HTTP status, 0 when there was none. Raises nothing."""
    error = chat_errors.parse_error(body, status)
    if error.status == 0 and error.kind == "server" and error.code is not None:
        if error.code.startswith(_REQUEST_CODES):
            error.kind = "invalid_request"
        else:
            error.kind = _KINDS.get(error.code, error.kind)
    return error
