"""Which API a path belongs to.

Any path that ends as the APIs' do is answered (`/v1/chat/completions`, `/openai/v1/chat/completions`, ...), so that a
provider's path prefix can be tried too.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import unquote

from plano.demo.anthropic import AnthropicDialect, CountDialect
from plano.demo.audio import SpeechDialect, TranscriptionsDialect
from plano.demo.completions import CompletionsDialect
from plano.demo.converse import ConverseDialect
from plano.demo.dialect import Dialect
from plano.demo.gemini import GeminiDialect
from plano.demo.openai import OpenAIDialect
from plano.demo.resources import EmbeddingsDialect, ImagesDialect, ModerationsDialect, RerankDialect
from plano.demo.responses import ResponsesDialect

OPENAI = OpenAIDialect()
ANTHROPIC = AnthropicDialect()
CONVERSE = ConverseDialect()
GEMINI = GeminiDialect()

_GEMINI_ARRAY = GeminiDialect(sse=False)
_TRANSCRIPTIONS = TranscriptionsDialect()
_ENDPOINTS: tuple[tuple[str, Dialect], ...] = (
    ("/chat/completions", OPENAI),
    ("/messages/count_tokens", CountDialect()),
    ("/messages", ANTHROPIC),
    ("/responses", ResponsesDialect()),
    ("/completions", CompletionsDialect()),
    ("/embeddings", EmbeddingsDialect()),
    ("/moderations", ModerationsDialect()),
    ("/images/generations", ImagesDialect()),
    ("/audio/speech", SpeechDialect()),
    ("/audio/transcriptions", _TRANSCRIPTIONS),
    ("/audio/translations", _TRANSCRIPTIONS),
    ("/rerank", RerankDialect()),
)
_CONVERSE_PATH = re.compile(r"/model/([^/]+)/(converse|converse-stream)$")
_GEMINI_PATH = re.compile(r"/(?:models|tunedModels)/([^/]+):(generateContent|streamGenerateContent)$")


class Route(NamedTuple):
    """The API of a path, and what the path adds to the body: some APIs have the model in it, and whether to stream."""

    dialect: Dialect
    fields: Mapping[str, Any] = {}


def find_route(raw_path: str) -> Route | None:
    """Return the route of a POST to `raw_path` (as sent, with its query); None where there is nothing."""
    path, _, query = raw_path.partition("?")
    if match := _CONVERSE_PATH.search(path):
        return Route(CONVERSE, {"model": unquote(match.group(1)), "stream": match.group(2) == "converse-stream"})
    if match := _GEMINI_PATH.search(path):
        stream = match.group(2) == "streamGenerateContent"
        gemini = GEMINI if "alt=sse" in query.split("&") else _GEMINI_ARRAY
        return Route(gemini, {"model": unquote(match.group(1)), "stream": stream})
    for ending, dialect in _ENDPOINTS:
        if path.endswith(ending):
            return Route(dialect)
    return None


def guess_dialect(path: str, headers: Mapping[str, str]) -> Dialect:
    """Return the dialect in which to speak to a client whose path belongs to no API, or to several."""
    if "anthropic-version" in headers:
        return ANTHROPIC
    if "x-goog-api-key" in headers or "/v1beta/" in path:
        return GEMINI
    return OPENAI
