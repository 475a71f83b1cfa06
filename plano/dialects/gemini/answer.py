"""Answers and errors in Google's Gemini dialect: a GenerateContentResponse as an answer. No I/O.

Source: Gemini API reference, "GenerateContentResponse" (ai.google.dev/api/generate-content), the guide
"Troubleshooting" for errors, and google.rpc.Status with its ErrorInfo and BadRequest details.
"""

from __future__ import annotations

from typing import Any, Final

from plano.dialects.conversation import (
    Answer,
    BadAnswer,
    Block,
    Choice,
    Opaque,
    Refusal,
    StopReason,
    Text,
    Thinking,
    ToolUse,
    UpstreamError,
    Usage,
)
from plano.dialects.events import BlockKind
from plano.dialects.gemini.candidate import (
    Candidate,
    Piece,
    PieceReader,
    read_block,
    read_candidates,
    read_name,
    read_usage,
)
from plano.dialects.gemini.content import DIALECT

_KINDS: Final = {
    "INVALID_ARGUMENT": "invalid_request",
    "FAILED_PRECONDITION": "invalid_request",
    "OUT_OF_RANGE": "invalid_request",
    "ALREADY_EXISTS": "invalid_request",
    "UNIMPLEMENTED": "invalid_request",
    "UNAUTHENTICATED": "authentication",
    "PERMISSION_DENIED": "permission",
    "NOT_FOUND": "not_found",
    "RESOURCE_EXHAUSTED": "rate_limit",
    "UNAVAILABLE": "overloaded",
    "DEADLINE_EXCEEDED": "timeout",
}
_STATUS_KINDS: Final = {
    401: "authentication",
    403: "permission",
    404: "not_found",
    408: "timeout",
    413: "too_large",
    429: "rate_limit",
    503: "overloaded",
    504: "timeout",
}
# A wrong key is an INVALID_ARGUMENT with this reason in its details.
_KEY_REASONS: Final = ("API_KEY_INVALID", "API_KEY_EXPIRED")


def parse_answer(body: dict[str, Any]) -> Answer:
    """The answer in a GenerateContentResponse. Raises BadAnswer."""
    usage = read_usage(body) or Usage()
    name, model = read_name(body, "responseId"), read_name(body, "modelVersion")
    candidates = read_candidates(body)
    if not candidates:
        blocked = read_block(body)
        if blocked is None:
            raise BadAnswer("The upstream's answer has no candidates.")
        return Answer(name, model, [Refusal(blocked)], StopReason.FILTERED, usage)
    choices = [_read_choice(candidate, name) for candidate in candidates]
    choices.sort(key=_read_index)
    first = choices[0]
    return Answer(name, model, first.blocks, first.stop, usage, alternatives=choices[1:])


def parse_error(body: Any, status: int) -> UpstreamError:
    """The error in a body of any kind: an error object, the array of one that streams begin with, or something else."""
    if type(body) is list and body:
        body = body[0]
    error = body.get("error") if type(body) is dict else None
    if type(error) is str and error:
        return UpstreamError(_STATUS_KINDS.get(status, _guess_kind(status)), error, status)
    if type(error) is not dict:
        return UpstreamError(_guess_kind(status), f"The upstream answered with status {status}.", status)
    code, name, message = error.get("code"), error.get("status"), error.get("message")
    if not status and type(code) is int:
        status = code
    kind = _KINDS.get(name) if type(name) is str else None
    reason, field = _read_details(error.get("details"))
    if reason in _KEY_REASONS:
        kind = "authentication"
    return UpstreamError(
        kind or _guess_kind(status),
        message if type(message) is str and message else f"The upstream answered with status {status}.",
        status,
        name if type(name) is str else None,
        field,
    )


def _read_choice(candidate: Candidate, response_id: str) -> Choice:
    reader = PieceReader(candidate.index, set())
    blocks: list[Block] = []
    for part in candidate.parts:
        piece = reader.read(part, response_id)
        if piece is not None:
            _add_piece(blocks, piece)
    if blocks:
        last = blocks[-1]
        if isinstance(last, Text):
            for citation in candidate.citations:
                if citation not in last.citations:
                    last.citations.append(citation)
    stop = candidate.stop or StopReason.END
    if stop is StopReason.END and any(isinstance(block, ToolUse) for block in blocks):
        stop = StopReason.TOOL_USE
    return Choice(candidate.index, blocks, stop)


def _add_piece(blocks: list[Block], piece: Piece) -> None:
    """Append the piece, or let the last block grow by it."""
    last = blocks[-1] if blocks else None
    if piece.kind is BlockKind.TOOL_USE:
        blocks.append(ToolUse(piece.id, piece.name, piece.text, piece.custom, signature=piece.signature))
    elif piece.kind is BlockKind.OPAQUE:
        blocks.append(Opaque(DIALECT, piece.data or {}))
    elif piece.kind is BlockKind.THINKING:
        if isinstance(last, Thinking):
            last.text += piece.text
            last.signature = piece.signature or last.signature
        else:
            blocks.append(Thinking(piece.text, piece.signature, summary=True))  # Google shows no other thoughts
    else:
        if piece.signature is not None and isinstance(last, Thinking):
            # A text's signature stands for the thoughts before it; text has no place for one.
            last.signature = piece.signature
        if isinstance(last, Text):
            last.text += piece.text
        elif piece.text:
            blocks.append(Text(piece.text))


def _read_index(choice: Choice) -> int:
    return choice.index


def _read_details(details: Any) -> tuple[str | None, str | None]:
    """The machine-readable reason and the field at fault, where the error names them."""
    reason: str | None = None
    field: str | None = None
    for detail in details if type(details) is list else []:
        if type(detail) is not dict:
            continue
        given = detail.get("reason")
        if type(given) is str:
            reason = given
        violations = detail.get("fieldViolations")
        if type(violations) is list and violations and type(violations[0]) is dict:
            named = violations[0].get("field")
            if type(named) is str and named:
                field = named
    return reason, field


def _guess_kind(status: int) -> str:
    known = _STATUS_KINDS.get(status)
    if known is not None:
        return known
    return "invalid_request" if 400 <= status < 500 else "server"
