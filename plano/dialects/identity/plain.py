"""The endpoints that are passed through by model name alone: nothing of them is translated.

Read are the model and whether a stream is wanted, written is the model; all else is between client and provider. Both
JSON and forms are understood. Sources: OpenAI API reference ("Embeddings", "Completions", "Moderations", "Images",
"Audio"), Cohere and Jina API references ("Rerank"), Anthropic API reference ("Count Message tokens").
"""

from __future__ import annotations

import re
from typing import Any, Final

from plano.dialects.conversation import BadRequest
from plano.dialects.identity import chat
from plano.dialects.identity.chat import EventKind, RoutedRequest, Usage
from plano.dialects.identity.forms import read_fields
from plano.dialects.identity.wire import StreamEnd, Wire
from plano.dialects.tokens import MAX_COUNT, read_count

_DONE_TYPE = re.compile(rb'"type"\s*:\s*"(?:transcript\.text|speech\.audio)\.done"')
_ERROR_EVENT = re.compile(rb'(?:\A|[\r\n])data:\s*\{\s*"type"\s*:\s*"error"')
_ERROR_DATA = re.compile(rb'\s*\{\s*(?:"error"\s*:\s*[{"]|"type"\s*:\s*"error")')
MAX_MODEL_BYTES: Final = 1024


class PlainWire(Wire):
    """One endpoint; `name` is its path after the base path. `model_optional`: the API has a model of its own choice, so
    a request that names none is sent as it is. `errors` is the shape of the client's errors."""

    end_mark = b""  # these streams end with their connection

    def __init__(self, name: str, *, model_optional: bool = False, errors: str = "chat") -> None:
        self.name = name
        self.errors = errors
        self._model_optional = model_optional

    def parse_request(self, data: bytes) -> RoutedRequest:
        body, model, stream = chat.route_request(chat.parse_object(data))
        # the one endpoint that has another word for it: /audio/speech
        return body, model, stream or body.get("stream_format") == "sse"

    def replace_model(self, data: bytes, body: dict[str, Any], model: str) -> bytes:
        if self._model_optional and body.get("model") is None:
            return data
        return chat.replace_model(data, body, model)

    def classify_event(self, data: bytes) -> EventKind:
        """Whatever is no error is content: what events mean differs from endpoint to endpoint."""
        if not data:
            return EventKind.NOTHING
        if data.strip() == b"[DONE]":
            return EventKind.DONE
        return EventKind.ERROR if _ERROR_DATA.match(data) is not None else EventKind.CONTENT

    def find_usage(self, first: bytes, tail: bytes) -> Usage | None:
        return _read_usage(chat.find_usage_object(tail)) or _read_usage(chat.find_usage_object(first))

    def check_end(self, tail: bytes) -> StreamEnd:
        """A stream without an end mark is taken for whole when its connection ended properly, and only then."""
        if chat.is_done(tail) or _DONE_TYPE.search(tail) is not None:
            return StreamEnd.WHOLE
        failed = chat.ends_with_error(tail) or _ERROR_EVENT.search(tail) is not None
        return StreamEnd.ERROR if failed else StreamEnd.UNMARKED


class CompletionsWire(PlainWire):
    """`/completions`: its streams are marked like those of chat, so one that breaks off is told from a whole one."""

    end_mark = chat.DONE_EVENT

    def check_end(self, tail: bytes) -> StreamEnd:
        return Wire.check_end(self, tail)


class CountWire(PlainWire):
    """`/messages/count_tokens`: its answer is a number of tokens, and has used none."""

    def find_usage(self, first: bytes, tail: bytes) -> Usage | None:
        return None


class FormWire(Wire):
    """A request for a plain endpoint that is a form (files with fields beside them). Made for one request: it remembers
    where the model stands in it, so that files are neither copied nor searched again when an attempt follows."""

    def __init__(self, wire: PlainWire, content_type: bytes) -> None:
        self.name = wire.name
        self.errors = wire.errors
        self.end_mark = wire.end_mark
        self._wire = wire
        self._content_type = content_type
        self._start = 0
        self._end = 0
        self._before = b""
        self._after = b""

    def parse_request(self, data: bytes) -> RoutedRequest:
        form = read_fields(self._content_type, data, (b"model", b"stream"))
        body: dict[str, Any] = {}
        place = form.places.get(b"model")
        if place is None:  # a part of its own, before the first one
            self._start = self._end = form.start
            self._before = b'%b\r\nContent-Disposition: form-data; name="model"\r\n\r\n' % form.delimiter
            self._after = b"\r\n"
        else:
            self._start, self._end = place
            body["model"] = _read_model(data, self._start, self._end)
        place = form.places.get(b"stream")
        stream = place is not None and data[place[0] : min(place[1], place[0] + 5)].lower() == b"true"
        return body, body.get("model"), stream

    def replace_model(self, data: bytes, body: dict[str, Any], model: str) -> bytes:
        view = memoryview(data)
        return b"".join((view[: self._start], self._before, model.encode(), self._after, view[self._end :]))

    def classify_event(self, data: bytes) -> EventKind:
        return self._wire.classify_event(data)

    def find_usage(self, first: bytes, tail: bytes) -> Usage | None:
        return self._wire.find_usage(first, tail)

    def check_end(self, tail: bytes) -> StreamEnd:
        return self._wire.check_end(tail)


COUNT_TOKENS: Final = "/messages/count_tokens"

PLAIN_WIRES: Final[tuple[PlainWire, ...]] = (
    PlainWire("/embeddings"),
    CompletionsWire("/completions"),
    PlainWire("/moderations", model_optional=True),
    PlainWire("/images/generations", model_optional=True),
    PlainWire("/audio/speech"),
    PlainWire("/audio/transcriptions"),
    PlainWire("/audio/translations"),
    PlainWire("/rerank"),
    CountWire(COUNT_TOKENS, errors="messages"),
)


def _read_model(data: bytes, start: int, end: int) -> str:
    if end - start > MAX_MODEL_BYTES:
        raise BadRequest(f"'model' is longer than {MAX_MODEL_BYTES} bytes.", "model")
    try:
        return data[start:end].decode()
    except UnicodeDecodeError:
        raise BadRequest("'model' is not valid UTF-8.", "model") from None


def _read_usage(usage: dict[str, Any] | None) -> Usage | None:
    """Tokens under either pair of names OpenAI has for them. An embedding has an input only, and some rerankers know a
    total only; seconds of audio are no tokens."""
    if usage is None:
        return None
    read = usage.get("prompt_tokens", usage.get("input_tokens", usage.get("total_tokens")))
    if type(read) is not int or not 0 <= read <= MAX_COUNT:
        return None
    written = read_count(usage.get("completion_tokens", usage.get("output_tokens")))
    details = usage.get("prompt_tokens_details", usage.get("input_tokens_details"))
    cached = read_count(details.get("cached_tokens")) if type(details) is dict else 0
    details = usage.get("completion_tokens_details", usage.get("output_tokens_details"))
    return read, written, cached, read_count(details.get("reasoning_tokens")) if type(details) is dict else 0
