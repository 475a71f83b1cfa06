"""The beginning of an answer, as it comes in: content for the client, a failure, or not yet clear?

Bytes in, a verdict out; what follows from it (relay, retry) is the exchange's business.
"""

from __future__ import annotations

import time
from typing import Final, NamedTuple

from plano.dialects.conversation import BadAnswer
from plano.dialects.events import Event
from plano.dialects.identity.wire import Wire
from plano.frontends.translation import MAX_DOCUMENT_BYTES, Translation, judge_events
from plano.frontends.verdicts import MAX_HELD_BYTES, judge_document, judge_plain, judge_stream
from plano.upstreams.attempts import parse_retry_after
from plano.upstreams.candidate import Candidate
from plano.upstreams.connection import UpstreamConnection
from plano.upstreams.failures import Failure, FailureKind

_JSON: Final = b"application/json"


class Content(NamedTuple):
    """What may be relayed: `body` is all there is of it by now, `events` says that it is a stream of events."""

    body: bytes
    events: bool


class Opening:
    """One attempt's answer until it is clear what it is. `events` are those of a translated stream, read so far."""

    __slots__ = ("_candidate", "_held", "_streams", "_translation", "_wire", "events")

    def __init__(self, wire: Wire, candidate: Candidate, translation: Translation | None, streams: bool) -> None:
        self._wire = wire
        self._candidate = candidate
        self._translation = translation
        self._streams = streams
        self._held = b""
        self.events: list[Event] = []

    def read(self, connection: UpstreamConnection, fresh: bytes, complete: bool) -> Content | Failure | None:
        """Take the next bytes of the answer on `connection`, whose head is read. None: wait for more."""
        status = connection.status
        if 300 <= status < 400 or status > 599:
            return Failure(FailureKind.PROTOCOL, f"unexpected status {status}")
        if status >= 400:
            body = self._held = self._held + fresh
            if complete or len(body) > MAX_HELD_BYTES:
                return _fail_status(connection, body[:MAX_HELD_BYTES])
            return None
        translation = self._translation
        if translation is not None:
            try:
                return self._translate(translation, connection, fresh, complete)
            except BadAnswer as bad:
                return Failure(FailureKind.PROTOCOL, str(bad))
        body = self._held + fresh
        events = False
        if connection.coding:  # not asked for; passed on as it is
            verdict: Failure | bool = bool(body) or complete
        elif connection.content_type.startswith(b"text/event-stream"):
            events = True
            verdict = judge_stream(self._wire, body, complete)
        elif self._candidate.plain:
            verdict = judge_plain(connection.content_type, body, complete)
        else:
            verdict = judge_document(connection.content_type, body, complete)
        if isinstance(verdict, Failure):
            return verdict
        if verdict or len(body) > MAX_HELD_BYTES:
            return Content(body, events)
        self._held = body
        return None

    def _translate(
        self, translation: Translation, connection: UpstreamConnection, fresh: bytes, complete: bool
    ) -> Content | Failure | None:
        """The beginning of an answer in another dialect. A document is held until it is whole. Raises BadAnswer."""
        body = self._held + translation.decode(connection.coding, fresh)
        if self._streams and (not connection.content_type.startswith(_JSON) or self._candidate.dialect == "gemini"):
            self.events += translation.read_stream(body, complete)
            verdict = judge_events(self.events, complete)
            if isinstance(verdict, Failure):
                return verdict
            return Content(b"", True) if verdict else None
        if not complete:
            self._held = body
            if len(body) > MAX_DOCUMENT_BYTES:
                return Failure(FailureKind.PROTOCOL, f"the answer is larger than {MAX_DOCUMENT_BYTES} bytes")
            return None
        streamed = connection.content_type.startswith((b"text/event-stream", b"application/vnd.amazon"))
        document = translation.read_document(body, streamed)
        return document if isinstance(document, Failure) else Content(document, False)


def _fail_status(connection: UpstreamConnection, body: bytes) -> Failure:
    status = connection.status
    retry_after_s = parse_retry_after(connection.retry_after, time.time()) if connection.retry_after else None
    return Failure(FailureKind.STATUS, f"status {status}", status=status, retry_after_s=retry_after_s, body=body)
