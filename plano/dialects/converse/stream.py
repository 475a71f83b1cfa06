"""Answers of Bedrock's ConverseStream operation: event stream frames in, events out. No I/O.

Source: Bedrock API reference, ConverseStream (ConverseStreamOutput and the events it names). What differs from the hub:
a text or reasoning block has no start event and opens with its first delta; usage comes after the stop reason; an error
in mid-stream is a message of the type `exception` (modelled, named by `:exception-type`) or `error` (not modelled).
"""

from __future__ import annotations

import base64
import binascii
from typing import Any, Final

import orjson

from plano.dialects.conversation import BadAnswer, Conversation, Json, UpstreamError
from plano.dialects.converse.answer import (
    exception_error,
    read_citation,
    read_stop,
    read_usage,
)
from plano.dialects.converse.content import DIALECT
from plano.dialects.converse.eventstream import BadFrame, Frame, FrameDecoder
from plano.dialects.converse.names import client_tools
from plano.dialects.custom_tools import unwrap
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

# What needs no start event, and should it have one opens with its first delta all the same.
_OPEN_IMPLICITLY: Final = frozenset({"text", "reasoningContent", "citationsContent"})
_CUT_OFF: Final = "Bedrock closed the stream before the answer was whole."


class _Open:
    """A block of Bedrock's that is open. `index` is the hub's, -1 until the block has been announced there."""

    __slots__ = ("custom", "held", "index", "kind", "opaque", "signature")

    def __init__(self, kind: BlockKind, index: int = -1) -> None:
        self.kind = kind
        self.index = index
        self.custom = False
        self.held: list[str] = []  # what can only be said whole: a custom tool's call, redacted or opaque data
        self.signature = ""
        self.opaque: Json = {}


