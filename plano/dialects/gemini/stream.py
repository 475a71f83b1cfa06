"""Streams in Google's Gemini dialect: chunks of streamGenerateContent as events. No I/O.

Source: Gemini API reference, "models.streamGenerateContent" (ai.google.dev/api/generate-content): each chunk is a whole
GenerateContentResponse whose parts continue those before; a function call comes whole; there is no end mark, a stream
is complete when every candidate has said its finishReason. Older models say one in every chunk, so the last one counts,
and only once the stream has ended.
"""

from __future__ import annotations

import orjson

from plano.dialects.conversation import BadAnswer, Conversation, Json, StopReason, UpstreamError, Usage
from plano.dialects.custom_tools import custom_names
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
from plano.dialects.gemini.answer import parse_error
from plano.dialects.gemini.candidate import (
    Candidate,
    Piece,
    PieceReader,
    read_block,
    read_candidates,
    read_name,
    read_usage,
)
from plano.dialects.gemini.content import DIALECT
from plano.dialects.gemini.framing import Frames


class _Choice:
    """Where one candidate stands: the block that is open, and how it ended if it did."""

    def __init__(self, index: int, custom_tools: set[str]) -> None:
        self.reader = PieceReader(index, custom_tools)
        self.open_kind: BlockKind | None = None
        self.open_index = 0
        self.signature: str | None = None  # of the thinking block that is open
        self.cited: list[Json] = []
        self.called = False
        self.stop: StopReason | None = None


class Reader(StreamReader):
    """Reads a stream in either of its forms (see gemini_framing)."""

    def __init__(self, conversation: Conversation) -> None:
        self._model = conversation.model or ""
        self._custom_tools = custom_names(conversation)
        self._frames = Frames()
        self._choices: dict[int, _Choice] = {}
        self._blocks = 0
        self._usage: Usage | None = None
        self._response_id = ""
        self._started = False
        self._over = False

    def feed(self, data: bytes) -> list[Event]:
        """The next bytes, cut anywhere."""
        events: list[Event] = []
        if not self._over:
            self._take_chunks(self._frames.feed(data), events)
        return events

    def end(self) -> list[Event]:
        """The upstream has closed the stream."""
        events: list[Event] = []
        if self._over:
            return events
        self._take_chunks(self._frames.end(), events)
        if self._over:
            return events
        if not self._choices or any(choice.stop is None for choice in self._choices.values()):
            self._fail("The upstream's stream ended before the answer was complete.", events)
            return events
        for choice in self._choices.values():
            self._close(choice, events)
        for index in sorted(self._choices):
            choice = self._choices[index]
            stop = choice.stop or StopReason.OTHER
            if stop is StopReason.END and choice.called:
                stop = StopReason.TOOL_USE
            events.append(Finished(stop, None, index))
        if self._usage is not None:
            events.append(UsageKnown(self._usage))
        events.append(Ended())
        self._over = True
        return events

    def _take_chunks(self, chunks: list[bytes], events: list[Event]) -> None:
        for chunk in chunks:
            try:
                body = orjson.loads(chunk)
            except orjson.JSONDecodeError:
                self._fail("The upstream's stream holds a chunk that is not JSON.", events)
                return
            # Behind some proxies an error keeps the array that it has without alt=sse.
            for response in body if type(body) is list else [body]:
                self._take(response, events)
                if self._over:
                    return
        if self._frames.broken:
            self._fail("The upstream's stream holds a chunk that is too long or broken off.", events)

    def _take(self, body: object, events: list[Event]) -> None:
        if not isinstance(body, dict):
            self._fail("The upstream's stream holds a chunk that is no object.", events)
        elif body.get("error"):
            events.append(Failed(parse_error(body, 0)))
            self._over = True
        else:
            try:
                self._read(body, events)
            except BadAnswer as error:
                self._fail(str(error), events)

    def _read(self, body: Json, events: list[Event]) -> None:
        candidates = read_candidates(body)
        self._response_id = read_name(body, "responseId") or self._response_id
        if not self._started:
            self._started = True
            events.append(Started(self._response_id, read_name(body, "modelVersion") or self._model))
        for candidate in candidates:
            self._read_candidate(candidate, events)
        blocked = None if candidates or self._choices else read_block(body)
        if blocked is not None:
            choice = self._choose(0)
            choice.stop = StopReason.FILTERED
            self._open(choice, 0, BlockKind.REFUSAL, events)
            events.append(TextDelta(choice.open_index, blocked))
        usage = read_usage(body)
        if usage is not None and usage != self._usage:
            self._usage = usage
            events.append(UsageKnown(usage))

    def _read_candidate(self, candidate: Candidate, events: list[Event]) -> None:
        choice = self._choose(candidate.index)
        for part in candidate.parts:
            piece = choice.reader.read(part, self._response_id)
            if piece is None:
                continue
            if piece.kind is BlockKind.TEXT or piece.kind is BlockKind.THINKING:
                self._add_text(choice, candidate.index, piece, events)
            else:
                self._add_whole(choice, candidate.index, piece, events)
        if choice.open_kind is BlockKind.TEXT:
            for citation in candidate.citations:
                if citation not in choice.cited:
                    choice.cited.append(citation)
                    events.append(CitationDelta(choice.open_index, citation))
        choice.stop = candidate.stop or choice.stop

    def _add_text(self, choice: _Choice, index: int, piece: Piece, events: list[Event]) -> None:
        if piece.signature is not None and choice.open_kind is BlockKind.THINKING:
            choice.signature = piece.signature
        if choice.open_kind is not piece.kind:
            if not piece.text and (piece.kind is BlockKind.TEXT or piece.signature is None):
                return
            self._open(choice, index, piece.kind, events)
            if piece.kind is BlockKind.THINKING:
                choice.signature = piece.signature
        if piece.text:
            events.append(TextDelta(choice.open_index, piece.text))

    def _add_whole(self, choice: _Choice, index: int, piece: Piece, events: list[Event]) -> None:
        """A call, or a part that only Gemini knows: it comes in one piece."""
        self._open(choice, index, piece.kind, events, piece)
        if piece.kind is BlockKind.TOOL_USE:
            choice.called = True
            events.append(ArgumentsDelta(choice.open_index, piece.text))
            choice.signature = piece.signature
        self._close(choice, events)

    def _choose(self, index: int) -> _Choice:
        choice = self._choices.get(index)
        if choice is None:
            choice = _Choice(index, self._custom_tools)
            self._choices[index] = choice
        return choice

    def _open(
        self, choice: _Choice, index: int, kind: BlockKind, events: list[Event], piece: Piece | None = None
    ) -> None:
        self._close(choice, events)
        choice.open_kind = kind
        choice.open_index = self._blocks
        self._blocks += 1
        started = BlockStarted(choice.open_index, kind, choice=index, summary=kind is BlockKind.THINKING)
        if piece is not None and kind is BlockKind.TOOL_USE:
            started.id, started.name, started.custom = piece.id, piece.name, piece.custom
        elif piece is not None:
            started.name, started.data = DIALECT, piece.data
        events.append(started)

    def _close(self, choice: _Choice, events: list[Event]) -> None:
        if choice.open_kind is None:
            return
        if choice.signature is not None:
            events.append(SignatureDelta(choice.open_index, choice.signature))
            choice.signature = None
        events.append(BlockStopped(choice.open_index))
        choice.open_kind = None
        choice.cited = []

    def _fail(self, message: str, events: list[Event]) -> None:
        events.append(Failed(UpstreamError("server", message)))
        self._over = True
