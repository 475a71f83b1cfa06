"""What one agent has said, as context for the next: read from its answer, put into the request. Pure."""

from __future__ import annotations

import re
from typing import Any, Final

import orjson

from plano.dialects.assembly import Assembler
from plano.dialects.codecs import UPSTREAMS
from plano.dialects.conversation import Answer, BadAnswer, Conversation, Dropped, Text, ToolUse, Turn
from plano.dialects.events import Failed

Json = dict[str, Any]

_UNFIT: Final = re.compile(r"[^a-zA-Z0-9_-]")  # for a name in chat completions (OpenAI API reference)
_ITEMS: Final = {"chat": "messages", "messages": "messages", "responses": "input"}


def read_answer(dialect: str, data: bytes, conversation: Conversation, *, streamed: bool) -> Answer:
    """The whole answer of an agent that speaks the client's `dialect`. Raises BadAnswer for anything that is none: an
    error, half a stream, something that is not of the dialect."""
    codec = UPSTREAMS[dialect]
    if not streamed:
        try:
            document = orjson.loads(data)
        except orjson.JSONDecodeError as error:
            raise BadAnswer("the answer is not JSON") from error
        if type(document) is not dict:
            raise BadAnswer("the answer is not a JSON object")
        return codec.parse_answer(document, conversation)
    reader = codec.make_reader(conversation)
    assembler = Assembler()
    for event in [*reader.feed(data), *reader.end()]:
        if isinstance(event, Failed):
            raise BadAnswer(event.error.message)
        assembler.add(event)
    return assembler.answer()


def add_answer(dialect: str, body: Json, answer: Answer, author: str) -> Json:
    """The request `body` with what the agent `author` has answered, as an assistant message before the question (the
    last thing the user said). Its text and its tool calls are kept, its reasoning is nobody else's.

    Chat completions have a name for messages; where there is none the text begins with it. Returns `body` itself when
    there was nothing in the answer.
    """
    blocks = [block for block in answer.blocks if isinstance(block, Text | ToolUse)]
    texts = "\n".join(block.text for block in blocks if isinstance(block, Text) and block.text)
    calls = [block for block in blocks if isinstance(block, ToolUse)]
    if not texts and not calls:
        return body
    named = dialect == "chat"
    said = [Text(texts if named else f"{author}: {texts}")] if texts else []
    turn = Turn("assistant", [*said, *calls], name=_UNFIT.sub("_", author)[:64] if named else None)
    key = _ITEMS[dialect]
    rendered = UPSTREAMS[dialect].render_request(Conversation(None, [turn]), "", Dropped())
    items = body.get(key)
    if not isinstance(items, list):
        items = [] if items is None else [{"type": "message", "role": "user", "content": items}]
    place = _find_question(items)
    return {**body, key: [*items[:place], *rendered[key], *items[place:]]}


def _find_question(items: list[Any]) -> int:
    """The index of the last message in which the user says something; the end when there is none."""
    for index in reversed(range(len(items))):
        item = items[index]
        if isinstance(item, dict) and item.get("role") == "user" and not _brings_results(item):
            return index
    return len(items)


def _brings_results(message: Json) -> bool:
    """Does this message answer a tool call of the one before it (messages dialect)? Nothing may come between."""
    content = message.get("content")
    return isinstance(content, list) and any(
        isinstance(block, dict) and block.get("type") == "tool_result" for block in content
    )
