"""Messages as Anthropic serves them.

Source: Anthropic's API reference, "Messages", "Streaming messages" and "Errors" (anthropic-version 2023-06-01).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any
from uuid import uuid4

import orjson

from plano.demo.answers import Answer, Choice, count_prompt
from plano.demo.dialect import Dialect, Event
from plano.demo.openai import MODELS
from plano.demo.prompts import (
    Prompt,
    PromptError,
    Tool,
    ToolChoice,
    Turn,
    check_number,
    read_bool,
    read_integer,
    require_model,
)
from plano.demo.signatures import sign_text

_ERROR_TYPES: Mapping[int, str] = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}
_STOP_REASONS: Mapping[str, str] = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"}


class AnthropicDialect(Dialect):
    """`POST /v1/messages`."""

    name = "anthropic"
    request_id_header = "request-id"

    def read_key(self, headers: Mapping[str, str]) -> str | None:
        """Return the `x-api-key`, or the bearer token where there is none."""
        if key := headers.get("x-api-key"):
            return key
        scheme, _, key = headers.get("Authorization", "").partition(" ")
        return key.strip() if scheme.lower() == "bearer" else None

    def parse_prompt(self, body: Mapping[str, Any]) -> Prompt:
        """Return the prompt of a messages request. Raises PromptError (400)."""
        model = require_model(body)
        max_tokens = read_integer(body, "max_tokens", 1)
        if max_tokens is None:
            raise PromptError(400, "max_tokens: Field required", param="max_tokens")
        check_number(body, "temperature", 0, 1)
        tools = _parse_tools(body.get("tools"))
        tool_choice, tool_name, parallel = _parse_tool_choice(body.get("tool_choice"), tools)
        return Prompt(
            model=model,
            turns=(*_parse_system(body.get("system")), *_parse_messages(body.get("messages"))),
            stream=read_bool(body, "stream"),
            tools=tools,
            tool_choice=tool_choice,
            tool_name=tool_name,
            parallel_tool_calls=parallel,
            schema=_parse_output_schema(body.get("output_config")),
            stop=_parse_stop(body.get("stop_sequences")),
            max_tokens=max_tokens,
        )

    def render_answer(self, prompt: Prompt, answer: Answer) -> bytes:
        """Return a message."""
        choice = answer.choices[0]
        content: list[dict[str, Any]] = []
        if choice.thoughts:
            signature = sign_text(choice.thinking)
            content.append({"type": "thinking", "thinking": choice.thinking, "signature": signature})
        if choice.pieces:
            content.append({"type": "text", "text": choice.text})
        content += [
            {"type": "tool_use", "id": _make_call_id(), "name": call.name, "input": orjson.loads(call.arguments)}
            for call in choice.calls
        ]
        message = _render_message(prompt, answer)
        message |= {"content": content, "stop_reason": _stop_reason(choice), "stop_sequence": choice.stop_sequence}
        message["usage"]["output_tokens"] = answer.completion_tokens
        return orjson.dumps(message)

    def render_events(self, prompt: Prompt, answer: Answer) -> Iterator[Event]:
        """Yield the events of a streamed message, from message_start to message_stop."""
        choice = answer.choices[0]
        yield _event("opening", {"type": "message_start", "message": _render_message(prompt, answer)})
        index = 0
        if choice.thoughts:
            yield _event("opening", _start_block(index, {"type": "thinking", "thinking": "", "signature": ""}))
            for thought in choice.thoughts:
                yield _event("content", _delta(index, {"type": "thinking_delta", "thinking": thought}))
            signature = sign_text(choice.thinking)
            yield _event("closing", _delta(index, {"type": "signature_delta", "signature": signature}))
            yield _event("closing", {"type": "content_block_stop", "index": index})
            index += 1
        if choice.pieces:
            yield _event("opening", _start_block(index, {"type": "text", "text": ""}))
            yield _event("opening", {"type": "ping"})
            head = b'{"type":"content_block_delta","index":%d,"delta":{"type":"text_delta","text":' % index
            for piece in choice.pieces:
                yield Event("content", b"%b%b}}" % (head, orjson.dumps(piece)), "content_block_delta")
            yield _event("closing", {"type": "content_block_stop", "index": index})
            index += 1
        for call in choice.calls:
            block = {"type": "tool_use", "id": _make_call_id(), "name": call.name, "input": {}}
            yield _event("opening", _start_block(index, block))
            for fragment in ("", *call.fragments):
                yield _event("content", _delta(index, {"type": "input_json_delta", "partial_json": fragment}))
            yield _event("closing", {"type": "content_block_stop", "index": index})
            index += 1
        ending = {"stop_reason": _stop_reason(choice), "stop_sequence": choice.stop_sequence}
        usage = {"output_tokens": answer.completion_tokens}
        yield _event("closing", {"type": "message_delta", "delta": ending, "usage": usage})
        yield _event("done", {"type": "message_stop"})

    def render_error(self, error: PromptError) -> bytes:
        """Return an error object."""
        kind = _ERROR_TYPES.get(error.status, "api_error" if error.status >= 500 else "invalid_request_error")
        body = {"type": "error", "error": {"type": kind, "message": error.message}}
        return orjson.dumps(body | {"request_id": f"req_{uuid4().hex[:24]}"})

    def render_error_event(self, error: PromptError) -> Event:
        """Return an `error` event."""
        return Event("closing", self.render_error(error), "error")


class CountDialect(AnthropicDialect):
    """`POST /v1/messages/count_tokens`."""

    def parse_prompt(self, body: Mapping[str, Any]) -> Prompt:
        """Return the prompt to count, of a body that has no max_tokens. Raises PromptError (400)."""
        return replace(super().parse_prompt({**body, "max_tokens": 1}), stream=False)

    def render_answer(self, prompt: Prompt, answer: Answer) -> bytes:
        """Return the count."""
        return orjson.dumps({"input_tokens": count_prompt(prompt)})


def render_models() -> bytes:
    """Return the body of `GET /v1/models`."""
    models = [
        {"type": "model", "id": model, "display_name": model.replace("-", " ").title(), "created_at": _CREATED_AT}
        for model in MODELS
    ]
    return orjson.dumps({"data": models, "has_more": False, "first_id": MODELS[0], "last_id": MODELS[-1]})


_CREATED_AT = "2026-01-01T00:00:00Z"


def _event(kind: Any, data: dict[str, Any]) -> Event:
    return Event(kind, orjson.dumps(data), data["type"])


def _start_block(index: int, block: dict[str, Any]) -> dict[str, Any]:
    return {"type": "content_block_start", "index": index, "content_block": block}


def _delta(index: int, delta: dict[str, Any]) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": index, "delta": delta}


def _render_message(prompt: Prompt, answer: Answer) -> dict[str, Any]:
    return {
        "id": f"msg_{uuid4().hex[:24]}",
        "type": "message",
        "role": "assistant",
        "model": prompt.model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {
            # Anthropic counts cache reads apart from the input, OpenAI as a part of it.
            "input_tokens": answer.prompt_tokens - answer.cached_tokens,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": answer.cached_tokens,
            "output_tokens": 1,
            "service_tier": "standard",
        },
    }


def _stop_reason(choice: Choice) -> str:
    return "stop_sequence" if choice.stop_sequence is not None else _STOP_REASONS[choice.finish]


def _make_call_id() -> str:
    return f"toolu_{uuid4().hex[:24]}"


def _parse_system(system: Any) -> tuple[Turn, ...]:
    if system is None:
        return ()
    return (Turn("system", _parse_content(system, "system")[0]),)


def _parse_messages(messages: Any) -> tuple[Turn, ...]:
    if not isinstance(messages, list):
        raise PromptError(400, "messages: Field required", param="messages")
    if not messages:
        raise PromptError(400, "messages: at least one message is required", param="messages")
    turns = []
    for index, message in enumerate(messages):
        where = f"messages.{index}"
        if not isinstance(message, dict):
            raise PromptError(400, f"{where}: Input should be an object", param=where)
        role = message.get("role")
        if role not in ("user", "assistant"):
            text = f'messages: Unexpected role "{role}". Allowed roles are "user" or "assistant"'
            raise PromptError(400, text, param=f"{where}.role")
        content = message.get("content")
        text, images = _parse_content(content, f"{where}.content")
        results = isinstance(content, list) and any(block.get("type") == "tool_result" for block in content)
        turns.append(Turn("tool" if results else role, text, images))
    return tuple(turns)


def _parse_content(content: Any, where: str) -> tuple[str, int]:
    """Return the text and the number of images of a message's content."""
    if isinstance(content, str):
        return content, 0
    if not isinstance(content, list):
        raise PromptError(400, f"{where}: Input should be a valid string or list", param=where)
    texts, images = [], 0
    for index, block in enumerate(content):
        match block:
            case {"type": "text", "text": str(text)}:
                texts.append(text)
            case {"type": "image", "source": dict()}:
                images += 1
            case {"type": "tool_result", "tool_use_id": str()}:
                text, inner = _parse_content(block.get("content") or "", f"{where}.{index}.content")
                texts.append(text)
                images += inner
            case {"type": "thinking", "thinking": str(text)}:
                if block.get("signature") != sign_text(text):
                    text = f"{where}.{index}: Invalid `signature` in `thinking` block"
                    raise PromptError(400, text, param=where)
            case {"type": "tool_use" | "redacted_thinking"}:
                pass
            case {"type": "document", "source": dict()}:
                texts.append("(a document)")
            case {"type": "search_result", "source": str(), "title": str(title), "content": list()}:
                texts.append(f"(a search result: {title})")
            case _:
                raise PromptError(400, f"{where}.{index}: Input does not match any of the expected tags", param=where)
    return "\n".join(texts), images


