"""One attempt at an upstream that speaks another dialect than the client: the request there, the answer back."""

from __future__ import annotations

import logging
import time
import zlib
from typing import Any

import orjson

from plano.dialects.assembly import Assembler, events_of
from plano.dialects.codecs import CLIENTS, UPSTREAMS
from plano.dialects.conversation import Answer, BadAnswer, Conversation, Dropped, UpstreamError, Usage
from plano.dialects.custom_tools import restore
from plano.dialects.events import BlockKind, BlockStarted, BlockStopped, Event, Failed, Started, UsageKnown
from plano.dialects.foreign import leave_out_foreign
from plano.dialects.responses.request import check_portable
from plano.frontends.usage import UNKNOWN_USAGE, KnownUsage
from plano.upstreams.failures import Failure, FailureKind

log = logging.getLogger(__name__)

# A document is parsed as a whole, so it has to fit; an image in base64 does.
MAX_DOCUMENT_BYTES = 32 * 1024 * 1024
_OPENED_EARLY = (BlockKind.TEXT, BlockKind.THINKING, BlockKind.REFUSAL)


class Inflater:
    """Undoes gzip and deflate (RFC 9110, 8.4.1) piece by piece; what comes out is bounded like a document."""

    def __init__(self, coding: bytes) -> None:
        if coding not in (b"gzip", b"x-gzip", b"deflate"):
            raise BadAnswer("the answer is compressed in a way that was not asked for")
        self._stream = zlib.decompressobj(zlib.MAX_WBITS | 32)  # gzip or zlib, told apart by their headers
        self._left = MAX_DOCUMENT_BYTES

    def feed(self, data: bytes) -> bytes:
        try:
            inflated = self._stream.decompress(data, self._left + 1)
        except zlib.error as error:
            raise BadAnswer("the answer is not compressed as it says") from error
        self._left -= len(inflated)
        if self._left < 0:
            raise BadAnswer("the answer is too large when unpacked")
        return inflated


