"""Turns, to the messages of a chat request.

Source: OpenAI API reference, "Create chat completion": ChatCompletionRequestMessage. Many servers of this dialect know
less of it than the reference, so what has two forms is given in the plainer one: a text as a string (an assistant's and
a tool's always), one system message, no field without a value.
"""

from __future__ import annotations

from collections.abc import Sequence

from plano.dialects.chat.content import document_text, name_of, note_text, render_part, render_parts
from plano.dialects.chat.reasoning import render_sent_reasoning
from plano.dialects.chat.tools import render_sent_call
from plano.dialects.conversation import (
    Block,
    Conversation,
    Document,
    Dropped,
    Json,
    Opaque,
    RedactedThinking,
    Refusal,
    SearchResult,
    Text,
    Thinking,
    ToolResult,
    ToolUse,
    Turn,
)
from plano.dialects.omission import error_text, search_result_text


def render_messages(conversation: Conversation, dropped: Dropped) -> list[Json]:
    """The messages, in order. Raises Untranslatable for content that this dialect has no form for."""
    own = conversation.notes.get("dialect") == "chat"
    messages: list[Json] = []
    if conversation.system:
        for text in conversation.system:
            note_text(text, dropped)
        messages.append({"role": "system", "content": "\n\n".join(text.text for text in conversation.system)})
    for number, turn in enumerate(conversation.turns):
        path = f"{turn.path or f'messages[{number}]'}.content"
        if turn.role == "assistant":
            said = _render_assistant(turn, own, dropped)
            if said is None:
                continue
            message = said
        elif turn.role == "system":
            message = {"role": "system", "content": _join_lines(turn.blocks, "\n\n", dropped)}
        else:
            _add_user(messages, turn, path, dropped)
            continue
        if turn.name is not None:
            message["name"] = turn.name
        messages.append(message)
    return messages


def join_texts(blocks: Sequence[Block]) -> str:
    """The text of an assistant's turn as one string.

    Neighbours are pieces of one text (Anthropic cuts at citations), so nothing comes between them; a text after a tool
    call or a thought starts anew, so an empty line does.
    """
    pieces: list[str] = []
    tail = ""
    apart = False
    for block in blocks:
        if not isinstance(block, Text):
            apart = True
        elif block.text:
            pieces.append(separator(tail, block.text, apart))
            pieces.append(block.text)
            tail = end_of(tail + block.text)
            apart = False
    return "".join(pieces)


def separator(text: str, following: str, apart: bool) -> str:
    """What comes between `text` and the text `following` it; `apart`: there are blocks of other kinds between them."""
    if not apart or not text or text.endswith("\n\n") or following[:1].isspace():
        return ""
    return "\n" if text.endswith("\n") else "\n\n"


def end_of(text: str) -> str:
    """As much of the end of `text` as `separator` looks at."""
    return text if len(text) <= 2 else text[len(text) - 2 :]


def _render_assistant(turn: Turn, own: bool, dropped: Dropped) -> Json | None:
    """None for a turn of which nothing is left: an empty message in its place would be one that nobody has said."""
    calls: list[Json] = []
    refusals: list[str] = []
    message: Json = {"role": "assistant", "content": None}
    for block in turn.blocks:
        if isinstance(block, Text):
            note_text(block, dropped)
        elif isinstance(block, ToolUse):
            if block.cache is not None:
                dropped.add("cache_control")
            calls.append(render_sent_call(block, own))
        elif isinstance(block, Refusal):
            refusals.append(block.text)
        elif isinstance(block, Opaque) and block.dialect == "chat" and "audio" in block.value:
            message["audio"] = block.value["audio"]
        elif not isinstance(block, Thinking | RedactedThinking):
            dropped.add(name_of(block))
    text = join_texts(turn.blocks)
    reasoning = render_sent_reasoning(turn.blocks, dropped)
    silent = not (text or calls or refusals or "audio" in message)
    if silent and not reasoning and turn.blocks and not any(isinstance(block, Text) for block in turn.blocks):
        return None
    if text or silent:
        message["content"] = text
    message.update(reasoning)
    if refusals:
        message["refusal"] = "".join(refusals)
    if calls:
        message["tool_calls"] = calls
    return message


def _add_user(messages: list[Json], turn: Turn, path: str, dropped: Dropped) -> None:
    """Results of tools come first: they must follow the message with the calls. What a tool message cannot hold
    (images, files) comes in the user's message behind them, with a line that says whose it is."""
    parts: list[Json] = []
    rest: list[Json] = []
    seen = False
    for number, block in enumerate(turn.blocks):
        if isinstance(block, ToolResult):
            seen = True
            messages.append(_render_result(block, dropped))
            others = [inner for inner in block.content if not _is_text(inner)]
            attached = render_parts(others, f"{block.path or f'{path}[{number}]'}.content", dropped)
            if attached:
                parts.append({"type": "text", "text": f"Attached to the result of tool call {block.id}:"})
                parts.extend(attached)
        else:
            part = render_part(block, f"{path}[{number}]", dropped)
            if part is not None:
                rest.append(part)
    parts.extend(rest)
    if not parts and seen:
        return
    message: Json = {"role": "user", "content": parts}
    if not parts:
        message["content"] = ""
    elif len(parts) == 1 and parts[0].get("type") == "text":
        message["content"] = parts[0]["text"]
    if turn.name is not None:
        message["name"] = turn.name
    messages.append(message)


def _render_result(result: ToolResult, dropped: Dropped) -> Json:
    if result.cache is not None:
        dropped.add("cache_control")
    text = _join_lines([block for block in result.content if _is_text(block)], "\n", dropped)
    return {"role": "tool", "tool_call_id": result.id, "content": error_text(text) if result.is_error else text}


def _is_text(block: Block) -> bool:
    return isinstance(block, Text | SearchResult) or (isinstance(block, Document) and block.text is not None)


def _join_lines(blocks: list[Block], between: str, dropped: Dropped) -> str:
    texts: list[str] = []
    for block in blocks:
        if isinstance(block, Text):
            note_text(block, dropped)
            texts.append(block.text)
        elif isinstance(block, Document) and block.text is not None:
            texts.append(document_text(block))
        elif isinstance(block, SearchResult):
            texts.append(search_result_text(block, dropped))
        else:
            dropped.add(name_of(block))
    return between.join(texts)
