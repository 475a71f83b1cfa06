"""The frames of a Gemini stream: events of a text/event-stream, or the elements of one JSON array. No I/O.

Source: Gemini API reference, "models.streamGenerateContent": with `alt=sse` each chunk is an event; without, or where a
proxy lost the query, the body is one JSON array that grows. An error in place of a stream is a JSON object or an array
of one.
"""

from __future__ import annotations

import re
from typing import Final

from plano.dialects.sse import EVENT_LIMIT_BYTES, SseEvent, SseParser

_OUTSIDE: Final = re.compile(rb'["{}]')
_INSIDE: Final = re.compile(rb'["\\]')
_OPEN: Final = 0x7B
_CLOSE: Final = 0x7D
_BACKSLASH: Final = 0x5C


class Frames:
    """Bytes of a stream in, cut anywhere; the JSON text of its whole chunks out. `broken` says that a chunk was longer
    than allowed, or that the stream ended inside of one."""

    def __init__(self) -> None:
        self.broken = False
        self._start = b""  # white space that has come before the form is known
        self._events: SseParser | None = None
        self._objects: ObjectSplitter | None = None

    def feed(self, data: bytes) -> list[bytes]:
        """The next bytes; the chunks that are whole with them."""
        if self._events is None and self._objects is None:
            data = self._start + data
            seen = data.lstrip()
            if not seen:
                self._start = data[:1]  # what counts is that something came; white space carries nothing
                return []
            if seen[0] in b"[{":
                self._objects = ObjectSplitter()
            else:
                self._events = SseParser()
        if self._objects is not None:
            chunks = self._objects.feed(data)
            self.broken = self._objects.oversized
            return chunks
        assert self._events is not None
        return self._take(self._events.feed(data))

    def end(self) -> list[bytes]:
        """The stream is over: what lacked only its end."""
        if self._objects is not None:
            self.broken = self.broken or self._objects.is_inside()
        return [] if self._events is None else self._take(self._events.end())

    def _take(self, events: list[SseEvent]) -> list[bytes]:
        chunks: list[bytes] = []
        for event in events:
            if event.oversized:
                self.broken = True
            elif event.data.strip() and event.data.strip() != b"[DONE]":  # which proxies like to add
                chunks.append(event.data)
        return chunks


class ObjectSplitter:
    """Cuts the objects out of a JSON array, without reading what is in them; linear in the bytes."""

    def __init__(self, limit_bytes: int = EVENT_LIMIT_BYTES) -> None:
        self.oversized = False
        self._limit_bytes = limit_bytes
        self._held = bytearray()
        self._read = 0  # bytes of `_held` that have been looked at
        self._begin = -1  # where the object begins that is open, -1 outside of one
        self._depth = 0
        self._in_string = False

    def feed(self, data: bytes) -> list[bytes]:
        """The next bytes; the objects that are whole with them."""
        if self.oversized:
            return []
        self._held += data
        objects: list[bytes] = []
        while True:
            match = (_INSIDE if self._in_string else _OUTSIDE).search(self._held, self._read)
            if match is None:
                self._read = len(self._held)
                break
            place = match.start()
            byte = self._held[place]
            if byte == _BACKSLASH:
                if place + 1 >= len(self._held):
                    self._read = place  # what is escaped has not come yet
                    break
                self._read = place + 2
                continue
            self._read = place + 1
            if byte == _OPEN:
                if self._depth == 0:
                    self._begin = place
                self._depth += 1
            elif byte == _CLOSE:
                self._depth -= 1
                if self._depth == 0:
                    objects.append(bytes(self._held[self._begin : place + 1]))
                    self._begin = -1
                self._depth = max(self._depth, 0)
            else:
                self._in_string = not self._in_string
        self._forget()
        return objects

    def is_inside(self) -> bool:
        """Is an object open?"""
        return self._begin >= 0

    def _forget(self) -> None:
        done = self._read if self._begin < 0 else self._begin
        if done > 0:
            del self._held[:done]
            self._read -= done
            if self._begin >= 0:
                self._begin = 0
        if len(self._held) > self._limit_bytes:
            self.oversized = True
            self._held = bytearray()
