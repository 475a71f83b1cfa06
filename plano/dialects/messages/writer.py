"""Events, written as a stream in the messages dialect. No I/O.

Source: Anthropic API reference, "Streaming messages": message_start; for each block in turn content_block_start, its
deltas, content_block_stop; one message_delta with the stop reason and the usage; message_stop. One block at a time: a
block that opens while another is open is held back until that one has stopped.
"""

from __future__ import annotations

import json
from typing import Final

import orjson

from plano.dialects.conversation import Conversation, Json, StopReason, Usage
from plano.dialects.custom_tools import ARGUMENT
from plano.dialects.events import (
    ArgumentsDelta,
    BlockKind,
    BlockStarted,
    BlockStopped,
    CitationDelta,
    Event,
    Failed,
    Finished,
    SignatureDelta,
    Started,
    StreamWriter,
    TextDelta,
    UsageKnown,
)
from plano.dialects.messages.answer import message_id, render_error, render_usage, stop_name
from plano.dialects.messages.content import DIALECT

_MESSAGE_START: Final = b'event: message_start\ndata: {"type":"message_start","message":%b}\n\n'
_MESSAGE_DELTA: Final = b'event: message_delta\ndata: {"type":"message_delta","delta":%b,"usage":%b}\n\n'
_MESSAGE_STOP: Final = b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
_ERROR: Final = b"event: error\ndata: %b\n\n"
_BLOCK_START: Final = (
    b'event: content_block_start\ndata: {"type":"content_block_start","index":%d,"content_block":%b}\n\n'
)
_BLOCK_STOP: Final = b'event: content_block_stop\ndata: {"type":"content_block_stop","index":%d}\n\n'
_DELTA: Final = b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,"delta":{"type":%b}}\n\n'
_TEXT: Final = b'"text_delta","text":%b'
_THINKING: Final = b'"thinking_delta","thinking":%b'
_SIGNATURE: Final = b'"signature_delta","signature":%b'
_CITATION: Final = b'"citations_delta","citation":%b'
_ARGUMENTS: Final = b'"input_json_delta","partial_json":%b'
_NO_BLOCK: Final = -1


