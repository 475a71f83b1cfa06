"""Answers and errors of Bedrock's Converse operation. No I/O.

Source: Bedrock API reference, Converse (response syntax and errors), ContentBlock, CitationsContentBlock, TokenUsage.
Converse gives an answer neither an id nor the model's name: both stay "" for the caller to fill in, but for the model
that a prompt router chose, where the trace tells it.
"""

from __future__ import annotations

from typing import Any, Final

import orjson

from plano.dialects.conversation import (
    Answer,
    BadAnswer,
    Block,
    Conversation,
    Json,
    Opaque,
    RedactedThinking,
    StopReason,
    Text,
    Thinking,
    Tool,
    ToolUse,
    UpstreamError,
    Usage,
)
from plano.dialects.converse.content import DIALECT
from plano.dialects.converse.names import client_tools
from plano.dialects.custom_tools import unwrap
from plano.dialects.tokens import read_count

_STOP_REASONS: Final = {
    "end_turn": StopReason.END,
    "tool_use": StopReason.TOOL_USE,
    "max_tokens": StopReason.MAX_TOKENS,
    "stop_sequence": StopReason.STOP_SEQUENCE,
    "guardrail_intervened": StopReason.FILTERED,
    "content_filtered": StopReason.FILTERED,
    "model_context_window_exceeded": StopReason.CONTEXT,
    "refusal": StopReason.REFUSAL,
    "pause_turn": StopReason.PAUSE,
}

# Kind and status by the name of the exception, in lower case and without its suffix. Names: Converse, "Errors";
# ConverseStreamOutput; Bedrock API reference, "Common error types" (a bad signature is told with status 403).
_EXCEPTIONS: Final = {
    "accessdenied": ("permission", 403),
    "notauthorized": ("permission", 403),
    "optinrequired": ("permission", 403),
    "expiredtoken": ("authentication", 403),
    "incompletesignature": ("authentication", 400),
    "invalidclienttokenid": ("authentication", 403),
    "invalidsignature": ("authentication", 403),
    "missingauthenticationtoken": ("authentication", 403),
    "requestexpired": ("authentication", 400),
    "unrecognizedclient": ("authentication", 403),
    "conflict": ("invalid_request", 400),
    "validation": ("invalid_request", 400),
    "resourcenotfound": ("not_found", 404),
    "unknownoperation": ("not_found", 404),
    "throttling": ("rate_limit", 429),
    "servicequotaexceeded": ("rate_limit", 400),
    "modelnotready": ("overloaded", 429),
    "serviceunavailable": ("overloaded", 503),
    "modeltimeout": ("timeout", 408),
    "modelerror": ("server", 424),
    "modelstreamerror": ("server", 424),
    "internalserver": ("server", 500),
    "internalfailure": ("server", 500),
}
_STATUSES: Final = {
    400: "invalid_request",
    401: "authentication",
    403: "permission",
    404: "not_found",
    408: "timeout",
    413: "too_large",
    424: "server",  # the model failed, not the request
    429: "rate_limit",
    503: "overloaded",
    504: "timeout",
}


def parse_answer(body: Json, conversation: Conversation | None = None) -> Answer:
    """A whole answer. With the `conversation` it answers, names of tools and custom tools are the client's again.

    Raises BadAnswer.
    """
    message = _object(_object(body.get("output"), "output").get("message"), "output.message")
    content = message.get("content")
    if not isinstance(content, list):
        raise BadAnswer("Bedrock's answer has no list 'output.message.content'.")
    tools = client_tools(conversation)
    blocks: list[Block] = []
    for index, value in enumerate(content):
        place = f"output.message.content[{index}]"
        block = _block(_object(value, place), tools, place)
        if block is not None:
            blocks.append(block)
    stop, sequence = read_stop(body)
    return Answer(
        id="",
        model=read_model(body),
        blocks=blocks,
        stop=stop,
        usage=read_usage(body.get("usage")),
        stop_sequence=sequence,
        service_tier=read_service_tier(body),
    )


