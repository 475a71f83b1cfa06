"""Turns and blocks of a conversation as Gemini's contents and parts. No I/O.

Source: Gemini API reference, "Content", "Part", "FunctionCall", "FunctionResponse" (ai.google.dev/api/caching#Content),
"Thought signatures" and "File input methods" (ai.google.dev/gemini-api/docs), v1beta.

A thoughtSignature is bytes that only Google can read, and Google refuses a request that holds anybody else's. The hub
has one field for the signatures of all providers, so ours leave here with a tag: what comes back without it belongs to
another provider and stays behind.
"""

from __future__ import annotations

import base64
import re
from typing import Final
from urllib.parse import urlsplit

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
from plano.dialects.omission import kind_of, omit, search_result_text

DIALECT: Final = "gemini"
SIGNATURE_TAG: Final = "gemini:"
# What Google takes in place of the signature of a call that another model made ("Thought signatures", FAQ).
FOREIGN_CALL_SIGNATURE: Final = "skip_thought_signature_validator"
LATEST_GENERATION: Final = 3

_GENERATION: Final = re.compile(r"gemini-(\d{1,4})")
_CANNOT_FETCH: Final = re.compile(r"gemini-(?:1\.|2\.0)")  # "File input methods": external URLs
_DATA_URL: Final = re.compile(r"data:([^;,]*)((?:;[^;,]*)*),(.*)", re.DOTALL)
_FILES_API: Final = "https://generativelanguage.googleapis.com/"
_YOUTUBE_HOSTS: Final = ("youtube.com", "www.youtube.com", "m.youtube.com", "youtu.be")
_MEDIA_TYPES: Final = {
    "png": "image/png",
    "jpg": "image/jpeg",
    "jpeg": "image/jpeg",
    "gif": "image/gif",
    "webp": "image/webp",
    "bmp": "image/bmp",
    "heic": "image/heic",
    "heif": "image/heif",
    "pdf": "application/pdf",
    "txt": "text/plain",
    "md": "text/markdown",
    "html": "text/html",
    "htm": "text/html",
    "csv": "text/csv",
    "xml": "text/xml",
    "json": "application/json",
}
# How the base64 of a file begins that has these first bytes.
_BEGINNINGS: Final = (
    ("iVBORw0KGgo", "image/png"),
    ("/9j/", "image/jpeg"),
    ("R0lGOD", "image/gif"),
    ("UklGR", "image/webp"),
    ("Qk", "image/bmp"),
    ("JVBERi", "application/pdf"),
)


def read_generation(model: str) -> int:
    """The generation of a model (gemini-2.5-pro: 2). A name without one means the newest."""
    match = _GENERATION.search(model)
    return LATEST_GENERATION if match is None else int(match.group(1))


def tag_signature(signature: str) -> str:
    """A thoughtSignature as the hub carries it."""
    return SIGNATURE_TAG + signature


def untag_signature(signature: str | None) -> str | None:
    """The thoughtSignature in a signature of the hub, None where it is not one of Google's."""
    if signature is None or not signature.startswith(SIGNATURE_TAG):
        return None
    return signature[len(SIGNATURE_TAG) :]


