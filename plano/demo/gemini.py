"""generateContent as Google's Gemini API serves it.

Source: Gemini API reference, "models.generateContent", "models.streamGenerateContent" and the guides "Function calling"
and "Thought signatures", v1beta. Unknown fields are refused, as Google's JSON parser does.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from uuid import uuid4

import orjson

from plano.demo.answers import Answer, Choice, ToolCall
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
from plano.demo.schemas import MAX_DEPTH
from plano.demo.signatures import is_signature, sign_text

_STATUSES: Mapping[int, str] = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
_FINISH_REASONS: Mapping[str, str] = {"stop": "STOP", "length": "MAX_TOKENS", "tool_calls": "STOP"}
# What Google's documentation tells clients to send for calls that other models made.
_PLACEHOLDERS = ("skip_thought_signature_validator", "context_engineering_is_the_way_to_go")
_FIELDS = frozenset(
    (
        *("model", "stream", "contents", "systemInstruction", "tools", "toolConfig", "generationConfig"),
        *("safetySettings", "cachedContent", "serviceTier", "store", "labels"),
    )
)
_CONFIG_FIELDS = frozenset(
    (
        *("candidateCount", "stopSequences", "maxOutputTokens", "temperature", "topP", "topK", "seed", "logprobs"),
        *("presencePenalty", "frequencyPenalty", "responseMimeType", "responseSchema", "responseJsonSchema"),
        *("responseLogprobs", "thinkingConfig", "responseModalities", "mediaResolution", "speechConfig"),
    )
)
_DATA_FIELDS = frozenset(
    (
        *("text", "inlineData", "fileData", "functionCall", "functionResponse", "executableCode"),
        "codeExecutionResult",
    )
)
_MAX_STOPS = 5
_MAX_CANDIDATES = 8


class GeminiDialect(Dialect):
    """`POST /v1beta/models/{model}:generateContent` and `:streamGenerateContent`; with `alt=sse` (`sse`) the stream is
    of server-sent events, without it is one JSON array."""

    name = "gemini"
    request_id_header = "x-gemini-request-id"

    def __init__(self, sse: bool = True) -> None:
        self._sse = sse
        self.stream_type = "text/event-stream" if sse else "application/json; charset=UTF-8"

    def read_key(self, headers: Mapping[str, str]) -> str | None:
        """Return the `x-goog-api-key`, or the bearer token where there is none."""
        if key := headers.get("x-goog-api-key"):
            return key
        scheme, _, key = headers.get("Authorization", "").partition(" ")
        return key.strip() if scheme.lower() == "bearer" else None

    def parse_prompt(self, body: Mapping[str, Any]) -> Prompt:
        """Return the prompt of a request, whose path gave `model` and `stream`. Raises PromptError (400)."""
        model = require_model(body)
        _check_fields(body, _FIELDS, "")
        config = body.get("generationConfig") or {}
        if not isinstance(config, dict):
            raise _refuse("generation_config", "expected an object")
        _check_fields(config, _CONFIG_FIELDS, " at 'generation_config'")
        check_number(config, "temperature", 0, 2)
        check_number(config, "topP", 0, 1)
        tools = _parse_tools(body.get("tools"))
        tool_choice, tool_name = _parse_tool_config(body.get("toolConfig"), tools)
        return Prompt(
            model=model,
            turns=(*_parse_system(body.get("systemInstruction")), *_parse_contents(body.get("contents"))),
            stream=read_bool(body, "stream"),
            tools=tools,
            tool_choice=tool_choice,
            tool_name=tool_name,
            schema=_parse_output_schema(config),
            stop=_parse_stop(config.get("stopSequences")),
            max_tokens=read_integer(config, "maxOutputTokens", 1),
            choices=read_integer(config, "candidateCount", 1, _MAX_CANDIDATES) or 1,
        )

    def render_answer(self, prompt: Prompt, answer: Answer) -> bytes:
        """Return a GenerateContentResponse."""
        candidates = [
            _render_candidate(index, _render_parts(choice), choice) for index, choice in enumerate(answer.choices)
        ]
        return orjson.dumps({"candidates": candidates, **_render_envelope(prompt, answer)})

    def render_events(self, prompt: Prompt, answer: Answer) -> Iterator[Event]:
        """Yield the chunks: one piece of a candidate each, then the reasons to finish. Calls come whole."""
        envelope = _render_envelope(prompt, answer)
        if not self._sse:
            yield Event("opening", b"", None, b"[")
        for index, choice in enumerate(answer.choices):
            for part in _render_chunks(choice):
                chunk = orjson.dumps({"candidates": [_render_candidate(index, [part])], **envelope})
                yield Event("content", chunk, None, None if self._sse else chunk + b",\r\n")
        last = [_render_candidate(index, [{"text": ""}], choice) for index, choice in enumerate(answer.choices)]
        yield self._close(Event("done", orjson.dumps({"candidates": last, **envelope})))

    def render_error(self, error: PromptError) -> bytes:
        """Return an error object."""
        name = _STATUSES.get(error.status, "INTERNAL" if error.status >= 500 else "INVALID_ARGUMENT")
        return orjson.dumps({"error": {"code": error.status, "message": error.message, "status": name}})

    def render_error_event(self, error: PromptError) -> Event:
        """Return a chunk that holds an error object; nothing follows it."""
        return self._close(Event("closing", self.render_error(error)))

    def _close(self, event: Event) -> Event:
        return event if self._sse else event._replace(wire=event.data + b"]")


def render_models() -> bytes:
    """Return the body of `GET /v1beta/models`."""
    methods = ["generateContent", "countTokens"]
    models = [{"name": f"models/{model}", "supportedGenerationMethods": methods} for model in MODELS]
    return orjson.dumps({"models": models})


def _render_envelope(prompt: Prompt, answer: Answer) -> dict[str, Any]:
    usage = {
        "promptTokenCount": answer.prompt_tokens,
        # Gemini counts thoughts apart from the output, OpenAI as a part of it.
        "candidatesTokenCount": answer.completion_tokens - answer.reasoning_tokens,
        "totalTokenCount": answer.prompt_tokens + answer.completion_tokens,
    }
    if answer.cached_tokens:
        usage["cachedContentTokenCount"] = answer.cached_tokens
    if answer.reasoning_tokens:
        usage["thoughtsTokenCount"] = answer.reasoning_tokens
    return {"usageMetadata": usage, "modelVersion": prompt.model, "responseId": uuid4().hex[:23]}


def _render_candidate(index: int, parts: list[dict[str, Any]], ended: Choice | None = None) -> dict[str, Any]:
    candidate: dict[str, Any] = {"content": {"role": "model", "parts": parts}, "index": index}
    if ended is not None:
        candidate["finishReason"] = _FINISH_REASONS[ended.finish]
    return candidate


def _render_parts(choice: Choice) -> list[dict[str, Any]]:
    parts: list[dict[str, Any]] = [{"text": choice.thinking, "thought": True}] if choice.thoughts else []
    if choice.pieces:
        parts.append({"text": choice.text})
    parts += [_render_call(call) for call in choice.calls]
    if choice.thoughts:
        # The first part after the thoughts carries their signature: of several calls, only one.
        parts[1]["thoughtSignature"] = sign_text(choice.thinking)
    return parts


def _render_chunks(choice: Choice) -> Iterator[dict[str, Any]]:
    for thought in choice.thoughts:
        yield {"text": thought, "thought": True}
    signature = {"thoughtSignature": sign_text(choice.thinking)} if choice.thoughts else {}
    for part in (*({"text": piece} for piece in choice.pieces), *map(_render_call, choice.calls)):
        yield {**part, **signature}
        signature = {}


def _render_call(call: ToolCall) -> dict[str, Any]:
    return {"functionCall": {"name": call.name, "args": orjson.loads(call.arguments)}}


def _refuse(where: str, what: str) -> PromptError:
    return PromptError(400, f"Invalid value at '{where}': {what}.", param=where)


def _check_fields(value: Mapping[str, Any], known: frozenset[str], where: str) -> None:
    if unknown := sorted(value.keys() - known):
        text = f'Invalid JSON payload received. Unknown name "{unknown[0]}"{where}: Cannot find field.'
        raise PromptError(400, text, param=unknown[0])


def _parse_system(system: Any) -> tuple[Turn, ...]:
    match system:
        case None:
            return ()
        case {"parts": list(parts)} if parts and all(isinstance(part, dict) and part.get("text") for part in parts):
            return (Turn("system", "\n".join(str(part["text"]) for part in parts)),)
    raise _refuse("system_instruction", "expected parts with text")


def _parse_contents(contents: Any) -> tuple[Turn, ...]:
    if not isinstance(contents, list) or not contents:
        raise PromptError(400, "* GenerateContentRequest.contents: contents is not specified", param="contents")
    turns = []
    called: list[str] = []
    for index, content in enumerate(contents):
        where = f"contents[{index}]"
        match content:
            case {"role": "user" | "model" as role, "parts": list(parts)} if parts:
                turn, calls, answered = _parse_parts(role, parts, where)
            case _:
                raise _refuse(where, "expected the role 'user' or 'model' and parts")
        if sorted(answered) != sorted(called):
            text = (
                "Please ensure that the number of function response parts is equal to the number of function call parts"
            )
            raise PromptError(400, f"{text} of the function call turn.", param=where)
        called = calls
        turns.append(turn)
    if called:
        raise PromptError(400, "Please ensure that function call turn is followed by its responses.", param="contents")
    return tuple(turns)


def _parse_parts(role: str, parts: list[Any], where: str) -> tuple[Turn, list[str], list[str]]:
    """Return the turn, and the names of the functions it calls and answers."""
    texts: list[str] = []
    images = 0
    calls: list[str] = []
    answered: list[str] = []
    for index, part in enumerate(parts):
        place = f"{where}.parts[{index}]"
        if not isinstance(part, dict) or len(_DATA_FIELDS & part.keys()) != 1:
            raise _refuse(place, "exactly one of the data fields must be set")
        signature = part.get("thoughtSignature")
        if signature is not None and signature not in _PLACEHOLDERS and not is_signature(signature):
            raise PromptError(400, "Thought signature is not valid.", param=place)
        match part:
            case {"text": str(text)}:
                if not part.get("thought"):
                    texts.append(text)
            case {"inlineData": {"mimeType": str(kind), "data": str()}} | {
                "fileData": {"fileUri": str(), "mimeType": str(kind)}
            }:
                images += kind.startswith("image/")
                texts.extend([] if kind.startswith("image/") else ["(a file)"])
            case {"fileData": {"fileUri": str()}}:
                images += 1
            case {"functionCall": {"name": str(name)} as call} if role == "model" and isinstance(
                call.get("args", {}), dict
            ):
                calls.append(name)
            case {"functionResponse": {"name": str(name), "response": dict(response)} as result} if role == "user":
                answered.append(name)
                said = response.get("output", response.get("error", response))
                texts.append(said if isinstance(said, str) else orjson.dumps(said).decode())
                images += len(result["parts"]) if isinstance(result.get("parts"), list) else 0
            case {"executableCode": dict()} | {"codeExecutionResult": dict()}:
                pass
            case _:
                raise _refuse(place, f"no such part for the role '{role}'")
    return (
        Turn("tool" if answered else "assistant" if role == "model" else "user", "\n".join(texts), images),
        calls,
        answered,
    )


def _parse_tools(tools: Any) -> tuple[Tool, ...]:
    if tools is None:
        return ()
    if not isinstance(tools, list):
        raise _refuse("tools", "expected an array")
    parsed = []
    for index, tool in enumerate(tools):
        if not isinstance(tool, dict):
            raise _refuse(f"tools[{index}]", "expected an object")
        declarations = tool.get("functionDeclarations") or []
        if not isinstance(declarations, list):
            raise _refuse(f"tools[{index}].function_declarations", "expected an array")
        parsed += [_parse_declaration(each, f"tools[{index}].function_declarations") for each in declarations]
    return tuple(parsed)


def _parse_declaration(declaration: Any, where: str) -> Tool:
    if isinstance(declaration, dict) and "parameters_json_schema" in declaration:
        # Google's JSON takes the names of its protobuf fields too, and its SDK uses this one.
        declaration = {**declaration, "parametersJsonSchema": declaration["parameters_json_schema"]}
    match declaration:
        case {"name": str(name), "parameters": _, "parametersJsonSchema": _}:
            raise _refuse(where, "parameters and parameters_json_schema are mutually exclusive")
        case {"name": str(name), "parametersJsonSchema": dict(schema)}:
            return Tool(name, str(declaration.get("description") or ""), schema)
        case {"name": str(name), "parameters": dict(schema)}:
            return Tool(name, str(declaration.get("description") or ""), _spell_types(schema))
        case {"name": str(name)}:
            return Tool(name, str(declaration.get("description") or ""), {})
    raise _refuse(where, "expected a name")


def _parse_tool_config(config: Any, tools: tuple[Tool, ...]) -> tuple[ToolChoice, str]:
    calling = config.get("functionCallingConfig") if isinstance(config, dict) else config
    match calling:
        case None | {"mode": "AUTO" | "VALIDATED"}:
            if calling is not None and calling.get("mode") == "AUTO" and calling.get("allowedFunctionNames"):
                raise _refuse("tool_config", "allowed_function_names are for the mode ANY")
            return "auto", ""
        case {"mode": "NONE"}:
            return "none", ""
        case {"mode": "ANY"} if tools:
            allowed = calling.get("allowedFunctionNames") or [tools[0].name]
            names = [tool.name for tool in tools]
            if not isinstance(allowed, list) or not all(name in names for name in allowed):
                raise _refuse("tool_config", "allowed_function_names must be a subset of the declared functions")
            return (
                ("named", allowed[0]) if len(allowed) == 1 and calling.get("allowedFunctionNames") else ("required", "")
            )
    raise _refuse("tool_config", "expected a mode, and functions to call")


def _parse_output_schema(config: Mapping[str, Any]) -> Mapping[str, Any] | None:
    schema = config.get("responseJsonSchema") or _spell_types(config.get("responseSchema"))
    if config.get("responseMimeType") != "application/json":
        if schema:
            raise _refuse("generation_config", "a response schema needs the response mime type application/json")
        return None
    if schema is not None and not isinstance(schema, dict):
        raise _refuse("generation_config.response_schema", "expected an object")
    return schema or {}


def _spell_types(schema: Any, depth: int = 0) -> Any:
    """Return one of Google's own schemas, whose types are the names of an enum (`OBJECT`), as a JSON Schema."""
    if depth > MAX_DEPTH:
        return schema
    if isinstance(schema, list):
        return [_spell_types(each, depth + 1) for each in schema]
    if not isinstance(schema, dict):
        return schema
    spelled = {key: _spell_types(value, depth + 1) for key, value in schema.items()}
    if isinstance(spelled.get("type"), str):
        spelled["type"] = spelled["type"].lower()
    return spelled


def _parse_stop(stop: Any) -> tuple[str, ...]:
    if stop is None:
        return ()
    if not isinstance(stop, list) or len(stop) > _MAX_STOPS or not all(isinstance(each, str) and each for each in stop):
        raise _refuse("generation_config.stop_sequences", f"expected up to {_MAX_STOPS} strings")
    return tuple(stop)
