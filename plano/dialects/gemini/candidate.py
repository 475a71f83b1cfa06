"""What a GenerateContentResponse says, piece by piece: what a whole answer and a chunk of a stream have in common.

Source: Gemini API reference, "GenerateContentResponse", "Candidate", "UsageMetadata" and "GroundingMetadata"
(ai.google.dev/api/generate-content), v1beta. No I/O. Unknown fields and enum values are let pass; known fields of a
wrong type raise BadAnswer.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

import orjson

from plano.dialects.conversation import BadAnswer, Json, StopReason, Usage
from plano.dialects.custom_tools import unwrap
from plano.dialects.events import BlockKind
from plano.dialects.gemini.content import tag_signature
from plano.dialects.tokens import read_count

_REASONS: Final = {
    "STOP": StopReason.END,
    "MAX_TOKENS": StopReason.MAX_TOKENS,
    "SAFETY": StopReason.FILTERED,
    "RECITATION": StopReason.FILTERED,
    "LANGUAGE": StopReason.FILTERED,
    "BLOCKLIST": StopReason.FILTERED,
    "PROHIBITED_CONTENT": StopReason.FILTERED,
    "SPII": StopReason.FILTERED,
    "ESCALATION": StopReason.FILTERED,
    "IMAGE_SAFETY": StopReason.FILTERED,
    "IMAGE_PROHIBITED_CONTENT": StopReason.FILTERED,
    "IMAGE_RECITATION": StopReason.FILTERED,
}
_UNSPECIFIED: Final = ("", "FINISH_REASON_UNSPECIFIED", "BLOCK_REASON_UNSPECIFIED", "BLOCKED_REASON_UNSPECIFIED")
_NOT_IN_IDS: Final = re.compile(r"[^A-Za-z0-9_-]+")
_SIGNATURE_KEYS: Final = frozenset(("text", "thought", "thoughtSignature"))


@dataclass(slots=True)
class Piece:
    """One part of an answer. `text`: text, thoughts, or the arguments of a call; `data`: an opaque part as it came."""

    kind: BlockKind
    text: str = ""
    id: str = ""
    name: str = ""
    custom: bool = False
    signature: str | None = None
    data: Json | None = None


@dataclass(slots=True)
class Candidate:
    """One candidate, or what a chunk adds to it. `stop` is None as long as the candidate goes on."""

    index: int
    parts: list[Json]
    stop: StopReason | None
    citations: list[Json]


class PieceReader:
    """Reads the parts of one candidate. Gives calls an id where Gemini gave none: the same for the same answer.

    Calls of the functions named in `custom_tools` are those of free-text tools (see custom_tools.py)."""

    def __init__(self, choice: int, custom_tools: set[str]) -> None:
        self._choice = choice
        self._custom_tools = custom_tools
        self._calls = 0

    def read(self, part: Json, response_id: str) -> Piece | None:
        """What the part says; None for one that says nothing. Raises BadAnswer."""
        signature = _read_string(part, "thoughtSignature")
        tagged = tag_signature(signature) if signature else None
        call = part.get("functionCall")
        if call is not None:
            if type(call) is not dict:
                raise BadAnswer("The upstream's answer holds a 'functionCall' that is no object.")
            return self._read_call(call, tagged, response_id)
        text = part.get("text")
        if text is not None:
            if type(text) is not str:
                raise BadAnswer("The upstream's answer holds a 'text' that is no string.")
            if not text and tagged is None:
                return None
            return Piece(BlockKind.THINKING if part.get("thought") is True else BlockKind.TEXT, text, signature=tagged)
        if _SIGNATURE_KEYS.issuperset(part):
            return None if tagged is None else Piece(BlockKind.TEXT, signature=tagged)
        return Piece(BlockKind.OPAQUE, data=part)

    def _read_call(self, call: Json, signature: str | None, response_id: str) -> Piece:
        name = call.get("name")
        arguments = call.get("args")
        if type(name) is not str or not name:
            raise BadAnswer("The upstream's answer calls a function without a name.")
        if arguments is not None and type(arguments) is not dict:
            raise BadAnswer("The upstream's answer calls a function with arguments that are no object.")
        given = _read_string(call, "id")
        encoded = _encode(arguments or {})
        number = self._calls
        self._calls += 1
        piece = Piece(BlockKind.TOOL_USE, encoded, given or self._make_id(name, encoded, number, response_id), name)
        piece.signature = signature
        if name in self._custom_tools:
            piece.text = unwrap(encoded)
            piece.custom = True
        return piece

    def _make_id(self, name: str, arguments: str, number: int, response_id: str) -> str:
        stem = (
            _NOT_IN_IDS.sub("", response_id)
            or sha256(f"{name} {arguments}".encode("utf-8", "replace")).hexdigest()[:16]
        )
        return f"call_{stem}_{number}" if self._choice == 0 else f"call_{stem}_{self._choice}_{number}"


def read_candidates(body: Json) -> list[Candidate]:
    """The candidates of a response or a chunk. Raises BadAnswer."""
    candidates = body.get("candidates")
    if candidates is None:
        return []
    if type(candidates) is not list:
        raise BadAnswer("The upstream's answer has 'candidates' that are no array.")
    return [_read_candidate(candidate, position) for position, candidate in enumerate(candidates)]


def read_block(body: Json) -> str | None:
    """Why the prompt was blocked, in words for the client; None where it was not."""
    feedback = body.get("promptFeedback")
    if type(feedback) is not dict:
        return None
    reason = feedback.get("blockReason")
    if type(reason) is not str or reason in _UNSPECIFIED:
        return None
    message = feedback.get("blockReasonMessage")
    if type(message) is str and message:
        return message
    return f"The prompt was blocked by the provider ({reason})."


def read_usage(body: Json) -> Usage | None:
    """The counts of a response or chunk; None where it has none. Gemini counts thoughts apart from the output, and what
    its own tools brought into the prompt apart from the input."""
    counts = body.get("usageMetadata")
    if type(counts) is not dict:
        return None
    thoughts = _read_count(counts, "thoughtsTokenCount")
    return Usage(
        input=_read_count(counts, "promptTokenCount") + _read_count(counts, "toolUsePromptTokenCount"),
        output=_read_count(counts, "candidatesTokenCount") + thoughts,
        cache_read=_read_count(counts, "cachedContentTokenCount"),
        reasoning=thoughts,
        known=True,
    )


def read_name(body: Json, name: str) -> str:
    """A string of the response (`responseId`, `modelVersion`), "" where it is missing."""
    return _read_string(body, name)


def _read_candidate(candidate: Any, position: int) -> Candidate:
    if type(candidate) is not dict:
        raise BadAnswer("The upstream's answer has a candidate that is no object.")
    content = candidate.get("content")
    parts: Any = []
    if content is not None:
        if type(content) is not dict:
            raise BadAnswer("The upstream's answer has a 'content' that is no object.")
        parts = content.get("parts")
        if parts is None:
            parts = []
        if type(parts) is not list or not all(type(part) is dict for part in parts):
            raise BadAnswer("The upstream's answer has 'parts' that are no array of objects.")
    index = candidate.get("index")
    return Candidate(
        index if type(index) is int and index >= 0 else position,
        parts,
        _read_stop(candidate.get("finishReason")),
        [*_read_grounding(candidate.get("groundingMetadata")), *_read_sources(candidate.get("citationMetadata"))],
    )


def _read_stop(reason: Any) -> StopReason | None:
    if type(reason) is not str or reason in _UNSPECIFIED:
        return None
    return _REASONS.get(reason, StopReason.OTHER)


def _read_grounding(grounding: Any) -> Iterator[Json]:
    """Web pages and documents that support a part of the text."""
    if type(grounding) is not dict:
        return
    sources: list[Json | None] = [_read_source(chunk) for chunk in _each_object(grounding.get("groundingChunks"))]
    for support in _each_object(grounding.get("groundingSupports")):
        segment = support.get("segment")
        cited = segment.get("text") if type(segment) is dict else None
        numbers = support.get("groundingChunkIndices")
        for number in numbers if type(numbers) is list else []:
            if type(number) is not int or not 0 <= number < len(sources):
                continue
            source = sources[number]
            if source is not None:
                yield _cite(source, cited)


def _read_source(chunk: Json) -> Json | None:
    for kind in ("web", "retrievedContext", "maps", "image"):
        source = chunk.get(kind)
        if type(source) is dict:
            return source
    return None


def _read_sources(metadata: Any) -> Iterator[Json]:
    """Works that the text recites."""
    if type(metadata) is dict:
        for source in _each_object(metadata.get("citations") or metadata.get("citationSources")):
            yield _cite(source, None)


def _cite(source: Json, cited: Any) -> Json:
    uri = source.get("uri") or source.get("sourceUri")
    title = source.get("title")
    return {
        "type": "web_search_result_location",
        "url": uri if type(uri) is str else "",
        "title": title if type(title) is str else None,
        "cited_text": cited if type(cited) is str else "",
        "encrypted_index": "",
    }


def _encode(arguments: Json) -> str:
    try:
        return orjson.dumps(arguments).decode()
    except orjson.JSONEncodeError:  # orjson reads deeper than it writes
        raise BadAnswer("The upstream's answer calls a function with arguments that nest too deep.") from None


def _each_object(values: Any) -> list[Json]:
    # An index into what Google lists must still fit: what is no object counts as an empty one.
    return [value if type(value) is dict else {} for value in values] if type(values) is list else []


def _read_string(body: Json, name: str) -> str:
    value = body.get(name)
    return value if type(value) is str else ""


def _read_count(counts: Json, name: str) -> int:
    return read_count(counts.get(name))
