"""The hub's turns, rendered as messages of the messages dialect. No I/O.

Source: Anthropic API reference, "Messages": what a request may hold. Rules that the API enforces and other dialects do
not: roles alternate (equal neighbours are merged here), tool results come first in the turn after the calls, ids are
letters, digits, `_` and `-` and occur once, no text is empty, thinking without its signature is refused.
"""

from __future__ import annotations

import binascii
import hashlib
import re
from typing import Final

import orjson

from plano.dialects.conversation import (
    Audio,
    Block,
    Document,
    Dropped,
    Image,
    Json,
    Opaque,
    RedactedThinking,
    Refusal,
    SearchResult,
    Text,
    Thinking,
    ToolResult,
    ToolUse,
    Turn,
    Untranslatable,
)
from plano.dialects.custom_tools import wrap
from plano.dialects.messages.content import DIALECT
from plano.dialects.omission import kind_of, omit

_ID: Final = re.compile(r"[a-zA-Z0-9_-]+")
_NOT_IN_IDS: Final = re.compile(r"[^a-zA-Z0-9_-]")
_DATA_URL: Final = re.compile(r"data:([^;,]*)(?:;[^;,]*)*?;base64,(.*)", re.DOTALL)
# How the base64 of a file of this type begins, for clients that do not say what they send.
_SIGNATURES: Final = {
    "iVBORw0KGgo": "image/png",
    "/9j/": "image/jpeg",
    "R0lGOD": "image/gif",
    "UklGR": "image/webp",
    "JVBERi": "application/pdf",
}
_TEXT_TYPES: Final = frozenset({"application/json", "application/xml", "application/yaml", "application/x-yaml"})
# Ids of OpenAI's file store; Anthropic's are `file_...`.
_OPENAI_FILE: Final = "file-"
# OpenAI's encrypted reasoning is a Fernet token: version byte 0x80, then a time whose first bytes are zero. The API
# refuses a whole request for one signature it did not make, and conversations do move between providers.
_OPENAI_SIGNATURE: Final = "gAAAA"
# What the API wants of a citation that is sent back to it.
_CITATION_FIELDS: Final = {
    "char_location": ("cited_text", "document_index", "start_char_index", "end_char_index"),
    "page_location": ("cited_text", "document_index", "start_page_number", "end_page_number"),
    "content_block_location": ("cited_text", "document_index", "start_block_index", "end_block_index"),
    "search_result_location": ("cited_text", "search_result_index", "source", "start_block_index", "end_block_index"),
    "web_search_result_location": ("cited_text", "encrypted_index", "url"),
}


