"""The writer of a client's stream in the chat completions dialect.

Source: OpenAI API reference, "The chat completion chunk object". The order of its chunks: the role, the content, one
chunk with the finish reason for each choice, the usage if the client asked for it (`stream_options.include_usage`; all
other chunks then say `"usage": null`), `[DONE]`. An error comes as `data: {"error": ...}` before `[DONE]`, which is
where the SDKs look for it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from plano.dialects.chat.citations import render_annotation
from plano.dialects.chat.errors import render_error
from plano.dialects.chat.prompt import end_of, separator
from plano.dialects.chat.reasoning import redacted_detail, thinking_detail
from plano.dialects.chat.usage import SERVICE_TIERS, finish_reason, render_usage
from plano.dialects.conversation import Conversation, Json, StopReason, Thinking, UpstreamError, Usage
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
from plano.dialects.sse import format_event

_DONE: Final = format_event(b"[DONE]")
_CHOICES_LIMIT: Final = 128  # the most a client can ask for
_KEYS: Final = {
    BlockKind.TEXT: b'{"content":',
    BlockKind.THINKING: b'{"reasoning_content":',
    BlockKind.REFUSAL: b'{"refusal":',
}


@dataclass(slots=True)
class _Choice:
    """What the client has got of one answer."""

    number: int
    head: bytes  # of a chunk, up to its delta
    begun: bool = False  # the role is sent
    finished: bool = False
    tail: str = ""  # the end of the text so far
    length: int = 0  # of the text so far, in characters
    apart: bool = False  # there was something else since the last text
    thought: bool = False  # there was a thought
    refused: bool = False
    calls: int = 0
    signed: bool = False
    details: int = 0
    unsent: list[Json] = field(default_factory=list)  # details of thoughts, until one of them is signed
    annotations: list[Json] = field(default_factory=list)


@dataclass(slots=True)
class _Block:
    start: BlockStarted
    choice: _Choice
    begun: bool = False  # some of its text, or of its arguments, has come
    number: int = 0  # of a tool call, in its choice; -1 for one the client cannot be told
    from_: int = 0  # where its text begins
    pieces: list[str] = field(default_factory=list)  # of a thought, for its details
    signature: str | None = None
    citations: list[Json] = field(default_factory=list)


class Writer(StreamWriter):
    """`created` (Unix seconds) counts where the upstream has not said when."""

    def __init__(self, conversation: Conversation, created: int) -> None:
        self._include_usage = conversation.include_usage
        self._legacy = conversation.notes.get("functions") is True
        self._started = Started("", "", created)
        self._created = created
        self._usage = Usage()
        self._blocks: dict[int, _Block] = {}
        self._choices: dict[int, _Choice] = {}
        self._over = False
        null_usage = b',"usage":null' if self._include_usage else b""
        self._end = b',"logprobs":null,"finish_reason":null}]' + null_usage + b"}\n\n"
        self._end_finish = b"}]" + null_usage + b"}\n\n"

    def write(self, event: Event) -> bytes:
        if self._over:
            return b""
        if isinstance(event, TextDelta):
            return self._write_text(event)
        if isinstance(event, ArgumentsDelta):
            return self._write_arguments(event)
        if isinstance(event, BlockStarted):
            return self._open(event)
        if isinstance(event, BlockStopped):
            return self._close(event)
        if isinstance(event, SignatureDelta):
            return self._write_signature(event)
        if isinstance(event, CitationDelta):
            cited = self._blocks.get(event.index)
            if cited is not None:
                cited.citations.append(event.citation)
            return b""
        if isinstance(event, UsageKnown):
            self._usage = event.usage
            return b""
        if isinstance(event, Finished):
            return self._finish(self._choice(event.choice), event.stop)
        if isinstance(event, Started):
            self._started = event
            return b""
        self._over = True
        if isinstance(event, Failed):
            return _render_failure(event.error)
        return self._write_end()

    def _choice(self, number: int) -> _Choice:
        choice = self._choices.get(number)
        if choice is None:
            choice = _Choice(number, b'%b,"choices":[{"index":%d,"delta":' % (self._head(), number))
            self._choices[number] = choice
        return choice

    def _head(self) -> bytes:
        started = self._started
        value: Json = {
            "id": started.id,
            "object": "chat.completion.chunk",
            "created": self._created if started.created is None else started.created,
            "model": started.model,
        }
        if started.service_tier in SERVICE_TIERS:
            value["service_tier"] = started.service_tier
        return b"data: " + orjson.dumps(value).removesuffix(b"}")

    def _begin(self, choice: _Choice, content: bytes) -> bytes:
        """The chunk with the role, once. `content` is null when no text is known to follow."""
        if choice.begun:
            return b""
        choice.begun = True
        begin = b""
        # SDKs append a choice that is new to them: the choices have to begin in their order.
        for number in range(min(choice.number, _CHOICES_LIMIT)):
            begin += self._begin(self._choice(number), b"null")
        return b'%b%b{"role":"assistant","content":%b,"refusal":null}%b' % (begin, choice.head, content, self._end)

    def _chunk(self, choice: _Choice, delta: Json) -> bytes:
        return choice.head + orjson.dumps(delta) + self._end

    def _open(self, event: BlockStarted) -> bytes:
        choice = self._choice(event.choice)
        block = _Block(event, choice)
        self._blocks[event.index] = block
        if event.kind is BlockKind.TEXT:
            return b""
        choice.apart = True
        if event.kind is BlockKind.TOOL_USE:
            return self._begin(choice, b"null") + self._open_call(block)
        if event.kind is BlockKind.REDACTED_THINKING and isinstance(event.data, str):
            choice.signed = True
            choice.unsent.append(redacted_detail(choice.details, event.data))
            choice.details += 1
            return self._begin(choice, b"null") + self._flush_details(choice)
        if event.kind is BlockKind.OPAQUE and event.name == "chat" and isinstance(event.data, dict):
            data: Json = event.data
            delta: Json = {"audio": data["audio"]} if "audio" in data else {"images": [data]}
            return self._begin(choice, b"null") + self._chunk(choice, delta)
        return b""

    def _open_call(self, block: _Block) -> bytes:
        event, choice = block.start, block.choice
        block.number = choice.calls
        choice.calls += 1
        if self._legacy and not event.custom:
            if block.number > 0:
                block.number = -1  # such a client knows one call an answer
                return b""
            return self._chunk(choice, {"function_call": {"name": event.name, "arguments": ""}})
        kind, content = ("custom", "input") if event.custom else ("function", "arguments")
        call: Json = {"index": block.number, "id": event.id, "type": kind, kind: {"name": event.name, content: ""}}
        return self._chunk(choice, {"tool_calls": [call]})

    def _write_text(self, event: TextDelta) -> bytes:
        block = self._blocks.get(event.index)
        if block is None or not event.text:
            return b""
        choice, kind = block.choice, block.start.kind
        key = _KEYS.get(kind)
        if key is None:
            return b""
        text = event.text
        if block.begun:
            begin = b""
        else:
            begin = self._begin(choice, b'""' if kind is BlockKind.TEXT else b"null")
            text = self._join(block, text) + text
            block.begun = True
        if kind is BlockKind.TEXT:
            choice.length += len(text)
            choice.tail = end_of(choice.tail + text)
        elif kind is BlockKind.THINKING:
            block.pieces.append(event.text)
        return begin + choice.head + key + orjson.dumps(text) + b"}" + self._end

    def _join(self, block: _Block, text: str) -> str:
        """What comes between this block's `text` and that of the one before it (as `join_texts` has it)."""
        choice, kind = block.choice, block.start.kind
        between = ""
        if kind is BlockKind.TEXT:
            between = separator(choice.tail, text, choice.apart)
            choice.apart = False
            block.from_ = choice.length + len(between)
        elif kind is BlockKind.THINKING:
            between = "\n\n" if choice.thought else ""
            choice.thought = True
        else:
            choice.refused = True
        return between

    def _write_arguments(self, event: ArgumentsDelta) -> bytes:
        block = self._blocks.get(event.index)
        if block is None or not event.text or block.number < 0:
            return b""
        block.begun = True
        return self._arguments(block, event.text)

    def _arguments(self, block: _Block, text: str) -> bytes:
        if block.start.custom:
            return self._chunk(block.choice, {"tool_calls": [{"index": block.number, "custom": {"input": text}}]})
        if self._legacy:
            return self._chunk(block.choice, {"function_call": {"arguments": text}})
        return b'%b{"tool_calls":[{"index":%d,"function":{"arguments":%b}}]}%b' % (
            block.choice.head,
            block.number,
            orjson.dumps(text),
            self._end,
        )

    def _write_signature(self, event: SignatureDelta) -> bytes:
        block = self._blocks.get(event.index)
        if block is None:
            return b""
        if block.start.kind is BlockKind.TOOL_USE and not self._legacy:
            call: Json = {"index": block.number, "extra_content": {"google": {"thought_signature": event.signature}}}
            # SDKs take no delta of a call without a part of it.
            if block.start.custom:
                call["custom"] = {"input": ""}
            else:
                call["function"] = {"arguments": ""}
            return self._chunk(block.choice, {"tool_calls": [call]})
        block.signature = event.signature
        return b""

    def _close(self, event: BlockStopped) -> bytes:
        block = self._blocks.get(event.index)
        if block is None:
            return b""
        choice, kind = block.choice, block.start.kind
        if kind is BlockKind.TOOL_USE:
            bare = not block.begun and not block.start.custom and block.number >= 0
            return self._arguments(block, "{}") if bare else b""
        if kind is BlockKind.THINKING:
            choice.signed = choice.signed or block.signature is not None
            thought = Thinking("".join(block.pieces), block.signature, block.start.id, block.start.summary)
            choice.unsent.append(thinking_detail(choice.details, thought))
            choice.details += 1
            return self._flush_details(choice)
        for citation in block.citations if block.begun else []:
            annotation = render_annotation(citation, block.from_, choice.length)
            if annotation is not None:
                choice.annotations.append(annotation)
        return b""

    def _flush_details(self, choice: _Choice) -> bytes:
        if not choice.signed:
            return b""
        details, choice.unsent = choice.unsent, []
        return self._begin(choice, b"null") + self._chunk(choice, {"reasoning_details": details})

    def _finish(self, choice: _Choice, stop: StopReason) -> bytes:
        if choice.finished:
            return b""
        choice.finished = True
        whole = choice.begun and (choice.length > 0 or choice.calls > 0 or choice.refused)
        begin = self._begin(choice, b'""')
        delta: Json = {}
        if not whole:
            delta["content"] = ""
        if choice.annotations:
            # All at once: the SDKs put lists of several deltas together only by an index, which these have not.
            delta["annotations"] = choice.annotations
        if delta:
            begin += self._chunk(choice, delta)
        reason = finish_reason(stop, choice.refused, self._legacy)
        return b'%b%b{},"logprobs":null,"finish_reason":"%b"%b' % (
            begin,
            choice.head,
            reason.encode(),
            self._end_finish,
        )

    def _write_end(self) -> bytes:
        if not self._choices:
            self._choice(0)
        # A reader that ends without a finish has an answer that is as whole as it gets.
        data = b"".join(self._finish(choice, StopReason.END) for choice in self._choices.values())
        if self._include_usage and self._usage.known:
            usage = orjson.dumps(render_usage(self._usage))
            data += b'%b,"choices":[],"usage":%b}\n\n' % (self._head(), usage)
        return data + _DONE


def _render_failure(error: UpstreamError) -> bytes:
    body: dict[str, Any] = render_error(error, None)
    return format_event(orjson.dumps(body)) + _DONE
