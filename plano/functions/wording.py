"""The request with which a model words the answer: system prompt, what was said, and what the endpoints said to it
(spec 6.3). In the client's own dialect, so that everything else of the request stays as it came. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import orjson

from plano.functions.visits import Result

Json = dict[str, Any]

_TOOL_FIELDS: Final = ("tools", "tool_choice", "parallel_tool_calls", "functions", "function_call")
_TOOL_ITEMS: Final = frozenset({"function_call", "function_call_output", "custom_tool_call", "custom_tool_call_output"})
_TOOL_BLOCKS: Final = frozenset({"tool_use", "tool_result"})
# Reasoning goes with the calls that it led to: providers do not take it without them.
_CALL_BLOCKS: Final = _TOOL_BLOCKS | {"thinking", "redacted_thinking"}
_CALL_ITEMS: Final = _TOOL_ITEMS | {"reasoning"}


def render_context(results: Sequence[Result]) -> str:
    """What the endpoints said, for the end of the question; "" when there was nothing to say."""
    told = [result for result in results if result.visit.placed is not None]
    if not told:
        return ""
    if len(told) == 1:
        return f"\ncontext: {content_of(told[0])}"
    return "".join(f"\ncontext ({result.visit.target.name}): {content_of(result)}" for result in told)


def content_of(result: Result) -> str:
    """The text of a result. A default target may answer in the shape of chat completions: then it is what it says."""
    if result.visit.target.default:
        try:
            document = orjson.loads(result.text)
            content = document["choices"][0]["message"]["content"]
        except (ValueError, LookupError, TypeError):
            return result.text
        if isinstance(content, str):
            return content
    return result.text


def choose_system_prompt(results: Sequence[Result], otherwise: str | None) -> str | None:
    """The system prompts of the targets, each once; where none has one `otherwise`."""
    prompts = [result.visit.target.system_prompt for result in results]
    return "\n\n".join(dict.fromkeys(prompt for prompt in prompts if prompt)) or otherwise


def brings_tools(body: Json) -> bool:
    """Has the client tools of its own?"""
    return bool(body.get("tools") or body.get("functions"))


def compose_request(dialect: str, body: Json, system_prompt: str | None, context: str, *, keep_tools: bool) -> Json:
    """The request as the model gets it: `system_prompt` before what is there, `context` after the last thing the user
    said; unless `keep_tools` without tools and without calls and results of tools. `body` itself when nothing changes.
    """
    composed = body
    if not keep_tools:
        composed = _without_tools(dialect, composed)
    if context:
        composed = _add_context(dialect, composed, context)
    if system_prompt:
        composed = _add_system_prompt(dialect, composed, system_prompt)
    return composed


# -- tools ------------------------------------------------------------------------------------------------------------


def _without_tools(dialect: str, body: Json) -> Json:
    key = "input" if dialect == "responses" else "messages"
    items = body.get(key)
    kept = items
    if isinstance(items, list):
        if dialect == "responses":
            kept = _without_items(items)
        else:
            fit = _without_blocks if dialect == "messages" else _without_calls
            kept = [fitted for item in items if (fitted := fit(item)) is not None]
        if kept == items:
            kept = items
    if kept is items and not any(name in body for name in _TOOL_FIELDS):
        return body
    rest = {name: value for name, value in body.items() if name not in _TOOL_FIELDS}
    return {**rest, key: kept} if key in body else rest


def _without_items(items: list[Any]) -> list[Any]:
    """The input of the responses dialect without calls and their outputs."""
    if not any(_kind_of(item) in _TOOL_ITEMS for item in items):
        return items
    return [item for item in items if _kind_of(item) not in _CALL_ITEMS]


def _without_blocks(message: Any) -> Any:
    """A message of the messages dialect without calls and results; None when nothing is left of it."""
    content = message.get("content") if isinstance(message, dict) else None
    if not isinstance(content, list) or not any(_kind_of(block) in _TOOL_BLOCKS for block in content):
        return message
    blocks = [block for block in content if _kind_of(block) not in _CALL_BLOCKS]
    return {**message, "content": blocks} if blocks else None


def _without_calls(message: Any) -> Any:
    """A message of the chat dialect without calls; None for a result, and when nothing is left of it."""
    if not isinstance(message, dict):
        return message
    role = message.get("role")
    if role in ("tool", "function") or (role == "assistant" and not message.get("content")):
        return None
    return {name: value for name, value in message.items() if name not in ("tool_calls", "function_call")}


def _kind_of(item: Any) -> Any:
    return item.get("type") if isinstance(item, dict) else None


# -- context ----------------------------------------------------------------------------------------------------------


def _add_context(dialect: str, body: Json, context: str) -> Json:
    key = "input" if dialect == "responses" else "messages"
    items = body.get(key)
    if isinstance(items, str):
        return {**body, key: items + context}
    if not isinstance(items, list):
        return body
    for index in reversed(range(len(items))):
        item = items[index]
        if isinstance(item, dict) and item.get("role") == "user":
            said = {**item, "content": _extend(item.get("content"), context, dialect)}
            return {**body, key: [*items[:index], said, *items[index + 1 :]]}
    return body


def _extend(content: Any, context: str, dialect: str) -> Any:
    if isinstance(content, str):
        return content + context
    parts = content if isinstance(content, list) else []
    return [*parts, {"type": "input_text" if dialect == "responses" else "text", "text": context.lstrip("\n")}]


# -- system prompt ----------------------------------------------------------------------------------------------------


def _add_system_prompt(dialect: str, body: Json, prompt: str) -> Json:
    if dialect == "chat":
        return {**body, "messages": [{"role": "system", "content": prompt}, *body["messages"]]}
    key = "instructions" if dialect == "responses" else "system"
    given = body.get(key)
    if isinstance(given, list):
        return {**body, key: [{"type": "text", "text": prompt}, *given]}
    return {**body, key: f"{prompt}\n\n{given}" if given else prompt}
