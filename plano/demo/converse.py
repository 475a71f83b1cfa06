"""Converse as Amazon Bedrock serves it: JSON answers, and streams of binary frames.

Source: Amazon Bedrock API reference, "Converse", "ConverseStream" and "ContentBlock". Requests are held to what that
reference says: roles take turns, results answer the calls of the turn before, unknown fields are refused.
"""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from plano.demo.answers import Answer, Choice
from plano.demo.dialect import Dialect, Event, EventKind
from plano.demo.openai import make_call_id
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
from plano.demo.signatures import sign_text
from plano.dialects.converse.eventstream import encode_frame

_EXCEPTIONS: Mapping[int, str] = {
    400: "ValidationException",
    401: "UnrecognizedClientException",
    403: "AccessDeniedException",
    404: "ResourceNotFoundException",
    408: "ModelTimeoutException",
    424: "ModelErrorException",
    429: "ThrottlingException",
    503: "ServiceUnavailableException",
}
_STOP_REASONS: Mapping[str, str] = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"}
_FIELDS = frozenset(
    (
        *(
            "model",
            "stream",
            "messages",
            "system",
            "inferenceConfig",
            "toolConfig",
            "guardrailConfig",
            "promptVariables",
        ),
        *("additionalModelRequestFields", "additionalModelResponseFieldPaths", "requestMetadata", "performanceConfig"),
        *("serviceTier", "outputConfig", "promptVariables"),
    )
)
_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_DOCUMENT_NAME = re.compile(r"[a-zA-Z0-9\s()\[\]-]{1,200}")
_IMAGES = ("png", "jpeg", "gif", "webp")
_DOCUMENTS = ("pdf", "csv", "doc", "docx", "xls", "xlsx", "html", "txt", "md")


