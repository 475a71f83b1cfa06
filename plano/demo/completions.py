"""Completions as OpenAI served them before there was chat.

Source: OpenAI's OpenAPI document, `CreateCompletionRequest` and `CreateCompletionResponse`.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any
from uuid import uuid4

import orjson

from plano.demo.answers import Answer
from plano.demo.dialect import Event
from plano.demo.openai import MAX_CHOICES, OpenAIDialect, parse_include_usage, parse_stop, render_usage
from plano.demo.prompts import Prompt, PromptError, Turn, check_number, read_bool, read_integer, require_model

_FINISH_REASONS: Mapping[str, str] = {"stop": "stop", "length": "length", "tool_calls": "stop"}


class CompletionsDialect(OpenAIDialect):
    """`POST /v1/completions`."""

    name = "completions"

    def parse_prompt(self, body: Mapping[str, Any]) -> Prompt:
        """Return the prompt of a completion request. Raises PromptError (400)."""
        model = require_model(body)
        stream = read_bool(body, "stream")
        check_number(body, "temperature", 0, 2)
        return Prompt(
            model=model,
            turns=(Turn("user", _parse_text(body.get("prompt"))),),
            stream=stream,
            include_usage=parse_include_usage(body.get("stream_options"), stream),
            stop=parse_stop(body.get("stop")),
            max_tokens=read_integer(body, "max_tokens", 1),
            choices=read_integer(body, "n", 1, MAX_CHOICES) or 1,
        )

    def render_answer(self, prompt: Prompt, answer: Answer) -> bytes:
        """Return a completion."""
        choices = [
            _render_choice(index, choice.text, _FINISH_REASONS[choice.finish])
            for index, choice in enumerate(answer.choices)
        ]
        return orjson.dumps({**_render_envelope(prompt), "choices": choices, "usage": render_usage(answer)})

    def render_events(self, prompt: Prompt, answer: Answer) -> Iterator[Event]:
        """Yield chunks of one token each, the finish reasons, the usage if asked for, [DONE]."""
        envelope = _render_envelope(prompt)
        for index, choice in enumerate(answer.choices):
            for piece in choice.pieces:
                yield Event("content", orjson.dumps({**envelope, "choices": [_render_choice(index, piece, None)]}))
            last = _render_choice(index, "", _FINISH_REASONS[choice.finish])
            yield Event("closing", orjson.dumps({**envelope, "choices": [last]}))
        if prompt.include_usage:
            yield Event("closing", orjson.dumps({**envelope, "choices": [], "usage": render_usage(answer)}))
        yield Event("done", b"[DONE]")


def _render_envelope(prompt: Prompt) -> dict[str, Any]:
    head = {"id": f"cmpl-{uuid4().hex}", "object": "text_completion", "created": int(time.time())}
    return {**head, "model": prompt.model}


def _render_choice(index: int, text: str, finish: str | None) -> dict[str, Any]:
    return {"text": text, "index": index, "logprobs": None, "finish_reason": finish}


def _parse_text(prompt: Any) -> str:
    match prompt:
        case str(text):
            return text
        case [str(text)]:
            return text
        case list(tokens) if tokens and all(type(token) is int for token in tokens):
            return f"({len(tokens)} tokens)"
    text = "Invalid value for 'prompt': the demo provider takes one string, or one array of tokens."
    raise PromptError(400, text, param="prompt", code="invalid_type")