class Reader(StreamReader):
    """Reads one stream. Bedrock names neither the answer nor the model in it: `Started` leaves both to the caller."""

    def __init__(self, conversation: Conversation) -> None:
        self._tools = client_tools(conversation)
        self._decoder = FrameDecoder()
        self._open: dict[int, _Open] = {}
        self._next_index = 0
        self._started = False
        self._finished = False
        self._over = False

    def feed(self, data: bytes) -> list[Event]:
        events: list[Event] = []
        if self._over:
            return events
        self._decoder.add(data)
        try:
            while not self._over:
                frame = self._decoder.take()
                if frame is None:
                    break
                self._read_frame(frame, events)
        except (BadFrame, BadAnswer) as error:
            self._fail(UpstreamError("server", str(error)), events)
        return events

    def end(self) -> list[Event]:
        events: list[Event] = []
        if self._over:
            return events
        if self._finished:
            self._over = True
            events.append(Ended())
        else:
            self._fail(UpstreamError("server", _CUT_OFF), events)
        return events

    # -- frames -------------------------------------------------------------------------------------------------------

    def _read_frame(self, frame: Frame, events: list[Event]) -> None:
        kind = frame.text(":message-type")
        if kind == "error":
            message = frame.text(":error-message") or "Bedrock reported an error in the stream."
            self._fail(exception_error(frame.text(":error-code"), message), events)
            return
        if kind == "exception":
            self._fail(_exception(frame), events)
            return
        name = frame.text(":event-type")
        if name == "contentBlockDelta":
            self._delta(_payload(frame, name), events)
        elif name == "contentBlockStart":
            self._block_start(_payload(frame, name), events)
        elif name == "contentBlockStop":
            self._close(_index(_payload(frame, name)), events)
        elif name == "messageStart":
            self._start(events)
        elif name == "messageStop":
            self._message_stop(_payload(frame, name), events)
        elif name == "metadata":
            self._metadata(_payload(frame, name), events)

    def _start(self, events: list[Event]) -> None:
        if not self._started:
            self._started = True
            events.append(Started("", ""))

    def _message_stop(self, payload: Json, events: list[Event]) -> None:
        if self._finished:
            return
        self._start(events)
        for index in list(self._open):
            self._close(index, events)
        stop, sequence = read_stop(payload)
        self._finished = True
        events.append(Finished(stop, sequence))

    def _metadata(self, payload: Json, events: list[Event]) -> None:
        self._start(events)
        usage = read_usage(payload.get("usage"))
        if usage.known:
            events.append(UsageKnown(usage))
        if self._finished:
            # Nothing follows: the client need not wait for the connection to close.
            self._over = True
            events.append(Ended())

    def _fail(self, error: UpstreamError, events: list[Event]) -> None:
        self._over = True
        events.append(Failed(error))

    # -- blocks -------------------------------------------------------------------------------------------------------

    def _block_start(self, payload: Json, events: list[Event]) -> None:
        if self._finished:
            return
        self._start(events)
        index = _index(payload)
        start = payload.get("start")
        if not isinstance(start, dict):
            return
        self._close(index, events)
        use = start.get("toolUse")
        if not isinstance(use, dict):
            self._open_opaque(index, start)
        elif use.get("type") == "server_tool_use":
            # A call that Bedrock has made itself: the client must not answer it.
            self._open_opaque(index, start)
        else:
            self._open_call(index, use, events)

    def _open_call(self, index: int, use: Json, events: list[Event]) -> None:
        call_id, name = use.get("toolUseId"), use.get("name")
        if not isinstance(call_id, str) or not isinstance(name, str):
            raise BadAnswer("A tool call in Bedrock's stream has no id or no name.")
        tool = self._tools.get(name)
        block = self._announce(index, BlockKind.TOOL_USE)
        block.custom = tool is not None and tool.custom
        client_name = tool.name if tool is not None else name
        events.append(BlockStarted(block.index, BlockKind.TOOL_USE, call_id, client_name, block.custom))

    def _open_opaque(self, index: int, start: Json) -> None:
        block = _Open(BlockKind.OPAQUE)
        block.opaque = {name: dict(value) for name, value in start.items() if isinstance(value, dict)}
        if not _OPEN_IMPLICITLY.issuperset(block.opaque):
            self._open[index] = block

    def _announce(self, index: int, kind: BlockKind) -> _Open:
        block = _Open(kind, self._next_index)
        self._next_index += 1
        self._open[index] = block
        return block

    def _delta(self, payload: Json, events: list[Event]) -> None:
        if self._finished:
            return
        self._start(events)
        index = _index(payload)
        delta = payload.get("delta")
        if not isinstance(delta, dict):
            raise BadAnswer("A delta in Bedrock's stream is not an object.")
        text = delta.get("text")
        if isinstance(text, str):
            if text:
                events.append(TextDelta(self._block_of(index, BlockKind.TEXT, events).index, text))
        elif "toolUse" in delta:
            self._call_delta(index, delta["toolUse"], events)
        elif "reasoningContent" in delta:
            self._reasoning_delta(index, delta["reasoningContent"], events)
        elif "citation" in delta:
            citation = read_citation(delta["citation"])
            if citation is not None:
                events.append(CitationDelta(self._block_of(index, BlockKind.TEXT, events).index, citation))
        else:
            block = self._open.get(index)
            if block is not None and block.kind is BlockKind.OPAQUE:
                _extend(block.opaque, delta)

    def _call_delta(self, index: int, use: Any, events: list[Event]) -> None:
        text = use.get("input") if isinstance(use, dict) else None
        if not isinstance(text, str):
            raise BadAnswer("The input of a tool call in Bedrock's stream is not a text.")
        block = self._open.get(index)
        if block is not None and (block.custom or block.kind is BlockKind.OPAQUE):
            block.held.append(text)
        elif block is not None and block.kind is BlockKind.TOOL_USE:
            if text:
                events.append(ArgumentsDelta(block.index, text))
        else:
            raise BadAnswer("Bedrock's stream holds the input of a tool call that was not started.")

    def _reasoning_delta(self, index: int, content: Any, events: list[Event]) -> None:
        if not isinstance(content, dict):
            raise BadAnswer("A reasoning delta in Bedrock's stream is not an object.")
        text, signature, redacted = content.get("text"), content.get("signature"), content.get("redactedContent")
        if isinstance(redacted, str) and redacted:
            block = self._open.get(index)
            if block is None or block.kind is not BlockKind.REDACTED_THINKING:
                self._close(index, events)
                block = _Open(BlockKind.REDACTED_THINKING)
                self._open[index] = block
            block.held.append(redacted)
        if isinstance(text, str) and text:
            events.append(TextDelta(self._block_of(index, BlockKind.THINKING, events).index, text))
        if isinstance(signature, str) and signature:
            self._block_of(index, BlockKind.THINKING, events).signature += signature

    def _block_of(self, index: int, kind: BlockKind, events: list[Event]) -> _Open:
        """The open block, opened now when its first delta is what opens it."""
        block = self._open.get(index)
        if block is not None and block.kind is kind:
            return block
        self._close(index, events)
        block = self._announce(index, kind)
        events.append(BlockStarted(block.index, kind))
        return block

    def _close(self, index: int, events: list[Event]) -> None:
        block = self._open.pop(index, None)
        if block is None:
            return
        if block.index < 0:
            block.index = self._next_index
            self._next_index += 1
            if block.kind is BlockKind.REDACTED_THINKING:
                events.append(BlockStarted(block.index, block.kind, data=_joined(block.held)))
            else:
                events.append(BlockStarted(block.index, block.kind, name=DIALECT, data=_whole(block)))
        elif block.custom:
            arguments = unwrap("".join(block.held))
            if arguments:
                events.append(ArgumentsDelta(block.index, arguments))
        if block.signature:
            events.append(SignatureDelta(block.index, block.signature))
        events.append(BlockStopped(block.index))


