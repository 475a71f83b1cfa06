"""What an answer of the responses dialect is made of: the response object around it, its output items, their parts.

Source: OpenAI API reference, "The response object" (Response, OutputItem, Annotation, ResponseUsage). Used for whole
answers and for streams, so that what a stream ends with is what the same answer in one piece would have been.
"""

from __future__ import annotations

import re
from typing import Any, Final

import orjson

from plano.dialects.conversation import Conversation, Json, StopReason, UpstreamError, Usage
from plano.dialects.tokens import read_count

SERVICE_TIERS: Final = frozenset({"auto", "default", "flex", "scale", "priority", "fast", "ultrafast"})

_KNOWN_PREFIXES: Final = re.compile(r"^(?:resp|msg|chatcmpl|cmpl|gen)[-_]")
_UNFIT: Final = re.compile(r"[^A-Za-z0-9_-]")

# ResponseErrorCode, for what an upstream of another dialect may report.
_ERROR_CODES: Final = {"rate_limit": "rate_limit_exceeded", "invalid_request": "invalid_prompt"}
_KNOWN_CODES: Final = frozenset(
    {
        "server_error",
        "rate_limit_exceeded",
        "invalid_prompt",
        "data_residency_mismatch",
        "bio_policy",
        "vector_store_timeout",
        "invalid_image",
        "invalid_image_format",
        "invalid_base64_image",
        "invalid_image_url",
        "image_too_large",
        "image_too_small",
        "image_parse_error",
        "image_content_policy_violation",
        "invalid_image_mode",
        "image_file_too_large",
        "unsupported_image_media_type",
        "empty_image_file",
        "failed_to_download_image",
        "image_file_not_found",
    }
)


# -- ids --------------------------------------------------------------------------------------------------------------


def name_answer(upstream_id: str, created: int) -> str:
    """The id of an answer: the upstream's, or one made of the time for an upstream that gives none."""
    return response_id(upstream_id or f"{created:x}")


def suffix_of(answer_id: str) -> str:
    """What the ids of an answer and of its items have in common."""
    return _UNFIT.sub("_", _KNOWN_PREFIXES.sub("", answer_id)) or "0"


def response_id(answer_id: str) -> str:
    return answer_id if answer_id.startswith("resp_") else f"resp_{suffix_of(answer_id)}"


# -- parts ------------------------------------------------------------------------------------------------------------


def text_part(text: str, annotations: list[Json]) -> Json:
    return {"type": "output_text", "text": text, "annotations": annotations, "logprobs": []}


def refusal_part(text: str) -> Json:
    return {"type": "refusal", "refusal": text}


def reasoning_part(text: str) -> Json:
    return {"type": "reasoning_text", "text": text}


def summary_part(text: str) -> Json:
    return {"type": "summary_text", "text": text}


def annotation_of(citation: Json, length: int) -> Json | None:
    """The annotation for a citation in Anthropic's form, of a text of `length` characters. Theirs is of the whole text
    block, so it spans all of it. None for what this dialect has no annotation for."""
    kind = citation.get("type")
    title = citation.get("title")
    url = citation.get("url")
    if kind == "search_result_location":
        url = citation.get("source")
    if kind in ("web_search_result_location", "search_result_location"):
        if type(url) is not str or "://" not in url:
            return None
        start, end = citation.get("start_index"), citation.get("end_index")
        return {
            "type": "url_citation",
            "url": url,
            "title": title if type(title) is str else url,
            "start_index": start if type(start) is int else 0,
            "end_index": end if type(end) is int else length,
        }
    if kind in ("char_location", "page_location", "content_block_location"):
        name, number = citation.get("document_title"), citation.get("document_index")
        file_id = citation.get("file_id")
        if type(file_id) is not str:  # a document that came inside the request has none
            file_id = f"document_{number if type(number) is int else 0}"
        return {
            "type": "file_citation",
            "file_id": file_id,
            "filename": name if type(name) is str else file_id,
            "index": length,
        }
    return None


def citation_of(annotation: Any) -> Json | None:
    """The citation, in Anthropic's form, for an annotation; None for one that has no place there (a file the model
    made, a file of a vector store)."""
    if type(annotation) is not dict or annotation.get("type") != "url_citation":
        return None
    url, title = annotation.get("url"), annotation.get("title")
    if type(url) is not str:
        return None
    citation: Json = {
        "type": "web_search_result_location",
        "url": url,
        "title": title if type(title) is str else None,
        "cited_text": "",
        "encrypted_index": "",
    }
    for name in ("start_index", "end_index"):
        if type(annotation.get(name)) is int:
            citation[name] = annotation[name]
    return citation


# -- items ------------------------------------------------------------------------------------------------------------


def message_item(item_id: str, parts: list[Json], status: str) -> Json:
    return {"id": item_id, "type": "message", "status": status, "role": "assistant", "content": parts}


def reasoning_item(item_id: str, summary: list[Json], content: list[Json], encrypted: str | None) -> Json:
    item: Json = {"id": item_id, "type": "reasoning", "summary": summary}
    if content:
        item["content"] = content
    if encrypted is not None:
        item["encrypted_content"] = encrypted
    return item


def call_item(item_id: str, call_id: str, name: str, namespace: str | None, arguments: str, status: str) -> Json:
    item: Json = {
        "id": item_id,
        "type": "function_call",
        "status": status,
        "call_id": call_id,
        "name": name,
        "arguments": arguments,
    }
    if namespace is not None:
        item["namespace"] = namespace
    return item


