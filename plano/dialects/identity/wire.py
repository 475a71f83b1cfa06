"""The identity path: what the gateway reads of a client's dialect when the upstream speaks the same one.

Bytes pass as they are; only what routing, retry, accounting and an honest end of a stream need is looked at. One object
per client dialect, without state. Sources: OpenAI API reference ("Chat Completions", "Responses", "Streaming") and
Anthropic API reference ("Messages", "Streaming Messages").
"""

from __future__ import annotations

import re
from enum import Enum
from typing import Any, Final

import orjson

from plano.dialects.conversation import BadRequest
from plano.dialects.identity import chat
from plano.dialects.identity.chat import EventKind, RoutedRequest, Usage
from plano.dialects.tokens import MAX_COUNT, read_count

_STOPPED = re.compile(rb'"stop_reason"\s*:\s*"')
_MESSAGE_STOP = re.compile(rb'"type"\s*:\s*"message_stop"')
_ERROR_TYPE = re.compile(rb'(?:\A|[\r\n])data:\s*\{\s*"type"\s*:\s*"error"')
_RESPONSE_END = re.compile(rb'"type"\s*:\s*"response\.(?:completed|incomplete|failed)"')
_RESPONSE_OPENINGS: Final = frozenset(
    {
        "response.created",
        "response.in_progress",
        "response.queued",
        "response.output_item.added",
        "response.content_part.added",
        "response.reasoning_summary_part.added",
    }
)
_SEQUENCE = re.compile(rb'"sequence_number"\s*:\s*(\d{1,15})\b')


class StreamEnd(Enum):
    """What the last bytes of a stream that ended say about the answer."""

    WHOLE = "whole"
    UNMARKED = "unmarked"  # whole, only the end mark is missing
    ERROR = "error"  # it ended with an error event
    CUT = "cut"  # half an answer


class Wire:
    """The chat completions dialect, and the ground for the other two.

    `name` is the dialect's; `errors` the one whose shape errors have; `end_mark` the event that ends a stream;
    `error_mark` what follows an error event.
    """

    name: str = "chat"
    errors: str = "chat"
    end_mark: bytes = chat.DONE_EVENT
    error_mark: bytes = chat.DONE_EVENT

    def parse_request(self, data: bytes) -> RoutedRequest:
        """Body, model (None: the gateway chooses), stream or not. Raises BadRequest, naming the field."""
        return chat.parse_request(data)

    def replace_model(self, data: bytes, body: dict[str, Any], model: str) -> bytes:
        """The request `data` (parsed: `body`) for this model, every other byte as it was."""
        return chat.replace_model(data, body, model)

    def classify_event(self, data: bytes) -> EventKind:
        """What the `data` of one event means before any content was relayed."""
        return chat.classify_event(data)

    def find_usage(self, first: bytes, tail: bytes) -> Usage | None:
        """The token usage in the first and the last bytes of an answer or a stream."""
        return chat.find_usage(tail)

    def check_end(self, tail: bytes) -> StreamEnd:
        """Is a stream that ended with `tail` a whole answer? Half of one must never look like it."""
        if chat.is_done(tail):
            return StreamEnd.WHOLE
        if chat.is_finished(tail):
            return StreamEnd.UNMARKED
        return StreamEnd.ERROR if chat.ends_with_error(tail) else StreamEnd.CUT

    def break_stream(self, error: bytes, first: bytes, tail: bytes) -> bytes:
        """The events that end a stream which began with `first` and broke after `tail`; `error` is the body of an error
        answer."""
        return b"data: %b\n\n%b" % (error, self.error_mark)


class MessagesWire(Wire):
    """Anthropic Messages."""

    name = "messages"
    errors = "messages"
    end_mark = b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
    error_mark = b""

    def parse_request(self, data: bytes) -> RoutedRequest:
        routed = chat.parse_request(data)
        tokens = routed[0].get("max_tokens")
        if type(tokens) is not int or tokens < 1:
            what = "is required" if tokens is None else "must be a positive integer"
            raise BadRequest(f"'max_tokens' {what}.", "max_tokens")
        return routed

    def classify_event(self, data: bytes) -> EventKind:
        if not data:
            return EventKind.NOTHING
        event = _load(data)
        if event is None:
            return EventKind.GARBAGE
        kind = event.get("type")
        if kind == "error":
            return EventKind.ERROR
        if kind in ("content_block_delta", "message_delta"):
            return EventKind.CONTENT
        if kind == "message_stop":
            return EventKind.DONE
        block = event.get("content_block")
        if type(block) is dict and block.get("type") not in ("text", "thinking"):
            return EventKind.CONTENT
        return EventKind.NOTHING

    def find_usage(self, first: bytes, tail: bytes) -> Usage | None:
        begun = _read_messages_usage(chat.find_usage_object(first))
        ended = _read_messages_usage(chat.find_usage_object(tail))
        if begun is None or ended is None:
            return ended or begun
        # what was read is told at the start, what was written at the end
        return max(begun[0], ended[0]), ended[1], max(begun[2], ended[2]), 0

    def check_end(self, tail: bytes) -> StreamEnd:
        if _MESSAGE_STOP.search(tail) is not None:
            return StreamEnd.WHOLE
        if _ERROR_TYPE.search(tail) is not None:
            return StreamEnd.ERROR
        return StreamEnd.UNMARKED if _STOPPED.search(tail) is not None else StreamEnd.CUT

    def break_stream(self, error: bytes, first: bytes, tail: bytes) -> bytes:
        return b"event: error\ndata: %b\n\n" % error


