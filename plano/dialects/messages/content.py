"""Content blocks of the messages dialect, read into the hub's blocks. No I/O.

Source: Anthropic API reference, "Messages", content block parameters. Blocks that only this dialect has (server tools
and their results, container uploads, types newer than this file) become `Opaque`.
"""

from __future__ import annotations

from typing import Any, Final

import orjson

from plano.dialects.conversation import (
    BadRequest,
    Block,
    Document,
    Image,
    Json,
    Opaque,
    RedactedThinking,
    SearchResult,
    Text,
    Thinking,
    ToolResult,
    ToolUse,
)
from plano.dialects.messages.fields import (
    keep_rest,
    need_object,
    need_string,
    read_flag,
    read_list,
    read_object,
    read_objects,
    read_string,
)

DIALECT: Final = "messages"

_TEXT_FIELDS: Final = frozenset({"type", "text", "cache_control", "citations", "parsed_output"})
_IMAGE_FIELDS: Final = frozenset({"type", "source", "cache_control"})
_DOCUMENT_FIELDS: Final = frozenset({"type", "source", "cache_control", "title", "context", "citations"})
_SOURCE_FIELDS: Final = frozenset({"type", "media_type", "data", "url", "file_id", "content"})
_SEARCH_RESULT_FIELDS: Final = frozenset({"type", "source", "title", "content", "citations", "cache_control"})
_TOOL_USE_FIELDS: Final = frozenset({"type", "id", "name", "input", "cache_control"})
_TOOL_RESULT_FIELDS: Final = frozenset({"type", "tool_use_id", "content", "is_error", "cache_control"})
_THINKING_FIELDS: Final = frozenset({"type", "thinking", "signature"})
_REDACTED_FIELDS: Final = frozenset({"type", "data"})
_RESULT_KINDS: Final = frozenset({"text", "image", "document", "search_result"})
_DIRECT_CALLER: Final = {"type": "direct"}


def read_content(source: Json, key: str, path: str, extra: Json) -> list[Block]:
    """The blocks of a string or an array of blocks; [] when it is absent. Unknown fields of blocks go to `extra`."""
    content = source.get(key)
    where = f"{path}.{key}" if path else key
    if content is None:
        return []
    if type(content) is str:
        return [Text(content)]
    if type(content) is not list:
        raise BadRequest(f"'{where}' must be a string or an array of content blocks.", where)
    return [_read_block(block, f"{where}[{index}]", extra) for index, block in enumerate(content)]


def read_texts(source: Json, key: str, path: str, extra: Json) -> list[Text]:
    """Like `read_content`, where only text is allowed."""
    texts: list[Text] = []
    for index, block in enumerate(read_content(source, key, path, extra)):
        if not isinstance(block, Text):
            where = f"{path}.{key}[{index}]" if path else f"{key}[{index}]"
            raise BadRequest(f"'{where}' must be a text block.", where)
        texts.append(block)
    return texts


def _read_block(block: Any, path: str, extra: Json) -> Block:
    if type(block) is not dict:
        raise BadRequest(f"'{path}' must be an object.", path)
    kind = need_string(block, "type", path)
    if kind == "tool_use":
        return _read_tool_use(block, path, extra)
    if kind == "tool_result":
        return _read_tool_result(block, path, extra)
    if kind == "thinking":
        keep_rest(block, _THINKING_FIELDS, path, extra)
        return Thinking(need_string(block, "thinking", path), read_string(block, "signature", path) or None)
    if kind == "redacted_thinking":
        keep_rest(block, _REDACTED_FIELDS, path, extra)
        return RedactedThinking(need_string(block, "data", path))
    return _read_plain(block, kind, path, extra)


def _read_plain(block: Json, kind: str, path: str, extra: Json) -> Block:
    """A block that may also stand in a tool's result."""
    if kind == "text":
        keep_rest(block, _TEXT_FIELDS, path, extra)
        citations = read_objects(block, "citations", path)
        return Text(need_string(block, "text", path), read_object(block, "cache_control", path), list(citations))
    if kind == "image":
        return _read_image(block, path, extra)
    if kind == "document":
        return _read_document(block, path, extra)
    if kind == "search_result":
        return _read_search_result(block, path, extra)
    return Opaque(DIALECT, block)