def custom_call_item(item_id: str, call_id: str, name: str, namespace: str | None, text: str, status: str) -> Json:
    item: Json = {
        "id": item_id,
        "type": "custom_tool_call",
        "status": status,
        "call_id": call_id,
        "name": name,
        "input": text,
    }
    if namespace is not None:
        item["namespace"] = namespace
    return item


# -- the response around them -----------------------------------------------------------------------------------------


class Envelope:
    """The response object for one request: everything but the answer itself is repeated from the request, with the
    API's defaults for what the client did not say."""

    def __init__(self, conversation: Conversation) -> None:
        self._conversation = conversation
        echo = conversation.notes.get("echo")
        self._repeated = _repeat(conversation, echo if type(echo) is dict else {})
        if not is_encodable(self._repeated):
            self._repeated = _repeat(Conversation(conversation.model, []), {})

    def render(
        self,
        answer_id: str,
        model: str,
        created: int,
        status: str,
        output: list[Json],
        *,
        usage: Usage | None = None,
        service_tier: str | None = None,
        reason: str | None = None,
        error: UpstreamError | None = None,
    ) -> Json:
        """The response object. `reason`: why it is incomplete; `error`: why it failed."""
        tier = service_tier or self._conversation.service_tier
        response: Json = {
            "id": answer_id,
            "object": "response",
            "created_at": created,
            "status": status,
            "error": None if error is None else {"code": _error_code(error), "message": error.message},
            "incomplete_details": None if reason is None else {"reason": reason},
            "model": model,
            "output": output,
            "service_tier": tier if tier in SERVICE_TIERS else "default",
            **self._repeated,
        }
        if usage is not None and usage.known:
            response["usage"] = render_usage(usage)
        return response


def _repeat(conversation: Conversation, echo: Json) -> Json:
    """The part of the response object that the request determines."""
    extra = conversation.extra
    text: Json = {"format": {"type": "text"}}
    if type(echo.get("text")) is dict:
        text = {**text, **{name: value for name, value in echo["text"].items() if value is not None}}
    reasoning: Json = {"effort": None, "summary": None}
    if type(echo.get("reasoning")) is dict:
        reasoning = {**reasoning, **echo["reasoning"]}
    number = conversation.temperature
    top_p = conversation.top_p
    repeated: Json = {
        "background": extra.get("background") is True,
        "instructions": echo.get("instructions"),
        "max_output_tokens": conversation.max_tokens,
        "max_tool_calls": extra.get("max_tool_calls"),
        "parallel_tool_calls": conversation.parallel_tools is not False,
        "previous_response_id": extra.get("previous_response_id"),
        "prompt_cache_key": extra.get("prompt_cache_key"),
        "reasoning": reasoning,
        "safety_identifier": extra.get("safety_identifier"),
        "store": conversation.store is not False,
        "temperature": 1.0 if number is None else number,
        "text": text,
        "tool_choice": echo.get("tool_choice", "auto"),
        "tools": [_complete_tool(tool) for tool in echo.get("tools", [])],
        "top_logprobs": conversation.top_logprobs or 0,
        "top_p": 1.0 if top_p is None else top_p,
        "truncation": extra.get("truncation", "disabled"),
        "metadata": conversation.metadata or {},
    }
    if conversation.user is not None:
        repeated["user"] = conversation.user
    kept = extra.get("conversation")
    if kept is not None:
        repeated["conversation"] = {"id": kept} if type(kept) is str else kept
    return repeated


def is_encodable(value: Any) -> bool:
    """Can this be written? orjson reads deeper than it writes."""
    try:
        orjson.dumps(value)
    except orjson.JSONEncodeError:
        return False
    return True


def _complete_tool(tool: Any) -> Any:
    """A function with the members that the API always gives back."""
    if type(tool) is dict and tool.get("type") == "function":
        return {"parameters": None, "strict": None, **tool}
    return tool


def _error_code(error: UpstreamError) -> str:
    if error.code in _KNOWN_CODES:
        return error.code or ""
    return _ERROR_CODES.get(error.kind, "server_error")


def status_of(stop: StopReason, refused: bool) -> tuple[str, str | None]:
    """(status, reason it is incomplete) of an answer. `refused`: the model declined in words, which is an answer."""
    if stop is StopReason.MAX_TOKENS or stop is StopReason.CONTEXT:
        return "incomplete", "max_output_tokens"
    if stop is StopReason.FILTERED or (stop is StopReason.REFUSAL and not refused):
        return "incomplete", "content_filter"
    return "completed", None


def render_usage(usage: Usage) -> Json:
    return {
        "input_tokens": usage.input,
        "input_tokens_details": {"cached_tokens": usage.cache_read, "cache_write_tokens": usage.cache_write},
        "output_tokens": usage.output,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning},
        "total_tokens": usage.input + usage.output,
    }


def parse_usage(value: Any) -> Usage:
    """Counts of an upstream's `usage`; not `known` when it is none."""
    if type(value) is not dict:
        return Usage()
    inputs, outputs = value.get("input_tokens_details"), value.get("output_tokens_details")
    return Usage(
        _count(value, "input_tokens"),
        _count(value, "output_tokens"),
        _count(inputs, "cached_tokens"),
        _count(inputs, "cache_write_tokens"),
        _count(outputs, "reasoning_tokens"),
        known=True,
    )


def _count(value: Any, name: str) -> int:
    return read_count(value.get(name)) if type(value) is dict else 0
