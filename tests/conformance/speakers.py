"""The three client dialects as their official SDKs speak them, so that one test can be told to all of them."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import anthropic
import openai

# Which provider of the configuration speaks what: clients of other dialects are translated to it.
UPSTREAMS = {
    "chat": "groq",
    "messages": "anthropic",
    "responses": "chatgpt",
    "converse": "amazon_bedrock",
    "gemini": "gemini_native",
}
CLIENTS = ("chat", "messages", "responses")
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
CITY = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
# The SDK's stream helper keeps the index of a streamed call, leaves out the empty annotations.
_HELPERS = frozenset({"index", "annotations"})
# What differs between two answers to the same question.
_CHANGING = frozenset({"id", "created", "created_at", "completed_at", "call_id", "item_id", "encrypted_content"})

Request = dict[str, Any]


@dataclass(frozen=True)
class Reading:
    """What an answer says, dialect removed. `stop` is end, limit or tools; `usage` is input (cached ones included),
    output, cached and reasoning tokens."""

    text: str
    thinking: str
    calls: tuple[tuple[str, Any], ...]
    stop: str
    usage: tuple[int, int, int, int]


class Speaker(ABC):
    """One client dialect. Requests are plain keyword arguments of the SDK's own call."""

    name: str
    path: str
    error: type[Exception]
    sdk: Any

    @abstractmethod
    def ask(
        self, model: str, text: str, *, system: str = "", image: bool = False, tools: Sequence[str] = ()
    ) -> Request:
        """A request of one question."""

    @abstractmethod
    def limit(self, tokens: int) -> Request:
        """The arguments that bound the answer."""

    @abstractmethod
    def create(self, request: Request) -> Any:
        """The whole answer."""

    @abstractmethod
    def stream(self, request: Request) -> Any:
        """The answer as the SDK assembles it from a stream."""

    @abstractmethod
    def read_pieces(self, request: Request) -> list[str]:
        """The pieces of text a stream brings, read to its end."""

    @abstractmethod
    def read(self, answer: Any) -> Reading:
        """What an answer says."""

    @abstractmethod
    def follow(self, request: Request, answer: Any, results: Sequence[str] = (), text: str = "") -> Request:
        """The next turn: the answer as it came, then the results of its calls, or another question."""


class ChatSpeaker(Speaker):
    """The `openai` SDK's chat completions."""

    name = "chat"
    path = "/v1/chat/completions"
    error = openai.APIError

    def __init__(self, client: openai.OpenAI) -> None:
        self.sdk = openai
        self.client = client
        self.raw = client.chat.completions.with_raw_response.create

    def ask(
        self, model: str, text: str, *, system: str = "", image: bool = False, tools: Sequence[str] = ()
    ) -> Request:
        content: Any = text
        if image:
            url = {"url": f"data:image/png;base64,{PIXEL}"}
            content = [{"type": "text", "text": text}, {"type": "image_url", "image_url": url}]
        messages = [{"role": "system", "content": system}] if system else []
        request: Request = {"model": model, "messages": [*messages, {"role": "user", "content": content}]}
        if tools:
            functions = [{"name": name, "parameters": CITY, "strict": True} for name in tools]
            request["tools"] = [{"type": "function", "function": function} for function in functions]
        return request

    def limit(self, tokens: int) -> Request:
        return {"max_completion_tokens": tokens}

    def create(self, request: Request) -> Any:
        return self.client.chat.completions.create(**request)

    def stream(self, request: Request) -> Any:
        with self.client.chat.completions.stream(**request, stream_options={"include_usage": True}) as stream:
            try:
                return stream.get_final_completion()
            except openai.LengthFinishReasonError as cut:  # how the helper tells of it
                return cut.completion

    def read_pieces(self, request: Request) -> list[str]:
        stream = self.client.chat.completions.create(**request, stream=True)
        return [choice.delta.content or "" for chunk in stream for choice in chunk.choices]

    def read(self, answer: Any) -> Reading:
        (choice,) = answer.choices
        usage = answer.usage
        assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
        cached = usage.prompt_tokens_details.cached_tokens if usage.prompt_tokens_details else 0
        reasoning = usage.completion_tokens_details.reasoning_tokens if usage.completion_tokens_details else 0
        calls = choice.message.tool_calls or []
        return Reading(
            choice.message.content or "",
            getattr(choice.message, "reasoning_content", None) or "",
            tuple((call.function.name, json.loads(call.function.arguments)) for call in calls),
            {"stop": "end", "length": "limit", "tool_calls": "tools"}[choice.finish_reason],
            (usage.prompt_tokens, usage.completion_tokens, cached or 0, reasoning or 0),
        )

    def follow(self, request: Request, answer: Any, results: Sequence[str] = (), text: str = "") -> Request:
        message = answer.choices[0].message
        turns = [message.model_dump(exclude_none=True)]
        calls = message.tool_calls or []
        for call, result in zip(calls, results, strict=True):
            turns.append({"role": "tool", "tool_call_id": call.id, "content": result})
        if text:
            turns.append({"role": "user", "content": text})
        return {**request, "messages": [*request["messages"], *turns]}


