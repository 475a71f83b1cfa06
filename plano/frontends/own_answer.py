"""Answers that no model writes as the client reads them: an ordinary answer in its dialect, streamed if it asked so."""

from __future__ import annotations

import time
from typing import Final

import orjson

from plano.dialects.assembly import events_of
from plano.dialects.codecs import CLIENTS
from plano.dialects.conversation import Answer, Conversation, StopReason, Text, Usage

STREAM_TYPE: Final = b"text/event-stream; charset=utf-8"
DOCUMENT_TYPE: Final = b"application/json"


def compose_answer(conversation: Conversation, message: str, answer_id: str) -> Answer:
    """An answer that says `message`."""
    return Answer(
        id=answer_id,
        model=conversation.model or "plano",
        blocks=[Text(message)],
        stop=StopReason.END,
        usage=Usage(known=True),
        created=int(time.time()),
    )


def render_own(client: str, conversation: Conversation, answer: Answer) -> tuple[bytes, bytes]:
    """(content type, body) of `answer` for a client of the dialect `client`."""
    created = answer.created or int(time.time())
    codec = CLIENTS[client]
    if not conversation.stream:
        return DOCUMENT_TYPE, orjson.dumps(codec.render_answer(answer, conversation, created))
    writer = codec.make_writer(conversation, created)
    return STREAM_TYPE, b"".join([writer.write(event) for event in events_of(answer)])
