"""One attempt at an upstream that speaks another dialect than the client: the request there, the answer back."""

from __future__ import annotations

import time
from typing import Any

import orjson

from plano.dialects.assembly import events_of
from plano.dialects.codecs import CLIENTS, UPSTREAMS
from plano.dialects.conversation import BadAnswer, Conversation, Dropped, UpstreamError, Usage
from plano.dialects.events import BlockStarted, Event, Failed, Finished, UsageKnown
from plano.frontends.usage import UNKNOWN_USAGE, KnownUsage
from plano.upstreams.failures import Failure, FailureKind

# A document is parsed as a whole, so it has to fit; an image in base64 does.
MAX_DOCUMENT_BYTES = 32 * 1024 * 1024


class Translation:
    """See the module. `usage` is what the upstream has reported so far; `dropped` names the client's fields that the
    upstream's dialect cannot express."""

    def __init__(self, client: str, upstream: str, conversation: Conversation) -> None:
        self._client = CLIENTS[client]
        self._upstream = UPSTREAMS[upstream]
        self._conversation = conversation
        self._created = int(time.time())
        self._reader = self._upstream.make_reader(conversation)
        self._writer = self._client.make_writer(conversation, self._created)
        self.dropped = Dropped()
        self.usage: Usage | None = None

    def render_request(self, model: str) -> dict[str, Any]:
        """The request as the upstream's dialect has it. Raises BadRequest when it cannot be said there."""
        return self._upstream.render_request(self._conversation, model, self.dropped)

    def known_usage(self) -> KnownUsage:
        """What the upstream has reported by now."""
        usage = self.usage
        if usage is None or not usage.known:
            return UNKNOWN_USAGE
        return usage.input, usage.output, usage.cache_read, usage.reasoning

    def read_stream(self, data: bytes, complete: bool) -> list[Event]:
        """The events in the next bytes of the upstream's stream."""
        events = self._reader.feed(data) if data else []
        if complete:
            events = [*events, *self._reader.end()]
        for event in events:
            if isinstance(event, UsageKnown):
                self.usage = event.usage
        return events

    def write_stream(self, events: list[Event]) -> bytes:
        """The client's bytes for these events."""
        write = self._writer.write
        return b"".join([write(event) for event in events])

    def break_stream(self, kind: str, message: str) -> bytes:
        """The client's bytes for a stream that ends here, by no fault of the events so far."""
        return self._writer.write(Failed(UpstreamError(kind, message)))

    def read_document(self, body: bytes) -> bytes | Failure:
        """A whole answer in the client's dialect, or why it is none."""
        try:
            parsed = orjson.loads(body)
            if type(parsed) is not dict:
                raise BadAnswer("the answer is not a JSON object")
            answer = self._upstream.parse_answer(parsed)
        except orjson.JSONDecodeError:
            return Failure(FailureKind.PROTOCOL, "the answer is not JSON", body=body[:2048])
        except BadAnswer as error:
            return Failure(FailureKind.PROTOCOL, str(error), body=body[:2048])
        if answer.usage.known:
            self.usage = answer.usage
        if self._conversation.stream:  # an upstream that does not stream, for a client that wants to
            return self.write_stream(events_of(answer))
        return orjson.dumps(self._client.render_answer(answer, self._conversation, self._created))


def judge_events(events: list[Event], complete: bool) -> Failure | bool:
    """The beginning of a translated stream: True, it has content; False, wait for more; or why it is a failure."""
    for event in events:
        if isinstance(event, Failed):
            return Failure(FailureKind.ERROR_EVENT, f"the stream began with an error: {event.error.message}")
        if isinstance(event, BlockStarted | Finished):
            return True
    return Failure(FailureKind.EMPTY, "the stream ended without content") if complete else False