class MessagesSpeaker(Speaker):
    """The `anthropic` SDK's messages."""

    name = "messages"
    path = "/v1/messages"
    error = anthropic.APIError

    def __init__(self, client: anthropic.Anthropic) -> None:
        self.sdk = anthropic
        self.client = client
        self.raw = client.messages.with_raw_response.create

    def ask(
        self, model: str, text: str, *, system: str = "", image: bool = False, tools: Sequence[str] = ()
    ) -> Request:
        content: Any = text
        if image:
            source = {"type": "base64", "media_type": "image/png", "data": PIXEL}
            content = [{"type": "text", "text": text}, {"type": "image", "source": source}]
        request: Request = {"model": model, "max_tokens": 1024, "messages": [{"role": "user", "content": content}]}
        if system:
            request["system"] = system
        if tools:
            request["tools"] = [{"name": name, "input_schema": CITY} for name in tools]
        return request

    def limit(self, tokens: int) -> Request:
        return {"max_tokens": tokens}

    def create(self, request: Request) -> Any:
        return self.client.messages.create(**request)

    def stream(self, request: Request) -> Any:
        with self.client.messages.stream(**request) as stream:
            return stream.get_final_message()

    def read_pieces(self, request: Request) -> list[str]:
        with self.client.messages.stream(**request) as stream:
            return list(stream.text_stream)

    def read(self, answer: Any) -> Reading:
        usage = answer.usage
        cached = usage.cache_read_input_tokens or 0
        details = getattr(usage, "output_tokens_details", None)
        return Reading(
            "".join(block.text for block in answer.content if block.type == "text"),
            "".join(block.thinking for block in answer.content if block.type == "thinking"),
            tuple((block.name, block.input) for block in answer.content if block.type == "tool_use"),
            {"end_turn": "end", "max_tokens": "limit", "tool_use": "tools"}[answer.stop_reason],
            (
                usage.input_tokens + cached + (usage.cache_creation_input_tokens or 0),
                usage.output_tokens,
                cached,
                getattr(details, "thinking_tokens", 0) or 0,
            ),
        )

    def follow(self, request: Request, answer: Any, results: Sequence[str] = (), text: str = "") -> Request:
        ids = [block.id for block in answer.content if block.type == "tool_use"]
        blocks: list[Any] = [
            {"type": "tool_result", "tool_use_id": key, "content": result}
            for key, result in zip(ids, results, strict=True)
        ]
        if text:
            blocks.append({"type": "text", "text": text})
        turns = [{"role": "assistant", "content": answer.content}, {"role": "user", "content": blocks}]
        return {**request, "messages": [*request["messages"], *turns]}