def _read_image(block: Json, path: str, extra: Json) -> Block:
    source = need_object(block, "source", path)
    where = f"{path}.source"
    kind = need_string(source, "type", where)
    if kind == "base64":
        image = Image(media_type=need_string(source, "media_type", where), data=_read_data(source, where))
    elif kind == "url":
        image = Image(url=need_string(source, "url", where))
    elif kind == "file":
        image = Image(file_id=need_string(source, "file_id", where))
    else:
        return Opaque(DIALECT, block)
    keep_rest(block, _IMAGE_FIELDS, path, extra)
    keep_rest(source, _SOURCE_FIELDS, where, extra)
    image.cache = read_object(block, "cache_control", path)
    return image


def _read_document(block: Json, path: str, extra: Json) -> Block:
    source = need_object(block, "source", path)
    where = f"{path}.source"
    kind = need_string(source, "type", where)
    document = Document()
    if kind == "base64":
        document.media_type = need_string(source, "media_type", where)
        document.data = _read_data(source, where)
    elif kind == "text":
        document.media_type = read_string(source, "media_type", where) or "text/plain"
        document.text = need_string(source, "data", where)
    elif kind == "url":
        document.url = need_string(source, "url", where)
    elif kind == "file":
        document.file_id = need_string(source, "file_id", where)
    elif kind == "content":
        text = _read_custom_content(source, where, extra)
        if text is None:
            return Opaque(DIALECT, block)
        document.media_type = "text/plain"
        document.text = text
    else:
        return Opaque(DIALECT, block)
    keep_rest(block, _DOCUMENT_FIELDS, path, extra)
    keep_rest(source, _SOURCE_FIELDS, where, extra)
    document.title = read_string(block, "title", path)
    document.context = read_string(block, "context", path)
    document.citations = _read_citing(block, path)
    document.cache = read_object(block, "cache_control", path)
    return document


def _read_search_result(block: Json, path: str, extra: Json) -> SearchResult:
    keep_rest(block, _SEARCH_RESULT_FIELDS, path, extra)
    return SearchResult(
        need_string(block, "source", path),
        need_string(block, "title", path),
        [text.text for text in read_texts(block, "content", path, extra)],
        _read_citing(block, path),
        read_object(block, "cache_control", path),
    )


def _read_citing(block: Json, path: str) -> bool:
    citations = read_object(block, "citations", path)
    return citations is not None and read_flag(citations, "enabled", f"{path}.citations") is True


def _read_custom_content(source: Json, path: str, extra: Json) -> str | None:
    """The text of a document given in blocks; None when some of them are no text, which the hub cannot say."""
    blocks = read_content(source, "content", path, extra)
    texts = [block.text for block in blocks if isinstance(block, Text)]
    return "\n".join(texts) if len(texts) == len(blocks) else None


def _read_data(source: Json, path: str) -> str:
    # SDKs of some languages break base64 into lines; other dialects do not allow that.
    return "".join(need_string(source, "data", path).split())


def _read_tool_use(block: Json, path: str, extra: Json) -> ToolUse:
    for key, value in block.items():
        # Answers say that the model itself was the caller; clients send that back.
        if key not in _TOOL_USE_FIELDS and value is not None and not (key == "caller" and value == _DIRECT_CALLER):
            extra[f"{path}.{key}"] = value
    return ToolUse(
        need_string(block, "id", path),
        need_string(block, "name", path),
        dump_arguments(need_object(block, "input", path), f"{path}.input"),
        cache=read_object(block, "cache_control", path),
    )


def _read_tool_result(block: Json, path: str, extra: Json) -> ToolResult:
    keep_rest(block, _TOOL_RESULT_FIELDS, path, extra)
    content: list[Block] = []
    if type(block.get("content")) is str:
        content.append(Text(block["content"]))
    else:
        for index, item in enumerate(read_list(block, "content", path) or []):
            where = f"{path}.content[{index}]"
            if type(item) is not dict:
                raise BadRequest(f"'{where}' must be an object.", where)
            kind = need_string(item, "type", where)
            # One level only: results within results are nothing the API has.
            content.append(_read_plain(item, kind, where, extra) if kind in _RESULT_KINDS else Opaque(DIALECT, item))
    return ToolResult(
        need_string(block, "tool_use_id", path),
        content,
        read_flag(block, "is_error", path) is True,
        cache=read_object(block, "cache_control", path),
    )


def dump_arguments(arguments: Json, path: str) -> str:
    """Arguments as JSON text. Raises BadRequest where they cannot be written: nested deeper than the encoder goes."""
    try:
        return orjson.dumps(arguments).decode()
    except TypeError:
        raise BadRequest(f"'{path}' is nested too deeply.", path) from None
