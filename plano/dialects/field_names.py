"""What a client calls a field that the translation knows by another name.

Requests of all dialects meet in one vocabulary, whose names are mostly those of chat completions. A client that is told
of a field, dropped or refused, is told in the words of its own request.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from plano.dialects.conversation import Conversation, ToolResult

_HEAD: Final = re.compile(r"[^.\[]+")
_FUNCTION: Final = re.compile(r"(tools\[\d+\])\.function\b")
_TURN: Final = re.compile(r"messages\b.*")
_MESSAGE: Final = re.compile(r"messages\[(\d{1,9})\](\.content\[(\d{1,9})\])?(.*)", re.DOTALL)

_NAMES: Final[dict[str, dict[str, str]]] = {
    "chat": {
        "max_output_tokens": "max_completion_tokens",
        "instructions": "messages",
        "system": "messages",
        "reasoning": "reasoning_effort",
    },
    "messages": {
        "instructions": "system",
        "max_completion_tokens": "max_tokens",
        "max_output_tokens": "max_tokens",
        "parallel_tool_calls": "tool_choice.disable_parallel_tool_use",
        "reasoning": "thinking",
        "reasoning_effort": "output_config.effort",
        "response_format": "output_config.format",
        "stop": "stop_sequences",
        "user": "metadata.user_id",
    },
    "responses": {
        "max_completion_tokens": "max_output_tokens",
        "max_tokens": "max_output_tokens",
        "reasoning_effort": "reasoning.effort",
        "response_format": "text.format",
        "system": "instructions",
        "thinking": "reasoning",
        "verbosity": "text.verbosity",
    },
}


def name_field(dialect: str, name: str, body: Mapping[str, Any]) -> str:
    """The client's name for the field `name` of the translation; `body` is the client's request. A name that occurs in
    the body is the client's own already."""
    if dialect != "chat":
        name = _FUNCTION.sub(r"\1", name)
    match = _HEAD.match(name)
    if match is None or match[0] in body:
        return name
    if dialect == "responses":
        # Items become turns by joining some and splitting others: which one it was is no longer known.
        name = _TURN.sub("input", name)
    own = _NAMES.get(dialect, {}).get(match[0])
    if own is None:
        return name
    if dialect == "chat" and own == "max_completion_tokens" and "max_tokens" in body:
        return "max_tokens"
    return own + name[match.end() :]


def name_message(name: str, conversation: Conversation) -> str:
    """The message of a chat client that became the turn of the number in `name`: system texts before the first turn are
    none, and results of tools that follow each other are one, a block each. Other names stay as they are."""
    numbers: list[int] | None = conversation.notes.get("message_numbers")
    match = _MESSAGE.fullmatch(name)
    if numbers is None or match is None or int(match[1]) >= len(numbers):
        return name
    number, turn = numbers[int(match[1])], conversation.turns[int(match[1])]
    block, rest = match[2] or "", match[4]
    if turn.role == "user" and turn.blocks and isinstance(turn.blocks[0], ToolResult):
        return f"messages[{number + int(match[3] or 0)}]{rest}"
    # An assistant's blocks are its reasoning, its content and its calls: which one it was is no longer known.
    return f"messages[{number}]{block if turn.role == 'user' else ''}{rest}"
