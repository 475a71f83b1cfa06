"""An upstream's stream in the messages dialect, read into events. No I/O.

Source: Anthropic API reference, "Streaming messages". APIs that copy this one differ in what they leave out; whatever
can be understood is, and what is unknown (new events, new deltas) is ignored, as the reference asks clients to.
"""

from __future__ import annotations

from typing import Any, Final

import orjson

from plano.dialects.conversation import BadAnswer, Conversation, Json, StopReason, UpstreamError
from plano.dialects.custom_tools import custom_names, unwrap
from plano.dialects.events import (
    ArgumentsDelta,
    BlockKind,
    BlockStarted,
    BlockStopped,
    CitationDelta,
    Ended,
    Event,
    Failed,
    Finished,
    SignatureDelta,
    Started,
    StreamReader,
    TextDelta,
    UsageKnown,
)
from plano.dialects.messages.answer import (
    UsageCounts,
    parse_error,
    read_arguments,
    read_refusal,
    read_stop,
    text_of,
)
from plano.dialects.messages.content import DIALECT
from plano.dialects.sse import SseEvent, SseParser

# How much of a body that is no event stream is kept to find the error in it.
_HEAD_BYTES: Final = 65_536


class _OpenBlock:
    """A block that the upstream has started. `whole` is a block that is held back until it has stopped, because the hub
    knows it as one piece; `arguments` are those of a call (of `whole`, too) as far as they were held back."""

    __slots__ = ("arguments", "custom", "index", "initial", "kind", "said", "whole")

    def __init__(self, kind: BlockKind, index: int) -> None:
        self.kind = kind
        self.index = index
        self.whole: Json | None = None
        self.arguments: list[str] = []
        self.initial = "{}"  # the arguments of a call that has no deltas
        self.custom = False
        self.said = False


