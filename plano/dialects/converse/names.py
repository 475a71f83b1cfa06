"""Names in Bedrock's character sets: tool names, tool call ids, document names. No I/O.

Source: Bedrock API reference, ToolSpecification.name, ToolUseBlock.toolUseId and DocumentBlock.name. A name that fits
passes as it is; another one gets a stand-in that depends on nothing but the name, so that a call and its result, and
the turns of a conversation over many requests, agree without any state.
"""

from __future__ import annotations

import hashlib
import re

from plano.dialects.conversation import Conversation, Tool

_TOOL_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_TOOL_ID = re.compile(r"[a-zA-Z0-9_.:-]{1,64}")
_NOT_IN_NAMES = re.compile(r"[^a-zA-Z0-9_-]")
_NOT_IN_DOCUMENT_NAMES = re.compile(r"[^a-zA-Z0-9\s()\[\]-]", re.ASCII)
_WHITESPACE = re.compile(r"\s+")


def converse_tool_name(name: str) -> str:
    """The name of a tool as Bedrock allows it: letters, digits, `_` and `-`, at most 64."""
    if _TOOL_NAME.fullmatch(name):
        return name
    return f"{_NOT_IN_NAMES.sub('_', name)[:51]}_{_digest(name)}"


def converse_tool_id(value: str) -> str:
    """The id of a tool call as Bedrock allows it: also `.` and `:`, at most 64."""
    if _TOOL_ID.fullmatch(value):
        return value
    return f"{_NOT_IN_NAMES.sub('_', value)[:51]}_{_digest(value)}"


class CallIds:
    """The ids of one request's tool calls. Bedrock wants each once, but some providers count anew in every turn: the
    second call with an id gets another one, and so do the results that follow it.
    """

    __slots__ = ("_latest", "_next", "_taken")

    def __init__(self) -> None:
        self._latest: dict[str, str] = {}
        self._next: dict[str, int] = {}  # the number to try for the next call, by what stands before it
        self._taken: set[str] = set()

    def of_call(self, original: str) -> str:
        clean = converse_tool_id(original)
        unique, stem = clean, clean[:58]
        number = self._next.get(stem, 2)
        while unique in self._taken:
            unique = f"{stem}_{number}"
            number += 1
        self._next[stem] = number
        self._taken.add(unique)
        self._latest[original] = unique
        return unique

    def of_result(self, original: str) -> str:
        return self._latest.get(original) or converse_tool_id(original)


def client_tools(conversation: Conversation | None) -> dict[str, Tool]:
    """The tools of a request under the names that Bedrock knows them by."""
    if conversation is None:
        return {}
    return {converse_tool_name(tool.name): tool for tool in conversation.tools}


def converse_document_name(title: str | None, taken: dict[str, int]) -> str:
    """A name for a document: allowed characters, single spaces, at most 200, not in `taken` (to which it is added, with
    the number to try for the next one: Bedrock wants the names of one request to differ).
    """
    name = _NOT_IN_DOCUMENT_NAMES.sub("-", title) if title else "document"
    name = _WHITESPACE.sub(" ", name)[:190].strip() or "document"
    unique = name
    number = taken.get(name, 2)
    while unique in taken:
        unique = f"{name} ({number})"
        number += 1
    taken[unique] = 2
    taken[name] = number
    return unique


def _digest(value: str) -> str:
    return hashlib.sha256(value.encode("utf-8", "replace")).hexdigest()[:12]