def parse_error(body: Any, status: int) -> UpstreamError:
    """An error's body ({"message", sometimes "__type"}), or whatever else came with the `status`."""
    message: Any = None
    name = ""
    if isinstance(body, dict):
        message = body.get("message") or body.get("Message")
        kind = body.get("__type") or body.get("code")
        # "com.amazon.coral.service#ThrottlingException:http://..."
        name = kind.rpartition("#")[2].partition(":")[0] if isinstance(kind, str) else ""
    if not isinstance(message, str) or not message:
        message = f"Bedrock answered with status {status}."
    return exception_error(name, message, status)


def exception_error(name: str, message: str, status: int = 0) -> UpstreamError:
    """The error for an exception's name; "" or an unknown name leaves the kind to the status."""
    short = name.lower().removesuffix("exception")
    known = _EXCEPTIONS.get(short) or _EXCEPTIONS.get(short.removesuffix("error"))
    if known is not None:
        return UpstreamError(kind=known[0], message=message, status=status or known[1], code=name)
    kind = _STATUSES.get(status, "invalid_request" if 400 <= status < 500 else "server")
    return UpstreamError(kind=kind, message=message, status=status, code=name or None)


# -- parts that a stream has too --------------------------------------------------------------------------------------


def read_usage(value: Any) -> Usage:
    """TokenUsage; what Converse counts apart (cache reads and writes) is input here. Raises BadAnswer."""
    if value is None:
        return Usage()
    usage = _object(value, "usage")
    read, written = _count(usage, "cacheReadInputTokens"), _count(usage, "cacheWriteInputTokens")
    return Usage(
        input=_count(usage, "inputTokens") + read + written,
        output=_count(usage, "outputTokens"),
        cache_read=read,
        cache_write=written,
        known=True,
    )


def read_stop(body: Json) -> tuple[StopReason, str | None]:
    """The reason, and the stop sequence where the model told it (additionalModelResponseFields). Raises BadAnswer."""
    reason = body.get("stopReason")
    if not isinstance(reason, str):
        raise BadAnswer("Bedrock's answer has no 'stopReason'.")
    fields = body.get("additionalModelResponseFields")
    sequence = fields.get("stop_sequence") if isinstance(fields, dict) else None
    return _STOP_REASONS.get(reason, StopReason.OTHER), sequence if isinstance(sequence, str) else None


def read_model(body: Json) -> str:
    """The model that a prompt router chose; "" without one."""
    trace = body.get("trace")
    router = trace.get("promptRouter") if isinstance(trace, dict) else None
    invoked = router.get("invokedModelId") if isinstance(router, dict) else None
    return invoked if isinstance(invoked, str) else ""


def read_service_tier(body: Json) -> str | None:
    tier = body.get("serviceTier")
    kind = tier.get("type") if isinstance(tier, dict) else None
    return kind if isinstance(kind, str) else None


def read_citation(value: Any) -> Json | None:
    """A Citation or CitationsDelta in Anthropic's form; None when it does not say where the cited text stands."""
    if not isinstance(value, dict):
        return None
    location = value.get("location")
    if not isinstance(location, dict):
        return None
    title, cited = value.get("title"), _cited_text(value.get("sourceContent"))
    characters = location.get("documentChar")
    if isinstance(characters, dict):
        return {
            "type": "char_location",
            "cited_text": cited,
            "document_index": characters.get("documentIndex", 0),
            "document_title": title,
            "start_char_index": characters.get("start", 0),
            "end_char_index": characters.get("end", 0),
        }
    pages = location.get("documentPage")
    if isinstance(pages, dict):
        return {
            "type": "page_location",
            "cited_text": cited,
            "document_index": pages.get("documentIndex", 0),
            "document_title": title,
            "start_page_number": pages.get("start", 0),
            "end_page_number": pages.get("end", 0),
        }
    chunks = location.get("documentChunk")
    if isinstance(chunks, dict):
        return {
            "type": "content_block_location",
            "cited_text": cited,
            "document_index": chunks.get("documentIndex", 0),
            "document_title": title,
            "start_block_index": chunks.get("start", 0),
            "end_block_index": chunks.get("end", 0),
        }
    result = location.get("searchResultLocation")
    if isinstance(result, dict):
        return {
            "type": "search_result_location",
            "cited_text": cited,
            "search_result_index": result.get("searchResultIndex", 0),
            "source": value.get("source") or "",
            "title": title,
            "start_block_index": result.get("start", 0),
            "end_block_index": result.get("end", 0),
        }
    web = location.get("web")
    if isinstance(web, dict) and isinstance(web.get("url"), str):
        return {
            "type": "web_search_result_location",
            "cited_text": cited,
            "url": web["url"],
            "title": title,
            "encrypted_index": "",
        }
    return None


