"""Free-text ("custom") tools for upstreams that only know functions with JSON arguments. No I/O.

The responses and chat dialects let a tool take plain text, possibly under a grammar (OpenAI API reference, "Custom
tools"). For an upstream without them such a tool becomes a function with one string, `input`; what the model puts there
is the text that the client gets.
"""

from __future__ import annotations

from typing import Final

import orjson

from plano.dialects.conversation import Answer, Block, Conversation, Json, Tool, ToolUse

ARGUMENT: Final = "input"


def custom_names(conversation: Conversation) -> set[str]:
    """The names of the conversation's free-text tools."""
    return {tool.name for tool in conversation.tools if tool.custom}


def schema_of(tool: Tool) -> Json:
    """The JSON Schema of the function that stands for the free-text `tool`. A grammar cannot be enforced by such a
    function, but the model can be told about it."""
    about = "The text to pass to the tool."
    if tool.grammar is not None and type(tool.grammar.get("definition")) is str:
        about = f"The text to pass to the tool. It must match this {tool.grammar.get('syntax', '')} grammar:\n"
        about += tool.grammar["definition"]
    return {
        "type": "object",
        "properties": {ARGUMENT: {"type": "string", "description": about}},
        "required": [ARGUMENT],
        "additionalProperties": False,
    }


def wrap(text: str) -> Json:
    """Plain text as the arguments of that function."""
    return {ARGUMENT: text}


def unwrap(arguments: str) -> str:
    """The plain text in the arguments of that function; arguments of another shape are the text themselves."""
    try:
        value = orjson.loads(arguments)
    except orjson.JSONDecodeError:
        return arguments
    if type(value) is not dict:
        return arguments
    text = value.get(ARGUMENT)
    return text if type(text) is str and len(value) == 1 else arguments


def restore(answer: Answer, conversation: Conversation) -> None:
    """Turn calls of such functions in a whole answer back into calls of free-text tools."""
    names = custom_names(conversation)
    if not names:
        return
    _restore(answer.blocks, names)
    for choice in answer.alternatives:
        _restore(choice.blocks, names)


def _restore(blocks: list[Block], names: set[str]) -> None:
    for block in blocks:
        if isinstance(block, ToolUse) and not block.custom and block.name in names:
            block.arguments = unwrap(block.arguments)
            block.custom = True
