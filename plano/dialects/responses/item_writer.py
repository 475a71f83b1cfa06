"""The output items of a streamed answer of the responses dialect: blocks in, the events of their items out.

Source: OpenAI API reference, "Streaming events" (output_item, content_part, output_text, refusal, reasoning_text,
reasoning_summary_part, reasoning_summary_text, function_call_arguments, custom_tool_call_input).

An item is done when all its blocks have stopped and another item has opened, or the model has finished: only then is
it known that it is whole (texts in a row are parts of one message) and that the answer was not cut off in it.
"""

from __future__ import annotations

from typing import Final

import orjson

from plano.dialects.conversation import Conversation, Json
from plano.dialects.custom_tools import custom_names, unwrap
from plano.dialects.events import ArgumentsDelta, BlockKind, BlockStarted, CitationDelta, SignatureDelta, TextDelta
from plano.dialects.responses.items import REDACTED_PREFIX, SIGNATURE_PREFIX, untag_signature
from plano.dialects.responses.output import (
    annotation_of,
    call_item,
    custom_call_item,
    is_encodable,
    message_item,
    reasoning_item,
    reasoning_part,
    refusal_part,
    suffix_of,
    summary_part,
    text_part,
)
from plano.dialects.responses.parts import ITEM, PART
from plano.dialects.responses.tools import ToolNames

_LOGPROBS: Final[list[Json]] = []


class _Item:
    """An output item. `item` is its final form, filled as its blocks stop; `open` counts those that have not."""

    __slots__ = ("done", "id", "index", "item", "open", "thought")

    def __init__(self, index: int, item: Json, thought: str | None) -> None:
        self.index = index
        self.id: str = item["id"]
        self.item = item
        self.open = 0
        self.done = False
        self.thought = thought  # the upstream's id of a reasoning item, if it has one


class _Block:
    """An open block. `place` is its index in the item: of a content part, or of a part of the summary."""

    __slots__ = ("citations", "item", "kind", "pieces", "place", "signature", "summary", "wrapped")

    def __init__(self, kind: BlockKind, item: _Item, place: int) -> None:
        self.kind = kind
        self.item = item
        self.place = place
        self.summary = False
        self.wrapped = False  # a free-text tool's text comes wrapped in JSON, and is given out when it is whole
        self.pieces: list[str] = []
        self.citations: list[Json] = []
        self.signature: str | None = None


class Numbering:
    """The events of one stream, numbered from 0 without gaps."""

    def __init__(self) -> None:
        self._next = 0

    def emit(self, kind: str, body: Json) -> bytes:
        data = orjson.dumps({"type": kind, "sequence_number": self._next, **body})
        self._next += 1
        return b"event: %b\ndata: %b\n\n" % (kind.encode(), data)