def _parse_tools(tools: Any) -> tuple[Tool, ...]:
    if tools is None:
        return ()
    if not isinstance(tools, list):
        raise PromptError(400, "tools: Input should be a valid list", param="tools")
    parsed = []
    for index, tool in enumerate(tools):
        match tool:
            case {"name": str(name), "input_schema": dict(schema)}:
                parsed.append(Tool(name, str(tool.get("description") or ""), schema))
            case {"name": str(), "type": str(kind)} if kind != "custom":
                continue  # A tool that the API runs by itself, such as web search: nothing to call the client for.
            case _:
                raise PromptError(400, f"tools.{index}.custom.input_schema: Field required", param="tools")
    return tuple(parsed)


def _parse_tool_choice(choice: Any, tools: tuple[Tool, ...]) -> tuple[ToolChoice, str, bool]:
    parallel = not (isinstance(choice, dict) and choice.get("disable_parallel_tool_use"))
    match choice:
        case None | {"type": "auto"}:
            return "auto", "", parallel
        case {"type": "none"}:
            return "none", "", parallel
        case {"type": "any"} if tools:
            return "required", "", parallel
        case {"type": "tool", "name": str(name)} if any(tool.name == name for tool in tools):
            return "named", name, parallel
    raise PromptError(400, "tool_choice: names no tool of this request", param="tool_choice")


def _parse_output_schema(config: Any) -> Mapping[str, Any] | None:
    match config:
        case {"format": {"type": "json_schema", "schema": dict(schema)}}:
            return schema
    return None


def _parse_stop(stop: Any) -> tuple[str, ...]:
    if stop is None:
        return ()
    if not isinstance(stop, list) or not all(isinstance(each, str) and each for each in stop):
        raise PromptError(400, "stop_sequences: Input should be a list of strings", param="stop_sequences")
    return tuple(stop)
