"""OpenAI's endpoints that answer no conversation, and Cohere's reranking: embeddings, moderations, images, rerank.

Source: OpenAI's OpenAPI document, `CreateEmbeddingResponse`, `CreateModerationResponse` and `ImagesResponse`; Cohere's
API reference, "Rerank" (v2). The answers are made of hashes and word counts: the same input has the same answer.
"""

from __future__ import annotations

import math
import struct
import time
import zlib
from base64 import b64encode
from collections.abc import Mapping
from hashlib import shake_128
from typing import Any
from uuid import uuid4

import orjson

from plano.demo.answers import Answer, count_prompt
from plano.demo.openai import OpenAIDialect
from plano.demo.prompts import Prompt, PromptError, Turn, read_choice, read_integer, require_model, require_text

DEFAULT_DIMENSIONS = 256
MAX_DIMENSIONS = 4096
MAX_INPUTS = 2048
MAX_IMAGES = 10
IMAGE_SIDE = 8
CATEGORIES = (
    *("hate", "hate/threatening", "harassment", "harassment/threatening", "illicit", "illicit/violent", "self-harm"),
    *("self-harm/intent", "self-harm/instructions", "sexual", "sexual/minors", "violence", "violence/graphic"),
)
VIOLENT_WORDS = frozenset(("kill", "murder", "stab"))
_IMAGE_SIZES = ("1024x1024", "auto", "1024x1536", "1536x1024", "256x256", "512x512")


class EmbeddingsDialect(OpenAIDialect):
    """`POST /v1/embeddings`."""

    name = "embeddings"

    def parse_prompt(self, body: Mapping[str, Any]) -> Prompt:
        """Return one turn per input. Raises PromptError (400)."""
        options = {
            "encoding_format": read_choice(body, "encoding_format", ("float", "base64")),
            "dimensions": read_integer(body, "dimensions", 1, MAX_DIMENSIONS) or DEFAULT_DIMENSIONS,
        }
        return Prompt(require_model(body), _parse_inputs(body.get("input")), options=options)

    def render_answer(self, prompt: Prompt, answer: Answer) -> bytes:
        """Return a list of embeddings: vectors of length 1, made of the hashes of the inputs."""
        data = []
        for index, turn in enumerate(prompt.turns):
            vector: list[float] | str = _embed(turn.text, prompt.options["dimensions"])
            if prompt.options["encoding_format"] == "base64":
                vector = b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
            data.append({"object": "embedding", "index": index, "embedding": vector})
        usage = {"prompt_tokens": answer.prompt_tokens, "total_tokens": answer.prompt_tokens}
        return orjson.dumps({"object": "list", "data": data, "model": prompt.model, "usage": usage})


class ModerationsDialect(OpenAIDialect):
    """`POST /v1/moderations`."""

    name = "moderations"

    def parse_prompt(self, body: Mapping[str, Any]) -> Prompt:
        """Return one turn per input. Raises PromptError (400)."""
        model = "omni-moderation-latest" if body.get("model") is None else require_model(body)
        return Prompt(model, _parse_inputs(body.get("input")))

    def render_answer(self, prompt: Prompt, answer: Answer) -> bytes:
        """Return one result per input, flagged where it holds a violent word."""
        results = [_moderate(turn.text) for turn in prompt.turns]
        return orjson.dumps({"id": f"modr-{uuid4().hex}", "model": prompt.model, "results": results})


class ImagesDialect(OpenAIDialect):
    """`POST /v1/images/generations`."""

    name = "images"

    def parse_prompt(self, body: Mapping[str, Any]) -> Prompt:
        """Return the prompt for images. Raises PromptError (400)."""
        size = read_choice(body, "size", _IMAGE_SIZES)
        count = read_integer(body, "n", 1, MAX_IMAGES) or 1
        text = require_text(body, "prompt")
        return Prompt(require_model(body), (Turn("user", text),), options={"n": count, "size": size})

    def render_answer(self, prompt: Prompt, answer: Answer) -> bytes:
        """Return PNGs of one colour, which is the prompt's."""
        count = prompt.options["n"]
        data = [{"b64_json": b64encode(_paint(f"{prompt.question} {index}")).decode()} for index in range(count)]
        tokens = count_prompt(prompt)
        usage = {
            "input_tokens": tokens,
            "input_tokens_details": {"text_tokens": tokens, "image_tokens": 0},
            "output_tokens": count,
            "total_tokens": tokens + count,
        }
        size = {"size": prompt.options["size"]} if prompt.options["size"].startswith("1") else {}
        head = {"created": int(time.time()), "output_format": "png", "quality": "low", "background": "opaque"}
        return orjson.dumps({**head, **size, "data": data, "usage": usage})


