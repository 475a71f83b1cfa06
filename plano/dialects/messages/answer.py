"""Answers and errors in the messages dialect, read and written. No I/O.

Source: Anthropic API reference, "Create a Message" (the Message object, Usage, stop reasons) and "Errors".
"""

from __future__ import annotations

from typing import Any, Final

from plano.dialects.conversation import (
    Answer,
    BadAnswer,
    BadRequest,
    Block,
    Conversation,
    Document,
    Image,
    Json,
    Opaque,
    RedactedThinking,
    Refusal,
    StopReason,
    Text,
    Thinking,
    ToolUse,
    Untranslatable,
    UpstreamError,
    Usage,
)
from plano.dialects.custom_tools import wrap
from plano.dialects.messages.blocks import document_source, image_source, load_arguments
from plano.dialects.messages.content import DIALECT, dump_arguments
from plano.dialects.tokens import MAX_COUNT

_STOPS: Final = {
    "end_turn": StopReason.END,
    "stop_sequence": StopReason.STOP_SEQUENCE,
    "max_tokens": StopReason.MAX_TOKENS,
    "model_context_window_exceeded": StopReason.CONTEXT,
    "tool_use": StopReason.TOOL_USE,
    "refusal": StopReason.REFUSAL,
    "pause_turn": StopReason.PAUSE,
}
_STOP_NAMES: Final = {
    StopReason.END: "end_turn",
    StopReason.STOP_SEQUENCE: "stop_sequence",
    StopReason.MAX_TOKENS: "max_tokens",
    StopReason.CONTEXT: "model_context_window_exceeded",
    StopReason.TOOL_USE: "tool_use",
    StopReason.REFUSAL: "refusal",
    StopReason.FILTERED: "refusal",
    StopReason.PAUSE: "pause_turn",
    StopReason.OTHER: "end_turn",
}
_CUT_OFF: Final = (StopReason.MAX_TOKENS, StopReason.CONTEXT, StopReason.FILTERED, StopReason.REFUSAL)
# Neutral names of service tiers are those of the other dialects.
_TIERS: Final = {"standard": "default", "priority": "priority"}
_TIER_NAMES: Final = {"default": "standard", "standard": "standard", "priority": "priority"}
_KINDS: Final = {
    "invalid_request_error": "invalid_request",
    "authentication_error": "authentication",
    "billing_error": "permission",
    "permission_error": "permission",
    "not_found_error": "not_found",
    "request_too_large": "too_large",
    "rate_limit_error": "rate_limit",
    "api_error": "server",
    "overloaded_error": "overloaded",
    "timeout_error": "timeout",
    "gateway_timeout_error": "timeout",
}
_KINDS_BY_STATUS: Final = {
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
_ERROR_TYPES: Final = {
    "invalid_request": "invalid_request_error",
    "authentication": "authentication_error",
    "permission": "permission_error",
    "not_found": "not_found_error",
    "too_large": "request_too_large",
    "rate_limit": "rate_limit_error",
    "overloaded": "overloaded_error",
    "server": "api_error",
    "timeout": "timeout_error",
}


# -- whole answers ----------------------------------------------------------------------------------------------------


def parse_answer(body: dict[str, Any]) -> Answer:
    """Read an upstream's answer. Raises BadAnswer for what is none."""
    if body.get("type") == "error" or body.get("error"):
        raise BadAnswer(parse_error(body, 0).message)
    content = body.get("content")
    if type(content) is not list:
        raise BadAnswer("The upstream's answer has no content.")
    blocks = [_read_block(block) for block in content]
    stop = read_stop(body.get("stop_reason"))
    refusal = read_refusal(body.get("stop_details"))
    if refusal is not None:
        blocks.append(Refusal(refusal))
    usage = UsageCounts()
    usage.update(body.get("usage"))
    return Answer(
        text_of(body.get("id")),
        text_of(body.get("model")),
        blocks,
        stop,
        usage.as_usage(),
        stop_sequence=text_of(body.get("stop_sequence")) or None,
        service_tier=usage.service_tier,
    )


def render_answer(answer: Answer, conversation: Conversation, created: int) -> dict[str, Any]:
    """The answer for a messages client. Raises BadAnswer when the model's call of a tool is no JSON."""
    content: list[Json] = []
    calls = refused = False
    for block in answer.blocks:
        rendered = _render_block(block, answer.stop)
        if rendered is not None:
            content.append(rendered)
            calls = calls or isinstance(block, ToolUse)
            refused = refused or isinstance(block, Refusal)
    return {
        "id": message_id(answer.id, created),
        "type": "message",
        "role": "assistant",
        "model": answer.model or conversation.model or "",
        "content": content,
        "stop_reason": stop_name(answer.stop, calls, refused),
        "stop_sequence": answer.stop_sequence,
        "stop_details": None,
        "usage": render_usage(answer.usage, answer.service_tier),
    }


def _read_block(block: Any) -> Block:
    if type(block) is not dict:
        raise BadAnswer("The upstream's answer has a content block that is not an object.")
    kind = block.get("type")
    if kind == "text":
        citations = block.get("citations")
        kept = [citation for citation in citations if type(citation) is dict] if type(citations) is list else []
        return Text(_need(block, "text"), citations=kept)
    if kind == "thinking":
        return Thinking(_need(block, "thinking"), text_of(block.get("signature")) or None)
    if kind == "redacted_thinking":
        return RedactedThinking(_need(block, "data"))
    if kind == "tool_use":
        return ToolUse(_need(block, "id"), _need(block, "name"), read_arguments(block.get("input")))
    return Opaque(DIALECT, block)


def _render_block(block: Block, stop: StopReason) -> Json | None:
    """None for a block that this dialect has no place for."""
    if isinstance(block, Text):
        rendered: Json = {"type": "text", "text": block.text}
        if block.citations:
            rendered["citations"] = block.citations
        return rendered
    if isinstance(block, Refusal):
        return {"type": "text", "text": block.text}
    if isinstance(block, ToolUse):
        return {"type": "tool_use", "id": block.id, "name": block.name, "input": _render_arguments(block, stop)}
    if isinstance(block, Thinking):
        # The SDKs expect the field; an empty one says that this thinking need not come back.
        return {"type": "thinking", "thinking": block.text, "signature": block.signature or ""}
    if isinstance(block, RedactedThinking):
        return {"type": "redacted_thinking", "data": block.data}
    if isinstance(block, Opaque):
        return block.value if block.dialect == DIALECT else None
    if isinstance(block, Image | Document):
        return _render_file(block)
    return None


def _render_file(block: Image | Document) -> Json | None:
    """A file made by the model, in the form in which clients of this dialect give files."""
    try:
        if isinstance(block, Image):
            return {"type": "image", "source": image_source(block, "content")}
        return {"type": "document", "source": document_source(block, "content")}
    except Untranslatable:
        # In another provider's store, or of a type that the dialect has no source for.
        return None


def _render_arguments(call: ToolUse, stop: StopReason) -> Json:
    if call.custom:
        return wrap(call.arguments)
    arguments = load_arguments(call.arguments)
    if arguments is not None:
        return arguments
    if stop in _CUT_OFF:
        # The answer ended inside the arguments, and says so; the API, too, gives what it has by then.
        return {}
    raise BadAnswer(f"The model called the tool '{call.name}' with arguments that are not a JSON object.")


def read_arguments(value: Any) -> str:
    """The `input` of a call as JSON text. Some APIs that copy this one give the text itself."""
    if type(value) is str:
        return value
    if value is None:
        return "{}"
    if type(value) is not dict:
        raise BadAnswer("The upstream's answer has a tool call whose input is not an object.")
    try:
        return dump_arguments(value, "input")
    except BadRequest as error:
        raise BadAnswer(f"The upstream's answer has a tool call that cannot be read: {error.message}") from None


def _need(block: Json, key: str) -> str:
    value = block.get(key)
    if type(value) is not str:
        raise BadAnswer(f"The upstream's answer has a content block without '{key}'.")
    return value


# -- parts that streams share -----------------------------------------------------------------------------------------


def text_of(value: Any) -> str:
    """`value` if it is a text, else ""."""
    return value if type(value) is str else ""


def read_stop(reason: Any) -> StopReason:
    if reason is None:
        return StopReason.END
    return _STOPS.get(text_of(reason), StopReason.OTHER)


def read_refusal(details: Any) -> str | None:
    """Why the API refused, in words, where it says so (`stop_details`)."""
    if type(details) is not dict or details.get("type") != "refusal":
        return None
    return text_of(details.get("explanation")) or None


def stop_name(stop: StopReason, calls: bool, refused: bool) -> str:
    """The stop reason's name. Some providers report a plain end after tool calls or a refusal: clients would not run
    the tools. `calls`, `refused`: did the answer hold any?"""
    if stop in (StopReason.END, StopReason.OTHER):
        if calls:
            return "tool_use"
        if refused:
            return "refusal"
    return _STOP_NAMES[stop]


def message_id(upstream_id: str, created: int) -> str:
    """The upstream's id, or one made of the time for an upstream that gives none."""
    return upstream_id or f"msg_{created:x}"


class UsageCounts:
    """Token counts as this dialect reports them: cumulative, in several events of which each may name only some."""

    def __init__(self) -> None:
        self._input = 0
        self._output = 0
        self._cache_read = 0
        self._cache_write = 0
        self._reasoning = 0
        self.known = False
        self.service_tier: str | None = None

    def update(self, usage: Any) -> bool:
        """Take over the counts of a `usage` object. Returns whether there were any."""
        if type(usage) is not dict:
            return False
        known = type(usage.get("input_tokens")) is int or type(usage.get("output_tokens")) is int
        self.known = self.known or known
        self._input = _count(usage.get("input_tokens"), self._input)
        self._output = _count(usage.get("output_tokens"), self._output)
        self._cache_read = _count(usage.get("cache_read_input_tokens"), self._cache_read)
        self._cache_write = _count(usage.get("cache_creation_input_tokens"), self._cache_write)
        details = usage.get("output_tokens_details")
        if type(details) is dict:
            self._reasoning = _count(details.get("thinking_tokens"), self._reasoning)
        tier = _TIERS.get(text_of(usage.get("service_tier")))
        if tier is not None:
            self.service_tier = tier
        return known

    def as_usage(self) -> Usage:
        return Usage(
            input=self._input + self._cache_read + self._cache_write,
            output=self._output,
            cache_read=self._cache_read,
            cache_write=self._cache_write,
            reasoning=self._reasoning,
            known=self.known,
        )


def render_usage(usage: Usage, service_tier: str | None = None) -> Json:
    """The `usage` object: here, input does not count what was read from or written to the cache."""
    rendered: Json = {
        "input_tokens": max(0, usage.input - usage.cache_read - usage.cache_write),
        "cache_creation_input_tokens": usage.cache_write,
        "cache_read_input_tokens": usage.cache_read,
        "output_tokens": usage.output,
    }
    if usage.reasoning:
        rendered["output_tokens_details"] = {"thinking_tokens": usage.reasoning}
    tier = _TIER_NAMES.get(service_tier) if service_tier is not None else None
    if tier is not None:
        rendered["service_tier"] = tier
    return rendered


def _count(value: Any, before: int) -> int:
    return value if type(value) is int and 0 <= value <= MAX_COUNT else before


# -- errors -----------------------------------------------------------------------------------------------------------


def parse_error(body: Any, status: int) -> UpstreamError:
    """What an upstream's error body says, also one that is not of this dialect. `status` 0: none is known."""
    kind = _KINDS_BY_STATUS.get(status)
    if kind is None:
        kind = "invalid_request" if 400 <= status < 500 else "server"
    fallback = f"The upstream answered with status {status}." if status else "The upstream reported an error."
    error = body.get("error", body) if type(body) is dict else body
    if type(error) is not dict:
        return UpstreamError(kind, text_of(error).strip() or fallback, status)
    message = text_of(error.get("message")) or text_of(error.get("detail")) or fallback
    code = text_of(error.get("type")) or None
    if code in _KINDS:
        kind = _KINDS[code]
    return UpstreamError(kind, message, status, code, text_of(error.get("param")) or None)


def render_error(error: UpstreamError, request_id: str | None) -> dict[str, Any]:
    """The body of an error answer. The dialect has no field for what is at fault: the message names it."""
    message = error.message
    if error.param and error.param not in message:
        message = f"{error.param}: {message}"
    kind = _ERROR_TYPES.get(error.kind, "api_error")
    rendered: Json = {"type": "error", "error": {"type": kind, "message": message}}
    if request_id is not None:
        rendered["request_id"] = request_id
    return rendered
