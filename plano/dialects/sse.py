"""Server-sent events: the frame in which four of the five dialects stream. No I/O.

Source: WHATWG HTML, section 9.2.6 "Interpreting an event stream". Two differences, both because upstreams are no
browsers: an event at the very end of a stream counts without its empty line, and what one event may hold is bounded.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

# The most one event may hold. The longest lines seen are whole base64 images in a delta.
EVENT_LIMIT_BYTES: Final = 16 << 20

_BOM: Final = b"\xef\xbb\xbf"
_LF: Final = 0x0A
_CR: Final = 0x0D


@dataclass(slots=True)
class SseEvent:
    """`event` is the type the server named, None when it named none. `oversized`: the event was longer than the parser
    allows; its data is not here."""

    event: str | None
    data: bytes
    oversized: bool = False


class SseParser:
    """Bytes of an event stream in, cut anywhere; whole events out. Takes time linear in the bytes, and memory for one
    event of at most `limit_bytes`: a longer one is reported once, as oversized, as soon as it is known to be."""

    def __init__(self, limit_bytes: int = EVENT_LIMIT_BYTES) -> None:
        self._limit_bytes = limit_bytes
        self._line = bytearray()  # the beginning of a line whose end has not come
        self._values: list[bytes] = []
        self._size_bytes = 0  # of `_values`, with a line end each
        self._event: str | None = None
        self._at_start = True  # a byte order mark may come, or is coming
        self._after_cr = False  # a LF that comes next belongs to the CR
        self._skip_line = False  # the rest of this line belongs to an oversized event
        self._skip_event = False  # and so do the lines up to the next empty one

    def feed(self, data: bytes) -> list[SseEvent]:
        """The next bytes; the events that are whole with them."""
        if self._at_start:
            data = self._strip_mark(data)
        if self._after_cr and data:
            self._after_cr = False
            if data[0] == _LF:
                data = data[1:]
        events: list[SseEvent] = []
        if not data:
            return events
        last = data[-1]
        lines = data.splitlines()
        rest = b""
        if last == _CR:
            self._after_cr = True
        elif last != _LF:
            rest = lines.pop()
        for line in lines:
            whole = self._complete(line)
            if whole is not None:
                self._take(whole, events)
        if rest and not self._skip_line:
            if len(self._line) + len(rest) + self._size_bytes > self._limit_bytes:
                self._line = bytearray()
                self._skip_line = True
                self._give_up(events)
            else:
                self._line += rest
        return events

    def end(self) -> list[SseEvent]:
        """The stream is over: the event that lacked only its end, if there is one."""
        events: list[SseEvent] = []
        self._at_start = False
        if self._line or self._skip_line:
            whole = self._complete(b"")
            if whole:
                self._take(whole, events)
        self._take(b"", events)
        return events

    def _strip_mark(self, data: bytes) -> bytes:
        """`data` without a byte order mark; a part of one is held back until it is known to be one."""
        seen = bytes(self._line) + data
        if len(seen) < len(_BOM) and _BOM.startswith(seen):
            self._line = bytearray(seen)
            return b""
        self._line = bytearray()
        self._at_start = False
        return seen.removeprefix(_BOM)

    def _complete(self, line: bytes) -> bytes | None:
        """The line that ends with `line`; None when it belongs to what is skipped."""
        if self._skip_line:
            self._skip_line = False
            return None
        if not self._line:
            return line
        self._line += line
        whole = bytes(self._line)
        self._line = bytearray()
        return whole

    def _take(self, line: bytes, events: list[SseEvent]) -> None:
        if not line:
            if self._values:
                values = self._values
                events.append(SseEvent(self._event, values[0] if len(values) == 1 else b"\n".join(values)))
                self._values = []
                self._size_bytes = 0
            self._event = None
            self._skip_event = False
        elif self._skip_event:
            return
        elif line.startswith(b"data:"):
            self._add(line[6:] if line[5:6] == b" " else line[5:], events)
        elif line.startswith(b"event:"):
            self._event = line[6:].removeprefix(b" ").decode("utf-8", "replace") or None
        elif line == b"data":
            self._add(b"", events)
        elif line == b"event":
            self._event = None
        # Anything else is a comment, an id, a retry time or a field nobody knows: all are ignored.

    def _add(self, value: bytes, events: list[SseEvent]) -> None:
        self._size_bytes += len(value) + 1
        if self._size_bytes > self._limit_bytes:
            self._give_up(events)
        else:
            self._values.append(value)

    def _give_up(self, events: list[SseEvent]) -> None:
        if not self._skip_event:
            events.append(SseEvent(self._event, b"", oversized=True))
        self._skip_event = True
        self._values = []
        self._size_bytes = 0


def format_event(data: bytes, event: str | None = None) -> bytes:
    """One event of a stream. `data` may have several lines; `event` must not."""
    if b"\n" in data or b"\r" in data:
        data = b"\ndata: ".join(data.splitlines())
    if event is None:
        return b"data: %b\n\n" % data
    return b"event: %b\ndata: %b\n\n" % (event.encode(), data)