class Writer(StreamWriter):
    """Writes one stream. See `StreamWriter`."""

    def __init__(self, conversation: Conversation, created: int) -> None:
        self._model = conversation.model or ""
        self._created = created
        self._usage = Usage()
        self._tier: str | None = None
        self._current = _NO_BLOCK  # the open block, by the events' index
        self._kind = BlockKind.TEXT
        self._custom = False
        self._place = _NO_BLOCK  # the open or last block, by the stream's index
        self._held: dict[int, list[Event]] = {}  # what belongs to later blocks, in the order in which they opened
        self._stop = StopReason.END
        self._sequence: str | None = None
        self._calls = False
        self._refused = False
        self._started = False
        self._finished = False
        self._concluded = False  # message_delta is out
        self._over = False

    def write(self, event: Event) -> bytes:
        if self._over:
            return b""
        if isinstance(event, TextDelta | ArgumentsDelta | SignatureDelta | CitationDelta):
            if event.index == self._current:
                return self._delta(event)
            held = self._held.get(event.index)
            if held is not None:
                held.append(event)
            return b""
        if isinstance(event, BlockStarted):
            return self._block_started(event)
        if isinstance(event, BlockStopped):
            return self._block_stopped(event)
        if isinstance(event, Started):
            return self._start(event.id, event.model, event.service_tier)
        if isinstance(event, UsageKnown):
            self._usage = event.usage
            return self._conclude() if self._finished else b""
        if isinstance(event, Finished):
            return self._finish(event)
        if isinstance(event, Failed):
            self._over = True
            return _ERROR % _encode(render_error(event.error, None))
        return self._end()

    def _start(self, upstream_id: str, model: str, tier: str | None) -> bytes:
        if self._started:
            return b""
        self._started = True
        self._tier = tier
        message: Json = {
            "id": message_id(upstream_id, self._created),
            "type": "message",
            "role": "assistant",
            "model": model or self._model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "stop_details": None,
            "usage": render_usage(self._usage, tier),
        }
        return _MESSAGE_START % _encode(message)

    def _start_if_needed(self) -> bytes:
        return b"" if self._started else self._start("", "", None)

    # -- blocks -------------------------------------------------------------------------------------------------------

    def _block_started(self, event: BlockStarted) -> bytes:
        if event.choice != 0 or (event.kind is BlockKind.OPAQUE and event.name != DIALECT):
            # This dialect has one answer and its own kinds of blocks: deltas of others find no block and go nowhere.
            return b""
        if self._current == _NO_BLOCK:
            return self._start_if_needed() + self._open(event)
        self._held[event.index] = [event]
        return b""

    def _block_stopped(self, event: BlockStopped) -> bytes:
        if event.index == self._current:
            return self._close() + self._release()
        held = self._held.get(event.index)
        if held is not None:
            held.append(event)
        return b""

    def _release(self) -> bytes:
        """What was held back and may be said now: later blocks up to the first that has not stopped."""
        pieces: list[bytes] = []
        while self._held and self._current == _NO_BLOCK:
            first = next(iter(self._held))
            for event in self._held.pop(first):
                if isinstance(event, BlockStarted):
                    pieces.append(self._open(event))
                elif isinstance(event, BlockStopped):
                    pieces.append(self._close())
                elif self._current != _NO_BLOCK:
                    pieces.append(self._delta(event))
        return b"".join(pieces)

    def _open(self, event: BlockStarted) -> bytes:
        kind = event.kind
        block: Json
        if kind is BlockKind.TOOL_USE:
            self._calls = True
            block = {"type": "tool_use", "id": event.id or "", "name": event.name or "", "input": {}}
        elif kind is BlockKind.THINKING:
            block = {"type": "thinking", "thinking": "", "signature": ""}
        elif kind is BlockKind.REDACTED_THINKING:
            block = {"type": "redacted_thinking", "data": event.data if type(event.data) is str else ""}
        elif kind is BlockKind.OPAQUE:
            block = event.data if type(event.data) is dict else {}
        else:
            block = {"type": "text", "text": ""}
            self._refused = self._refused or kind is BlockKind.REFUSAL
        encoded = _encode_object(block)
        if encoded is None:
            return b""
        self._current = event.index
        self._kind = kind
        self._custom = event.custom
        self._place += 1
        started = _BLOCK_START % (self._place, encoded)
        if event.custom:
            # The text goes into the one string argument of the function that stands for the tool.
            started += self._arguments(f'{{"{ARGUMENT}":"')
        return started

    def _delta(self, event: Event) -> bytes:
        """A delta of the open block; nothing for one that its kind does not have."""
        if isinstance(event, TextDelta):
            if event.text and self._kind is not BlockKind.TOOL_USE:
                form = _THINKING if self._kind is BlockKind.THINKING else _TEXT
                return _DELTA % (self._place, form % _encode(event.text))
        elif isinstance(event, ArgumentsDelta):
            if event.text and self._kind is BlockKind.TOOL_USE:
                text = event.text
                return self._arguments(_encode(text)[1:-1].decode() if self._custom else text)
        elif isinstance(event, SignatureDelta):
            if self._kind is BlockKind.THINKING:
                return _DELTA % (self._place, _SIGNATURE % _encode(event.signature))
        elif isinstance(event, CitationDelta) and self._kind is BlockKind.TEXT:
            citation = _encode_object(event.citation)
            if citation is not None:
                return _DELTA % (self._place, _CITATION % citation)
        return b""

    def _arguments(self, text: str) -> bytes:
        return _DELTA % (self._place, _ARGUMENTS % _encode(text))

    def _close(self) -> bytes:
        if self._current == _NO_BLOCK:
            return b""
        rest = self._arguments('"}') if self._custom else b""
        self._current = _NO_BLOCK
        return rest + _BLOCK_STOP % self._place

    def _close_all(self) -> bytes:
        pieces = [self._close()]
        while self._held:
            pieces.append(self._release())
            pieces.append(self._close())
        return b"".join(pieces)

    # -- the end ------------------------------------------------------------------------------------------------------

    def _finish(self, event: Finished) -> bytes:
        if event.choice != 0 or self._finished:
            return b""
        self._finished = True
        self._stop = event.stop
        self._sequence = event.stop_sequence
        return self._start_if_needed() + self._close_all()

    def _conclude(self) -> bytes:
        if self._concluded:
            return b""
        self._concluded = True
        delta: Json = {
            "stop_reason": stop_name(self._stop, self._calls, self._refused),
            "stop_sequence": self._sequence,
            "stop_details": None,
        }
        return _MESSAGE_DELTA % (_encode(delta), orjson.dumps(render_usage(self._usage)))

    def _end(self) -> bytes:
        self._over = True
        return self._start_if_needed() + self._close_all() + self._conclude() + _MESSAGE_STOP


def _encode(value: str | Json) -> bytes:
    """A text, or an object made here."""
    try:
        return orjson.dumps(value)
    except TypeError:
        # Half of a surrogate pair: no UTF-8, but JSON has an escape for it.
        return json.dumps(value).encode()


def _encode_object(value: Json) -> bytes | None:
    """An object of an upstream; None for what cannot be written: nested deeper than the encoder goes."""
    try:
        return orjson.dumps(value)
    except TypeError:
        return None
