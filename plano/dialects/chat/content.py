"""Content parts of the chat dialect, to blocks and back.

Source: OpenAI API reference, "Create chat completion": ChatCompletionRequestMessageContentPartText, ...Image, ...Audio,
...File, ...Refusal. `cache_control` on a part is what gateways in front of Anthropic read; it is taken in, and not
given out, because most servers of this dialect reject a part with a field they do not know.
"""

from __future__ import annotations

import base64
from typing import Any, Final
from urllib.parse import unquote_to_bytes

from plano.dialects.chat.fields import (
    join_path,
    read_string,
    require_element,
    require_object,
    require_string,
)
from plano.dialects.conversation import (
    Audio,
    BadRequest,
    Block,
    Document,
    Dropped,
    Image,
    Json,
    Opaque,
    Refusal,
    SearchResult,
    Text,
    Thinking,
    Untranslatable,
)
from plano.dialects.omission import kind_of, omit, search_result_text

# How base64 of the usual formats begins; for data that comes without its media type.
_BEGINNINGS: Final = (
    ("iVBORw0KGgo", "image/png"),
    ("/9j/", "image/jpeg"),
    ("R0lGOD", "image/gif"),
    ("UklGR", "image/webp"),
    ("JVBERi0", "application/pdf"),
)
_PDF: Final = "application/pdf"
_ENDINGS: Final = {
    "pdf": _PDF,
    "txt": "text/plain",
    "md": "text/markdown",
    "csv": "text/csv",
    "html": "text/html",
    "json": "application/json",
    "doc": "application/msword",
    "docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    "xls": "application/vnd.ms-excel",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
}


def parse_content(value: Any, path: str) -> list[Block]:
    """The blocks of a message's `content`: a string, or an array of parts. Raises BadRequest."""
    if type(value) is str:
        return [Text(value)]
    if type(value) is not list:
        what = "is missing" if value is None else "must be a string or an array of parts"
        raise BadRequest(f"'{path}' {what}.", path)
    blocks: list[Block] = []
    for number, part in enumerate(value):
        place = f"{path}[{number}]"
        blocks.append(Text(part) if type(part) is str else _parse_part(require_element(part, place), place))
    return blocks


def parse_texts(value: Any, path: str) -> list[Text]:
    """Content of which only texts are allowed (system and developer messages)."""
    texts: list[Text] = []
    for number, block in enumerate(parse_content(value, path)):
        if not isinstance(block, Text):
            place = f"{path}[{number}]"
            raise BadRequest(f"'{place}' must be a text part.", place)
        texts.append(block)
    return texts


def read_cache(part: Json) -> Json | None:
    """The cache marker of a part, a message or a tool."""
    marker = part.get("cache_control")
    if type(marker) is dict:
        known: Json = marker
        return known
    return {"type": "ephemeral"} if type(part.get("prompt_cache_breakpoint")) is dict else None


def render_parts(blocks: list[Block], path: str, dropped: Dropped) -> list[Json]:
    """The parts of a user message. Raises Untranslatable for content this dialect has no part for."""
    parts: list[Json] = []
    for number, block in enumerate(blocks):
        part = render_part(block, f"{path}[{number}]", dropped)
        if part is not None:
            parts.append(part)
    return parts


def split_data_url(url: str) -> tuple[str | None, str] | None:
    """(media type, base64 without line breaks) of a data URL (RFC 2397); None when it is another URL."""
    if url[:5].lower() != "data:":
        return None
    head, comma, data = url.partition(",")
    if not comma:
        return None
    fields = head[5:].split(";")
    media_type = fields[0].strip().lower() or None
    if fields[-1].strip().lower() != "base64":
        data = base64.b64encode(unquote_to_bytes(data)).decode()
    else:
        data = strip_breaks(data)
    return media_type or media_type_of(data), data


def strip_breaks(data: str) -> str:
    return "".join(data.split()) if any(space in data for space in " \n\r\t") else data


def media_type_of(data: str) -> str | None:
    """The media type that base64 data shows by its beginning, or None."""
    for beginning, media_type in _BEGINNINGS:
        if data.startswith(beginning):
            return media_type
    return None


def _parse_part(part: Json, path: str) -> Block:
    kind = require_string(part, "type", path)
    if kind in ("text", "input_text", "output_text"):
        return Text(require_string(part, "text", path), cache=read_cache(part))
    if kind == "image_url":
        return _parse_image(part, path)
    if kind == "input_audio":
        audio = require_object(part, "input_audio", path)
        place = join_path(path, "input_audio")
        return Audio(require_string(audio, "data", place), require_string(audio, "format", place))
    if kind == "file":
        return _parse_file(part, path)
    if kind == "refusal":
        return Refusal(require_string(part, "refusal", path))
    if kind == "thinking":
        return Thinking(_thinking_text(part.get("thinking")), signature=read_string(part, "signature", path))
    return Opaque("chat", part)


