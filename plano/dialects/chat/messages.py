"""The messages of a chat request, to turns.

Source: OpenAI API reference, "Create chat completion": ChatCompletionRequestMessage and its roles. Reasoning of earlier
turns: see chat_reasoning.py.
"""

from __future__ import annotations

from typing import Any

from plano.dialects.chat.content import parse_content, parse_texts, read_cache
from plano.dialects.chat.fields import (
    join_path,
    read_object,
    read_string,
    require_element,
    require_string,
)
from plano.dialects.chat.reasoning import read_reasoning
from plano.dialects.chat.tools import parse_calls
from plano.dialects.conversation import (
    BadRequest,
    Block,
    Document,
    Image,
    Json,
    Opaque,
    Refusal,
    Text,
    ToolResult,
    ToolUse,
    Turn,
)


def parse_messages(messages: list[Any]) -> tuple[list[Text], list[Turn], list[int]]:
    """(system texts before the first turn, turns, the number of each turn's first message). Raises BadRequest, naming
    the message.

    Results of tools that follow each other stand in one turn, as the calls they answer do.
    """
    system: list[Text] = []
    turns: list[Turn] = []
    numbers: list[int] = []
    legacy_ids: dict[str, str] = {}  # of the deprecated function calls, which have none: name -> the last one's
    results: list[Block] | None = None
    for number, value in enumerate(messages):
        path = f"messages[{number}]"
        message = require_element(value, path)
        role = require_string(message, "role", path)
        if role == "tool" or role == "function":
            result = _parse_result(message, role, path, legacy_ids)
            if results is None:
                results = [result]
                turns.append(Turn("user", results))
                numbers.append(number)
            else:
                results.append(result)
            continue
        results = None
        name = read_string(message, "name", path)
        content_path = join_path(path, "content")
        if role == "system" or role == "developer":
            texts = parse_texts(message.get("content"), content_path)
            if not turns:
                system.extend(texts)
                _mark(list(texts), message)
                continue
            blocks: list[Block] = list(texts)
            turns.append(Turn("system", blocks, name=name))
        elif role == "user":
            blocks = parse_content(message.get("content"), content_path)
            turns.append(Turn("user", blocks, name=name))
        elif role == "assistant":
            blocks = _parse_assistant(message, path, f"call_fn_{number}", legacy_ids)
            turns.append(Turn("assistant", blocks, name=name))
        else:
            place = join_path(path, "role")
            raise BadRequest(f"'{place}' must be system, developer, user, assistant, tool or function.", place)
        numbers.append(number)
        _mark(blocks, message)
    return system, turns, numbers


def _parse_assistant(message: Json, path: str, call_id: str, legacy_ids: dict[str, str]) -> list[Block]:
    blocks = read_reasoning(message, upstream=False)
    content = message.get("content")
    if content is not None and content != "":
        blocks.extend(parse_content(content, join_path(path, "content")))
    refusal = read_string(message, "refusal", path)
    if refusal:
        blocks.append(Refusal(refusal))
    audio = read_object(message, "audio", path)
    if audio is not None:
        blocks.append(Opaque("chat", {"type": "audio", "audio": audio}))
    blocks.extend(parse_calls(message, path))
    call = read_object(message, "function_call", path)
    if call is not None:
        place = join_path(path, "function_call")
        name = require_string(call, "name", place)
        legacy_ids[name] = call_id
        blocks.append(ToolUse(call_id, name, read_string(call, "arguments", place) or ""))
    return blocks


def _parse_result(message: Json, role: str, path: str, legacy_ids: dict[str, str]) -> ToolResult:
    name = read_string(message, "name", path)
    if role == "function":
        called = require_string(message, "name", path)
        result_id = legacy_ids.get(called, f"call_fn_{called}")
    else:
        result_id = require_string(message, "tool_call_id", path)
    content = message.get("content")
    blocks = [] if content is None else parse_content(content, join_path(path, "content"))
    return ToolResult(result_id, blocks, name=name, cache=read_cache(message))


def _mark(blocks: list[Block], message: Json) -> None:
    """A cache marker on the message as a whole stands behind its last block."""
    cache = read_cache(message)
    last = blocks[len(blocks) - 1] if blocks else None
    if cache is not None and isinstance(last, Text | Image | Document | ToolUse) and last.cache is None:
        last.cache = cache