class ResponsesSpeaker(Speaker):
    """The `openai` SDK's responses, without state at the provider."""

    name = "responses"
    path = "/v1/responses"
    error = openai.APIError

    def __init__(self, client: openai.OpenAI) -> None:
        self.sdk = openai
        self.client = client
        self.raw = client.responses.with_raw_response.create

    def ask(
        self, model: str, text: str, *, system: str = "", image: bool = False, tools: Sequence[str] = ()
    ) -> Request:
        parts: list[Any] = [{"type": "input_text", "text": text}]
        if image:
            parts.append({"type": "input_image", "detail": "auto", "image_url": f"data:image/png;base64,{PIXEL}"})
        request: Request = {"model": model, "input": [{"role": "user", "content": parts}], "store": False}
        if system:
            request["instructions"] = system
        if tools:
            functions = [{"type": "function", "name": name, "parameters": CITY, "strict": True} for name in tools]
            request["tools"] = functions
        return request

    def limit(self, tokens: int) -> Request:
        return {"max_output_tokens": tokens}

    def create(self, request: Request) -> Any:
        return self.client.responses.create(**request)

    def stream(self, request: Request) -> Any:
        with self.client.responses.stream(**request) as stream:
            for event in stream:
                if event.type == "response.incomplete":
                    return event.response  # the SDK's helper knows completed responses only
            return stream.get_final_response()

    def read_pieces(self, request: Request) -> list[str]:
        stream = self.client.responses.create(**request, stream=True)
        pieces = []
        for event in stream:
            if event.type in ("response.failed", "error"):  # the SDK leaves it to its users to look for these
                said = event if event.type == "error" else event.response.error
                raise openai.APIError(said.message, stream.response.request, body=said.model_dump())
            if event.type == "response.output_text.delta":
                pieces.append(event.delta)
        return pieces

    def read(self, answer: Any) -> Reading:
        usage = answer.usage
        assert usage.total_tokens == usage.input_tokens + usage.output_tokens
        calls = tuple((item.name, json.loads(item.arguments)) for item in answer.output if item.type == "function_call")
        thoughts = [item for item in answer.output if item.type == "reasoning"]
        parts = [part for item in thoughts for part in (*(item.content or ()), *(item.summary or ()))]
        return Reading(
            answer.output_text,
            "".join(part.text for part in parts),
            calls,
            {"completed": "tools" if calls else "end", "incomplete": "limit"}[answer.status],
            (
                usage.input_tokens,
                usage.output_tokens,
                usage.input_tokens_details.cached_tokens,
                usage.output_tokens_details.reasoning_tokens,
            ),
        )

    def follow(self, request: Request, answer: Any, results: Sequence[str] = (), text: str = "") -> Request:
        items = [item.model_dump(exclude_none=True, exclude={"parsed_arguments"}) for item in answer.output]
        ids = [item.call_id for item in answer.output if item.type == "function_call"]
        for key, result in zip(ids, results, strict=True):
            items.append({"type": "function_call_output", "call_id": key, "output": result})
        if text:
            items.append({"role": "user", "content": text})
        return {**request, "input": [*request["input"], *items]}


def model_at(upstream: str, model: str, speaker: Speaker | None = None) -> str:
    """The name under which a client reaches a model of the provider that speaks this dialect. A client of the responses
    dialect has it from the provider that needs nothing changed."""
    if upstream == "responses" and speaker is not None and speaker.name == "responses":
        return f"openai/{model}"
    return f"{UPSTREAMS[upstream]}/{model}"


def strip_changing(value: Any) -> Any:
    """An SDK object as plain data, without what differs between two answers to the same question, and without what an
    SDK's stream helper adds of its own (`parsed...`)."""
    if hasattr(value, "model_dump"):
        value = value.model_dump(mode="json", warnings=False)
    if isinstance(value, list):
        return [strip_changing(each) for each in value]
    if isinstance(value, dict):
        return {
            key: strip_changing(each)
            for key, each in value.items()
            if key not in _CHANGING | _HELPERS and not key.startswith("parsed") and each is not None
        }
    return value
