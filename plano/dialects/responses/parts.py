"""Content parts of the responses dialect: what stands inside a message or a tool's output.

Source: OpenAI API reference, "Create a model response", `input`: input_text, input_image, input_file and input_audio of
a user, output_text and refusal of an assistant.
"""

from __future__ import annotations

import base64
from typing import Any, Final

from plano.dialects.chat.content import media_type_of, split_data_url, strip_breaks
from plano.dialects.chat.fields import join_path, read_object, read_string, require_string
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
    Untranslatable,
)
from plano.dialects.omission import search_result_text

# The `dialect` of opaque blocks: an item of its own, or a part of a message.
ITEM: Final = "responses"
PART: Final = "responses.part"

_EXTENSIONS: Final = {
    "application/pdf": "pdf",
    "text/plain": "txt",
    "text/markdown": "md",
    "text/html": "html",
    "text/csv": "csv",
    "application/json": "json",
}


def parse_content(content: Any, path: str) -> list[Block]:
    """The blocks of a `content` or `output`: a string, or a list of parts."""
    if type(content) is str:
        return [Text(content)]
    if type(content) is not list:
        what = "is missing" if content is None else "must be a string or an array"
        raise BadRequest(f"'{path}' {what}.", path)
    return [parse_part(part, f"{path}[{index}]") for index, part in enumerate(content)]


def parse_part(part: Any, path: str) -> Block:
    if type(part) is not dict:
        raise BadRequest(f"'{path}' must be an object.", path)
    kind = require_string(part, "type", path)
    # Annotations of earlier answers are for people: no model reads them, so they are not carried.
    if kind in ("input_text", "output_text", "text"):
        marked = read_object(part, "prompt_cache_breakpoint", path) is not None
        return Text(require_string(part, "text", path), cache={"type": "ephemeral"} if marked else None)
    if kind == "refusal":
        return Refusal(require_string(part, "refusal", path))
    if kind == "input_image":
        return _parse_image(part, path)
    if kind == "input_file":
        return _parse_file(part, path)
    if kind == "input_audio":
        audio = read_object(part, "input_audio", path)
        where = join_path(path, "input_audio")
        if audio is None:
            raise BadRequest(f"'{where}' is missing.", where)
        return Audio(require_string(audio, "data", where), require_string(audio, "format", where))
    return Opaque(PART, part)


def _parse_image(part: Json, path: str) -> Image:
    url = read_string(part, "image_url", path)
    file_id = read_string(part, "file_id", path)
    if url is None and file_id is None:
        raise BadRequest(f"'{path}' has neither an 'image_url' nor a 'file_id'.", join_path(path, "image_url"))
    image = Image(file_id=file_id, detail=read_string(part, "detail", path))
    found = split_data_url(url) if url is not None else None
    if found is None:
        image.url = url
    else:
        image.media_type, image.data = found
    if read_object(part, "prompt_cache_breakpoint", path) is not None:
        image.cache = {"type": "ephemeral"}
    return image


def _parse_file(part: Json, path: str) -> Document:
    data = read_string(part, "file_data", path)
    document = Document(
        url=read_string(part, "file_url", path),
        file_id=read_string(part, "file_id", path),
        title=read_string(part, "filename", path),
    )
    if data is None and document.url is None and document.file_id is None:
        raise BadRequest(f"'{path}' has no 'file_data', 'file_url' or 'file_id'.", join_path(path, "file_data"))
    if data is not None:
        found = split_data_url(data)  # bare base64 is allowed too
        document.media_type, document.data = found if found is not None else (media_type_of(data), strip_breaks(data))
        if document.media_type == "text/plain":
            _decode_plain_text(document)
    if read_object(part, "prompt_cache_breakpoint", path) is not None:
        document.cache = {"type": "ephemeral"}
    return document


def _decode_plain_text(document: Document) -> None:
    try:
        document.text = base64.b64decode(document.data or "", validate=True).decode("utf-8")
    except ValueError:  # no base64, no ASCII, no UTF-8
        return  # it stays the data it is: the provider may know better
    document.data = None


def render_part(block: Block, of_assistant: bool, path: str, dropped: Dropped) -> Json | None:
    """The part a block becomes; None when it is no part of a message, or cannot be said and may be left out."""
    if isinstance(block, Text):
        _drop_cache(block.cache, dropped)
        if block.citations:
            dropped.add("citations")
        if of_assistant:
            return {"type": "output_text", "text": block.text, "annotations": []}
        return {"type": "input_text", "text": block.text}
    if isinstance(block, Refusal):
        if of_assistant:
            return {"type": "refusal", "refusal": block.text}
        return {"type": "input_text", "text": block.text}
    if isinstance(block, SearchResult):
        return {"type": "input_text", "text": search_result_text(block, dropped)}
    if isinstance(block, Opaque):
        return block.value if block.dialect == PART else None
    if not isinstance(block, Image | Document | Audio):
        return None
    if of_assistant:
        what = type(block).__name__.lower()
        raise Untranslatable(f"'{path}': the upstream of this model takes no {what} from an assistant.", path)
    if isinstance(block, Image):
        _drop_cache(block.cache, dropped)
        return _render_image(block)
    if isinstance(block, Audio):
        return {"type": "input_audio", "input_audio": {"data": block.data, "format": block.format}}
    _drop_cache(block.cache, dropped)
    return _render_file(block, dropped)


def _drop_cache(cache: Json | None, dropped: Dropped) -> None:
    # This API's breakpoints are known to its newest models only; the others refuse a request that has one.
    if cache is not None:
        dropped.add("cache_control")


def _render_image(image: Image) -> Json:
    part: Json = {"type": "input_image", "detail": image.detail or "auto"}
    if image.data is not None:
        part["image_url"] = f"data:{image.media_type or media_type_of(image.data) or 'image/png'};base64,{image.data}"
    elif image.url is not None:
        part["image_url"] = image.url
    if image.file_id is not None:
        part["file_id"] = image.file_id
    return part


def _render_file(document: Document, dropped: Dropped) -> Json:
    if document.context is not None:
        dropped.add("context")
    if document.citations:
        dropped.add("citations")
    part: Json = {"type": "input_file"}
    if document.file_id is not None:
        part["file_id"] = document.file_id
    if document.url is not None:
        part["file_url"] = document.url
    data = document.data
    media_type = document.media_type or "application/pdf"
    if document.text is not None:
        media_type = "text/plain"
        data = base64.b64encode(document.text.encode("utf-8")).decode("ascii")
    if data is not None:
        part["filename"] = document.title or f"document.{_EXTENSIONS.get(media_type, 'bin')}"
        part["file_data"] = f"data:{media_type};base64,{data}"
    return part