class MessagesRenderer:
    """Renders the turns of one conversation. Paths in errors are those of the client's request, as far as they
    are known, and else count the conversation's turns."""

    def __init__(self, dropped: Dropped) -> None:
        self._dropped = dropped
        self._ids: dict[str, str] = {}
        self._taken: dict[str, int] = {}  # and the number to try for the next call of that id

    def render_turns(self, turns: list[Turn]) -> list[Json]:
        """The messages of all turns but those of role `system`, which have no place among them."""
        messages: list[Json] = []
        for index, turn in enumerate(turns):
            if turn.role == "system":
                continue
            path = turn.path or f"messages[{index}]"
            if turn.name is not None:
                self._dropped.add("name")
            blocks = self._render_blocks(turn.blocks, turn.role == "assistant", path)
            if not blocks:
                continue
            if messages and messages[-1]["role"] == turn.role:
                messages[-1]["content"].extend(blocks)
            else:
                messages.append({"role": turn.role, "content": blocks})
        for message in messages:
            if message["role"] == "user":
                # A stable sort: results first, nothing else changes its place.
                message["content"].sort(key=_is_no_result)
        if messages and messages[-1]["role"] == "assistant":
            _trim_prefill(messages)
        for message in messages:
            message["content"] = compact(message["content"])
        return messages

    def render_texts(self, texts: list[Text]) -> list[Json]:
        """Text blocks, without the empty ones."""
        return [self._render_text(text) for text in texts if text.text.strip()]

    def _render_blocks(self, blocks: list[Block], by_model: bool, path: str) -> list[Json]:
        rendered: list[Json] = []
        calls = 0
        for index, block in enumerate(blocks):
            where = f"{path}.content[{index}]"
            if isinstance(block, ToolUse):
                rendered.append(self._render_tool_use(block, f"{path}.tool_calls[{calls}]"))
                calls += 1
            elif isinstance(block, ToolResult):
                rendered.append(self._render_tool_result(block, where))
            elif isinstance(block, Thinking):
                if block.signature and _is_own(block.signature):
                    rendered.append({"type": "thinking", "thinking": block.text, "signature": block.signature})
                else:
                    self._dropped.add("thinking")
            elif isinstance(block, RedactedThinking):
                if _is_own(block.data):
                    rendered.append({"type": "redacted_thinking", "data": block.data})
                else:
                    self._dropped.add("redacted_thinking")
            else:
                plain = self._render_plain(block, by_model, where)
                if plain is not None:
                    rendered.append(plain)
        return rendered

    def _render_plain(self, block: Block, by_model: bool, path: str) -> Json | None:
        """A block that may also stand in a tool's result; None for one that is left out."""
        if isinstance(block, Text):
            return self._render_text(block) if block.text.strip() else None
        if isinstance(block, Refusal):
            return {"type": "text", "text": block.text} if block.text.strip() else None
        if isinstance(block, Image):
            return self._render_image(block, path)
        if isinstance(block, Document):
            return _render_document(block, path)
        if isinstance(block, SearchResult):
            return _render_search_result(block)
        if isinstance(block, Audio):
            raise Untranslatable("The messages API takes no audio.", path)
        if isinstance(block, Opaque):
            if block.dialect == DIALECT:
                return block.value
            omit(block, by_model, path, kind_of(block), self._dropped)
        return None

    def _render_text(self, text: Text) -> Json:
        rendered: Json = {"type": "text", "text": text.text}
        citations = [citation for citation in text.citations if _is_whole(citation)]
        if len(citations) < len(text.citations):
            self._dropped.add("citations")
        if citations:
            rendered["citations"] = citations
        return _marked(rendered, text.cache)

    def _render_image(self, image: Image, path: str) -> Json:
        if image.detail is not None and image.detail != "auto":
            self._dropped.add("detail")
        return _marked({"type": "image", "source": image_source(image, path)}, image.cache)

    def _render_tool_use(self, call: ToolUse, path: str) -> Json:
        if call.custom:
            arguments = wrap(call.arguments)
        else:
            loaded = load_arguments(call.arguments)
            if loaded is None:
                raise Untranslatable(f"The arguments of '{path}' are not a JSON object.", path)
            arguments = loaded
        rendered: Json = {"type": "tool_use", "id": self._open_id(call.id), "name": call.name, "input": arguments}
        return _marked(rendered, call.cache)

    def _render_tool_result(self, result: ToolResult, path: str) -> Json:
        tool_use_id = self._ids.get(result.id) or _clean(result.id)
        rendered: Json = {"type": "tool_result", "tool_use_id": tool_use_id}
        content: list[Json] = []
        for index, block in enumerate(result.content):
            plain = self._render_plain(block, False, f"{result.path or path}.content[{index}]")
            if plain is not None:
                content.append(plain)
        if content:
            rendered["content"] = compact(content)
        if result.is_error:
            rendered["is_error"] = True
        return _marked(rendered, result.cache)

    def _open_id(self, original: str) -> str:
        """The id of a new call. Some providers count calls anew in every turn; the API wants every id once."""
        clean = _clean(original)
        unique = clean
        number = self._taken.get(clean, 2)
        while unique in self._taken:
            unique = f"{clean}_{number}"
            number += 1
        self._taken[unique] = 2
        self._taken[clean] = number
        self._ids[original] = unique
        return unique


def compact(blocks: list[Json]) -> str | list[Json]:
    """A single plain text as the string that the API takes for it."""
    if len(blocks) == 1 and blocks[0]["type"] == "text" and len(blocks[0]) == 2:
        text = blocks[0]["text"]
        if type(text) is str:
            return text
    return blocks


def load_arguments(text: str) -> Json | None:
    """A call's arguments as an object ("" counts as none); None when they are not the JSON of one."""
    if not text.strip():
        return {}
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    return value if type(value) is dict else None