def _payload(frame: Frame, name: str) -> Json:
    try:
        payload = orjson.loads(frame.payload)
    except orjson.JSONDecodeError as error:
        raise BadAnswer(f"A {name} event in Bedrock's stream is not JSON: {error}.") from None
    if not isinstance(payload, dict):
        raise BadAnswer(f"A {name} event in Bedrock's stream is not an object.")
    return payload


def _index(payload: Json) -> int:
    index = payload.get("contentBlockIndex", 0)
    if not isinstance(index, int):
        raise BadAnswer("A 'contentBlockIndex' in Bedrock's stream is not a number.")
    return index


def _exception(frame: Frame) -> UpstreamError:
    name = frame.text(":exception-type")
    message: Any = None
    status: Any = None
    try:
        payload = orjson.loads(frame.payload)
    except orjson.JSONDecodeError:
        payload = None  # the name says enough
    if isinstance(payload, dict):
        message = payload.get("message") or payload.get("Message") or payload.get("originalMessage")
        status = payload.get("originalStatusCode")
    if not isinstance(message, str) or not message:
        message = f"Bedrock ended the stream with {name or 'an exception'}."
    error = exception_error(name, message)
    if error.kind == "server" and isinstance(status, int) and status in (429, 503):
        # The model behind Bedrock was the one that had no room.
        error.kind = "rate_limit" if status == 429 else "overloaded"
    return error


def _joined(parts: list[str]) -> str:
    """Base64 pieces as one. Each is padded for itself, so they cannot be put together as text."""
    if len(parts) == 1:
        return parts[0]
    try:
        return base64.b64encode(b"".join(base64.b64decode(part, validate=True) for part in parts)).decode()
    except (binascii.Error, ValueError):
        return "".join(parts)


def _whole(block: _Open) -> Json:
    """An opaque block as Converse, unstreamed, would have given it."""
    use = block.opaque.get("toolUse")
    if isinstance(use, dict):
        text = "".join(block.held)
        try:
            use["input"] = orjson.loads(text) if text else {}
        except orjson.JSONDecodeError:
            use["input"] = text
    return block.opaque


def _extend(opaque: Json, delta: Json) -> None:
    results = delta.get("toolResult")
    result = opaque.get("toolResult")
    if isinstance(results, list) and isinstance(result, dict):
        content = result.get("content")
        result["content"] = [*content, *results] if isinstance(content, list) else results
    image = delta.get("image")
    whole = opaque.get("image")
    if isinstance(image, dict) and isinstance(whole, dict):
        whole.update(image)
