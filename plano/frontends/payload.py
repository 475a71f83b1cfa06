"""The request as one candidate gets it: its head, trace context, the client's end-to-end headers, and the body."""

from __future__ import annotations

from typing import TYPE_CHECKING

from plano.dialects.conversation import BadRequest, Dropped
from plano.dialects.field_names import name_field
from plano.dialects.foreign import leave_out_foreign
from plano.dialects.identity.chat import RoutedRequest, ask_for_usage, encode, replace_model
from plano.frontends.request import Request
from plano.frontends.trace import Trace
from plano.upstreams.candidate import Candidate
from plano.upstreams.quirks import Call, apply_quirks

if TYPE_CHECKING:
    from plano.frontends.translation import Translation


def render_body(
    request: Request,
    routed: RoutedRequest,
    client: str,
    candidate: Candidate,
    translation: Translation | None,
    dropped: Dropped,
) -> bytes:
    """The body for this candidate. In the client's own dialect it leaves as it came, but for the model's upstream id,
    the candidate's quirks and the question for the usage of a stream. Raises BadRequest when the candidate's dialect
    cannot express it."""
    body, _, stream = routed
    if translation is not None:
        try:
            rendered = translation.render_request(candidate.model, dropped)
            rendered = apply_quirks(candidate.quirks, rendered, Call(client, candidate.dialect), dropped)
        except BadRequest as bad:
            param = None if bad.param is None else name_field(client, bad.param, body)
            raise BadRequest(bad.message, param) from bad
        dropped.names = list(dict.fromkeys(name_field(client, name, body) for name in dropped.names))
        return encode(rendered)
    data = request.body
    if candidate.verbatim:
        return data
    fitted = body
    if client != "chat":  # in chat completions nothing is signed
        fitted = leave_out_foreign(client, data, body, dropped, signed=candidate.provider == "anthropic")
    if candidate.quirks:
        fitted = apply_quirks(candidate.quirks, fitted, Call(client, candidate.dialect), dropped)
    if fitted is not body:
        body, data = fitted, encode(fitted)
    if stream and candidate.asks_for_usage:
        asked = ask_for_usage(data, body)
        return replace_model(asked, body, candidate.model)
    return replace_model(data, body, candidate.model)


def render_payload(
    request: Request, candidate: Candidate, trace: Trace, request_id: bytes, body: bytes, stream: bool
) -> bytes:
    """Head and body, ready to be written."""
    trace_id, span_id, parent_id, flags = trace
    lines = candidate.without_overrides(request.lines) if candidate.overrides else b"".join(request.lines)
    if candidate.passthrough_auth:
        lines += candidate.credential(request.authorization, request.api_key)
    if parent_id and request.tracestate is not None:
        lines += b"tracestate: %b\r\n" % request.tracestate
    if candidate.signed:
        lines += candidate.sign(body, stream)
    return b"%b%btraceparent: 00-%b-%b-%b\r\nx-request-id: %b\r\ncontent-length: %d\r\n\r\n%b" % (
        candidate.stream_head if stream else candidate.request_head,
        lines,
        trace_id,
        span_id,
        flags,
        request_id,
        len(body),
        body,
    )
