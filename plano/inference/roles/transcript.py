"""A conversation as the function model is shown it: role and text, calls and results of tools between tags, cut to the
tokens there are."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from typing import Any, Final

from plano.inference.roles.model_json import BadModelAnswer, read_object
from plano.inference.roles.turns import size_of, trim_middle

Json = dict[str, Any]
CountTokens = Callable[[str], int]

MESSAGE_TOKENS: Final = 8  # what a chat template adds to a message, at most
_SMALLEST_TEXT_BYTES: Final = 64
_OWN_TAG = re.compile(r"<(?=/?(?:tools|tool_call|tool_response)>)", re.IGNORECASE)


def plain_messages(messages: Sequence[Json]) -> list[Json]:
    """Messages of the chat completions dialect as role (system, user, assistant) and text.

    Calls and results of tools become text between tags; results that follow each other become one message of the user,
    marked `result`. What has no text and no calls is left out.
    """
    names: dict[str, str] = {}
    plain: list[Json] = []
    for message in messages:
        role, text = message.get("role"), _content(message.get("content"))
        if role == "tool":
            identity = message.get("tool_call_id")
            name = names.get(identity) if isinstance(identity, str) else None
            block = _tool_response(name or stripped(message.get("name")) or _name_in(plain), text)
            if plain and plain[-1].get("result"):
                plain[-1]["content"] += "\n" + block
            else:
                plain.append({"role": "user", "content": block, "result": True})
        elif role == "assistant":
            blocks = [text] if text.strip() else []
            for call in listed(message.get("tool_calls")):
                function = call.get("function") if isinstance(call, dict) else None
                if isinstance(function, dict) and isinstance(function.get("name"), str):
                    if isinstance(call.get("id"), str):
                        names[call["id"]] = function["name"]
                    value = {"name": function["name"], "arguments": arguments_of(function) or {}}
                    blocks.append(f"<tool_call>\n{plain_json(value)}\n</tool_call>")
            if blocks:
                plain.append({"role": "assistant", "content": "\n".join(blocks)})
        elif role in ("system", "developer"):
            if text.strip():
                plain.append({"role": "system", "content": text})
        elif role == "user" and text.strip():
            plain.append({"role": "user", "content": text})
    return plain


def _tool_response(name: str, text: str) -> str:
    result: Json = {"name": name, "result": text} if name else {"result": text}
    return f"<tool_response>\n{plain_json(result)}\n</tool_response>"


def _name_in(plain: list[Json]) -> str:
    """The function called in the message before: clients of the original send its fenced JSON back as an assistant's
    text, and the result without an id."""
    if not plain or plain[-1]["role"] != "assistant":
        return ""
    try:
        calls = listed(read_object(plain[-1]["content"]).get("tool_calls"))
    except BadModelAnswer:
        return ""
    return stripped(calls[0].get("name")) if calls and isinstance(calls[0], dict) else ""


def _content(content: Any) -> str:
    if isinstance(content, str):
        return content
    parts = [part.get("text") for part in listed(content) if isinstance(part, dict)]
    return "\n".join(text for text in parts if isinstance(text, str) and text)


def cost_of(message: Json, count_tokens: CountTokens) -> int:
    """Tokens of a message, with what a chat template adds."""
    return count_tokens(message["content"]) + MESSAGE_TOKENS


def fit(spoken: list[Json], count_tokens: CountTokens, room: int) -> list[Json]:
    """The longest end of the conversation that begins with a user's message and fits, at least the last exchange."""
    start = len(spoken)
    total = 0
    for index in reversed(range(len(spoken))):
        total += cost_of(spoken[index], count_tokens)
        own = spoken[index]["role"] == "user" and not spoken[index].get("result")
        if own and (total <= room or start == len(spoken)):
            start = index
        if total > room and start < len(spoken):
            break
    if start == len(spoken):
        start = 0
    return _shrink([dict(message) for message in spoken[start:]], count_tokens, room)


def _shrink(messages: list[Json], count_tokens: CountTokens, room: int) -> list[Json]:
    """Trim the longest text in its middle, again and again, until all of them fit; drop the second message (the first
    is the user's question) where trimming no longer helps."""
    costs = [cost_of(message, count_tokens) for message in messages]
    while sum(costs) > room:
        longest = max(range(len(messages)), key=costs.__getitem__)
        content = messages[longest]["content"]
        size = size_of(content)
        share = max(0.1, 1 - (sum(costs) - room) / costs[longest])
        if size > _SMALLEST_TEXT_BYTES:
            messages[longest]["content"] = trim_middle(content, max(_SMALLEST_TEXT_BYTES, int(size * share * 0.98)))
            costs[longest] = cost_of(messages[longest], count_tokens)
        elif len(messages) > 2:
            del messages[1], costs[1]
        else:
            break
    return messages


def arguments_of(call: Json) -> Json | None:
    """The arguments of a call, given as an object or as its JSON text; None when they are neither. A call without
    arguments has none to give."""
    arguments = call.get("arguments", call.get("parameters"))
    if arguments is None or arguments == "":
        return {}
    if isinstance(arguments, str):
        try:
            return read_object(arguments, mend_brackets=True)
        except BadModelAnswer:
            return None
    return arguments if isinstance(arguments, dict) else None


def plain_json(value: Any) -> str:
    """`value` as JSON in one line, with spaces, unescaped Unicode, and none of our own tags in it."""
    text = json.dumps(value, ensure_ascii=False).encode("utf-8", "replace").decode()
    return _OWN_TAG.sub(r"\\u003c", text)


def listed(value: Any) -> list[Any]:
    """`value` if it is a list, else an empty one."""
    return value if isinstance(value, list) else []


def stripped(value: Any) -> str:
    """`value` without white space around it if it is a text, else ""."""
    return value.strip() if isinstance(value, str) else ""