# -- blocks -----------------------------------------------------------------------------------------------------------


def _block(value: Json, tools: dict[str, Tool], place: str) -> Block | None:
    """None for an empty text, which says nothing."""
    if "text" in value:
        text = _string(value, "text", place)
        return Text(text) if text else None
    if "citationsContent" in value:
        return _cited(_object(value["citationsContent"], place), place)
    if "toolUse" in value:
        use = _object(value["toolUse"], f"{place}.toolUse")
        # A call that Bedrock has made itself: the client must not answer it.
        return Opaque(DIALECT, value) if use.get("type") == "server_tool_use" else _tool_use(use, tools, place)
    if "reasoningContent" in value:
        return _reasoning(_object(value["reasoningContent"], place), value, place)
    return Opaque(DIALECT, value)


def _tool_use(use: Json, tools: dict[str, Tool], place: str) -> ToolUse:
    name = _string(use, "name", place)
    try:
        arguments = orjson.dumps(use.get("input", {})).decode()
    except TypeError as error:
        raise BadAnswer(f"The input of a tool call in Bedrock's answer cannot be read: {error}.") from None
    tool = tools.get(name)
    custom = tool is not None and tool.custom
    return ToolUse(
        id=_string(use, "toolUseId", place),
        name=tool.name if tool is not None else name,
        arguments=unwrap(arguments) if custom else arguments,
        custom=custom,
    )


def _reasoning(content: Json, value: Json, place: str) -> Block:
    if "reasoningText" in content:
        text = _object(content["reasoningText"], f"{place}.reasoningText")
        signature = text.get("signature")
        return Thinking(_string(text, "text", place), signature if isinstance(signature, str) and signature else None)
    if "redactedContent" in content:
        return RedactedThinking(_string(content, "redactedContent", place))
    return Opaque(DIALECT, value)


def _cited(content: Json, place: str) -> Text:
    parts = content.get("content") or []
    if not isinstance(parts, list):
        raise BadAnswer(f"'{place}.citationsContent.content' in Bedrock's answer is no list.")
    texts = [
        _string(_object(part, place), "text", place) for part in parts if isinstance(part, dict) and "text" in part
    ]
    citations = content.get("citations")
    read = [read_citation(citation) for citation in citations] if isinstance(citations, list) else []
    return Text("".join(texts), citations=[citation for citation in read if citation is not None])


def _cited_text(parts: Any) -> str:
    if not isinstance(parts, list):
        return ""
    texts = [part.get("text") for part in parts if isinstance(part, dict)]
    return "".join(text for text in texts if isinstance(text, str))


def _object(value: Any, place: str) -> Json:
    if not isinstance(value, dict):
        raise BadAnswer(f"'{place}' in Bedrock's answer is not an object.")
    return value


def _string(value: Json, name: str, place: str) -> str:
    text = value.get(name)
    if not isinstance(text, str):
        raise BadAnswer(f"'{place}' in Bedrock's answer has no text '{name}'.")
    return text


def _count(usage: Json, name: str) -> int:
    return read_count(usage.get(name))
