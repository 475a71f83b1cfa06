"""The chat completions dialect: what a gateway must read of requests, answers and event streams. No I/O.

Shapes: OpenAI API reference, "Chat Completions" and "Streaming". Bodies are read, never re-encoded: what routing has to
change is changed in the bytes the client sent (`replace_model`), so unknown fields, number formats and key order pass.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import Enum
from typing import Any, Final

import orjson

from plano.dialects.chat.usage import parse_usage
from plano.dialects.conversation import BadRequest
from plano.dialects.tokens import MAX_COUNT, read_count

DONE_EVENT: Final = b"data: [DONE]\n\n"
# What ends an event of a stream (WHATWG HTML, 9.2.6: lines end in LF, CR LF or CR; an empty line ends an event). The
# second one is the end of CR LF CR LF, and of LF CR LF where a server mixes its line ends.
EVENT_ENDS: Final = (b"\n\n", b"\n\r\n", b"\r\r")

_EVENT_END = re.compile(rb"\n\n|\n\r\n|\r\r")
_LINE_END = re.compile(rb"\r\n|\n|\r")
# OpenAI's shape, and Anthropic's, which says its type first.
_ERROR_BODY = re.compile(rb'\s*\{\s*"(?:error"\s*:\s*[{"]|type"\s*:\s*"error")')
# Some servers say "" until there is one.
_FINISHED = re.compile(rb'"finish_reason"\s*:\s*"[^"]')
_LAST_DATA = re.compile(rb"(?:.*[\r\n]|\A)data:", re.DOTALL)
_BACKSLASH: Final = 0x5C
_MAX_USAGE_OBJECTS: Final = 16
_USAGE = re.compile(rb'"usage"\s*:\s*\{')


# What routing needs of a request: the parsed body, the model (None: the gateway chooses), whether it streams.
RoutedRequest = tuple[dict[str, Any], str | None, bool]


# Token counts as the provider reported them: input, output, and the parts of them that were cached and reasoning.
Usage = tuple[int, int, int, int]


class EventKind(Enum):
    """What an event at the start of a stream says about the attempt."""

    CONTENT = "content"  # the answer has begun (or has ended properly without text)
    NOTHING = "nothing"  # a comment, a role, an empty delta, usage: no content yet
    DONE = "done"  # [DONE]
    ERROR = "error"  # an error object
    GARBAGE = "garbage"  # not JSON


def parse_object(data: bytes) -> dict[str, Any]:
    """A request body. Raises BadRequest when it is no JSON object."""
    try:
        body = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise BadRequest(f"The body is not valid JSON: {error}") from None
    if type(body) is not dict:
        raise BadRequest("The body must be a JSON object.")
    return body


def route_request(body: dict[str, Any]) -> RoutedRequest:
    """What every dialect says in the same place: the model, and whether to stream. Raises BadRequest."""
    model = body.get("model")
    if model is not None and type(model) is not str:
        raise BadRequest("'model' must be a string.", "model")
    stream = body.get("stream")
    if stream is not None and type(stream) is not bool:
        raise BadRequest("'stream' must be true or false.", "stream")
    return body, model, stream is True


def parse_request(data: bytes) -> RoutedRequest:
    """Read a request body. Raises BadRequest, naming the field where there is one."""
    body = parse_object(data)
    messages = body.get("messages")
    if type(messages) is not list:
        what = "is missing" if messages is None else "must be an array"
        raise BadRequest(f"'messages' {what}.", "messages")
    if not messages:
        raise BadRequest("'messages' must hold at least one message.", "messages")
    return route_request(body)


def ask_for_usage(data: bytes, body: dict[str, Any]) -> bytes:
    """The streaming request `data` (parsed: `body`), asking for the usage at the end of the stream.

    A body without `stream_options` gets them as its first key, every other byte as it was.
    """
    options = body.get("stream_options")
    if type(options) is dict:
        if options.get("include_usage") is True:
            return data
        return encode({**body, "stream_options": {**options, "include_usage": True}})
    if "stream_options" in body:
        return encode({**body, "stream_options": {"include_usage": True}})
    start = data.find(b"{") + 1
    return b'%b"stream_options":{"include_usage":true},%b' % (data[:start], data[start:])


def asks_for_usage(body: dict[str, Any]) -> bool:
    """Did the client itself ask for the usage of its stream?"""
    options = body.get("stream_options")
    return type(options) is dict and options.get("include_usage") is True


def strip_usage_events(events: bytes) -> bytes:
    """Whole events of a stream less those that hold nothing but the usage (the client did not ask for it)."""
    kept = []
    position = 0
    for match in _EVENT_END.finditer(events):
        event = events[position : match.end()]
        position = match.end()
        if b'"usage"' not in event or not _is_usage_event(event):
            kept.append(event)
    kept.append(events[position:])
    return b"".join(kept)


def _is_usage_event(event: bytes) -> bool:
    for data in read_events(event):
        try:
            chunk = orjson.loads(data)
        except orjson.JSONDecodeError:
            return False
        return type(chunk) is dict and chunk.get("choices") == [] and type(chunk.get("usage")) is dict
    return False


def encode(body: dict[str, Any]) -> bytes:
    """The body as JSON. Raises BadRequest for one that cannot be written (nested more deeply than anybody reads)."""
    try:
        return orjson.dumps(body)
    except orjson.JSONEncodeError as error:
        raise BadRequest(f"The body cannot be passed on: {error}") from None


def replace_model(data: bytes, body: dict[str, Any], model: str) -> bytes:
    """The request `data` (parsed: `body`) with its top-level `model` set to `model`, every other byte as it was.

    The bytes are edited only when the one place to edit is certain: the key occurs once, and no key can be spelled
    with escapes (all letters of "model" are U+006x). Otherwise the body is encoded anew: of two keys an upstream might
    read the one that we did not.
    """
    old = body.get("model")
    key = data.rfind(b'"model"')  # from the end, and `find` instead of `in`: both are twice as fast
    if (
        key >= 0
        and type(old) is str
        and data.find(b'"model"', 0, key) < 0
        and (data.find(b"\\") < 0 or data.find(b"\\u006") < 0)
    ):
        value = orjson.dumps(old)
        start = key + 8
        if not data.startswith(value, start):
            start = data.find(value, start)
        if start >= 0 and (start == key + 8 or data[key + 7 : start].strip(b" \t\r\n") == b":"):
            return data if old == model else b"%b%b%b" % (data[:start], orjson.dumps(model), data[start + len(value) :])
    return encode({**body, "model": model})


def split_events(data: bytes) -> tuple[bytes, bytes]:
    """Split at the end of the last whole event: (whole events, start of an event not yet whole)."""
    lf, crlf, cr = data.rfind(b"\n\n"), data.rfind(b"\n\r\n"), data.rfind(b"\r\r")
    last = max(lf, crlf, cr)
    if last < 0:
        return b"", data
    end = last + (3 if last == crlf else 2)
    return data[:end], data[end:]


def iterate_events(data: bytes) -> Iterable[bytes]:
    """The events in `data` as they are, each with its end; what follows the last whole one comes last."""
    position = 0
    for match in _EVENT_END.finditer(data):
        yield data[position : match.end()]
        position = match.end()
    if position < len(data):
        yield data[position:]


def read_events(data: bytes) -> Iterable[bytes]:
    """The `data` of every whole event in `data`, in order; b"" for an event without any (a comment)."""
    position = 3 if data.startswith(b"\xef\xbb\xbf") else 0
    for match in _EVENT_END.finditer(data, position):
        lines = _LINE_END.split(data[position : match.start()])
        position = match.end()
        values = [line[5:].removeprefix(b" ") for line in lines if line.startswith(b"data:")]
        yield b"\n".join(values)


def classify_event(data: bytes) -> EventKind:
    """What the `data` of one event means before any content was relayed."""
    if not data:
        return EventKind.NOTHING
    if data.strip() == b"[DONE]":
        return EventKind.DONE
    try:
        chunk = orjson.loads(data)
    except orjson.JSONDecodeError:
        return EventKind.GARBAGE
    if type(chunk) is not dict:
        return EventKind.GARBAGE
    if chunk.get("error"):
        return EventKind.ERROR
    choices = chunk.get("choices")
    if type(choices) is not list:
        return EventKind.NOTHING
    for choice in choices:
        if type(choice) is not dict:
            return EventKind.GARBAGE
        if choice.get("finish_reason"):
            return EventKind.CONTENT
        delta = choice.get("delta")
        if type(delta) is dict and any(value for key, value in delta.items() if key != "role"):
            return EventKind.CONTENT
    return EventKind.NOTHING


def is_error_body(data: bytes) -> bool:
    """Does this beginning of a JSON body say that it is an error object?"""
    return _ERROR_BODY.match(data) is not None


def is_done(tail: bytes) -> bool:
    """Does the end of a stream hold its end mark, [DONE]? Not the same text inside an answer: that is content."""
    place = tail.rfind(b"[DONE]")
    while place >= 0:
        line = max(tail.rfind(b"\n", 0, place), tail.rfind(b"\r", 0, place)) + 1
        if tail[line:place] in (b"data: ", b"data:"):
            return True
        place = tail.rfind(b"[DONE]", 0, place)
    return False


def ends_with_error(tail: bytes) -> bool:
    """Is the last event at the end of a stream an error object?"""
    match = _LAST_DATA.match(tail)
    return match is not None and is_error_body(tail[match.end() :])


def is_finished(tail: bytes) -> bool:
    """Does the end of a stream hold a finish reason, so that the answer is whole even without [DONE]?"""
    return _FINISHED.search(tail) is not None


def find_usage(tail: bytes) -> Usage | None:
    """The token usage in the last bytes of an answer or a stream, or None."""
    usage = find_usage_object(tail)
    if usage is None:
        return None
    prompt, completion = usage.get("prompt_tokens"), usage.get("completion_tokens")
    if type(prompt) is not int or type(completion) is not int:
        return None
    if prompt < 0 or completion < 0 or prompt > MAX_COUNT or completion > MAX_COUNT:
        return None
    inputs, outputs = usage.get("prompt_tokens_details"), usage.get("completion_tokens_details")
    cached = read_count(inputs.get("cached_tokens")) if type(inputs) is dict else 0
    reasoning = read_count(outputs.get("reasoning_tokens")) if type(outputs) is dict else 0
    usual = 3 + ("prompt_tokens_details" in usage) + ("completion_tokens_details" in usage)
    if len(usage) != usual or usage.get("total_tokens") != prompt + completion or cached > prompt:
        counts = parse_usage(usage)  # something is counted beside these, or under another name
        return counts.input, counts.output, counts.cache_read, counts.reasoning
    return prompt, completion, cached, min(reasoning, completion)


def find_usage_object(tail: bytes) -> dict[str, Any] | None:
    """The last `"usage": {...}` in `tail`; a quoted one inside a text is escaped in JSON and does not match."""
    start = tail.rfind(b'"usage":{')
    if start > 0 and tail[start - 1] != _BACKSLASH:
        return _read_usage(tail, start + 8)
    start = tail.rfind(b'"usage"')
    while start >= 0:
        match = _USAGE.match(tail, start)
        if match is not None and (start == 0 or tail[start - 1] != _BACKSLASH):
            return _read_usage(tail, match.end() - 1)
        start = tail.rfind(b'"usage"', 0, start)
    return None


def _read_usage(tail: bytes, start: int) -> dict[str, Any] | None:
    """The object that begins at `start`. It holds numbers and objects, no strings with braces."""
    end = start
    unclosed = 0
    for _ in range(_MAX_USAGE_OBJECTS):
        close = tail.find(b"}", end)
        if close < 0:
            return None
        unclosed += tail.count(b"{", end, close) - 1
        end = close + 1
        if unclosed == 0:
            break
    try:
        usage = orjson.loads(tail[start:end])
    except orjson.JSONDecodeError:
        return None
    return usage if type(usage) is dict else None