class ContentRenderer:
    """Renders the turns of one conversation for one model."""

    def __init__(self, model: str, dropped: Dropped) -> None:
        self._generation = read_generation(model)
        self._fetches = _CANNOT_FETCH.search(model) is None
        self._dropped = dropped
        self._names: dict[str, str] = {}  # of the calls so far, by id: a result must repeat the name

    def render_turns(self, turns: list[Turn]) -> list[Json]:
        """The contents of all turns but those of role `system`. Neighbours of one role become one content, in which
        function responses come first. Raises Untranslatable."""
        contents: list[Json] = []
        for number, turn in enumerate(turns):
            if turn.role == "system":
                continue
            if turn.name is not None:
                self._dropped.add("name")
            path = turn.path or f"messages[{number}]"
            parts = self._render_blocks(turn.blocks, turn.role == "assistant", f"{path}.content")
            role = "model" if turn.role == "assistant" else "user"
            if not parts:
                continue
            if contents and contents[-1]["role"] == role:
                contents[-1]["parts"].extend(parts)
            else:
                contents.append({"role": role, "parts": parts})
        for content in contents:
            if content["role"] == "user":
                content["parts"].sort(key=_comes_later)
            elif self._generation >= LATEST_GENERATION:
                _sign_first_call(content["parts"])
        return contents

    def render_texts(self, texts: list[Text]) -> list[Json]:
        """The parts of a system instruction."""
        parts: list[Json] = []
        for text in texts:
            if text.cache is not None:
                self._dropped.add("cache_control")
            if text.text:
                parts.append({"text": text.text})
        return parts

    def _render_blocks(self, blocks: list[Block], by_model: bool, path: str) -> list[Json]:
        parts: list[Json] = []
        for number, block in enumerate(blocks):
            where = f"{path}[{number}]"
            if isinstance(block, Text):
                if block.citations:
                    self._dropped.add("citations")
                parts.extend(self.render_texts([block]))
            elif isinstance(block, ToolUse):
                parts.append(self._render_call(block, where))
            elif isinstance(block, ToolResult):
                parts.extend(self._render_result(block, where))
            elif isinstance(block, Image):
                parts.append(self._render_image(block, where))
            elif isinstance(block, Document):
                parts.extend(self._render_document(block, where))
            elif isinstance(block, Audio):
                parts.append({"inlineData": {"mimeType": f"audio/{block.format}", "data": block.data}})
            elif isinstance(block, Thinking):
                parts.extend(self._render_thinking(block))
            elif isinstance(block, RedactedThinking):
                self._dropped.add("redacted_thinking")
            elif isinstance(block, Refusal):
                if block.text:
                    parts.append({"text": block.text})
            elif isinstance(block, SearchResult):
                parts.append({"text": search_result_text(block, self._dropped)})
            elif isinstance(block, Opaque):
                if block.dialect == DIALECT:
                    parts.append(block.value)
                else:
                    omit(block, by_model, where, kind_of(block), self._dropped)
        return parts

    def _render_thinking(self, block: Thinking) -> list[Json]:
        signature = untag_signature(block.signature)
        if signature is None:
            # Google reads only thoughts of its own models, and knows them by their signature.
            self._dropped.add("thinking")
            return []
        return [{"text": block.text, "thought": True, "thoughtSignature": signature}]

    def _render_call(self, call: ToolUse, path: str) -> Json:
        self._names[call.id] = call.name
        self._note_cache(call.cache)
        part: Json = {"functionCall": {"id": call.id, "name": call.name, "args": _read_arguments(call, path)}}
        signature = untag_signature(call.signature)
        if signature is not None:
            part["thoughtSignature"] = signature
        return part

    def _render_result(self, result: ToolResult, path: str) -> list[Json]:
        name = self._names.get(result.id) or result.name
        if name is None:
            raise Untranslatable(
                f"The tool result '{result.id}' answers no tool call of this conversation, and Gemini needs the name"
                " of the function.",
                path,
            )
        self._note_cache(result.cache)
        texts: list[str] = []
        media: list[Json] = []
        for part in self._render_blocks(result.content, False, f"{result.path or path}.content"):
            text = part.get("text")
            if isinstance(text, str):
                texts.append(text)
            else:
                media.append(part)
        said = {"error" if result.is_error else "output": "\n".join(texts)}
        response: Json = {"id": result.id, "name": name, "response": said}
        # A response can hold media since Gemini 3, and then only inline; elsewhere they follow it.
        inside = [part for part in media if "inlineData" in part and self._generation >= LATEST_GENERATION]
        if inside:
            response["parts"] = inside
        beside = [part for part in media if part not in inside]
        return [{"functionResponse": response}, *beside]

    def _render_image(self, image: Image, path: str) -> Json:
        self._note_cache(image.cache)
        if image.detail not in (None, "auto"):
            self._dropped.add("detail")
        return self._render_file(image.data, image.media_type, image.url, image.file_id, "image", path)

    def _render_document(self, document: Document, path: str) -> list[Json]:
        self._note_cache(document.cache)
        if document.citations:
            self._dropped.add("citations")
        if document.title is not None:
            self._dropped.add("title")
        parts: list[Json] = [{"text": document.context}] if document.context else []
        if document.text is not None:
            data = base64.b64encode(document.text.encode("utf-8", "replace")).decode()
            parts.append({"inlineData": {"mimeType": "text/plain", "data": data}})
            return parts
        media_type = document.media_type or _guess_type(document.title or "")
        parts.append(self._render_file(document.data, media_type, document.url, document.file_id, "document", path))
        return parts

    def _render_file(
        self, data: str | None, media_type: str | None, url: str | None, file_id: str | None, what: str, path: str
    ) -> Json:
        if data is not None:
            return _render_inline(data, media_type, what, path)
        if url is not None:
            match = _DATA_URL.match(url)
            if match is not None and ";base64" in match.group(2):
                return _render_inline(match.group(3), match.group(1) or media_type, what, path)
            return self._render_url(url, media_type, what, path)
        if file_id is not None and (file_id.startswith("files/") or file_id.startswith(_FILES_API)):
            uri = file_id if file_id.startswith(_FILES_API) else f"{_FILES_API}v1beta/{file_id}"
            return {"fileData": _name_type(uri, media_type)}
        raise Untranslatable(f"A file of another provider cannot be given to Gemini as {_article(what)}.", path)

    def _render_url(self, url: str, media_type: str | None, what: str, place: str) -> Json:
        scheme, host, path = _split_url(url)
        if scheme == "gs" or url.startswith(_FILES_API) or (scheme == "https" and host in _YOUTUBE_HOSTS):
            return {"fileData": _name_type(url, media_type)}
        if scheme != "https" or not host:
            raise Untranslatable(f"Gemini takes {what}s inline or by an https URL, not from here: {url[:80]}", place)
        if not self._fetches:
            raise Untranslatable(f"This Gemini model fetches no {what}s from the web: send them inline.", place)
        return {"fileData": _name_type(url, media_type or _guess_type(path))}

    def _note_cache(self, cache: Json | None) -> None:
        if cache is not None:
            self._dropped.add("cache_control")