def image_source(image: Image, path: str) -> Json:
    """Raises Untranslatable for an image that only its own provider can read."""
    if image.data is not None:
        media_type = image.media_type or _type_of(image.data) or "image/png"
        return _base64("image/jpeg" if media_type == "image/jpg" else media_type, image.data)
    if image.url is not None:
        match = _DATA_URL.fullmatch(image.url)
        if match is not None:
            return image_source(Image(media_type=match.group(1) or None, data=match.group(2)), path)
        return {"type": "url", "url": _web_address(image.url, path)}
    return {"type": "file", "file_id": _file_id(image.file_id, path)}


def _render_document(document: Document, path: str) -> Json:
    rendered: Json = {"type": "document", "source": document_source(document, path)}
    if document.title is not None:
        rendered["title"] = document.title
    if document.context is not None:
        rendered["context"] = document.context
    if document.citations:
        rendered["citations"] = {"enabled": True}
    return _marked(rendered, document.cache)


def _render_search_result(result: SearchResult) -> Json:
    rendered: Json = {
        "type": "search_result",
        "source": result.source,
        "title": result.title,
        "content": [{"type": "text", "text": text} for text in result.texts],
    }
    if result.citations:
        rendered["citations"] = {"enabled": True}
    return _marked(rendered, result.cache)


def document_source(document: Document, path: str) -> Json:
    """Raises Untranslatable for a document of a type that the API does not read."""
    if document.text is not None:
        return _plain_text(document.text)
    if document.data is not None:
        media_type = document.media_type or _type_of(document.data) or "application/octet-stream"
        if media_type == "application/pdf":
            return _base64(media_type, document.data)
        if media_type.startswith("text/") or media_type in _TEXT_TYPES:
            return _plain_text(_decode(document.data, path))
        raise Untranslatable(f"The messages API reads PDF and plain text documents, not '{media_type}'.", path)
    if document.url is not None:
        match = _DATA_URL.fullmatch(document.url)
        if match is not None:
            return document_source(Document(media_type=match.group(1) or None, data=match.group(2)), path)
        return {"type": "url", "url": _web_address(document.url, path)}
    return {"type": "file", "file_id": _file_id(document.file_id, path)}


def _base64(media_type: str, data: str) -> Json:
    return {"type": "base64", "media_type": media_type, "data": data}


def _plain_text(text: str) -> Json:
    return {"type": "text", "media_type": "text/plain", "data": text}


def _decode(data: str, path: str) -> str:
    try:
        return binascii.a2b_base64(data).decode("utf-8")
    except ValueError:  # binascii.Error and UnicodeDecodeError are both of this kind
        raise Untranslatable("A text document must be base64 of UTF-8.", path) from None


def _type_of(data: str) -> str | None:
    for beginning, media_type in _SIGNATURES.items():
        if data.startswith(beginning):
            return media_type
    return None


def _web_address(url: str, path: str) -> str:
    if not url.startswith(("https://", "http://")):
        raise Untranslatable("The messages API reads files from http and https addresses only.", path)
    return url


def _file_id(file_id: str | None, path: str) -> str:
    if file_id is None or file_id.startswith(_OPENAI_FILE):
        raise Untranslatable("A file in another provider's store cannot be read by the messages API.", path)
    return file_id


def _clean(original: str) -> str:
    """`original` in the API's alphabet. What is not, gets the same stand-in in every request: prompt caches and the
    client's next turn depend on that."""
    if _ID.fullmatch(original):
        return original
    digest = hashlib.sha256(original.encode("utf-8", "replace")).hexdigest()[:8]
    return f"{_NOT_IN_IDS.sub('_', original)}_{digest}"


def _is_no_result(block: Json) -> bool:
    return bool(block["type"] != "tool_result")


def _is_own(signature: str) -> bool:
    """May this be Anthropic's? Dialects that mark theirs do so with a colon, which base64 has not."""
    return ":" not in signature and not signature.startswith(_OPENAI_SIGNATURE)


def _is_whole(citation: Json) -> bool:
    fields = _CITATION_FIELDS.get(str(citation.get("type")))
    return fields is not None and all(citation.get(name) not in (None, "") for name in fields)


def _marked(rendered: Json, cache: Json | None) -> Json:
    if cache is not None:
        rendered["cache_control"] = cache
    return rendered


def _trim_prefill(messages: list[Json]) -> None:
    """The API refuses a final assistant turn that ends in white space."""
    last = messages[-1]["content"][-1]
    if last["type"] == "text":
        last["text"] = last["text"].rstrip()
