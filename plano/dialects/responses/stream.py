"""Streams of the responses dialect. Source: OpenAI API reference, "Streaming events".

The answer is complete with response.completed or response.incomplete; response.failed and error say that it is not.
Events of other kinds, and kinds that are new, say nothing to other dialects and are passed over.
"""

from __future__ import annotations

from typing import Any, Final

import orjson

from plano.dialects.conversation import Conversation, Json, UpstreamError
from plano.dialects.events import Ended, Event, Failed, Finished, Started, StreamReader, UsageKnown
from plano.dialects.responses.answer import parse_created, stop_of
from plano.dialects.responses.error import parse_error
from plano.dialects.responses.item_reader import ItemReader
from plano.dialects.responses.output import parse_usage
from plano.dialects.responses.writer import Writer
from plano.dialects.sse import SseEvent, SseParser

__all__ = ["Reader", "Writer"]

# As much of an answer that is no event stream as is looked at.
_BODY_LIMIT_BYTES: Final = 1 << 20


class Reader(StreamReader):
    """See `StreamReader`."""

    def __init__(self, conversation: Conversation) -> None:
        self._parser = SseParser()
        self._model = conversation.model or ""
        self._items = ItemReader()
        self._started = False
        self._over = False
        self._seen = False  # anything that is an event
        self._body = bytearray()  # the beginning of what may be no event stream

    def feed(self, data: bytes) -> list[Event]:
        events: list[Event] = []
        if self._over:
            return events
        if not self._seen and len(self._body) < _BODY_LIMIT_BYTES:
            self._body += data
        for event in self._parser.feed(data):
            self._take(event, events)
        return events

    def end(self) -> list[Event]:
        events: list[Event] = []
        if self._over:
            return events
        for event in self._parser.end():
            self._take(event, events)
        if not self._seen:
            self._take_body(events)
        if not self._over:
            self._fail(UpstreamError("server", "The upstream's stream ended before its answer was complete."), events)
        return events

    # -- events -------------------------------------------------------------------------------------------------------

    def _take(self, event: SseEvent, events: list[Event]) -> None:
        if self._over:
            return
        if not self._seen:
            self._seen = True
            self._body = bytearray()
        if event.oversized:
            self._fail(UpstreamError("server", "An event of the upstream's stream is too long."), events)
            return
        if not event.data or event.data.strip() == b"[DONE]":
            return
        try:
            data = orjson.loads(event.data)
        except orjson.JSONDecodeError:
            self._fail(UpstreamError("server", "An event of the upstream's stream is not valid JSON."), events)
            return
        if type(data) is dict:
            self._dispatch(data, event.event, events)

    def _take_body(self, events: list[Event]) -> None:
        """A whole answer, or an error, from an upstream that does not stream."""
        try:
            body = orjson.loads(bytes(self._body))
        except orjson.JSONDecodeError:
            return
        if type(body) is not dict:
            return
        if body.get("error") or body.get("object") == "error":
            self._fail(parse_error(body, 0), events)
        elif type(body.get("output")) is list:
            self._finish(body, events)

    def _dispatch(self, data: Json, name: str | None, events: list[Event]) -> None:
        kind: Any = data.get("type", name)
        if type(kind) is not str:
            if data.get("error"):
                self._fail(parse_error(data, 0), events)
        elif kind in ("response.created", "response.queued", "response.in_progress"):
            self._start(data.get("response"), events)
        elif kind in ("response.completed", "response.incomplete", "response.failed", "response.cancelled"):
            self._end_response(data, kind, events)
        elif kind == "error":
            self._fail(parse_error(data, 0), events)
        elif kind.startswith("response."):
            if not self._started:
                self._start(None, events)
            self._items.take(kind, data, events)

    def _start(self, response: Any, events: list[Event]) -> None:
        if self._started:
            return
        self._started = True
        if type(response) is not dict:
            events.append(Started("", self._model))
            return
        name, model, tier = response.get("id"), response.get("model"), response.get("service_tier")
        events.append(
            Started(
                name if type(name) is str else "",
                model if type(model) is str and model else self._model,
                parse_created(response),
                # "auto" is what was asked for; which tier it became is told at the end, when nobody can be told.
                tier if type(tier) is str and tier != "auto" else None,
            )
        )

    def _end_response(self, data: Json, kind: str, events: list[Event]) -> None:
        response = data.get("response")
        if type(response) is not dict:
            response = {"error": data.get("error")} if data.get("error") else {}
        if kind == "response.failed" or response.get("status") == "failed":
            self._start(response, events)
            self._fail(parse_error(response, 0), events)
            return
        self._finish({**response, "status": kind.removeprefix("response.")}, events)

    def _finish(self, response: Json, events: list[Event]) -> None:
        self._start(response, events)
        output = response.get("output")
        self._items.take_output(output if type(output) is list else [], events)
        events.append(Finished(stop_of(response, self._items.called, self._items.refused)))
        usage = parse_usage(response.get("usage"))
        if usage.known:
            events.append(UsageKnown(usage))
        events.append(Ended())
        self._over = True

    def _fail(self, error: UpstreamError, events: list[Event]) -> None:
        events.append(Failed(error))
        self._over = True
