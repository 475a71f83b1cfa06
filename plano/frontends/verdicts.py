"""Judging the beginning of an answer with status 2xx: is there content for the client, or an attempt that failed?

Providers hide failures in a 200: an error object as the first event or as the document, an empty stream, a page of
HTML. All of them can still be retried, because nothing has been relayed yet.
"""

from __future__ import annotations

from typing import Final

from plano.dialects.identity.chat import EventKind, is_error_body, read_events
from plano.dialects.identity.wire import Wire
from plano.upstreams.failures import Failure, FailureKind

# What is kept of an answer that may still be thrown away: an error body, the first events of a stream, a document.
MAX_HELD_BYTES: Final = 256 * 1024


def is_sound_document(content_type: bytes, body: bytes) -> bool:
    """The quick look at a whole JSON answer; whatever it doubts is judged by `judge_document`."""
    return (
        body[:2] == b'{"'
        and body[-1:] == b"}"
        and body[2:8] != b'error"'
        and content_type[:16] == b"application/json"
        and body[:15] != b'{"type":"error"'
    )


def judge_stream(wire: Wire, body: bytes, complete: bool) -> Failure | bool:
    """The beginning of an event stream: True, it has content; False, wait for more; or why it is a failure."""
    for event in read_events(body + b"\n\n" if complete else body):
        kind = wire.classify_event(event)
        if kind is EventKind.CONTENT:
            return True
        if kind is EventKind.ERROR:
            return Failure(FailureKind.ERROR_EVENT, "the stream began with an error", body=event)
        if kind is EventKind.GARBAGE:
            return Failure(FailureKind.PROTOCOL, "the stream holds something that is not JSON")
        if kind is EventKind.DONE:
            return Failure(FailureKind.EMPTY, "the stream ended without content")
    return Failure(FailureKind.EMPTY, "the stream ended without content") if complete else False


def judge_plain(content_type: bytes, body: bytes, complete: bool) -> Failure | bool:
    """The answer of a plain endpoint, which may be anything (audio, subtitles, an array): like `judge_document`.

    Only JSON is held back until it is whole; of anything else a client can use the beginning.
    """
    if not body:
        return Failure(FailureKind.EMPTY, "the answer is empty") if complete else False
    if b"json" not in content_type:
        return True
    start = body[:64].lstrip()
    return judge_document(content_type, body, complete) if not start or start[0] == 0x7B else complete


def judge_document(content_type: bytes, body: bytes, complete: bool) -> Failure | bool:
    """A document, or its beginning: True, it may be relayed; False, wait for more; or why it is a failure.

    A client can do nothing with half a document, so it is held back until it is whole (up to MAX_HELD_BYTES, the
    caller sees to that): one that breaks off can then still be asked for again.
    """
    start = body[:64].lstrip()
    if not start:
        return Failure(FailureKind.EMPTY, "the answer is empty") if complete else False
    if b"json" not in content_type or start[0] != 0x7B:
        return Failure(FailureKind.PROTOCOL, "the answer is not a JSON object", body=body[:2048])
    if not complete:
        return False
    if is_error_body(body):
        return Failure(FailureKind.ERROR_EVENT, "the answer is an error", body=body[:MAX_HELD_BYTES])
    if body[-64:].rstrip()[-1:] != b"}":
        return Failure(FailureKind.PROTOCOL, "the answer is not a whole JSON object", body=body[:2048])
    return True
