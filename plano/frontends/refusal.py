"""The answer to a prompt that a guard has stopped: an ordinary answer in the client's dialect, written by no model."""

from __future__ import annotations

import time
from typing import Final

import orjson

from plano.dialects.assembly import events_of
from plano.dialects.codecs import CLIENTS
from plano.dialects.conversation import Answer, Conversation, StopReason, Text, Usage

STREAM_TYPE: Final = b"text/event-stream; charset=utf-8"
DOCUMENT_TYPE: Final = b"application/json"


def render_refusal(client: str, conversation: Conversation, message: str, answer_id: str) -> tuple[bytes, bytes]:
    """(content type, body) that say `message` to a client of the dialect `client`, streamed if it asked for that."""
    created = int(time.time())
    answer = Answer(
        id=answer_id,
        model=conversation.model or "plano",
        blocks=[Text(message)],
        stop=StopReason.END,
        usage=Usage(known=True),
        created=created,
    )
    codec = CLIENTS[client]
    if not conversation.stream:
        return DOCUMENT_TYPE, orjson.dumps(codec.render_answer(answer, conversation, created))
    writer = codec.make_writer(conversation, created)
    return STREAM_TYPE, b"".join([writer.write(event) for event in events_of(answer)])