class RerankDialect(OpenAIDialect):
    """`POST /v1/rerank` (and `/v2/rerank`)."""

    name = "rerank"

    def parse_prompt(self, body: Mapping[str, Any]) -> Prompt:
        """Return the query as the first turn, the documents as the others. Raises PromptError (400)."""
        query = require_text(body, "query")
        documents = body.get("documents")
        if not isinstance(documents, list) or not documents:
            raise PromptError(400, "'documents' must be a non-empty array.", param="documents", code="invalid_type")
        turns = [Turn("user", query)]
        for index, document in enumerate(documents):
            match document:
                case str(text) | {"text": str(text)}:
                    turns.append(Turn("user", text))
                case _:
                    where = f"documents[{index}]"
                    raise PromptError(400, f"'{where}' must be a string or have a text.", param=where)
        top = read_integer(body, "top_n", 1) or len(documents)
        options = {"top_n": top, "return_documents": body.get("return_documents") is True}
        return Prompt(require_model(body), tuple(turns), options=options)

    def render_answer(self, prompt: Prompt, answer: Answer) -> bytes:
        """Return the documents by the share of the query's words they hold."""
        query, *documents = (turn.text for turn in prompt.turns)
        scored = sorted(((-_score(query, text), index) for index, text in enumerate(documents)))
        results: list[dict[str, Any]] = []
        for score, index in scored[: prompt.options["top_n"]]:
            result: dict[str, Any] = {"index": index, "relevance_score": -score}
            if prompt.options["return_documents"]:
                result["document"] = {"text": documents[index]}
            results.append(result)
        meta = {"api_version": {"version": "2"}, "billed_units": {"search_units": 1}}
        usage = {"total_tokens": answer.prompt_tokens}
        identity = {"id": uuid4().hex, "model": prompt.model}
        return orjson.dumps({**identity, "results": results, "meta": meta, "usage": usage})


def _parse_inputs(value: Any) -> tuple[Turn, ...]:
    inputs = value if isinstance(value, list) and value and not isinstance(value[0], int) else [value]
    if len(inputs) > MAX_INPUTS:
        raise PromptError(400, f"'input' may have up to {MAX_INPUTS} elements.", param="input", code="invalid_value")
    turns = []
    for each in inputs:
        match each:
            case str(text) | {"type": "text", "text": str(text)} if text:
                turns.append(Turn("user", text))
            case {"type": "image_url", "image_url": {"url": str()}}:
                turns.append(Turn("user", "", 1))
            case list(tokens) if tokens and all(type(token) is int for token in tokens):
                turns.append(Turn("user", " ".join(map(str, tokens))))
            case _:
                text = "'input' must be a string that is not empty, or an array of strings or tokens."
                raise PromptError(400, text, param="input", code="invalid_type")
    return tuple(turns)


def _embed(text: str, dimensions: int) -> list[float]:
    vector = [byte - 127.5 for byte in shake_128(text.encode()).digest(dimensions)]
    length = math.sqrt(sum(each * each for each in vector))
    return [each / length for each in vector]


def _moderate(text: str) -> dict[str, Any]:
    violent = not VIOLENT_WORDS.isdisjoint(text.lower().split())
    return {
        "flagged": violent,
        "categories": {category: violent and category == "violence" for category in CATEGORIES},
        "category_scores": {category: 0.9 if violent and category == "violence" else 0.0 for category in CATEGORIES},
        "category_applied_input_types": {category: ["text"] for category in CATEGORIES},
    }


def _score(query: str, text: str) -> float:
    wanted = set(query.lower().split())
    return len(wanted & set(text.lower().split())) / len(wanted) if wanted else 0.0


def _paint(text: str) -> bytes:
    """Return a PNG of one colour (PNG specification, 5 and 11.2: an RGB image without a filter)."""
    row = b"\0" + shake_128(text.encode()).digest(3) * IMAGE_SIDE
    header = struct.pack(">IIBBBBB", IMAGE_SIDE, IMAGE_SIDE, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(row * IMAGE_SIDE)), (b"IEND", b""))
    encoded = (
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(encoded)