class ItemWriter:
    """All output items of one answer. Its methods answer the events for the client."""

    def __init__(self, conversation: Conversation, numbering: Numbering) -> None:
        self.refused = False
        echo = conversation.notes.get("echo")
        self._names = ToolNames(echo.get("tools") if type(echo) is dict else None)
        self._custom = custom_names(conversation)
        self._numbering = numbering
        self._suffix = "0"
        self._items: list[_Item] = []
        self._blocks: dict[int, _Block] = {}
        self._taken: set[str] = set()  # ids of reasoning items

    def _emit(self, kind: str, body: Json) -> bytes:
        return self._numbering.emit(kind, body)

    def name_after(self, answer_id: str) -> None:
        """Let the ids of the items come from the answer's."""
        self._suffix = suffix_of(answer_id)

    def output(self) -> list[Json]:
        """The items as far as they are."""
        return [item.item for item in self._items]

    def is_open(self) -> bool:
        return any(not item.done for item in self._items)

    def finish(self, status: str) -> bytes:
        """Nothing more comes: all items are done. `status` is the response's, which is that of its last item."""
        written = b"".join([self.stop(index) for index in list(self._blocks)])
        for item in self._items:
            if not item.done:
                if item is self._items[-1] and status == "incomplete" and "status" in item.item:
                    item.item["status"] = status
                written += self._close(item)
        return written

    def abandon(self) -> None:
        """The answer broke off: what is there stays, unfinished, and nobody is told that it is done."""
        self._numbering = Numbering()  # what these would say is not sent, and must not count
        for block in self._blocks.values():
            self._fill(block)
        for item in self._items:
            if not item.done and "status" in item.item:
                item.item["status"] = "incomplete"

    def _name(self, prefix: str) -> str:
        return f"{prefix}{self._suffix}_{len(self._items)}"

    def _add_item(self, final: Json, shown: Json, thought: str | None = None) -> tuple[_Item, bytes]:
        """A new item: `final` is what it will be, `shown` what the client sees of it now."""
        written = b"".join([self._close(item) for item in self._items if not item.done and item.open == 0])
        item = _Item(len(self._items), final, thought)
        self._items.append(item)
        return item, written + self._emit(
            "response.output_item.added", {"output_index": item.index, "item": {**final, **shown}}
        )

    def _close(self, item: _Item) -> bytes:
        item.done = True
        return self._emit("response.output_item.done", {"output_index": item.index, "item": item.item})

    # -- blocks -------------------------------------------------------------------------------------------------------

    def open(self, event: BlockStarted) -> bytes:
        kind = event.kind
        if kind is BlockKind.TEXT or kind is BlockKind.REFUSAL:
            return self._open_part(event)
        if kind is BlockKind.THINKING:
            return self._open_thought(event)
        if kind is BlockKind.TOOL_USE:
            return self._open_call(event)
        if kind is BlockKind.REDACTED_THINKING:
            final = reasoning_item(self._name(REDACTED_PREFIX), [], [], event.data if type(event.data) is str else "")
            return self._add_item(final, {})[1]
        if type(event.data) is not dict or not is_encodable(event.data):
            return b""
        if event.name == ITEM and type(event.data.get("id")) is str:
            return self._add_item(event.data, {})[1]
        if event.name == PART:
            item, written = self._message()
            place = len(item.item["content"])
            item.item["content"].append(event.data)
            part = {**_locate(item), "content_index": place, "part": event.data}
            return (
                written
                + self._emit("response.content_part.added", part)
                + self._emit("response.content_part.done", part)
            )
        return b""

    def _message(self) -> tuple[_Item, bytes]:
        """The message that is last, else a new one."""
        last = self._items[-1] if self._items else None
        if last is not None and last.item.get("type") == "message" and not last.done:
            return last, b""
        return self._add_item(
            message_item(self._name("msg_"), [], "completed"), {"status": "in_progress", "content": []}
        )

    def _open_part(self, event: BlockStarted) -> bytes:
        item, written = self._message()
        content = item.item["content"]
        block = _Block(event.kind, item, len(content))
        if event.kind is BlockKind.REFUSAL:
            self.refused = True
            part = refusal_part("")
        else:
            part = text_part("", [])
        content.append(part)
        self._add_block(event.index, block)
        body = {**_locate(item), "content_index": block.place, "part": part}
        return written + self._emit("response.content_part.added", body)

    def _open_thought(self, event: BlockStarted) -> bytes:
        last = self._items[-1] if self._items else None
        written = b""
        if last is not None and event.id is not None and last.thought == event.id and not last.done:
            item = last
        else:
            name = event.id
            if name is None or name in self._taken or not name.startswith("rs_"):
                name = self._name("rs_")
            self._taken.add(name)
            item, written = self._add_item(reasoning_item(name, [], [], None), {}, event.id)
        block = _Block(event.kind, item, 0)
        block.summary = event.summary
        self._add_block(event.index, block)
        return written

    def _open_call(self, event: BlockStarted) -> bytes:
        namespace, name = self._names.split(event.name or "")
        custom = event.custom or event.name in self._custom
        call_id = event.id or ""
        if custom:
            final = custom_call_item(self._name("ctc_"), call_id, name, namespace, "", "completed")
        else:
            final = call_item(self._name("fc_"), call_id, name, namespace, "", "completed")
        item, written = self._add_item(final, {"status": "in_progress"})
        block = _Block(event.kind, item, 0)
        block.wrapped = custom and not event.custom
        self._add_block(event.index, block)
        return written

    def _add_block(self, index: int, block: _Block) -> None:
        block.item.open += 1
        self._blocks[index] = block

    def add_text(self, event: TextDelta) -> bytes:
        block = self._blocks.get(event.index)
        if block is None or not event.text or block.kind is BlockKind.TOOL_USE:
            return b""
        written = b""
        if block.kind is BlockKind.THINKING and not block.pieces:
            written = self._open_thought_part(block)
        block.pieces.append(event.text)
        item = block.item
        body: Json = {"item_id": item.id, "output_index": item.index, "content_index": block.place, "delta": event.text}
        if block.kind is BlockKind.TEXT:
            body["logprobs"] = _LOGPROBS
            return self._emit("response.output_text.delta", body)
        if block.kind is BlockKind.REFUSAL:
            return self._emit("response.refusal.delta", body)
        if not block.summary:
            return written + self._emit("response.reasoning_text.delta", body)
        body = {"item_id": item.id, "output_index": item.index, "summary_index": block.place, "delta": event.text}
        return written + self._emit("response.reasoning_summary_text.delta", body)

    def _open_thought_part(self, block: _Block) -> bytes:
        """A part of a reasoning item, once there is text for it: often there is none, only a signature."""
        item = block.item
        parts = item.item["summary"] if block.summary else item.item.setdefault("content", [])
        block.place = len(parts)
        part = summary_part("") if block.summary else reasoning_part("")
        parts.append(part)
        body = {**_locate(item), "summary_index" if block.summary else "content_index": block.place, "part": part}
        kind = "response.reasoning_summary_part.added" if block.summary else "response.content_part.added"
        return self._emit(kind, body)

    def add_arguments(self, event: ArgumentsDelta) -> bytes:
        block = self._blocks.get(event.index)
        if block is None or not event.text or block.kind is not BlockKind.TOOL_USE:
            return b""
        block.pieces.append(event.text)
        return b"" if block.wrapped else self._emit_arguments(block, event.text)

    def _emit_arguments(self, block: _Block, text: str) -> bytes:
        body = {"item_id": block.item.id, "output_index": block.item.index, "delta": text}
        if block.item.item["type"] == "custom_tool_call":
            return self._emit("response.custom_tool_call_input.delta", body)
        return self._emit("response.function_call_arguments.delta", body)

    def add_citation(self, event: CitationDelta) -> None:
        # Where a citation ends is known when its text is whole: annotations are told then.
        block = self._blocks.get(event.index)
        if block is not None and block.kind is BlockKind.TEXT:
            block.citations.append(event.citation)

    def sign(self, event: SignatureDelta) -> None:
        block = self._blocks.get(event.index)
        if block is not None:
            block.signature = event.signature

    def stop(self, index: int) -> bytes:
        block = self._blocks.pop(index, None)
        if block is None:
            return b""
        written = self._fill(block)
        item = block.item
        item.open -= 1
        if block.kind is BlockKind.TOOL_USE and block.signature is not None:
            final = reasoning_item(SIGNATURE_PREFIX + item.item["call_id"], [], [], block.signature)
            written += self._add_item(final, {})[1]
        elif item.open == 0 and item is not self._items[-1]:
            written += self._close(item)
        return written

    def _fill(self, block: _Block) -> bytes:
        """Put what a block has become into its item; the events that say so."""
        text = "".join(block.pieces)
        item = block.item
        place = _locate(item)
        if block.kind is BlockKind.TOOL_USE:
            return self._fill_call(block, text)
        if block.kind is BlockKind.THINKING:
            if block.signature is not None:
                found = untag_signature(block.signature)
                item.item["encrypted_content"] = block.signature if found is None else found[1]
            return self._fill_thought(block, text) if block.pieces else b""
        part = item.item["content"][block.place]
        place["content_index"] = block.place
        if block.kind is BlockKind.REFUSAL:
            part = refusal_part(text)
            written = self._emit("response.refusal.done", {**place, "refusal": text})
        else:
            written = b""
            annotations: list[Json] = []
            for citation in block.citations:
                annotation = annotation_of(citation, len(text))
                if annotation is not None:
                    body = {**place, "annotation_index": len(annotations), "annotation": annotation}
                    written += self._emit("response.output_text.annotation.added", body)
                    annotations.append(annotation)
            part = text_part(text, annotations)
            written += self._emit("response.output_text.done", {**place, "text": text, "logprobs": _LOGPROBS})
        item.item["content"][block.place] = part
        return written + self._emit("response.content_part.done", {**place, "part": part})

    def _fill_thought(self, block: _Block, text: str) -> bytes:
        item = block.item
        if block.summary:
            part = summary_part(text)
            item.item["summary"][block.place] = part
            place: Json = {**_locate(item), "summary_index": block.place}
            return self._emit("response.reasoning_summary_text.done", {**place, "text": text}) + self._emit(
                "response.reasoning_summary_part.done", {**place, "part": part}
            )
        part = reasoning_part(text)
        item.item["content"][block.place] = part
        place = {**_locate(item), "content_index": block.place}
        return self._emit("response.reasoning_text.done", {**place, "text": text}) + self._emit(
            "response.content_part.done", {**place, "part": part}
        )

    def _fill_call(self, block: _Block, text: str) -> bytes:
        item = block.item
        written = b""
        if item.item["type"] == "custom_tool_call":
            if block.wrapped:
                text = unwrap(text)
                written = self._emit_arguments(block, text) if text else b""
            item.item["input"] = text
            return written + self._emit("response.custom_tool_call_input.done", {**_locate(item), "input": text})
        if not text:
            text = "{}"
            written = self._emit_arguments(block, text)
        item.item["arguments"] = text
        body = {**_locate(item), "name": item.item["name"], "arguments": text}
        return written + self._emit("response.function_call_arguments.done", body)


def _locate(item: _Item) -> Json:
    return {"item_id": item.id, "output_index": item.index}
