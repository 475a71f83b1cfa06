"""Chat completions as OpenAI serves them.

Source: OpenAI's OpenAPI document, `CreateChatCompletionResponse`, `CreateChatCompletionStreamResponse` and
`ErrorResponse`.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from itertools import zip_longest
from typing import Any
from uuid import uuid4

import orjson

from plano.demo.answers import Answer, Choice, ToolCall
from plano.demo.dialect import Dialect, Event
from plano.demo.prompts import (
    Prompt,
    PromptError,
    Role,
    Tool,
    ToolChoice,
    Turn,
    check_number,
    read_bool,
    read_integer,
    require_model,
)

MODELS: tuple[str, ...] = ("demo-chat", "demo-mini", "demo-large", "demo-backup")
MODELS_CREATED = 1_767_225_600
MAX_CHOICES = 128
FINGERPRINT = "fp_plano_demo"

_ROLES: Mapping[str, Role] = {
    "developer": "system",
    "system": "system",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
    "function": "tool",
}
_ERROR_TYPES: Mapping[int, str] = {403: "permission_error", 429: "requests"}


class OpenAIDialect(Dialect):
    """`POST /v1/chat/completions`."""

    name = "openai"

    def read_key(self, headers: Mapping[str, str]) -> str | None:
        """Return the bearer token."""
        scheme, _, key = headers.get("Authorization", "").partition(" ")
        return key.strip() if scheme.lower() == "bearer" else None

    def parse_prompt(self, body: Mapping[str, Any]) -> Prompt:
        """Return the prompt of a chat completion request. Raises PromptError (400)."""
        model = require_model(body)
        turns = _parse_messages(body.get("messages"))
        stream = read_bool(body, "stream")
        check_number(body, "temperature", 0, 2)
        check_number(body, "top_p", 0, 1)
        tools = _parse_tools(body.get("tools"))
        tool_choice, tool_name = _parse_tool_choice(body.get("tool_choice"), tools)
        limit = read_integer(body, "max_completion_tokens", 1)
        if limit is None:
            limit = read_integer(body, "max_tokens", 1)
        return Prompt(
            model=model,
            turns=turns,
            stream=stream,
            include_usage=parse_include_usage(body.get("stream_options"), stream),
            tools=tools,
            tool_choice=tool_choice,
            tool_name=tool_name,
            parallel_tool_calls=read_bool(body, "parallel_tool_calls", default=True),
            schema=_parse_response_format(body.get("response_format")),
            stop=parse_stop(body.get("stop")),
            max_tokens=limit,
            choices=read_integer(body, "n", 1, MAX_CHOICES) or 1,
        )

    def render_answer(self, prompt: Prompt, answer: Answer) -> bytes:
        """Return a chat completion."""
        return orjson.dumps(
            {
                "id": f"chatcmpl-{uuid4().hex}",
                "object": "chat.completion",
                "created": int(time.time()),
                "model": prompt.model,
                "choices": [_render_choice(index, choice) for index, choice in enumerate(answer.choices)],
                "usage": render_usage(answer),
                "service_tier": "default",
                "system_fingerprint": FINGERPRINT,
            }
        )

    def render_events(self, prompt: Prompt, answer: Answer) -> Iterator[Event]:
        """Yield chat completion chunks: the role, one token each, the finish reason, the usage if asked for, [DONE]."""
        envelope: dict[str, Any] = {
            "id": f"chatcmpl-{uuid4().hex}",
            "object": "chat.completion.chunk",
            "created": int(time.time()),
            "model": prompt.model,
            "service_tier": "default",
            "system_fingerprint": FINGERPRINT,
        }
        if prompt.include_usage:
            envelope["usage"] = None
        head = orjson.dumps(envelope)[:-1] + b',"choices":[{"index":'

        def chunk(index: int, delta: bytes, finish: bytes = b"null") -> bytes:
            # Put together by hand: thousands of paced streams share one core of the provider.
            return b'%b%d,"delta":%b,"logprobs":null,"finish_reason":%b}]}' % (head, index, delta, finish)

        for index, choice in enumerate(answer.choices):
            content = b"null" if choice.calls else b'""'
            if choice.thoughts:
                content = b"null"
            yield Event("opening", chunk(index, b'{"role":"assistant","content":%b,"refusal":null}' % content))
        # The choices come interleaved, as they do from a model that samples them side by side.
        for row in zip_longest(*(_render_deltas(choice) for choice in answer.choices)):
            for index, delta in enumerate(row):
                if delta is not None:
                    yield Event("content", chunk(index, delta))
        for index, choice in enumerate(answer.choices):
            yield Event("closing", chunk(index, b"{}", b'"%b"' % choice.finish.encode()))
        if prompt.include_usage:
            yield Event("closing", orjson.dumps({**envelope, "choices": [], "usage": render_usage(answer)}))
        yield Event("done", b"[DONE]")

    def render_error(self, error: PromptError) -> bytes:
        """Return an error object."""
        kind = _ERROR_TYPES.get(error.status, "server_error" if error.status >= 500 else "invalid_request_error")
        return orjson.dumps(
            {"error": {"message": error.message, "type": kind, "param": error.param, "code": error.code}}
        )

    def render_error_event(self, error: PromptError) -> Event:
        """Return a nameless event that holds an error object."""
        return Event("closing", self.render_error(error))


def render_models() -> bytes:
    """Return the body of `GET /v1/models`."""
    models = [{"id": model, "object": "model", "created": MODELS_CREATED, "owned_by": "plano-demo"} for model in MODELS]
    return orjson.dumps({"object": "list", "data": models})


def _render_choice(index: int, choice: Choice) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": choice.text or None, "refusal": None, "annotations": []}
    if choice.thoughts:
        message["reasoning_content"] = choice.thinking
    if choice.calls:
        message["tool_calls"] = [_render_call(call) for call in choice.calls]
    elif message["content"] is None:
        message["content"] = ""
    return {"index": index, "message": message, "logprobs": None, "finish_reason": choice.finish}


def _render_call(call: ToolCall) -> dict[str, Any]:
    if call.custom:
        return {"id": make_call_id(), "type": "custom", "custom": {"name": call.name, "input": call.arguments}}
    function = {"name": call.name, "arguments": call.arguments}
    return {"id": make_call_id(), "type": "function", "function": function}


def _render_deltas(choice: Choice) -> Iterator[bytes]:
    for thought in choice.thoughts:
        yield b'{"reasoning_content":%b}' % orjson.dumps(thought)
    for piece in choice.pieces:
        yield b'{"content":%b}' % orjson.dumps(piece)
    for index, call in enumerate(choice.calls):
        kind, text = ("custom", "input") if call.custom else ("function", "arguments")
        opening = {"index": index, "id": make_call_id(), "type": kind, kind: {"name": call.name, text: ""}}
        yield orjson.dumps({"tool_calls": [opening]})
        for fragment in call.fragments:
            yield orjson.dumps({"tool_calls": [{"index": index, kind: {text: fragment}}]})


def render_usage(answer: Answer) -> dict[str, Any]:
    """Return the token counts of an answer."""
    return {
        "prompt_tokens": answer.prompt_tokens,
        "completion_tokens": answer.completion_tokens,
        "total_tokens": answer.prompt_tokens + answer.completion_tokens,
        "prompt_tokens_details": {"cached_tokens": answer.cached_tokens, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": answer.reasoning_tokens,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def make_call_id() -> str:
    """Return a new id of a tool call."""
    return f"call_{uuid4().hex[:24]}"


def _parse_messages(messages: Any) -> tuple[Turn, ...]:
    if messages is None:
        raise PromptError(400, "Missing required parameter: 'messages'.", param="messages", code="missing_parameter")
    if not isinstance(messages, list):
        raise PromptError(
            400, "Invalid type for 'messages': expected an array of objects.", param="messages", code="invalid_type"
        )
    if not messages:
        message = "Invalid 'messages': empty array. Expected an array with minimum length 1, but got an empty array."
        raise PromptError(400, message, param="messages", code="empty_array")
    return tuple(_parse_message(message, f"messages[{index}]") for index, message in enumerate(messages))


def _parse_message(message: Any, where: str) -> Turn:
    if not isinstance(message, dict):
        raise PromptError(400, f"Invalid type for '{where}': expected an object.", param=where, code="invalid_type")
    spoken = message.get("role")
    role = _ROLES.get(spoken) if isinstance(spoken, str) else None
    if role is None:
        text = f"Invalid value: '{spoken}'. Supported values are: 'system', 'assistant', 'user', 'tool', 'developer'."
        raise PromptError(400, text, param=f"{where}.role", code="invalid_value")
    if role == "tool" and spoken == "tool" and not isinstance(message.get("tool_call_id"), str):
        param = f"{where}.tool_call_id"
        raise PromptError(400, f"Missing required parameter: '{param}'.", param=param, code="missing_parameter")
    content = message.get("content")
    if content is None:
        if role == "assistant" and (message.get("tool_calls") or message.get("function_call") or "refusal" in message):
            return Turn(role, "")
        text = f"Invalid value for 'content': expected a string, got null. ({where}.content)"
        raise PromptError(400, text, param=f"{where}.content", code="invalid_value")
    if isinstance(content, str):
        return Turn(role, content)
    if not isinstance(content, list):
        text = f"Invalid type for '{where}.content': expected one of a string or array of objects."
        raise PromptError(400, text, param=f"{where}.content", code="invalid_type")
    texts = [_parse_part(part, f"{where}.content[{index}]") for index, part in enumerate(content)]
    images = sum(text is None for text in texts)
    return Turn(role, "\n".join(text for text in texts if text), images)


def _parse_part(part: Any, where: str) -> str | None:
    """Return the text of a content part; None for an image."""
    kind = part.get("type") if isinstance(part, dict) else None
    match kind:
        case "text" | "refusal" if isinstance(part.get(kind), str):
            return str(part[kind])
        case "image_url" if isinstance(part.get("image_url"), dict) and isinstance(part["image_url"].get("url"), str):
            return None
        case "input_audio" | "file" if isinstance(part.get(kind), dict):
            return f"({'a recording' if kind == 'input_audio' else 'a file'})"
    text = f"Invalid value: '{kind}'. Supported values are: 'text', 'image_url', 'input_audio', 'refusal', and 'file'."
    raise PromptError(400, text, param=where, code="invalid_value")


def _parse_tools(tools: Any) -> tuple[Tool, ...]:
    if tools is None:
        return ()
    if not isinstance(tools, list) or not tools:
        raise PromptError(400, "Invalid 'tools': expected a non-empty array.", param="tools", code="invalid_type")
    parsed = []
    for index, tool in enumerate(tools):
        where = f"tools[{index}]"
        match tool:
            case {"type": "custom", "custom": {"name": str(name)} as custom} if name:
                parsed.append(Tool(name, str(custom.get("description") or ""), {}, custom=True))
                continue
        function = tool.get("function") if isinstance(tool, dict) and tool.get("type") == "function" else None
        if not isinstance(function, dict) or not isinstance(function.get("name"), str) or not function["name"]:
            param = f"{where}.function.name"
            raise PromptError(400, f"Missing required parameter: '{param}'.", param=param, code="missing_parameter")
        parameters = function.get("parameters") or {}
        if not isinstance(parameters, dict):
            param = f"{where}.function.parameters"
            raise PromptError(400, f"Invalid type for '{param}': expected an object.", param=param, code="invalid_type")
        parsed.append(Tool(function["name"], str(function.get("description") or ""), parameters))
    return tuple(parsed)


def _parse_tool_choice(choice: Any, tools: tuple[Tool, ...]) -> tuple[ToolChoice, str]:
    if choice is None:
        return "auto", ""
    if not tools:
        text = "Invalid value for 'tool_choice': 'tool_choice' is only allowed when 'tools' are specified."
        raise PromptError(400, text, param="tool_choice")
    match choice:
        case "none" | "auto" | "required":
            return choice, ""
        case {"type": "allowed_tools", "allowed_tools": {"mode": "auto" | "required" as mode, "tools": list()}}:
            return mode, ""
        case {"type": "function" | "custom" as kind}:
            named = choice.get(kind)
            name = named.get("name") if isinstance(named, dict) else None
            if isinstance(name, str) and any(tool.name == name for tool in tools):
                return "named", name
    text = f"Invalid value for 'tool_choice': {orjson.dumps(choice).decode()} names no tool of this request."
    raise PromptError(400, text, param="tool_choice")


def _parse_response_format(wanted: Any) -> Mapping[str, Any] | None:
    match wanted:
        case None | {"type": "text"}:
            return None
        case {"type": "json_object"}:
            return {}
        case {"type": "json_schema", "json_schema": {"name": str(), "schema": dict(schema)}}:
            return schema
        case {"type": "json_schema", "json_schema": {"name": str()}}:
            return {}
    text = "Invalid value for 'response_format': expected 'text', 'json_object', or 'json_schema' with a name."
    raise PromptError(400, text, param="response_format", code="invalid_value")


def parse_stop(stop: Any) -> tuple[str, ...]:
    """Return the stop sequences of a request. Raises PromptError (400)."""
    stops = [stop] if isinstance(stop, str) else stop or []
    if not isinstance(stops, list) or len(stops) > 4 or not all(isinstance(each, str) and each for each in stops):
        raise PromptError(400, "Invalid 'stop': expected up to 4 strings.", param="stop", code="invalid_type")
    return tuple(stops)


def parse_include_usage(options: Any, stream: bool) -> bool:
    """Return whether a stream shall end with its usage. Raises PromptError (400)."""
    if options is None:
        return False
    if not isinstance(options, dict):
        text = "Invalid type for 'stream_options': expected an object."
        raise PromptError(400, text, param="stream_options", code="invalid_type")
    if not stream:
        text = "The 'stream_options' parameter is only allowed when 'stream' is enabled."
        raise PromptError(400, text, param="stream_options")
    return read_bool(options, "include_usage")