class Reader(StreamReader):
    """Reads one stream. See `StreamReader`."""

    def __init__(self, conversation: Conversation) -> None:
        self._model = conversation.model or ""
        self._custom = custom_names(conversation)
        self._parser = SseParser()
        self._head = bytearray()
        self._open: dict[int, _OpenBlock] = {}  # by the upstream's index
        self._next_index = 0
        self._usage = UsageCounts()
        self._started = False
        self._calls = False
        self._finished = False
        self._over = False

    def feed(self, data: bytes) -> list[Event]:
        events: list[Event] = []
        if self._over:
            return events
        if not self._started and len(self._head) < _HEAD_BYTES:
            self._head += data[: _HEAD_BYTES - len(self._head)]
        for event in self._parser.feed(data):
            self._read(event, events)
        return events

    def end(self) -> list[Event]:
        events: list[Event] = []
        if self._over:
            return events
        for event in self._parser.end():
            self._read(event, events)
        if self._over:
            return events
        if self._finished:
            # The answer is whole; only its end mark is missing.
            self._end(events)
        else:
            self._fail(self._error_in_head() or _broken("The upstream's stream ended before the answer did."), events)
        return events

    # -- events of the stream -----------------------------------------------------------------------------------------

    def _read(self, event: SseEvent, events: list[Event]) -> None:
        if self._over:
            return
        if event.oversized:
            self._fail(_broken("The upstream's stream has an event that is too large."), events)
            return
        try:
            data = orjson.loads(event.data)
        except orjson.JSONDecodeError:
            if event.data.strip() != b"[DONE]":  # the end mark of another dialect, sent by some APIs after their own
                self._fail(_broken("The upstream's stream has an event that is not JSON."), events)
            return
        if type(data) is not dict:
            self._fail(_broken("The upstream's stream has an event that is not an object."), events)
            return
        kind = text_of(data.get("type")) or event.event or ""
        if self._finished and kind.startswith("content_block"):
            return  # nothing is content after the stop reason
        if kind == "content_block_delta":
            self._read_delta(data, events)
        elif kind == "content_block_start":
            self._read_block(data, events)
        elif kind == "content_block_stop":
            self._stop(_index_of(data), events)
        elif kind == "message_start":
            self._read_start(data, events)
        elif kind == "message_delta":
            self._read_message_delta(data, events)
        elif kind == "message_stop":
            self._end(events)
        elif kind == "error" or (not kind and data.get("error")):
            self._fail(parse_error(data, 0), events)

    def _read_start(self, data: Json, events: list[Event]) -> None:
        message = data.get("message")
        if type(message) is not dict:
            message = {}
        known = self._usage.update(message.get("usage"))
        if not self._started:
            self._start(text_of(message.get("id")), text_of(message.get("model")), events)
        if known:
            events.append(UsageKnown(self._usage.as_usage()))

    def _read_block(self, data: Json, events: list[Event]) -> None:
        source = data.get("content_block")
        if type(source) is not dict:
            return
        place = _index_of(data)
        self._stop(place, events)
        kind = text_of(source.get("type"))
        if kind == "text":
            self._open_block(place, BlockKind.TEXT, events)
            self._add_text(place, source.get("text"), events)
            citations = source.get("citations")
            if type(citations) is list:
                for citation in citations:
                    self._add_citation(place, citation, events)
        elif kind == "thinking":
            self._open_block(place, BlockKind.THINKING, events)
            self._add_text(place, source.get("thinking"), events)
            self._add_signature(place, source.get("signature"), events)
        elif kind == "tool_use":
            self._open_call(place, source, events)
        elif kind == "redacted_thinking":
            self._start_if_needed(events)
            events.append(BlockStarted(self._next_index, BlockKind.REDACTED_THINKING, data=text_of(source.get("data"))))
            self._open[place] = _OpenBlock(BlockKind.REDACTED_THINKING, self._next_index)
            self._next_index += 1
        else:
            # Its input comes in deltas, but the hub knows such a block as one piece: it starts when it has stopped.
            self._start_if_needed(events)
            block = _OpenBlock(BlockKind.OPAQUE, -1)
            block.whole = source
            self._open[place] = block

    def _read_delta(self, data: Json, events: list[Event]) -> None:
        delta = data.get("delta")
        if type(delta) is not dict:
            return
        place = _index_of(data)
        kind = text_of(delta.get("type"))
        if kind == "text_delta":
            if place not in self._open:
                self._open_block(place, BlockKind.TEXT, events)
            self._add_text(place, delta.get("text"), events)
        elif kind == "input_json_delta":
            self._add_arguments(place, text_of(delta.get("partial_json")), events)
        elif kind == "thinking_delta":
            if place not in self._open:
                self._open_block(place, BlockKind.THINKING, events)
            self._add_text(place, delta.get("thinking"), events)
        elif kind == "signature_delta":
            self._add_signature(place, delta.get("signature"), events)
        elif kind == "citations_delta":
            self._add_citation(place, delta.get("citation"), events)

    def _read_message_delta(self, data: Json, events: list[Event]) -> None:
        delta = data.get("delta")
        if type(delta) is not dict:
            delta = {}
        known = self._usage.update(data.get("usage"))
        reason = delta.get("stop_reason")
        if reason is not None and not self._finished:
            refusal = read_refusal(delta.get("stop_details"))
            if refusal is not None:
                self._stop_all(events)
                self._add_refusal(refusal, events)
            self._finish(read_stop(reason), text_of(delta.get("stop_sequence")) or None, events)
        if known or (reason is not None and self._usage.known):
            events.append(UsageKnown(self._usage.as_usage()))

    # -- what is told -------------------------------------------------------------------------------------------------

    def _start_if_needed(self, events: list[Event]) -> None:
        if not self._started:
            self._start("", "", events)

    def _start(self, message_id: str, model: str, events: list[Event]) -> None:
        self._started = True
        self._head = bytearray()
        events.append(Started(message_id, model or self._model, service_tier=self._usage.service_tier))

    def _open_block(self, place: int, kind: BlockKind, events: list[Event]) -> None:
        self._start_if_needed(events)
        self._open[place] = _OpenBlock(kind, self._next_index)
        events.append(BlockStarted(self._next_index, kind))
        self._next_index += 1

    def _open_call(self, place: int, source: Json, events: list[Event]) -> None:
        self._start_if_needed(events)
        name = text_of(source.get("name"))
        block = _OpenBlock(BlockKind.TOOL_USE, self._next_index)
        block.custom = name in self._custom
        try:
            block.initial = read_arguments(source.get("input"))
        except BadAnswer as error:
            self._fail(_broken(str(error)), events)
            return
        self._open[place] = block
        self._next_index += 1
        self._calls = True
        events.append(
            BlockStarted(block.index, BlockKind.TOOL_USE, id=text_of(source.get("id")), name=name, custom=block.custom)
        )

    def _add_text(self, place: int, value: Any, events: list[Event]) -> None:
        block = self._open.get(place)
        text = text_of(value)
        if text and block is not None and block.kind in (BlockKind.TEXT, BlockKind.THINKING):
            events.append(TextDelta(block.index, text))

    def _add_signature(self, place: int, value: Any, events: list[Event]) -> None:
        block = self._open.get(place)
        signature = text_of(value)
        if signature and block is not None and block.kind is BlockKind.THINKING:
            events.append(SignatureDelta(block.index, signature))

    def _add_citation(self, place: int, value: Any, events: list[Event]) -> None:
        block = self._open.get(place)
        if type(value) is dict and block is not None and block.kind is BlockKind.TEXT:
            events.append(CitationDelta(block.index, value))

    def _add_arguments(self, place: int, text: str, events: list[Event]) -> None:
        block = self._open.get(place)
        if not text or block is None:
            return
        if block.whole is not None or block.custom:
            block.arguments.append(text)
        elif block.kind is BlockKind.TOOL_USE:
            block.said = True
            events.append(ArgumentsDelta(block.index, text))

    def _add_refusal(self, text: str, events: list[Event]) -> None:
        self._start_if_needed(events)
        events.append(BlockStarted(self._next_index, BlockKind.REFUSAL))
        events.append(TextDelta(self._next_index, text))
        events.append(BlockStopped(self._next_index))
        self._next_index += 1

    def _stop(self, place: int, events: list[Event]) -> None:
        block = self._open.pop(place, None)
        if block is None:
            return
        if block.whole is not None:
            events.append(BlockStarted(self._next_index, BlockKind.OPAQUE, name=DIALECT, data=_with_input(block)))
            events.append(BlockStopped(self._next_index))
            self._next_index += 1
            return
        if block.custom:
            events.append(ArgumentsDelta(block.index, unwrap("".join(block.arguments) or block.initial)))
        elif block.kind is BlockKind.TOOL_USE and not block.said:
            events.append(ArgumentsDelta(block.index, block.initial))
        events.append(BlockStopped(block.index))

    def _stop_all(self, events: list[Event]) -> None:
        for place in list(self._open):
            self._stop(place, events)

    def _finish(self, stop: StopReason, sequence: str | None, events: list[Event]) -> None:
        self._start_if_needed(events)
        self._stop_all(events)
        self._finished = True
        events.append(Finished(stop, sequence))

    def _end(self, events: list[Event]) -> None:
        if not self._finished:
            self._finish(StopReason.TOOL_USE if self._calls else StopReason.END, None, events)
        self._over = True
        events.append(Ended())

    def _fail(self, error: UpstreamError, events: list[Event]) -> None:
        self._over = True
        self._open.clear()
        events.append(Failed(error))

    def _error_in_head(self) -> UpstreamError | None:
        """The error in a body that is a JSON object and no event stream."""
        if self._started:
            return None
        try:
            body = orjson.loads(self._head)
        except orjson.JSONDecodeError:
            return None
        return parse_error(body, 0) if type(body) is dict and body.get("error") else None


def _index_of(data: Json) -> int:
    index = data.get("index")
    return index if type(index) is int else 0


def _with_input(block: _OpenBlock) -> Json:
    whole = block.whole or {}
    if not block.arguments:
        return whole
    text = "".join(block.arguments)
    try:
        return {**whole, "input": orjson.loads(text)}
    except orjson.JSONDecodeError:
        # Cut off: the part of a server's call that came is of no use to anybody.
        return whole


def _broken(message: str) -> UpstreamError:
    return UpstreamError("server", message)
