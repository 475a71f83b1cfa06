"""The output items of a responses upstream's stream: events about items in, blocks out.

Source: OpenAI API reference, "Streaming events" (output_item, content_part, output_text, refusal, reasoning_text,
reasoning_summary_part, reasoning_summary_text, function_call_arguments, custom_tool_call_input).

Servers of this dialect differ in how much they stream: some send every delta, some only the `.done` events, some only
finished items, or nothing but the final response. Whatever is told twice counts once: of a text that comes whole after
deltas only what the deltas lacked is passed on.
"""

from __future__ import annotations

from typing import Any, Final

from plano.dialects.conversation import Json
from plano.dialects.events import (
    ArgumentsDelta,
    BlockKind,
    BlockStarted,
    BlockStopped,
    CitationDelta,
    Event,
    SignatureDelta,
    TextDelta,
)
from plano.dialects.responses.answer import call_id_of
from plano.dialects.responses.items import tag_signature
from plano.dialects.responses.output import citation_of
from plano.dialects.responses.parts import ITEM, PART

_PART_KINDS: Final = {
    "output_text": (BlockKind.TEXT, "text"),
    "refusal": (BlockKind.REFUSAL, "refusal"),
    "reasoning_text": (BlockKind.THINKING, "text"),
}


class _Block:
    """A block of an item. `length` is how much of its text has been passed on, in characters."""

    __slots__ = ("citations", "index", "kind", "length", "stopped")

    def __init__(self, index: int, kind: BlockKind) -> None:
        self.index = index
        self.kind = kind
        self.length = 0
        self.citations = 0
        self.stopped = False


class _Item:
    """An output item. Its blocks go by (kind of part, index): content and summary are counted apart."""

    __slots__ = ("blocks", "done", "id", "last")

    def __init__(self, item_id: str) -> None:
        self.id = item_id
        self.blocks: dict[tuple[str, int], _Block] = {}
        self.last: _Block | None = None
        self.done = False


