"""Streams of the chat completions dialect: the reader of an upstream's; the writer for a client is in chat_writer.py.

Source: OpenAI API reference, "The chat completion chunk object" (CreateChatCompletionStreamResponse). What servers of
this dialect do differently is read as it is meant: see `_CallTable` for tool calls, chat_usage.py for finish reasons.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from plano.dialects.assembly import events_of
from plano.dialects.chat.answer import opaque_parts, parse_answer
from plano.dialects.chat.calls import Call, CallTable
from plano.dialects.chat.citations import parse_annotations
from plano.dialects.chat.errors import is_error, parse_error
from plano.dialects.chat.reasoning import reasoning_text, tag
from plano.dialects.chat.usage import stop_of, stop_sequence_of, usage_of_chunk
from plano.dialects.chat.writer import Writer
from plano.dialects.conversation import BadAnswer, Conversation, Json, StopReason, UpstreamError, Usage
from plano.dialects.custom_tools import custom_names, restore, unwrap
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
from plano.dialects.sse import EVENT_LIMIT_BYTES, SseEvent, SseParser

__all__ = ["Reader", "Writer"]

_BODY_STARTS: Final = b"{["


@dataclass(slots=True)
class _Choice:
    """One of the answers in the stream. `kind` is what the open block of text is, of number `index`."""

    number: int
    calls: CallTable
    kind: BlockKind | None = None
    index: int = 0
    reason: str | None = None
    stop_sequence: str | None = None
    refused: bool = False
    signed: bool = False  # the open block of thinking has its signature
    thought_plainly: bool = False  # reasoning came as plain text: texts in its details are the same again
    citations: list[Json] = field(default_factory=list)  # that came before their text


class Reader(StreamReader):
    """The events in an upstream's stream. A finish reason is held back until the stream's end, or the usage that comes
    behind it: some servers go on with content after it. A server that answers in one piece is understood too."""

    def __init__(self, conversation: Conversation) -> None:
        self._conversation = conversation
        self._custom = custom_names(conversation)
        self._parser = SseParser()
        self._choices: dict[int, _Choice] = {}
        self._next = 0  # the number of the next block
        self._id = ""
        self._usage = Usage()
        self._started = False
        self._finished = False
        self._over = False
        self._body: bytearray | None = None  # of a server that does not stream
        self._sniffing = True

    def feed(self, data: bytes) -> list[Event]:
        events: list[Event] = []
        if self._over:
            return events
        if self._sniffing:
            begin = data.lstrip()
            if begin:
                self._sniffing = False
                if begin[0] in _BODY_STARTS:
                    self._body = bytearray()
        if self._body is not None:
            if len(self._body) + len(data) > EVENT_LIMIT_BYTES:
                self._fail("The upstream's answer is too large.", events)
            else:
                self._body += data
            return events
        for event in self._parser.feed(data):
            self._read(event, events)
            if self._over:
                break
        return events

    def end(self) -> list[Event]:
        events: list[Event] = []
        if self._over:
            return events
        if self._body is not None:
            self._read_body(bytes(self._body), events)
            return events
        for event in self._parser.end():
            self._read(event, events)
            if self._over:
                return events
        if not self._started:
            self._fail("The upstream's stream ended before an answer began.", events)
        elif not self._all_finished():
            self._fail("The upstream's stream ended before the answer was complete.", events)
        else:
            self._finish(events)
            if not self._over:
                self._over = True
                events.append(Ended())
        return events

    def _read(self, event: SseEvent, events: list[Event]) -> None:
        if event.oversized:
            self._fail("The upstream sent an event that is too large.", events)
            return
        data = event.data
        if data == b"[DONE]" or data.strip() == b"[DONE]":
            self._read_done(events)
            return
        if not data:
            return
        try:
            chunk = orjson.loads(data)
        except orjson.JSONDecodeError:
            self._fail("The upstream sent an event that is not valid JSON.", events)
            return
        if type(chunk) is not dict:
            self._fail("The upstream sent an event that is not an object.", events)
        elif event.event == "error" or is_error(chunk):
            self._over = True
            events.append(Failed(parse_error(chunk, 0)))
        else:
            self._read_chunk(chunk, events)

    def _read_done(self, events: list[Event]) -> None:
        if not self._started:
            self._fail("The upstream's stream ended before an answer began.", events)
            return
        self._finish(events)
        if not self._over:
            self._over = True
            events.append(Ended())

    def _read_body(self, data: bytes, events: list[Event]) -> None:
        self._over = True
        try:
            body = orjson.loads(data)
        except orjson.JSONDecodeError:
            self._fail("The upstream's answer is neither a stream nor valid JSON.", events)
            return
        if type(body) is not dict or is_error(body):
            events.append(Failed(parse_error(body, 0)))
            return
        try:
            answer = parse_answer(body)
        except BadAnswer as error:
            self._fail(str(error), events)
            return
        restore(answer, self._conversation)
        events.extend(events_of(answer))

    def _read_chunk(self, chunk: Json, events: list[Event]) -> None:
        value = chunk.get("choices")
        choices: list[Any] = value if type(value) is list else []
        some = len(choices) > 0
        # Azure begins with a chunk about the prompt that has no id, no model and no choices.
        if not self._started and (some or chunk.get("id")):
            self._start(chunk, events)
        if some and not self._finished:
            for position, choice in enumerate(choices):
                if type(choice) is dict and not self._over:
                    self._read_choice(choice, position, events)
            if self._over:
                return
        usage = usage_of_chunk(chunk)
        if not usage.known:
            return
        changed = usage != self._usage
        self._usage = usage
        if not some and not self._finished and self._all_finished():
            self._finish(events)
        elif changed:
            events.append(UsageKnown(usage))

    def _start(self, chunk: Json, events: list[Event]) -> None:
        self._started = True
        answer_id, model = chunk.get("id"), chunk.get("model")
        created, tier = chunk.get("created"), chunk.get("service_tier")
        if type(answer_id) is str:
            self._id = answer_id
        events.append(
            Started(
                self._id,
                model if type(model) is str else "",
                created if type(created) is int else None,
                tier if type(tier) is str else None,
            )
        )

    def _read_choice(self, value: Json, position: int, events: list[Event]) -> None:
        number = value.get("index")
        key = number if type(number) is int else position
        choice = self._choices.get(key)
        if choice is None:
            choice = _Choice(key, CallTable(key))
            self._choices[key] = choice
        delta = value.get("delta")
        if type(delta) is not dict:
            message = value.get("message")  # the whole answer, of a server that does not stream what it could
            delta = message if type(message) is dict and choice.kind is None and not choice.calls.order else {}
        self._read_delta(choice, delta, events)
        reason = value.get("finish_reason")
        if type(reason) is str and reason:
            choice.reason = reason
            choice.stop_sequence = stop_sequence_of(value, stop_of(reason, False, False))

    def _read_delta(self, choice: _Choice, delta: Json, events: list[Event]) -> None:
        content = delta.get("content")
        if len(delta) == 1 and type(content) is str:  # nearly all of them
            if content:
                self._add_text(choice, BlockKind.TEXT, content, events)
            return
        self._read_reasoning(choice, delta, events)
        if type(content) is str and content:
            self._add_text(choice, BlockKind.TEXT, content, events)
        elif type(content) is list:
            self._read_parts(choice, content, events)
        refusal = delta.get("refusal")
        if type(refusal) is str and refusal:
            choice.refused = True
            self._add_text(choice, BlockKind.REFUSAL, refusal, events)
        for citation in parse_annotations(delta.get("annotations")):
            if choice.kind is BlockKind.TEXT:
                events.append(CitationDelta(choice.index, citation))
            else:
                choice.citations.append(citation)
        for part in opaque_parts(delta):
            self._add_closed(choice, BlockKind.OPAQUE, part.value, "chat", events)
        calls = delta.get("tool_calls")
        if type(calls) is list:
            for entry in calls:
                if type(entry) is dict and not self._over:
                    self._read_call(choice, entry, events)
        function = delta.get("function_call")
        if type(function) is dict and not calls:
            self._read_call(choice, {"index": -1, "function": function}, events)

    def _read_reasoning(self, choice: _Choice, delta: Json, events: list[Event]) -> None:
        text = reasoning_text(delta)
        if text:
            choice.thought_plainly = True
            self._add_text(choice, BlockKind.THINKING, text, events)
        details = delta.get("reasoning_details")
        if type(details) is not list:
            return
        for detail in details:
            if type(detail) is not dict:
                continue
            data = detail.get("data")
            if detail.get("type") == "reasoning.encrypted":
                if type(data) is str:
                    self._add_closed(choice, BlockKind.REDACTED_THINKING, tag(data, detail), None, events)
                continue
            if not choice.thought_plainly:
                part = detail.get("summary" if detail.get("type") == "reasoning.summary" else "text")
                if type(part) is str and part:
                    self._add_text(choice, BlockKind.THINKING, part, events)
            signature = detail.get("signature")
            if type(signature) is str and signature:
                if choice.kind is not BlockKind.THINKING or choice.signed:
                    self._open(choice, BlockKind.THINKING, events)
                events.append(SignatureDelta(choice.index, tag(signature, detail)))
                choice.signed = True

    def _read_parts(self, choice: _Choice, parts: list[Any], events: list[Event]) -> None:
        """Content as a list: Mistral's, with thinking parts."""
        for part in parts:
            if type(part) is not dict:
                continue
            text = part.get("text")
            if type(text) is str and text:
                self._add_text(choice, BlockKind.TEXT, text, events)
            thinking = part.get("thinking")
            for inner in thinking if type(thinking) is list else [{"text": thinking}]:
                text = inner.get("text") if type(inner) is dict else None
                if type(text) is str and text:
                    self._add_text(choice, BlockKind.THINKING, text, events)

    def _read_call(self, choice: _Choice, entry: Json, events: list[Event]) -> None:
        try:
            call = choice.calls.add(entry, self._id)
        except BadAnswer as error:
            self._fail(str(error), events)
            return
        if call is None:
            return
        if call.index < 0 and call.name:
            self._close(choice, events)
            call.index = self._take_index()
            if not call.custom and call.name in self._custom:
                call.custom = call.held = True
            kind = BlockKind.TOOL_USE
            events.append(
                BlockStarted(call.index, kind, id=call.id, name=call.name, custom=call.custom, choice=choice.number)
            )
        if call.index >= 0:
            _flush(call, events)

    def _add_text(self, choice: _Choice, kind: BlockKind, text: str, events: list[Event]) -> None:
        if choice.kind is not kind or choice.signed:
            self._open(choice, kind, events)
        events.append(TextDelta(choice.index, text))

    def _open(self, choice: _Choice, kind: BlockKind, events: list[Event]) -> None:
        self._close(choice, events)
        choice.kind = kind
        choice.index = self._take_index()
        events.append(BlockStarted(choice.index, kind, choice=choice.number))
        if kind is BlockKind.TEXT and choice.citations:
            events.extend(CitationDelta(choice.index, citation) for citation in choice.citations)
            choice.citations = []

    def _close(self, choice: _Choice, events: list[Event]) -> None:
        if choice.kind is not None:
            events.append(BlockStopped(choice.index))
            choice.kind = None
            choice.signed = False

    def _add_closed(self, choice: _Choice, kind: BlockKind, data: Any, name: str | None, events: list[Event]) -> None:
        self._close(choice, events)
        index = self._take_index()
        events.append(BlockStarted(index, kind, name=name, data=data, choice=choice.number))
        events.append(BlockStopped(index))

    def _take_index(self) -> int:
        index = self._next
        self._next += 1
        return index

    def _all_finished(self) -> bool:
        return bool(self._choices) and all(choice.reason is not None for choice in self._choices.values())

    def _finish(self, events: list[Event]) -> None:
        """Stop every block and say why the model stopped, once; then the usage once more."""
        if self._finished:
            return
        self._finished = True
        choices = list(self._choices.values()) or [_Choice(0, CallTable(0))]
        for choice in choices:
            self._close(choice, events)
            for call in choice.calls.order:
                if call.index < 0:
                    self._fail("The upstream sent a tool call without a name.", events)
                    return
                if call.held:
                    events.append(ArgumentsDelta(call.index, unwrap(call.take_pending())))
                events.append(BlockStopped(call.index))
        for choice in choices:
            stop = stop_of(choice.reason, bool(choice.calls.order), choice.refused)
            if stop is StopReason.END and choice.stop_sequence is not None:
                stop = StopReason.STOP_SEQUENCE
            sequence = choice.stop_sequence if stop is StopReason.STOP_SEQUENCE else None
            events.append(Finished(stop, sequence, choice.number))
        if self._usage.known:
            events.append(UsageKnown(self._usage))

    def _fail(self, message: str, events: list[Event]) -> None:
        self._over = True
        events.append(Failed(UpstreamError("server", message)))


def _flush(call: Call, events: list[Event]) -> None:
    text = "" if call.held else call.take_pending()
    if text:
        events.append(ArgumentsDelta(call.index, text))
    if call.signature is not None and not call.signature_sent:
        call.signature_sent = True
        events.append(SignatureDelta(call.index, call.signature))
