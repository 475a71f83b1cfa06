"""Streams of the responses dialect for clients. Source: OpenAI API reference, "Streaming events".

The order: response.created, response.in_progress; for each output item output_item.added, what it is made of,
output_item.done; response.completed, response.incomplete or response.failed, which hold the whole response. Several
items may be open at once, each event names its item: nothing has to be held back. There is no [DONE].
"""

from __future__ import annotations

from plano.dialects.conversation import Conversation, Json, StopReason, UpstreamError, Usage
from plano.dialects.events import (
    ArgumentsDelta,
    BlockStarted,
    BlockStopped,
    CitationDelta,
    Ended,
    Event,
    Failed,
    Finished,
    SignatureDelta,
    Started,
    StreamWriter,
    TextDelta,
    UsageKnown,
)
from plano.dialects.responses.item_writer import ItemWriter, Numbering
from plano.dialects.responses.output import Envelope, name_answer, status_of


class Writer(StreamWriter):
    """See `StreamWriter`. `created` (Unix seconds) is used when the upstream does not say."""

    def __init__(self, conversation: Conversation, created: int) -> None:
        self._envelope = Envelope(conversation)
        self._numbering = Numbering()
        self._items = ItemWriter(conversation, self._numbering)
        self._created = created
        self._id = ""
        self._model = conversation.model or ""
        self._service_tier: str | None = None
        self._started = False
        self._ended = False
        self._stop = StopReason.END
        self._usage = Usage()

    def write(self, event: Event) -> bytes:
        if self._ended:
            return b""
        if isinstance(event, TextDelta):
            return self._items.add_text(event)
        if isinstance(event, ArgumentsDelta):
            return self._items.add_arguments(event)
        if isinstance(event, BlockStarted):
            # A client of this dialect cannot ask for alternatives, and has no place for them.
            return self._ensure_started() + self._items.open(event) if event.choice == 0 else b""
        if isinstance(event, BlockStopped):
            return self._items.stop(event.index)
        if isinstance(event, SignatureDelta):
            self._items.sign(event)
        elif isinstance(event, CitationDelta):
            self._items.add_citation(event)
        elif isinstance(event, UsageKnown):
            self._usage = event.usage
        elif isinstance(event, Started):
            return self._start(event)
        elif isinstance(event, Finished):
            return self._ensure_started() + self._finish(event.stop) if event.choice == 0 else b""
        elif isinstance(event, Failed):
            return self._fail(event.error)
        elif isinstance(event, Ended):
            return self._end()
        return b""

    def _start(self, event: Started) -> bytes:
        if self._started:
            return b""
        self._started = True
        self._id = name_answer(event.id, self._created)
        self._model = event.model or self._model
        self._service_tier = event.service_tier
        self._items.name_after(self._id)
        if event.created is not None:
            self._created = event.created
        body = {"response": self._render("in_progress")}
        created = self._numbering.emit("response.created", body)
        return created + self._numbering.emit("response.in_progress", body)

    def _ensure_started(self) -> bytes:
        return b"" if self._started else self._start(Started("", self._model))

    def _finish(self, stop: StopReason) -> bytes:
        self._stop = stop
        status, _ = status_of(stop, self._items.refused)
        return self._items.finish(status)

    def _end(self) -> bytes:
        written = self._ensure_started()
        if self._items.is_open():
            written += self._finish(self._stop)
        self._ended = True
        status, reason = status_of(self._stop, self._items.refused)
        response = self._render(status, reason=reason)
        return written + self._numbering.emit(f"response.{status}", {"response": response})

    def _fail(self, error: UpstreamError) -> bytes:
        written = self._ensure_started()
        self._ended = True
        self._items.abandon()
        told = {"code": error.code or error.kind, "message": error.message, "param": error.param}
        written += self._numbering.emit("error", told)
        return written + self._numbering.emit("response.failed", {"response": self._render("failed", error=error)})

    def _render(self, status: str, *, reason: str | None = None, error: UpstreamError | None = None) -> Json:
        return self._envelope.render(
            self._id,
            self._model,
            self._created,
            status,
            self._items.output(),
            usage=self._usage,
            service_tier=self._service_tier,
            reason=reason,
            error=error,
        )