class ItemReader:
    """All output items of one stream. `called` and `refused`: the model has called a tool, has declined."""

    def __init__(self) -> None:
        self.called = False
        self.refused = False
        self._items: dict[int, _Item] = {}
        self._count = 0  # of blocks

    def take(self, kind: str, data: Json, events: list[Event]) -> None:
        """An event about an item; any other is ignored."""
        if kind == "response.output_text.delta":
            self._add_text(data, "content", BlockKind.TEXT, events)
        elif kind == "response.function_call_arguments.delta" or kind == "response.custom_tool_call_input.delta":
            self._add_arguments(data, events)
        elif kind == "response.reasoning_summary_text.delta":
            self._add_text(data, "summary", BlockKind.THINKING, events)
        elif kind == "response.reasoning_text.delta":
            self._add_text(data, "content", BlockKind.THINKING, events)
        elif kind == "response.refusal.delta":
            self._add_text(data, "content", BlockKind.REFUSAL, events)
        elif kind == "response.output_item.added":
            self._open_item(data, events)
        elif kind == "response.output_item.done":
            item = data.get("item")
            if type(item) is dict:
                self._end_item(self._item_of(data, item), item, events)
        elif kind == "response.content_part.added" or kind == "response.content_part.done":
            self._take_part(data, kind.endswith("done"), events)
        elif kind == "response.reasoning_summary_part.added":
            self._open(self._item_of(data), "summary", _index(data, "summary_index"), BlockKind.THINKING, events)
        elif kind == "response.output_text.done":
            self._complete_text(data, "content", BlockKind.TEXT, "text", events)
        elif kind == "response.refusal.done":
            self._complete_text(data, "content", BlockKind.REFUSAL, "refusal", events)
        elif kind == "response.reasoning_summary_text.done":
            self._complete_text(data, "summary", BlockKind.THINKING, "text", events)
        elif kind == "response.reasoning_text.done":
            self._complete_text(data, "content", BlockKind.THINKING, "text", events)
        elif kind == "response.function_call_arguments.done":
            self._complete_call(data, "arguments", events)
        elif kind == "response.custom_tool_call_input.done":
            self._complete_call(data, "input", events)
        elif kind == "response.output_text.annotation.added":
            self._add_citation(data, events)

    def take_output(self, output: list[Any], events: list[Event]) -> None:
        """The final output: tell what of it was never told, and stop everything. Items are the same by their place or
        by their id: some servers leave out places, some change ids."""
        known = [item.id for item in self._items.values() if item.id]
        for index, item in enumerate(output):
            if type(item) is not dict:
                continue
            place = self._items.get(index)
            if place is None and item.get("id") not in known:
                place = self._item_of({"output_index": index}, item)
            if place is not None:
                self._end_item(place, item, events)
        for place in self._items.values():
            self._stop_all(place, events)

    def _item_of(self, data: Json, item: Json | None = None) -> _Item:
        """The item an event is about: by its index, else by its id, else the last one."""
        named: Any = data.get("item_id") if item is None else item.get("id")
        name = named if type(named) is str else ""
        index = data.get("output_index")
        if type(index) is not int:
            for known in self._items.values():
                if name and known.id == name:
                    return known
            index = max(self._items, default=0)
            if item is not None and index in self._items:
                index += 1
        found = self._items.get(index)
        if found is None:
            found = _Item(name)
            self._items[index] = found
        elif name and not found.id:
            found.id = name
        return found

    def _open_item(self, data: Json, events: list[Event]) -> None:
        item = data.get("item")
        if type(item) is dict:
            place = self._item_of(data, item)
            if item.get("type") in ("function_call", "custom_tool_call"):
                self._open_call(place, item, events)

    def _end_item(self, place: _Item, item: Json, events: list[Event]) -> None:
        """An item is whole: whatever of it has not been told is told now."""
        if place.done:
            return
        place.done = True
        kind = item.get("type")
        if kind == "message":
            for index, part in enumerate(_objects(item.get("content"))):
                self._end_part(place, index, part, events)
        elif kind == "function_call" or kind == "custom_tool_call":
            block = self._open_call(place, item, events)
            if block is not None:
                self._complete(block, item.get("input" if kind == "custom_tool_call" else "arguments"), events)
        elif kind == "reasoning":
            self._end_reasoning(place, item, events)
        elif type(kind) is str:
            opaque = self._open(place, ITEM, 0, BlockKind.OPAQUE, events, BlockStarted(0, BlockKind.OPAQUE, data=item))
            self._stop(opaque, events)
        self._stop_all(place, events)

    def _end_reasoning(self, place: _Item, item: Json, events: list[Event]) -> None:
        for name in ("summary", "content"):
            for index, part in enumerate(_objects(item.get(name))):
                if type(part.get("text")) is str:
                    block = self._open(place, name, index, BlockKind.THINKING, events)
                    self._complete(block, part["text"], events)
        signature = item.get("encrypted_content")
        if type(signature) is str and signature:
            last = place.last
            if last is None or last.stopped:
                last = self._open(place, "content", len(place.blocks), BlockKind.THINKING, events)
            events.append(SignatureDelta(last.index, tag_signature(signature, place.id or None)))

    def _stop_all(self, place: _Item, events: list[Event]) -> None:
        for block in place.blocks.values():
            self._stop(block, events)

    # -- blocks -------------------------------------------------------------------------------------------------------

    def _open(
        self,
        place: _Item,
        part: str,
        index: int,
        kind: BlockKind,
        events: list[Event],
        start: BlockStarted | None = None,
    ) -> _Block:
        """The block of a part, opened if it is new. `start` says more about it than its kind."""
        block = place.blocks.get((part, index))
        if block is not None:
            return block
        # A thought stays open until it is known whether it is the last of its item, which has the signature.
        if kind is BlockKind.THINKING and place.last is not None:
            self._stop(place.last, events)
        block = _Block(self._count, kind)
        self._count += 1
        place.blocks[part, index] = block
        place.last = block
        if start is None:
            start = BlockStarted(block.index, kind)
        start.index = block.index
        if kind is BlockKind.THINKING:
            start.id = place.id or None
            start.summary = part == "summary"
        elif kind is BlockKind.OPAQUE:
            start.name = part
        elif kind is BlockKind.REFUSAL:
            self.refused = True
        events.append(start)
        return block

    def _open_call(self, place: _Item, item: Json, events: list[Event]) -> _Block | None:
        name: Any = item.get("name")
        if type(name) is not str or not name:
            return place.blocks.get(("call", 0))
        self.called = True
        custom = item.get("type") == "custom_tool_call"
        start = BlockStarted(0, BlockKind.TOOL_USE, id=call_id_of(item), name=name, custom=custom)
        return self._open(place, "call", 0, BlockKind.TOOL_USE, events, start)

    def _stop(self, block: _Block, events: list[Event]) -> None:
        if not block.stopped:
            block.stopped = True
            events.append(BlockStopped(block.index))

    def _pass(self, block: _Block, text: str, events: list[Event]) -> None:
        if block.stopped or not text:
            return
        block.length += len(text)
        if block.kind is BlockKind.TOOL_USE:
            events.append(ArgumentsDelta(block.index, text))
        else:
            events.append(TextDelta(block.index, text))

    def _complete(self, block: _Block, text: Any, events: list[Event]) -> None:
        """`text` is all of the block's text: pass on what is missing."""
        if type(text) is str and len(text) > block.length:
            self._pass(block, text[block.length :], events)

    def _add_text(self, data: Json, part: str, kind: BlockKind, events: list[Event]) -> None:
        text = data.get("delta")
        if type(text) is str and text:
            place = self._item_of(data)
            self._pass(self._open(place, part, _index(data, f"{part}_index"), kind, events), text, events)

    def _complete_text(self, data: Json, part: str, kind: BlockKind, name: str, events: list[Event]) -> None:
        block = self._open(self._item_of(data), part, _index(data, f"{part}_index"), kind, events)
        self._complete(block, data.get(name), events)

    def _add_arguments(self, data: Json, events: list[Event]) -> None:
        # Of an item that was not announced the name is not known; it comes, with all arguments, when the item is done.
        block = self._item_of(data).blocks.get(("call", 0))
        text = data.get("delta")
        if block is not None and type(text) is str:
            self._pass(block, text, events)

    def _complete_call(self, data: Json, name: str, events: list[Event]) -> None:
        block = self._item_of(data).blocks.get(("call", 0))
        if block is not None:
            self._complete(block, data.get(name), events)

    def _take_part(self, data: Json, done: bool, events: list[Event]) -> None:
        part = data.get("part")
        if type(part) is not dict:
            return
        place, index = self._item_of(data), _index(data, "content_index")
        if done:
            self._end_part(place, index, part, events)
            return
        known = _PART_KINDS.get(str(part.get("type")))
        if known is not None:
            self._open(place, "content", index, known[0], events)

    def _end_part(self, place: _Item, index: int, part: Json, events: list[Event]) -> None:
        kind = part.get("type")
        known = _PART_KINDS.get(str(kind))
        if known is None:
            if type(kind) is str and (PART, index) not in place.blocks:
                start = BlockStarted(0, BlockKind.OPAQUE, data=part)
                self._stop(self._open(place, PART, index, BlockKind.OPAQUE, events, start), events)
            return
        block = self._open(place, "content", index, known[0], events)
        self._complete(block, part.get(known[1]), events)
        if block.kind is BlockKind.TEXT and not block.stopped:
            annotations = part.get("annotations")
            for number, annotation in enumerate(annotations if type(annotations) is list else []):
                if number >= block.citations:
                    self._cite(block, annotation, events)
        if block.kind is not BlockKind.THINKING:
            self._stop(block, events)

    def _add_citation(self, data: Json, events: list[Event]) -> None:
        place = self._item_of(data)
        block = self._open(place, "content", _index(data, "content_index"), BlockKind.TEXT, events)
        if block.kind is BlockKind.TEXT and not block.stopped:
            self._cite(block, data.get("annotation"), events)

    def _cite(self, block: _Block, annotation: Any, events: list[Event]) -> None:
        block.citations += 1
        citation = citation_of(annotation)
        if citation is not None:
            events.append(CitationDelta(block.index, citation))


def _index(data: Json, name: str) -> int:
    value = data.get(name)
    return value if type(value) is int else 0


def _objects(values: Any) -> list[Json]:
    # An index into the list must still fit: what is no object counts as an empty one.
    return [value if type(value) is dict else {} for value in values] if type(values) is list else []