def _parse_image(part: Json, path: str) -> Image:
    value = part.get("image_url")
    cache = read_cache(part)
    if type(value) is str:
        url, detail = value, None
    else:
        place = join_path(path, "image_url")
        image = require_object(part, "image_url", path)
        url, detail = require_string(image, "url", place), read_string(image, "detail", place)
    found = split_data_url(url)
    if found is not None:
        return Image(media_type=found[0], data=found[1], detail=detail, cache=cache)
    if "://" not in url and media_type_of(url) is not None:
        return Image(media_type=media_type_of(url), data=strip_breaks(url), detail=detail, cache=cache)
    return Image(url=url, detail=detail, cache=cache)


def _parse_file(part: Json, path: str) -> Document:
    file = require_object(part, "file", path)
    place = join_path(path, "file")
    cache = read_cache(part)
    title = read_string(file, "filename", place)
    file_id = read_string(file, "file_id", place)
    data = read_string(file, "file_data", place)
    if data is None:
        if file_id is None:
            raise BadRequest(f"'{place}' must have 'file_data' or 'file_id'.", place)
        return Document(file_id=file_id, title=title, cache=cache)
    found = split_data_url(data)
    media_type, content = found if found is not None else (media_type_of(data), strip_breaks(data))
    if media_type is None:
        media_type = _ENDINGS.get((title or "").rpartition(".")[2].lower(), _PDF)
    if media_type == "text/plain":
        text = _decode_text(content)
        if text is not None:
            return Document(text=text, media_type=media_type, title=title, cache=cache)
    return Document(media_type=media_type, data=content, title=title, cache=cache)


def _decode_text(data: str) -> str | None:
    """The text in base64 `data`; None when it is none, and so has to stay the data it is."""
    try:
        return base64.b64decode(data, validate=True).decode()
    except ValueError:  # not ASCII, not base64, or not UTF-8
        return None


def _thinking_text(value: Any) -> str:
    """Mistral's thinking part holds text parts, others' a string."""
    if type(value) is list:
        texts = [part.get("text") for part in value if type(part) is dict]
        return "".join(text for text in texts if type(text) is str)
    return value if type(value) is str else ""


def render_part(block: Block, path: str, dropped: Dropped) -> Json | None:
    """The part a block of a user becomes; None for one that is left out. Raises Untranslatable."""
    if isinstance(block, Text):
        note_text(block, dropped)
        return {"type": "text", "text": block.text}
    if isinstance(block, Image):
        if block.cache is not None:
            dropped.add("cache_control")
        return {"type": "image_url", "image_url": _render_image(block, path)}
    if isinstance(block, Document):
        return _render_document(block, path, dropped)
    if isinstance(block, Audio):
        return {"type": "input_audio", "input_audio": {"data": block.data, "format": block.format}}
    if isinstance(block, SearchResult):
        return {"type": "text", "text": search_result_text(block, dropped)}
    if isinstance(block, Opaque):
        if block.dialect == "chat":
            return block.value
        omit(block, False, path, kind_of(block), dropped)
        return None
    dropped.add(name_of(block))
    return None


def note_text(block: Text, dropped: Dropped) -> None:
    """Report what a text block loses here."""
    if block.cache is not None:
        dropped.add("cache_control")
    if block.citations:
        dropped.add("citations")


def name_of(block: Block) -> str:
    """What a block that is left out is called in the report."""
    if isinstance(block, Opaque):
        return kind_of(block)
    return _NAMES.get(type(block).__name__, "content")


_NAMES: Final = {
    "Image": "image",
    "Document": "document",
    "Audio": "audio",
    "ToolUse": "tool_use",
    "ToolResult": "tool_result",
    "Thinking": "thinking",
    "RedactedThinking": "redacted_thinking",
    "Refusal": "refusal",
    "Text": "text",
}


def _render_image(block: Image, path: str) -> Json:
    if block.data is not None:
        url = f"data:{block.media_type or media_type_of(block.data) or 'image/png'};base64,{block.data}"
    elif block.url is not None:
        url = block.url
    else:
        raise Untranslatable("This model's API takes images by URL or as data, not by file id.", path)
    return {"url": url} if block.detail is None else {"url": url, "detail": block.detail}


def _render_document(block: Document, path: str, dropped: Dropped) -> Json:
    if block.cache is not None:
        dropped.add("cache_control")
    if block.citations:
        dropped.add("citations")
    if block.text is not None:
        return {"type": "text", "text": document_text(block)}
    if block.context is not None:
        dropped.add("context")
    if block.data is not None:
        media_type = block.media_type or media_type_of(block.data) or _PDF
        name = block.title or ("document.pdf" if media_type == _PDF else "document")
        return {"type": "file", "file": {"filename": name, "file_data": f"data:{media_type};base64,{block.data}"}}
    if block.file_id is not None:
        return {"type": "file", "file": {"file_id": block.file_id}}
    raise Untranslatable("This model's API takes documents as data or by file id, not by URL.", path)


def document_text(block: Document) -> str:
    """A plain-text document as the text of a message, with what is known about it."""
    head = "" if block.title is None else f"Document: {block.title}\n"
    if block.context is not None:
        head += f"Context: {block.context}\n"
    return f"{head}\n{block.text}" if head else block.text or ""
