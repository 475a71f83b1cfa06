"""Responses as OpenAI serves them: what is read of a request, and the whole answer.

Source: OpenAI's OpenAPI document, `CreateResponse`, `Response`, `InputItem` and `OutputItem`. The stream is in
response_events.py.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any
from uuid import uuid4

import orjson

from plano.demo.answers import Answer, Choice
from plano.demo.dialect import Event
from plano.demo.openai import OpenAIDialect
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
from plano.demo.response_events import render_error_event, render_events
from plano.demo.signatures import is_signature, sign_text

ENCRYPTED = "reasoning.encrypted_content"

_ROLES: Mapping[str, Role] = {"developer": "system", "system": "system", "user": "user", "assistant": "assistant"}
_DEFAULTS: Mapping[str, Any] = {
    "instructions": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "reasoning": {"effort": None, "summary": None},
    "store": True,
    "temperature": 1.0,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_p": 1.0,
    "truncation": "disabled",
    "max_output_tokens": None,
}


class ResponsesDialect(OpenAIDialect):
    """`POST /v1/responses`."""

    name = "responses"

    def parse_prompt(self, body: Mapping[str, Any]) -> Prompt:
        """Return the prompt of a request for a response. Raises PromptError (400)."""
        model = require_model(body)
        check_number(body, "temperature", 0, 2)
        check_number(body, "top_p", 0, 1)
        if body.get("previous_response_id") is not None:
            text = f"Previous response with id '{body['previous_response_id']}' not found."
            raise PromptError(400, text, param="previous_response_id", code="previous_response_not_found")
        tools = _parse_tools(body.get("tools"))
        tool_choice, tool_name = _parse_tool_choice(body.get("tool_choice"), tools)
        return Prompt(
            model=model,
            turns=(*_parse_instructions(body.get("instructions")), *_parse_input(body.get("input"))),
            stream=read_bool(body, "stream"),
            tools=tools,
            tool_choice=tool_choice,
            tool_name=tool_name,
            parallel_tool_calls=read_bool(body, "parallel_tool_calls", default=True),
            schema=_parse_format(body.get("text")),
            max_tokens=read_integer(body, "max_output_tokens", 1),
            options={"include": _parse_include(body.get("include"))} | {key: body.get(key) for key in _DEFAULTS},
        )

    def render_answer(self, prompt: Prompt, answer: Answer) -> bytes:
        """Return a response."""
        items = render_items(prompt, answer.choices[0])
        return orjson.dumps(render_response(prompt, answer, items, f"resp_{uuid4().hex}", time.time()))

    def render_events(self, prompt: Prompt, answer: Answer) -> Iterator[Event]:
        """Yield the events of a streamed response, from response.created to response.completed."""
        items = render_items(prompt, answer.choices[0])
        response = render_response(prompt, answer, items, f"resp_{uuid4().hex}", time.time())
        return render_events(response, answer.choices[0])

    def render_error_event(self, error: PromptError) -> Event:
        """Return an `error` event."""
        return render_error_event(error)


def render_items(prompt: Prompt, choice: Choice) -> list[dict[str, Any]]:
    """Return the output items of an answer: reasoning, then a message or calls."""
    items: list[dict[str, Any]] = []
    status = "incomplete" if choice.finish == "length" else "completed"
    if choice.thoughts:
        item: dict[str, Any] = {"id": f"rs_{uuid4().hex}", "type": "reasoning"}
        item["summary"] = [{"type": "summary_text", "text": choice.thinking}]
        if ENCRYPTED in prompt.options["include"]:
            item["encrypted_content"] = sign_text(choice.thinking)
        items.append(item)
    if choice.pieces or not choice.calls:
        text = {"type": "output_text", "text": choice.text, "annotations": [], "logprobs": []}
        message = {"id": f"msg_{uuid4().hex}", "type": "message", "role": "assistant", "status": status}
        items.append(message | {"content": [text]})
    for call in choice.calls:
        called = {"call_id": f"call_{uuid4().hex[:24]}", "name": call.name}
        if call.custom:
            items.append({"id": f"ctc_{uuid4().hex}", "type": "custom_tool_call", **called, "input": call.arguments})
        else:
            head = {"id": f"fc_{uuid4().hex}", "type": "function_call", "status": "completed"}
            items.append({**head, **called, "arguments": call.arguments})
    return items


def render_response(
    prompt: Prompt, answer: Answer, items: list[dict[str, Any]], response_id: str, created: float
) -> dict[str, Any]:
    """Return the response object, with the fields of the request that the API repeats in it."""
    cut = answer.choices[0].finish == "length"
    given = {key: value for key, value in prompt.options.items() if key in _DEFAULTS and value is not None}
    return {
        **_DEFAULTS,
        **given,
        "id": response_id,
        "object": "response",
        "created_at": int(created),
        "completed_at": None if cut else int(created),
        "status": "incomplete" if cut else "completed",
        "error": None,
        "incomplete_details": {"reason": "max_output_tokens"} if cut else None,
        "background": False,
        "model": prompt.model,
        "output": items,
        "service_tier": "default",
        "usage": {
            "input_tokens": answer.prompt_tokens,
            "input_tokens_details": {"cached_tokens": answer.cached_tokens, "cache_write_tokens": 0},
            "output_tokens": answer.completion_tokens,
            "output_tokens_details": {"reasoning_tokens": answer.reasoning_tokens},
            "total_tokens": answer.prompt_tokens + answer.completion_tokens,
        },
    }


def _refuse(where: str, what: str, code: str = "invalid_type") -> PromptError:
    return PromptError(400, f"Invalid value for '{where}': {what}.", param=where, code=code)


def _parse_instructions(instructions: Any) -> tuple[Turn, ...]:
    if instructions is None:
        return ()
    if not isinstance(instructions, str):
        raise _refuse("instructions", "expected a string")
    return (Turn("system", instructions),)


def _parse_input(value: Any) -> tuple[Turn, ...]:
    if value is None:
        raise PromptError(400, "Missing required parameter: 'input'.", param="input", code="missing_required_parameter")
    if isinstance(value, str):
        return (Turn("user", value),)
    if not isinstance(value, list) or not value:
        raise _refuse("input", "expected a string or a non-empty array of input items")
    calls: set[str] = set()
    turns = [turn for index, item in enumerate(value) for turn in _parse_item(item, f"input[{index}]", calls)]
    if not turns:
        raise _refuse("input", "there is nothing to answer in it", "invalid_value")
    return tuple(turns)


def _parse_item(item: Any, where: str, calls: set[str]) -> tuple[Turn, ...]:
    if not isinstance(item, dict):
        raise _refuse(where, "expected an object")
    match item.get("type", "message"):
        case "message":
            role = _ROLES.get(item.get("role")) if isinstance(item.get("role"), str) else None  # type: ignore[arg-type]
            if role is None:
                raise _refuse(f"{where}.role", "expected 'user', 'assistant', 'system' or 'developer'", "invalid_value")
            return (_parse_content(role, item.get("content"), f"{where}.content"),)
        case "function_call" | "custom_tool_call" as kind:
            text = item.get("arguments" if kind == "function_call" else "input")
            if not all(isinstance(item.get(key), str) for key in ("call_id", "name")) or not isinstance(text, str):
                raise _refuse(where, "a call needs a 'call_id', a 'name' and its arguments", "invalid_value")
            calls.add(item["call_id"])
            return (Turn("assistant", ""),)
        case "function_call_output" | "custom_tool_call_output":
            if not isinstance(item.get("call_id"), str) or item["call_id"] not in calls:
                text = f"No tool call found for function call output with call_id {item.get('call_id')}."
                raise PromptError(400, text, param="input")
            return (_parse_content("tool", item.get("output"), f"{where}.output"),)
        case "reasoning":
            if not isinstance(item.get("summary"), list):
                raise _refuse(f"{where}.summary", "expected an array")
            encrypted = item.get("encrypted_content")
            if encrypted is not None and not is_signature(encrypted):
                text = f"The encrypted content for item {item.get('id')} could not be verified."
                raise PromptError(400, text, param=where, code="invalid_encrypted_content")
            return ()
    raise _refuse(f"{where}.type", f"'{item.get('type')}' is unknown", "invalid_value")


def _parse_content(role: Role, content: Any, where: str) -> Turn:
    if isinstance(content, str):
        return Turn(role, content)
    if not isinstance(content, list):
        raise _refuse(where, "expected a string or an array")
    texts, images = [], 0
    for index, part in enumerate(content):
        match part:
            case {"type": "input_text", "text": str(text)} if role != "assistant":
                texts.append(text)
            case {"type": "output_text", "text": str(text)} | {"type": "refusal", "refusal": str(text)} if (
                role == "assistant"
            ):
                texts.append(text)
            case {"type": "input_image", "image_url": str()} | {"type": "input_image", "file_id": str()}:
                images += 1
            case {"type": "input_file"}:
                texts.append("(a file)")
            case _:
                raise _refuse(f"{where}[{index}]", f"no such content for the role '{role}'", "invalid_value")
    return Turn(role, "\n".join(texts), images)


def _parse_tools(tools: Any) -> tuple[Tool, ...]:
    if tools is None:
        return ()
    if not isinstance(tools, list):
        raise _refuse("tools", "expected an array")
    parsed = []
    for index, tool in enumerate(tools):
        match tool:
            case {"type": "function", "name": str(name)} if name and isinstance(tool.get("parameters") or {}, dict):
                parsed.append(Tool(name, str(tool.get("description") or ""), tool.get("parameters") or {}))
            case {"type": "custom", "name": str(name)} if name:
                parsed.append(Tool(name, str(tool.get("description") or ""), {}, custom=True))
            case {"type": str(kind)} if kind not in ("function", "custom"):
                continue  # A tool that the API runs by itself: nothing to call the client for.
            case _:
                raise _refuse(f"tools[{index}]", "expected a type, a name and a schema", "missing_required_parameter")
    return tuple(parsed)


def _parse_tool_choice(choice: Any, tools: tuple[Tool, ...]) -> tuple[ToolChoice, str]:
    match choice:
        case None | "auto":
            return "auto", ""
        case "none":
            return "none", ""
        case "required" if tools:
            return "required", ""
        case {"type": "allowed_tools", "mode": "auto" | "required" as mode, "tools": list()} if tools:
            return mode, ""
        case {"type": "function" | "custom", "name": str(name)} if any(tool.name == name for tool in tools):
            return "named", name
    raise _refuse("tool_choice", "it names no tool of this request", "invalid_value")


def _parse_include(include: Any) -> tuple[str, ...]:
    if include is None:
        return ()
    if not isinstance(include, list) or not all(isinstance(each, str) for each in include):
        raise _refuse("include", "expected an array of strings")
    return tuple(include)


def _parse_format(text: Any) -> Mapping[str, Any] | None:
    if text is None:
        return None
    wanted = text.get("format") if isinstance(text, dict) else text
    match wanted:
        case None | {"type": "text"}:
            return None
        case {"type": "json_object"}:
            return {}
        case {"type": "json_schema", "name": str(), "schema": dict(schema)}:
            return schema
    raise _refuse("text.format", "expected 'text', 'json_object', or 'json_schema' with a name and a schema")
