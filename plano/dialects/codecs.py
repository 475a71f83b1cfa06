"""Which module translates which dialect: the table that translation goes through."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from plano.dialects.chat import answer as chat_answer
from plano.dialects.chat import request as chat_request
from plano.dialects.chat import stream as chat_stream
from plano.dialects.conversation import Answer, Conversation, Dropped
from plano.dialects.converse import answer as converse_answer
from plano.dialects.converse import request as converse_request
from plano.dialects.converse import stream as converse_stream
from plano.dialects.events import StreamReader, StreamWriter
from plano.dialects.gemini import answer as gemini_answer
from plano.dialects.gemini import request as gemini_request
from plano.dialects.gemini import stream as gemini_stream
from plano.dialects.messages import answer as messages_answer
from plano.dialects.messages import request as messages_request
from plano.dialects.messages import stream as messages_stream
from plano.dialects.responses import answer as responses_answer
from plano.dialects.responses import request as responses_request
from plano.dialects.responses import stream as responses_stream

Json = dict[str, Any]


class ClientCodec(NamedTuple):
    """A dialect clients speak: requests in, answers and streams out."""

    parse_request: Callable[[Json], Conversation]
    render_answer: Callable[[Answer, Conversation, int], Json]
    make_writer: Callable[[Conversation, int], StreamWriter]


class UpstreamCodec(NamedTuple):
    """A dialect upstreams speak: requests out, answers and streams in."""

    render_request: Callable[[Conversation, str, Dropped], Json]
    parse_answer: Callable[[Json, Conversation], Answer]
    make_reader: Callable[[Conversation], StreamReader]


def _alone(parse: Callable[[Json], Answer]) -> Callable[[Json, Conversation], Answer]:
    """For the dialects whose answers are understood without the request."""
    return lambda body, _: parse(body)


CLIENTS: dict[str, ClientCodec] = {
    "chat": ClientCodec(chat_request.parse_request, chat_answer.render_answer, chat_stream.Writer),
    "messages": ClientCodec(messages_request.parse_request, messages_answer.render_answer, messages_stream.Writer),
    "responses": ClientCodec(responses_request.parse_request, responses_answer.render_answer, responses_stream.Writer),
}

UPSTREAMS: dict[str, UpstreamCodec] = {
    "chat": UpstreamCodec(chat_request.render_request, _alone(chat_answer.parse_answer), chat_stream.Reader),
    "messages": UpstreamCodec(
        messages_request.render_request, _alone(messages_answer.parse_answer), messages_stream.Reader
    ),
    "responses": UpstreamCodec(
        responses_request.render_request, _alone(responses_answer.parse_answer), responses_stream.Reader
    ),
    "converse": UpstreamCodec(converse_request.render_request, converse_answer.parse_answer, converse_stream.Reader),
    "gemini": UpstreamCodec(gemini_request.render_request, _alone(gemini_answer.parse_answer), gemini_stream.Reader),
}