class Translation:
    """See the module. `usage` is what the upstream has reported so far. `model` and `answer_id` stand in for what an
    upstream leaves out of its answer (Bedrock names neither)."""

    def __init__(self, client: str, upstream: str, conversation: Conversation, model: str, answer_id: str) -> None:
        self._upstream_name = upstream
        self._same = client == upstream
        self._model = model
        self._answer_id = answer_id
        self._client = CLIENTS[client]
        self._upstream = UPSTREAMS[upstream]
        self._conversation = conversation
        self._created = int(time.time())
        self._reader = self._upstream.make_reader(conversation)
        self._writer = self._client.make_writer(conversation, self._created)
        self._inflate: Inflater | None = None
        self.usage: Usage | None = None

    def decode(self, coding: bytes, data: bytes) -> bytes:
        """The next bytes of the body without their content coding. Raises BadAnswer for one nobody asked for and we do
        not know, and for bytes that are not of it."""
        if not coding or coding == b"identity":
            return data
        if self._inflate is None:
            self._inflate = Inflater(coding)
        return self._inflate.feed(data)

    def render_request(self, model: str, dropped: Dropped) -> dict[str, Any]:
        """The request as the upstream's dialect has it. Raises BadRequest when it cannot be said there."""
        source = self._conversation.source
        if self._same and source is not None:
            # It only streams: nothing but the answer is put together otherwise than the client's own dialect has it.
            sent = {**leave_out_foreign(self._upstream_name, None, source, dropped, signed=False), "model": model}
            sent.pop("stream", None)
            return sent
        if self._upstream_name != "responses":
            check_portable(self._conversation)
        rendered = self._upstream.render_request(self._conversation, model, dropped)
        for name in self._conversation.unread:
            dropped.add(name)
        return rendered

    def known_usage(self) -> KnownUsage:
        """What the upstream has reported by now."""
        usage = self.usage
        if usage is None or not usage.known:
            return UNKNOWN_USAGE
        return usage.input, usage.output, usage.cache_read, usage.reasoning

    def read_stream(self, data: bytes, complete: bool) -> list[Event]:
        """The events in the next bytes of the upstream's stream."""
        try:
            events = self._reader.feed(data) if data else []
            if complete:
                events = [*events, *self._reader.end()]
        except Exception:
            log.exception("reading a stream failed")
            return [Failed(UpstreamError("server", "the upstream's stream could not be read"))]
        for event in events:
            if isinstance(event, UsageKnown):
                self.usage = event.usage
            elif isinstance(event, Started):
                event.id = event.id or self._answer_id
                event.model = event.model or self._model
        return events

    def read_stream_body(self, coding: bytes, data: bytes, complete: bool) -> list[Event]:
        """Like `read_stream`, for bytes as they came; what cannot be unpacked is a stream that failed."""
        try:
            decoded = self.decode(coding, data)
        except BadAnswer as error:
            return [Failed(UpstreamError("server", str(error)))]
        return self.read_stream(decoded, complete)

    def write_stream(self, events: list[Event]) -> bytes:
        """The client's bytes for these events. Raises BadAnswer when there is no way to write them."""
        write = self._writer.write
        try:
            return b"".join([write(event) for event in events])
        except BadAnswer:  # the upstream's mistake, which it names
            raise
        except Exception as error:
            log.exception("writing a stream failed")
            raise BadAnswer("the answer could not be written") from error

    def read_document(self, body: bytes, streamed: bool) -> bytes | Failure:
        """A whole answer in the client's dialect, or why it is none. `streamed`: it came as a stream all the same."""
        try:
            return self._assemble(self.read_stream(body, True)) if streamed else self._read_document(body)
        except BadAnswer as bad:
            return Failure(FailureKind.PROTOCOL, str(bad), body=body[:2048])
        except Exception:
            log.exception("reading an answer failed")
            return Failure(FailureKind.PROTOCOL, "the answer could not be read")

    def _read_document(self, body: bytes) -> bytes | Failure:
        try:
            parsed = orjson.loads(body)
            if type(parsed) is not dict:
                raise BadAnswer("the answer is not a JSON object")
            answer = self._upstream.parse_answer(parsed, self._conversation)
        except orjson.JSONDecodeError:
            return Failure(FailureKind.PROTOCOL, "the answer is not JSON", body=body[:2048])
        restore(answer, self._conversation)
        answer.id = answer.id or self._answer_id
        answer.model = answer.model or self._model
        if answer.usage.known:
            self.usage = answer.usage
        if self._conversation.stream:  # an upstream that does not stream, for a client that wants to
            return self.write_stream(events_of(answer))
        return self._render(answer)

    def _assemble(self, events: list[Event]) -> bytes | Failure:
        """The document that a stream amounts to."""
        assembler = Assembler()
        for event in events:
            if isinstance(event, Failed):
                return Failure(FailureKind.ERROR_EVENT, event.error.message)
            assembler.add(event)
        return self._render(assembler.answer())

    def _render(self, answer: Answer) -> bytes | Failure:
        try:
            return orjson.dumps(self._client.render_answer(answer, self._conversation, self._created))
        except orjson.JSONEncodeError as error:
            return Failure(FailureKind.PROTOCOL, f"the answer cannot be passed on ({error})")


def judge_events(events: list[Event], complete: bool) -> Failure | bool:
    """The beginning of a translated stream: True, it has content; False, wait for more; or why it is a failure."""
    for event in events:
        if isinstance(event, Failed):
            return Failure(FailureKind.ERROR_EVENT, f"the stream began with an error: {event.error.message}")
        if isinstance(event, BlockStarted):
            # A block of text that has begun says nothing yet: many upstreams open one before they do any work.
            if event.kind not in _OPENED_EARLY:
                return True
        elif not isinstance(event, (Started, UsageKnown, BlockStopped)):
            return True
    return Failure(FailureKind.EMPTY, "the stream ended without content") if complete else False