class ConverseDialect(Dialect):
    """`POST /model/{id}/converse` and `/converse-stream`."""

    name = "converse"
    request_id_header = "x-amzn-requestid"
    stream_type = "application/vnd.amazon.eventstream"

    def read_key(self, headers: Mapping[str, str]) -> str | None:
        """Return the bearer key, or the access key id of a signed request."""
        scheme, _, rest = headers.get("Authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return rest.strip()
        match = re.match(r"Credential=([^/]+)/", rest.strip()) if scheme == "AWS4-HMAC-SHA256" else None
        return None if match is None else match.group(1)

    def parse_prompt(self, body: Mapping[str, Any]) -> Prompt:
        """Return the prompt of a request, whose path gave `model` and `stream`. Raises PromptError (400)."""
        model = require_model(body)
        if unknown := sorted(body.keys() - _FIELDS):
            raise _refuse(f"{unknown[0]}: extraneous key is not permitted")
        config = _read_object(body, "inferenceConfig")
        check_number(config, "temperature", 0, 1)
        check_number(config, "topP", 0, 1)
        turns, uses_tools = _parse_messages(body.get("messages"))
        tools, tool_choice, tool_name = _parse_tool_config(_read_object(body, "toolConfig"))
        if uses_tools and not tools:
            raise _refuse("The toolConfig field must be defined when using toolUse and toolResult content blocks.")
        return Prompt(
            model=model,
            turns=(*_parse_system(body.get("system")), *turns),
            stream=read_bool(body, "stream"),
            tools=tools,
            tool_choice=tool_choice,
            tool_name=tool_name,
            schema=_parse_output_schema(body.get("outputConfig")),
            stop=_parse_stop(config.get("stopSequences")),
            max_tokens=read_integer(config, "maxTokens", 1),
        )

    def render_answer(self, prompt: Prompt, answer: Answer) -> bytes:
        """Return the body of a Converse answer."""
        choice = answer.choices[0]
        content: list[dict[str, Any]] = []
        if choice.thoughts:
            reasoning = {"text": choice.thinking, "signature": sign_text(choice.thinking)}
            content.append({"reasoningContent": {"reasoningText": reasoning}})
        if choice.pieces:
            content.append({"text": choice.text})
        content += [
            {"toolUse": {"toolUseId": make_call_id(), "name": call.name, "input": orjson.loads(call.arguments)}}
            for call in choice.calls
        ]
        return orjson.dumps(
            {
                "output": {"message": {"role": "assistant", "content": content}},
                "stopReason": _stop_reason(choice),
                "usage": _render_usage(answer),
                "metrics": {"latencyMs": 1},
            }
        )

    def render_events(self, prompt: Prompt, answer: Answer) -> Iterator[Event]:
        """Yield the frames of a ConverseStream answer. Text and reasoning begin without a contentBlockStart."""
        choice = answer.choices[0]
        yield _frame("opening", "messageStart", {"role": "assistant"})
        index = 0
        if choice.thoughts:
            for thought in choice.thoughts:
                yield _delta(index, {"reasoningContent": {"text": thought}})
            yield _delta(index, {"reasoningContent": {"signature": sign_text(choice.thinking)}}, "closing")
            yield _frame("closing", "contentBlockStop", {"contentBlockIndex": index})
            index += 1
        if choice.pieces:
            for piece in choice.pieces:
                yield _delta(index, {"text": piece})
            yield _frame("closing", "contentBlockStop", {"contentBlockIndex": index})
            index += 1
        for call in choice.calls:
            start = {"toolUse": {"toolUseId": make_call_id(), "name": call.name}}
            yield _frame("opening", "contentBlockStart", {"contentBlockIndex": index, "start": start})
            for fragment in call.fragments:
                yield _delta(index, {"toolUse": {"input": fragment}})
            yield _frame("closing", "contentBlockStop", {"contentBlockIndex": index})
            index += 1
        yield _frame("closing", "messageStop", {"stopReason": _stop_reason(choice)})
        yield _frame("done", "metadata", {"usage": _render_usage(answer), "metrics": {"latencyMs": 1}})

    def error_headers(self, error: PromptError) -> Mapping[str, str]:
        """Return the header that names the exception; the body holds only its message."""
        return {"x-amzn-ErrorType": _name_exception(error)}

    def render_error(self, error: PromptError) -> bytes:
        """Return an error object."""
        return orjson.dumps({"message": error.message})

    def render_error_event(self, error: PromptError) -> Event:
        """Return an exception frame."""
        name = _name_exception(error)
        data = self.render_error(error)
        headers = {
            ":exception-type": name[0].lower() + name[1:],
            ":content-type": "application/json",
            ":message-type": "exception",
        }
        return Event("closing", data, name, encode_frame(headers, data))


def _name_exception(error: PromptError) -> str:
    return _EXCEPTIONS.get(error.status, "InternalServerException" if error.status >= 500 else "ValidationException")


def _frame(kind: EventKind, name: str, value: dict[str, Any]) -> Event:
    data = orjson.dumps(value)
    headers = {":event-type": name, ":content-type": "application/json", ":message-type": "event"}
    return Event(kind, data, name, encode_frame(headers, data))


def _delta(index: int, delta: dict[str, Any], kind: EventKind = "content") -> Event:
    return _frame(kind, "contentBlockDelta", {"contentBlockIndex": index, "delta": delta})


def _stop_reason(choice: Choice) -> str:
    return "stop_sequence" if choice.stop_sequence is not None else _STOP_REASONS[choice.finish]


def _render_usage(answer: Answer) -> dict[str, int]:
    return {
        # As Anthropic does, Bedrock counts cache reads apart from the input.
        "inputTokens": answer.prompt_tokens - answer.cached_tokens,
        "outputTokens": answer.completion_tokens,
        "totalTokens": answer.prompt_tokens + answer.completion_tokens,
        "cacheReadInputTokens": answer.cached_tokens,
        "cacheWriteInputTokens": 0,
    }


def _refuse(text: str) -> PromptError:
    return PromptError(400, text)


def _read_object(body: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = body.get(key)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise _refuse(f"#/{key}: expected type: JSONObject")
    return value


def _parse_system(system: Any) -> tuple[Turn, ...]:
    if system is None:
        return ()
    if not isinstance(system, list):
        raise _refuse("#/system: expected type: JSONArray")
    texts = []
    for block in system:
        match block:
            case {"text": str(text)} if text:
                texts.append(text)
            case {"cachePoint": {"type": "default"}} | {"guardContent": dict()}:
                pass
            case _:
                raise _refuse("#/system: a block needs a text that is not blank")
    return (Turn("system", "\n".join(texts)),)


def _parse_messages(messages: Any) -> tuple[tuple[Turn, ...], bool]:
    """Return the turns, and whether tools occur in them."""
    if not isinstance(messages, list) or not messages:
        raise _refuse("The value at messages is empty. Provide a value.")
    turns = []
    called: set[str] = set()
    uses_tools = False
    for index, message in enumerate(messages):
        where = f"messages.{index}"
        role, content = (message.get("role"), message.get("content")) if isinstance(message, dict) else (None, None)
        if role != ("user", "assistant")[index % 2]:
            raise _refuse(
                "A conversation must alternate between user and assistant roles, and start with a user message."
            )
        if not isinstance(content, list) or not content:
            raise _refuse(f"The content field in the Message object at {where} is empty.")
        reader = _ContentReader(where, role, called)
        turns.append(reader.read(content))
        if reader.answered != called:
            raise _refuse(
                f"{where}: Expected toolResult blocks for the ids {sorted(called)}, got {sorted(reader.answered)}"
            )
        called = reader.calls
        uses_tools = uses_tools or bool(called)
    if messages[-1]["role"] != "user" and called:
        raise _refuse("The conversation ends with a toolUse block that no toolResult answers.")
    return tuple(turns), uses_tools


class _ContentReader:
    """Reads the content of one message; `called` are the calls of the message before it."""

    def __init__(self, where: str, role: str, called: set[str]) -> None:
        self._where = where
        self._role: Role = "user" if role == "user" else "assistant"
        self._called = called
        self.calls: set[str] = set()
        self.answered: set[str] = set()
        self._texts: list[str] = []
        self._images = 0

    def read(self, content: list[Any]) -> Turn:
        """Return the turn. Raises PromptError (400)."""
        for index, block in enumerate(content):
            self._read_block(block, f"{self._where}.content.{index}")
        return Turn("tool" if self.answered else self._role, "\n".join(self._texts), self._images)

    def _read_block(self, block: Any, where: str) -> None:
        if not isinstance(block, dict) or len(block) != 1:
            raise _refuse(f"{where}: a content block has exactly one member")
        match block:
            case {"text": str(text)}:
                if not text.strip() and text != " ":
                    raise _refuse(f"The text field in the ContentBlock object at {where} is blank.")
                self._texts.append(text)
            case {"image": {"format": str(kind), "source": dict(source)}} if kind in _IMAGES and self._role == "user":
                _check_source(source, where)
                self._images += 1
            case {"document": {"format": str(kind), "name": str(name), "source": dict(source)}} if kind in _DOCUMENTS:
                if not _DOCUMENT_NAME.fullmatch(name):
                    raise _refuse(f"{where}.document.name: only letters, digits, blanks, hyphens and brackets")
                _check_source(source, where)
                self._texts.append("(a document)")
            case {"searchResult": {"source": str(), "title": str(title), "content": list()}} if self._role == "user":
                self._texts.append(f"(a search result: {title})")
            case {"toolUse": {"toolUseId": str(key), "name": str(name), "input": dict()}} if self._role == "assistant":
                if not _NAME.fullmatch(key) or not _NAME.fullmatch(name) or key in self.calls:
                    raise _refuse(f"{where}.toolUse: ids are unique; ids and names match {_NAME.pattern}")
                self.calls.add(key)
            case {"toolResult": {"toolUseId": str(key), "content": list(content)}} if key in self._called:
                if block["toolResult"].get("status") not in (None, "success", "error"):
                    raise _refuse(f"{where}.toolResult.status: expected success or error")
                self.answered.add(key)
                for number, part in enumerate(content):
                    self._read_result(part, f"{where}.toolResult.content.{number}")
            case {"reasoningContent": {"reasoningText": {"text": str(text), "signature": str(signature)}}} if (
                self._role == "assistant"
            ):
                if signature != sign_text(text):
                    raise _refuse(f"{where}: Invalid signature in reasoningContent")
            case {"reasoningContent": {"redactedContent": str()}} if self._role == "assistant":
                pass
            case {"cachePoint": {"type": "default"}} | {"guardContent": dict()}:
                pass
            case _:
                raise _refuse(f"{where}: no such content block for the role {self._role}, or one that is incomplete")

    def _read_result(self, part: Any, where: str) -> None:
        match part:
            case {"json": value}:
                self._texts.append(orjson.dumps(value).decode())
            case _:
                self._read_block(part, where)


def _check_source(source: dict[str, Any], where: str) -> None:
    match source:
        case {"bytes": str(data)} if data:
            try:
                b64decode(data, validate=True)
            except ValueError as error:
                raise _refuse(f"{where}.source.bytes: is not base64") from error
        case {"s3Location": {"uri": str()}} | {"text": str()} | {"content": list()}:
            pass
        case _:
            raise _refuse(f"{where}.source: expected bytes or an s3Location")


def _parse_tool_config(config: Mapping[str, Any]) -> tuple[tuple[Tool, ...], ToolChoice, str]:
    if not config:
        return (), "auto", ""
    tools = []
    listed = config.get("tools")
    for index, tool in enumerate(listed if isinstance(listed, list) else []):
        match tool:
            case {"toolSpec": {"name": str(name), "inputSchema": {"json": dict(schema)}} as spec} if _NAME.fullmatch(
                name
            ):
                if spec.get("description") == "" or schema.get("type") != "object":
                    raise _refuse(f"toolConfig.tools.{index}: a description is not empty, a schema of type object")
                tools.append(Tool(name, str(spec.get("description") or ""), schema))
            case {"cachePoint": dict()} | {"systemTool": dict()}:
                pass
            case _:
                raise _refuse(f"toolConfig.tools.{index}: expected a toolSpec with a name and an inputSchema")
    if not tools:
        raise _refuse("The value at toolConfig.tools is empty. Provide a value.")
    match config.get("toolChoice"):
        case None | {"auto": dict()}:
            return tuple(tools), "auto", ""
        case {"any": dict()}:
            return tuple(tools), "required", ""
        case {"tool": {"name": str(name)}} if any(each.name == name for each in tools):
            return tuple(tools), "named", name
    raise _refuse("toolConfig.toolChoice: expected auto, any, or a tool of this request")


def _parse_output_schema(config: Any) -> Mapping[str, Any] | None:
    match config:
        case {"textFormat": {"type": "json_schema", "structure": {"jsonSchema": {"schema": str(schema)}}}}:
            try:
                parsed = orjson.loads(schema)
            except orjson.JSONDecodeError as error:
                raise _refuse("outputConfig.textFormat: the schema is not JSON") from error
            return parsed if isinstance(parsed, dict) else None
    return None


def _parse_stop(stop: Any) -> tuple[str, ...]:
    if stop is None:
        return ()
    if not isinstance(stop, list) or not all(isinstance(each, str) and each for each in stop):
        raise _refuse("inferenceConfig.stopSequences: expected strings")
    return tuple(stop)