class ResponsesWire(Wire):
    """OpenAI Responses."""

    name = "responses"
    end_mark = b""
    error_mark = b""

    def parse_request(self, data: bytes) -> RoutedRequest:
        body = chat.parse_object(data)
        given = body.get("input")
        if given is None:
            if body.get("prompt") is None and body.get("previous_response_id") is None:
                raise BadRequest("'input' is missing.", "input")
        elif type(given) is not str and type(given) is not list:
            raise BadRequest("'input' must be a string or an array.", "input")
        return chat.route_request(body)

    def classify_event(self, data: bytes) -> EventKind:
        if not data:
            return EventKind.NOTHING
        if data.strip() == b"[DONE]":
            return EventKind.DONE
        event = _load(data)
        if event is None:
            return EventKind.GARBAGE
        kind = event.get("type")
        if kind in ("error", "response.failed"):
            return EventKind.ERROR
        if type(kind) is not str or kind in _RESPONSE_OPENINGS:  # what is no string may have no hash
            return EventKind.NOTHING
        return EventKind.CONTENT

    def find_usage(self, first: bytes, tail: bytes) -> Usage | None:
        usage = chat.find_usage_object(tail)
        if usage is None:
            return None
        read, written = usage.get("input_tokens"), usage.get("output_tokens")
        if type(read) is not int or type(written) is not int:
            return None
        if not (0 <= read <= MAX_COUNT and 0 <= written <= MAX_COUNT):
            return None
        cached = _detail(usage.get("input_tokens_details"), "cached_tokens")
        return read, written, cached, _detail(usage.get("output_tokens_details"), "reasoning_tokens")

    def check_end(self, tail: bytes) -> StreamEnd:
        # The last event repeats the whole answer and may be larger than the tail; its usage stands at the end of it.
        if _RESPONSE_END.search(tail) is not None or chat.find_usage_object(tail) is not None:
            return StreamEnd.WHOLE
        return StreamEnd.ERROR if _ERROR_TYPE.search(tail) is not None else StreamEnd.CUT

    def break_stream(self, error: bytes, first: bytes, tail: bytes) -> bytes:
        inner = orjson.loads(error)["error"]
        numbers = _SEQUENCE.findall(tail)
        number = int(numbers[-1]) + 1 if numbers else 0
        event = {
            "type": "error",
            "code": inner["code"],
            "message": inner["message"],
            "param": inner["param"],
            "sequence_number": number,
        }
        broken: bytes = b"event: error\ndata: %b\n\n" % orjson.dumps(event)
        # The SDKs look for the error, others for the event with which every answer ends.
        response = _find_response(first)
        if response is None:
            return broken
        response["status"] = "failed"
        response["error"] = {"code": "server_error", "message": inner["message"]}
        failed = {"type": "response.failed", "sequence_number": number + 1, "response": response}
        try:
            return b"%bevent: response.failed\ndata: %b\n\n" % (broken, orjson.dumps(failed))
        except orjson.JSONEncodeError:  # nested more deeply than the encoder goes
            return broken


CHAT: Final = Wire()
MESSAGES: Final = MessagesWire()
RESPONSES: Final = ResponsesWire()


def _load(data: bytes) -> dict[str, Any] | None:
    try:
        event = orjson.loads(data)
    except orjson.JSONDecodeError:
        return None
    return event if type(event) is dict else None


def _find_response(first: bytes) -> dict[str, Any] | None:
    """The answer as the first events of a stream announce it."""
    for data in chat.read_events(first):
        event = _load(data) if data else None
        response = event.get("response") if event is not None else None
        if type(response) is dict:
            found: dict[str, Any] = response
            return found
    return None


def _detail(details: Any, key: str) -> int:
    return read_count(details.get(key)) if type(details) is dict else 0


def _read_messages_usage(usage: dict[str, Any] | None) -> Usage | None:
    """Anthropic reports cached tokens beside the others; ours are parts of the input."""
    if usage is None:
        return None
    cached = _detail(usage, "cache_read_input_tokens")
    read = _detail(usage, "input_tokens") + cached + _detail(usage, "cache_creation_input_tokens")
    return read, _detail(usage, "output_tokens"), cached, 0
