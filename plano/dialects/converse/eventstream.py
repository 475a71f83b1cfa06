"""The AWS event stream: binary frames with typed headers and two checksums, read incrementally. No I/O.

Source: Smithy specification, "Amazon Event Stream Specification" (application/vnd.amazon.eventstream). A frame is

    total length u32 | headers length u32 | CRC32 of these 8 bytes | headers | payload | CRC32 of all before

big-endian; both lengths in bytes, the total includes both checksums. A header is the length of its name (u8), the name
(UTF-8), a type (u8) and the value: true 0, false 1, byte 2, short 3, integer 4, long 5, byte array 6 and string 7 (u16
length before them), timestamp 8 (i64, milliseconds since 1970), UUID 9 (16 bytes).
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from uuid import UUID

# Bedrock's frames hold a few hundred bytes, those of an image answer a few MiB; the length field would allow 4 GiB.
MAX_FRAME_BYTES: Final = 16 * 1024 * 1024
MAX_HEADERS_BYTES: Final = 128 * 1024  # the specification's own limit

_PRELUDE_BYTES: Final = 12
_OVERHEAD_BYTES: Final = 16  # prelude and message checksum

_BOOL_TRUE: Final = 0
_BOOL_FALSE: Final = 1
_BYTE: Final = 2
_SHORT: Final = 3
_INTEGER: Final = 4
_LONG: Final = 5
_BYTES: Final = 6
_STRING: Final = 7
_TIMESTAMP: Final = 8
_UUID: Final = 9


class BadFrame(Exception):
    """Bytes that are no event stream, or one that was damaged on its way."""


@dataclass(frozen=True, slots=True)
class Timestamp:
    """A moment, in milliseconds since 1970 (not a datetime: any i64 is allowed on the wire)."""

    milliseconds: int


HeaderValue = bool | int | bytes | str | Timestamp | UUID


@dataclass(slots=True)
class Frame:
    """One message. Header names are unique; of two with the same name the last counts."""

    headers: dict[str, HeaderValue]
    payload: bytes

    def text(self, name: str) -> str:
        """The header `name` if it is a string, else ""."""
        value = self.headers.get(name)
        return value if isinstance(value, str) else ""


class FrameDecoder:
    """Takes bytes cut anywhere, gives whole frames. After BadFrame it must not be used any more."""

    __slots__ = ("_buffer", "_headers_bytes", "_start", "_total_bytes", "max_frame_bytes")

    def __init__(self, max_frame_bytes: int = MAX_FRAME_BYTES) -> None:
        self.max_frame_bytes = max_frame_bytes
        self._buffer = bytearray()
        self._start = 0  # where the first frame not yet taken begins
        self._total_bytes = 0  # of that frame; 0 until its prelude has been read
        self._headers_bytes = 0

    def add(self, data: bytes) -> None:
        """More bytes of the stream."""
        if self._start:
            # Once per read and not once per frame: a read holds many small frames.
            del self._buffer[: self._start]
            self._start = 0
        self._buffer += data

    def take(self) -> Frame | None:
        """The next frame, None when it is not whole yet. Raises BadFrame."""
        available = len(self._buffer) - self._start
        if not self._total_bytes:
            if available < _PRELUDE_BYTES:
                return None
            self._read_prelude()
        if available < self._total_bytes:
            return None
        end = self._start + self._total_bytes
        frame = bytes(self._buffer[self._start : end])
        (checksum,) = struct.unpack_from(">I", frame, self._total_bytes - 4)
        if zlib.crc32(frame[: self._total_bytes - 4]) != checksum:
            raise BadFrame("The event stream is damaged: a message does not match its checksum.")
        headers_end = _PRELUDE_BYTES + self._headers_bytes
        headers = _read_headers(frame, headers_end)
        payload = frame[headers_end : self._total_bytes - 4]
        self._start = end
        self._total_bytes = 0
        return Frame(headers, payload)

    def is_empty(self) -> bool:
        """Do all bytes so far belong to frames that were taken?"""
        return len(self._buffer) == self._start

    def _read_prelude(self) -> None:
        total, headers, checksum = struct.unpack_from(">III", self._buffer, self._start)
        if zlib.crc32(bytes(self._buffer[self._start : self._start + 8])) != checksum:
            raise BadFrame("This is not an AWS event stream, or it is damaged: a prelude does not match its checksum.")
        if total > self.max_frame_bytes:
            raise BadFrame(f"A message of the event stream has {total} bytes; {self.max_frame_bytes} are allowed.")
        if headers > MAX_HEADERS_BYTES or headers + _OVERHEAD_BYTES > total:
            raise BadFrame(f"A message of the event stream claims {headers} bytes of headers in {total} bytes.")
        self._total_bytes = total
        self._headers_bytes = headers


def encode_frame(headers: Mapping[str, HeaderValue], payload: bytes) -> bytes:
    """One frame. Integers become `integer` headers, those beyond 32 bits `long`."""
    encoded = b"".join(_encode_header(name, value) for name, value in headers.items())
    prelude = struct.pack(">II", len(encoded) + len(payload) + _OVERHEAD_BYTES, len(encoded))
    message = b"%b%b%b%b" % (prelude, struct.pack(">I", zlib.crc32(prelude)), encoded, payload)
    return message + struct.pack(">I", zlib.crc32(message))


def _read_headers(frame: bytes, end: int) -> dict[str, HeaderValue]:
    headers: dict[str, HeaderValue] = {}
    position = _PRELUDE_BYTES
    try:
        while position < end:
            name_end = position + 1 + frame[position]
            name = frame[position + 1 : name_end].decode()
            kind = frame[name_end]
            value, position = _read_value(frame, name_end + 1, kind)
            headers[name] = value
    except (struct.error, IndexError, UnicodeDecodeError) as error:
        raise BadFrame(f"A header of the event stream cannot be read: {error}.") from None
    if position != end:
        raise BadFrame("A header of the event stream is longer than its message says.")
    return headers


def _read_value(frame: bytes, position: int, kind: int) -> tuple[HeaderValue, int]:
    if kind in (_STRING, _BYTES):
        (length,) = struct.unpack_from(">H", frame, position)
        start = position + 2
        raw = frame[start : start + length]
        return (raw.decode() if kind == _STRING else raw), start + length
    if kind in (_BOOL_TRUE, _BOOL_FALSE):
        return kind == _BOOL_TRUE, position
    if kind == _UUID:
        value = frame[position : position + 16]
        if len(value) != 16:
            raise BadFrame("A header of the event stream is cut off.")
        return UUID(bytes=value), position + 16
    if kind == _TIMESTAMP:
        (moment,) = struct.unpack_from(">q", frame, position)
        return Timestamp(moment), position + 8
    if kind == _BYTE:
        (number,) = struct.unpack_from(">b", frame, position)
        return int(number), position + 1
    if kind == _SHORT:
        (number,) = struct.unpack_from(">h", frame, position)
        return int(number), position + 2
    if kind == _INTEGER:
        (number,) = struct.unpack_from(">i", frame, position)
        return int(number), position + 4
    if kind == _LONG:
        (number,) = struct.unpack_from(">q", frame, position)
        return int(number), position + 8
    raise BadFrame(f"A header of the event stream has the unknown type {kind}.")


def _encode_header(name: str, value: HeaderValue) -> bytes:
    encoded_name = name.encode()
    return b"%b%b%b" % (bytes([len(encoded_name)]), encoded_name, _encode_value(value))


def _encode_value(value: HeaderValue) -> bytes:
    if isinstance(value, bool):
        return bytes([_BOOL_TRUE if value else _BOOL_FALSE])
    if isinstance(value, int):
        small = -(2**31) <= value < 2**31
        return struct.pack(">Bi", _INTEGER, value) if small else struct.pack(">Bq", _LONG, value)
    if isinstance(value, str):
        text = value.encode()
        return struct.pack(">BH", _STRING, len(text)) + text
    if isinstance(value, bytes):
        return struct.pack(">BH", _BYTES, len(value)) + value
    if isinstance(value, Timestamp):
        return struct.pack(">Bq", _TIMESTAMP, value.milliseconds)
    return bytes([_UUID]) + value.bytes