def _comes_later(part: Json) -> bool:
    return "functionResponse" not in part


def _sign_first_call(parts: list[Json]) -> None:
    # Since Gemini 3 the first call of a step must be signed; one that came from another model, or through a dialect
    # that has no place for a signature, never is.
    for part in parts:
        if "functionCall" in part:
            part.setdefault("thoughtSignature", FOREIGN_CALL_SIGNATURE)
            return


def _read_arguments(call: ToolUse, path: str) -> Json:
    if call.custom:
        return wrap(call.arguments)
    if not call.arguments.strip():
        return {}
    try:
        arguments = orjson.loads(call.arguments)
    except orjson.JSONDecodeError:
        arguments = None
    if type(arguments) is not dict:
        raise Untranslatable(f"The arguments of the tool call '{call.id}' are not a JSON object.", path)
    return arguments


def _render_inline(data: str, media_type: str | None, what: str, path: str) -> Json:
    if not media_type:
        media_type = next((each for start, each in _BEGINNINGS if data.startswith(start)), None)
    if not media_type:
        raise Untranslatable(f"Gemini needs the media type of {_article(what)}.", path)
    return {"inlineData": {"mimeType": media_type, "data": data}}


def _name_type(uri: str, media_type: str | None) -> Json:
    return {"fileUri": uri} if media_type is None else {"mimeType": media_type, "fileUri": uri}


def _split_url(url: str) -> tuple[str, str, str]:
    try:
        parts = urlsplit(url)
        return parts.scheme.lower(), (parts.hostname or "").lower(), parts.path
    except ValueError:
        return "", "", ""


def _guess_type(path: str) -> str | None:
    return _MEDIA_TYPES.get(path.rpartition(".")[2].lower())


def _article(what: str) -> str:
    return f"an {what}" if what == "image" else f"a {what}"
