"""From a stream's events to the whole answer, and from a whole answer to the events of its stream.

The two are each other's inverse: `Assembler` is what an SDK does with a stream, `events_of` what a provider does that
answers a streaming request in one piece.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from plano.dialects.conversation import (
    Answer,
    Block,
    Choice,
    Opaque,
    RedactedThinking,
    Refusal,
    StopReason,
    Text,
    Thinking,
    ToolUse,
    UpstreamError,
    Usage,
)
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
    TextDelta,
    UsageKnown,
)


@dataclass(slots=True)
class _Part:
    """A block of which more may come."""

    start: BlockStarted
    pieces: list[str] = field(default_factory=list)
    signature: str | None = None
    citations: list[dict[str, Any]] = field(default_factory=list)


class Assembler:
    """Folds the events of one stream into an `Answer`. `dialect` owns the opaque blocks that do not say
    whose they are.

    Says what it has at any time; `failed` is the error of a stream that broke, `ended` is True for a complete one.
    Events that break the contract of events.py (a delta of a block that never opened) are ignored.
    """

    def __init__(self, dialect: str = "") -> None:
        self.failed: UpstreamError | None = None
        self.ended = False
        self._dialect = dialect
        self._started: Started | None = None
        self._parts: dict[int, _Part] = {}
        self._finished: dict[int, Finished] = {}
        self._usage = Usage()

    def add(self, event: Event) -> None:
        if isinstance(event, TextDelta | ArgumentsDelta):
            part = self._parts.get(event.index)
            if part is not None:
                part.pieces.append(event.text)
        elif isinstance(event, BlockStarted):
            self._parts[event.index] = _Part(event)
        elif isinstance(event, SignatureDelta):
            signed = self._parts.get(event.index)
            if signed is not None:
                signed.signature = event.signature
        elif isinstance(event, CitationDelta):
            cited = self._parts.get(event.index)
            if cited is not None:
                cited.citations.append(event.citation)
        elif isinstance(event, UsageKnown):
            self._usage = event.usage
        elif isinstance(event, Finished):
            self._finished[event.choice] = event
        elif isinstance(event, Started):
            self._started = event
        elif isinstance(event, Failed):
            self.failed = event.error
        elif isinstance(event, Ended):
            self.ended = True

    def answer(self) -> Answer:
        """The answer as far as it has come. `stop` is OTHER as long as the model has not finished."""
        started = self._started or Started("", "")
        first = self._finished.get(0) or Finished(StopReason.OTHER)
        blocks = self._blocks()
        choices = sorted(blocks.keys() | self._finished.keys())
        return Answer(
            started.id,
            started.model,
            blocks.get(0, []),
            first.stop,
            self._usage,
            stop_sequence=first.stop_sequence,
            created=started.created,
            service_tier=started.service_tier,
            alternatives=[Choice(choice, blocks.get(choice, []), self._stop(choice)) for choice in choices if choice],
        )

    def _stop(self, choice: int) -> StopReason:
        finished = self._finished.get(choice)
        return StopReason.OTHER if finished is None else finished.stop

    def _blocks(self) -> dict[int, list[Block]]:
        """The blocks of each choice, in order."""
        blocks: dict[int, list[Block]] = {}
        for _, part in sorted(self._parts.items()):
            blocks.setdefault(part.start.choice, []).append(_block_of(part, self._dialect))
        return blocks


def events_of(answer: Answer) -> list[Event]:
    """The events of a stream that brings `answer`, block by block, each block's text in one piece.

    Blocks that no stream has (images of an answer, tool results) come as opaque ones would: dropped.
    """
    events: list[Event] = [Started(answer.id, answer.model, answer.created, answer.service_tier)]
    count = _add_blocks(events, answer.blocks, 0, 0)
    for choice in answer.alternatives:
        count = _add_blocks(events, choice.blocks, count, choice.index)
    events.append(Finished(answer.stop, answer.stop_sequence))
    events.extend(Finished(choice.stop, choice=choice.index) for choice in answer.alternatives)
    if answer.usage.known:
        events.append(UsageKnown(answer.usage))
    events.append(Ended())
    return events


def _block_of(part: _Part, dialect: str) -> Block:
    start, text = part.start, "".join(part.pieces)
    if start.kind is BlockKind.TEXT:
        return Text(text, citations=part.citations)
    if start.kind is BlockKind.TOOL_USE:
        return ToolUse(start.id or "", start.name or "", text, custom=start.custom, signature=part.signature)
    if start.kind is BlockKind.THINKING:
        return Thinking(text, signature=part.signature, id=start.id, summary=start.summary)
    if start.kind is BlockKind.REDACTED_THINKING:
        return RedactedThinking(start.data if isinstance(start.data, str) else "")
    if start.kind is BlockKind.REFUSAL:
        return Refusal(text)
    return Opaque(start.name or dialect, start.data if isinstance(start.data, dict) else {})


def _add_blocks(events: list[Event], blocks: list[Block], index: int, choice: int) -> int:
    """Append the events of `blocks`, numbered from `index` on; answers the next free number."""
    for block in blocks:
        if isinstance(block, Text):
            events.append(BlockStarted(index, BlockKind.TEXT, choice=choice))
            if block.text:
                events.append(TextDelta(index, block.text))
            events.extend(CitationDelta(index, citation) for citation in block.citations)
        elif isinstance(block, ToolUse):
            kind = BlockKind.TOOL_USE
            events.append(BlockStarted(index, kind, id=block.id, name=block.name, custom=block.custom, choice=choice))
            if block.arguments:
                events.append(ArgumentsDelta(index, block.arguments))
            if block.signature is not None:
                events.append(SignatureDelta(index, block.signature))
        elif isinstance(block, Thinking):
            kind = BlockKind.THINKING
            events.append(BlockStarted(index, kind, id=block.id, choice=choice, summary=block.summary))
            if block.text:
                events.append(TextDelta(index, block.text))
            if block.signature is not None:
                events.append(SignatureDelta(index, block.signature))
        elif isinstance(block, RedactedThinking):
            events.append(BlockStarted(index, BlockKind.REDACTED_THINKING, data=block.data, choice=choice))
        elif isinstance(block, Refusal):
            events.append(BlockStarted(index, BlockKind.REFUSAL, choice=choice))
            if block.text:
                events.append(TextDelta(index, block.text))
        elif isinstance(block, Opaque):
            kind = BlockKind.OPAQUE
            events.append(BlockStarted(index, kind, name=block.dialect, data=block.value, choice=choice))
        else:
            continue
        events.append(BlockStopped(index))
        index += 1
    return index
