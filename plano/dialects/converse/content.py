"""Turns and their blocks as Bedrock Converse messages. No I/O.

Source: Bedrock API reference, Message, ContentBlock, ToolResultBlock, DocumentBlock, ImageBlock, ReasoningContentBlock,
CachePointBlock. What the service checks beyond these shapes, and this module therefore takes care of: roles alternate
and begin with the user; tool results come first in a user message; no text is blank (white space counts as blank, so a
single space would be refused); a message with a document has a text; the names of documents differ.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import replace
from typing import Final

import orjson

from plano.dialects.conversation import (
    Audio,
    Block,
    Conversation,
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
from plano.dialects.converse.models import Traits
from plano.dialects.converse.names import CallIds, converse_document_name, converse_tool_name
from plano.dialects.custom_tools import wrap
from plano.dialects.omission import error_text, omit, search_result_text

DIALECT: Final = "converse"

# Stands where Bedrock wants a text and the client has none.
EMPTY_TEXT: Final = "(empty)"

# A request is refused as a whole for one signature of another maker, and conversations do move between providers.
# Anthropic's are base64 and good at Bedrock too; those of other dialects have a tag that is none (`chat:...`), and
# OpenAI's are Fernet tokens, which all begin alike.
_SIGNATURE = re.compile(r"(?!gAAAA)[A-Za-z0-9+/_=-]+")
_DATA_URL = re.compile(r"data:([^;,]*)(?:;[^,]*)?;base64,(.*)", re.DOTALL)
# How the base64 of a file of this type begins, for clients that do not say what they send.
_SIGNATURES: Final = {
    "iVBORw0KGgo": "image/png",
    "/9j/": "image/jpeg",
    "R0lGOD": "image/gif",
    "UklGR": "image/webp",
    "JVBERi": "application/pdf",
}
_IMAGE_FORMATS: Final = {
    "image/png": "png",
    "image/jpeg": "jpeg",
    "image/jpg": "jpeg",
    "image/gif": "gif",
    "image/webp": "webp",
}
_DOCUMENT_FORMATS: Final = {
    "application/pdf": "pdf",
    "text/csv": "csv",
    "application/msword": "doc",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": "docx",
    "application/vnd.ms-excel": "xls",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": "xlsx",
    "text/html": "html",
    "text/plain": "txt",
    "text/markdown": "md",
}
_AUDIO_FORMATS: Final = frozenset(
    ("mp3", "opus", "wav", "aac", "flac", "mp4", "ogg", "mkv", "mka", "x-aac", "m4a", "mpeg", "mpga", "pcm", "webm")
)


def render_system(conversation: Conversation, traits: Traits, dropped: Dropped) -> list[Json]:
    """The `system` list: also of system turns among the others, for which most models have no role."""
    texts = list(conversation.system)
    for turn in conversation.turns:
        if turn.role == "system":
            texts.extend(block for block in turn.blocks if isinstance(block, Text))
    rendered: list[Json] = []
    for text in texts:
        if text.text.strip():
            rendered.append({"text": text.text})
            rendered.extend(cache_point(text.cache, traits.caches(), traits.caches_tools(), dropped))
    return rendered


def render_messages(conversation: Conversation, traits: Traits, dropped: Dropped) -> list[Json]:
    """The `messages` list. Raises Untranslatable."""
    renderer = _Renderer(traits, dropped)
    messages: list[_Message] = []
    for index, turn in enumerate(conversation.turns):
        if turn.role == "system":
            continue
        message = _Message(turn.role)
        renderer.add(message, turn, turn.path or f"messages[{index}]")
        if message.is_empty():
            continue
        if messages and messages[-1].role == turn.role:
            messages[-1].join(message)
        else:
            messages.append(message)
    if not messages or messages[0].role != "user":
        messages.insert(0, _Message("user"))
    if messages[-1].role == "assistant":
        messages[-1].trim()
    return [message.render() for message in messages]


def cache_point(cache: Json | None, caches: bool, ttl: bool, dropped: Dropped) -> list[Json]:
    """The cache point after a block with the marker `cache`: one or none."""
    if cache is None:
        return []
    if not caches:
        dropped.add("cache_control")
        return []
    point: Json = {"type": "default"}
    lifetime = cache.get("ttl")
    if ttl and (lifetime == "5m" or lifetime == "1h"):
        point["ttl"] = lifetime
    return [{"cachePoint": point}]


class _Message:
    __slots__ = ("content", "results", "role")

    def __init__(self, role: str) -> None:
        self.role = role
        self.results: list[Json] = []
        self.content: list[Json] = []

    def is_empty(self) -> bool:
        return not self.results and not self.content

    def join(self, other: _Message) -> None:
        self.results.extend(other.results)
        self.content.extend(other.content)

    def trim(self) -> None:
        """The beginning of an answer that the model shall continue must not end with white space."""
        if self.content and "text" in self.content[-1]:
            self.content[-1]["text"] = self.content[-1]["text"].rstrip()

    def render(self) -> Json:
        content = self.results + self.content
        has_document = any("document" in block for block in self.content)
        if not content or (has_document and not any("text" in block for block in content)):
            content.append({"text": EMPTY_TEXT})
        return {"role": self.role, "content": content}


class _Renderer:
    __slots__ = ("_document_names", "_dropped", "_ids", "_traits")

    def __init__(self, traits: Traits, dropped: Dropped) -> None:
        self._traits = traits
        self._dropped = dropped
        self._document_names: dict[str, int] = {}
        self._ids = CallIds()

    def add(self, message: _Message, turn: Turn, path: str) -> None:
        """Render the blocks of `turn` into `message`."""
        if turn.name is not None:
            self._dropped.add(f"{path}.name")
        for index, block in enumerate(turn.blocks):
            place = f"{path}.content[{index}]"
            if isinstance(block, ToolResult):
                message.results.extend(self._tool_result(block, place))
            else:
                message.content.extend(self._block(block, place, turn.role == "assistant"))

    def _block(self, block: Block, place: str, by_assistant: bool) -> list[Json]:
        """A block of a message, with its cache point; empty when it is left out."""
        if isinstance(block, Text):
            if block.citations:
                self._dropped.add(f"{place}.citations")
            return self._with_cache({"text": block.text}, block.cache) if block.text.strip() else []
        if isinstance(block, ToolUse):
            return self._with_cache(self._tool_use(block, place), block.cache)
        if isinstance(block, Thinking):
            # Without its proof of origin reasoning is refused even by the models that wrote it.
            proved = _SIGNATURE.fullmatch(block.signature or "") is not None
            if not proved or not self._traits.takes_reasoning_back():
                self._dropped.add(f"{place}.thinking")
                return []
            text = {"text": block.text, "signature": block.signature}
            return [{"reasoningContent": {"reasoningText": text}}]
        if isinstance(block, RedactedThinking):
            if not _is_base64(block.data) or not self._traits.takes_reasoning_back():
                self._dropped.add(f"{place}.redacted_thinking")
                return []
            return [{"reasoningContent": {"redactedContent": block.data}}]
        if isinstance(block, Refusal):
            return [{"text": block.text}] if block.text.strip() else []
        if isinstance(block, Image | Document | Audio):
            if by_assistant:
                raise Untranslatable("Bedrock takes images, documents and audio from the user only.", place)
            return self._media(block, place)
        if isinstance(block, SearchResult):
            return self._search_result(block)
        if isinstance(block, Opaque):
            return self._opaque(block, by_assistant, place)
        raise Untranslatable("Tool results are allowed at the top of a user message only.", place)

    def _media(self, block: Image | Document | Audio, place: str) -> list[Json]:
        if isinstance(block, Image):
            return self._with_cache({"image": self._image(block, place)}, block.cache)
        if isinstance(block, Document):
            return self._with_cache({"document": self._document(block, place)}, block.cache)
        if block.format not in _AUDIO_FORMATS:
            raise Untranslatable(f"Bedrock does not take audio of the format {block.format!r}.", place)
        return [{"audio": {"format": block.format, "source": {"bytes": block.data}}}]

    def _tool_result(self, result: ToolResult, place: str) -> list[Json]:
        content: list[Json] = []
        cache = result.cache
        for index, block in enumerate(result.content):
            inner = f"{result.path or place}.content[{index}]"
            if isinstance(block, Text):
                cache = cache or block.cache
                if block.text.strip():
                    content.append({"text": block.text})
            elif isinstance(block, Image):
                cache = cache or block.cache
                content.append({"image": self._image(block, inner)})
            elif isinstance(block, Document):
                cache = cache or block.cache
                content.append({"document": self._document(block, inner)})
            elif isinstance(block, SearchResult):
                cache = cache or block.cache
                content.extend(self._search_result(replace(block, cache=None)))
            elif isinstance(block, Opaque):
                content.extend(self._opaque(block, False, inner))
            else:
                raise Untranslatable("Bedrock takes texts, images and documents as a tool's result.", inner)
        if result.is_error and not self._traits.takes_result_status():
            first = content.pop(0)["text"] if content and "text" in content[0] else ""
            content.insert(0, {"text": error_text(first)})
        rendered: Json = {"toolUseId": self._ids.of_result(result.id), "content": content or [{"text": EMPTY_TEXT}]}
        if result.is_error and self._traits.takes_result_status():
            rendered["status"] = "error"
        # Converse has no cache points inside a result: the next place after it is after the result.
        return self._with_cache({"toolResult": rendered}, cache)

    def _image(self, image: Image, place: str) -> Json:
        if image.detail is not None and image.detail != "auto":
            self._dropped.add(f"{place}.detail")
        url, data, media_type = _inline(image.url, image.data, image.media_type)
        source = _source(url, data, "image", place)
        if media_type is None and url is not None:
            media_type = f"image/{_extension(url)}"
        format_ = _IMAGE_FORMATS.get((media_type or "").lower())
        if format_ is None:
            raise Untranslatable(f"Bedrock takes PNG, JPEG, GIF and WebP images, not {media_type!r}.", place)
        return {"format": format_, "source": source}

    def _document(self, document: Document, place: str) -> Json:
        title = document.title
        if document.text is not None:
            format_ = "txt"
            if document.citations:
                source: Json = {"text": document.text}  # so that citations count in characters of this text
            else:
                source = {"bytes": base64.b64encode(document.text.encode("utf-8", "replace")).decode()}
        else:
            url, data, media_type = _inline(document.url, document.data, document.media_type)
            source = _source(url, data, "document", place)
            format_ = _document_format(media_type, (title, url))
            if not format_:
                raise Untranslatable(
                    f"Bedrock takes PDF, Word, Excel, CSV, HTML, Markdown and text, not {media_type!r}.", place
                )
        rendered: Json = {
            "format": format_,
            "name": converse_document_name(_without_extension(title), self._document_names),
            "source": source,
        }
        if document.context:
            rendered["context"] = document.context
        if document.citations:
            rendered["citations"] = {"enabled": True}
        return rendered

    def _search_result(self, result: SearchResult) -> list[Json]:
        if not self._traits.takes_search_results():
            return [{"text": search_result_text(result, self._dropped)}]
        rendered: Json = {
            "source": result.source,
            "title": result.title,
            "content": [{"text": text} for text in result.texts],
        }
        if result.citations:
            rendered["citations"] = {"enabled": True}
        return self._with_cache({"searchResult": rendered}, result.cache)

    def _opaque(self, block: Opaque, by_model: bool, place: str) -> list[Json]:
        if block.dialect == DIALECT:
            return [block.value]
        omit(block, by_model, place, place, self._dropped)
        return []

    def _tool_use(self, block: ToolUse, place: str) -> Json:
        arguments = wrap(block.arguments) if block.custom else _load_arguments(block, place)
        call: Json = {
            "toolUseId": self._ids.of_call(block.id),
            "name": converse_tool_name(block.name),
            "input": arguments,
        }
        return {"toolUse": call}

    def _with_cache(self, block: Json, cache: Json | None) -> list[Json]:
        return [block, *cache_point(cache, self._traits.caches(), self._traits.caches_tools(), self._dropped)]


def _load_arguments(block: ToolUse, place: str) -> Json:
    if not block.arguments.strip():
        return {}
    try:
        arguments = orjson.loads(block.arguments)
    except orjson.JSONDecodeError:
        raise Untranslatable(f"The arguments of the tool call {block.id!r} are not JSON.", place) from None
    if not isinstance(arguments, dict):
        raise Untranslatable(f"The arguments of the tool call {block.id!r} are not a JSON object.", place)
    return arguments


def _inline(url: str | None, data: str | None, media_type: str | None) -> tuple[str | None, str | None, str | None]:
    """URL, data and media type, where a data URL counts as data and data tells its type if nobody else does."""
    match = _DATA_URL.fullmatch(url) if url is not None and data is None else None
    if match is not None:
        return _inline(None, match.group(2), match.group(1) or media_type)
    if data is not None and not media_type:
        for beginning, known in _SIGNATURES.items():
            if data.startswith(beginning):
                return url, data, known
    return url, data, media_type


def _source(url: str | None, data: str | None, what: str, place: str) -> Json:
    if data is not None:
        return {"bytes": data}
    if url is not None and url.startswith("s3://"):
        return {"s3Location": {"uri": url}}
    by = "a URL" if url is not None else "a file id"
    raise Untranslatable(f"Bedrock cannot fetch the {what} by {by}: send its data (base64) or an s3:// URL.", place)


def _document_format(media_type: str | None, names: tuple[str | None, ...]) -> str:
    """Bedrock's name of the format, "" when neither type nor file names tell it."""
    known = _DOCUMENT_FORMATS.get((media_type or "").partition(";")[0].strip().lower())
    if known is not None:
        return known
    for name in names:
        extension = _extension(name) if name else ""
        if extension in _DOCUMENT_FORMATS.values():
            return extension
    return ""


def _extension(name: str) -> str:
    return name.rpartition(".")[2].lower()


def _without_extension(title: str | None) -> str | None:
    if title is None:
        return None
    stem, _, extension = title.rpartition(".")
    return stem if stem and extension.lower() in _DOCUMENT_FORMATS.values() else title


def _is_base64(data: str) -> bool:
    try:
        return bool(base64.b64decode(data, validate=True))
    except (binascii.Error, ValueError):
        return False
