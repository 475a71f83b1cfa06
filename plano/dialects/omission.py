"""What becomes of content that the dialect of the upstream has no place for. No I/O."""

from __future__ import annotations

from typing import Final

from plano.dialects.conversation import Dropped, Opaque, SearchResult, Untranslatable

# They point to another part of the request, and say nothing themselves (Anthropic, "Tool search").
_REFERENCES: Final = frozenset({"tool_reference"})
# Items of the responses dialect: outputs of tools that the provider runs, whose calls are left out too.
_ITEM: Final = "responses"


def kind_of(block: Opaque) -> str:
    """The type of such a block, as its dialect calls it."""
    kind = block.value.get("type")
    return kind if type(kind) is str else "content"


def omit(block: Opaque, by_model: bool, path: str, name: str, dropped: Dropped) -> None:
    """Leave out a block that only another dialect knows, under `name`.

    Raises Untranslatable for what a user or a tool has given (not `by_model`): without it, another question would be
    answered. What models and their providers' tools have said is told to the next model by the text around it.
    """
    kind = kind_of(block)
    if not by_model and block.dialect != _ITEM and kind not in _REFERENCES:
        raise Untranslatable(f"This model's API takes no content of the type '{kind}'.", path)
    dropped.add(name)


def search_result_text(result: SearchResult, dropped: Dropped) -> str:
    """A search result as text, for APIs that have no block for it."""
    if result.citations:
        dropped.add("citations")
    if result.cache is not None:
        dropped.add("cache_control")
    return "\n".join((f"Search result: {result.title}", f"Source: {result.source}", "", *result.texts))


def error_text(text: str) -> str:
    """What a tool that failed has said, for APIs that have no field for the failure: the model has to know of it."""
    if text.lower().startswith("error"):
        return text
    return f"Error: {text}" if text else "Error"
